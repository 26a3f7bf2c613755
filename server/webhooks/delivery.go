package webhooks

import (
	"slices"
	"time"
)

// delivery is what goes out in one request. Once a request with it has failed,
// it waits; no other one that waits has events of its channels, and later events
// of these wait in it. Deliver owns it.
type delivery struct {
	events   []*event // that are not done, in the order of each channel
	n        int      // how many of the first go out in one request
	tried    bool     // they have been in one
	refusals int      // of the first alone
	due      time.Time
	since    time.Time      // when they were first in one that failed, or became the first ones
	channels map[string]int // how many of the events each has; nil: it does not wait
}

// wait puts a delivery among those that wait.
func (s *delivering) wait(d *delivery) {
	if d.channels != nil {
		return
	}
	now := time.Now()
	if d.since.IsZero() {
		d.since = now
	}
	for _, ev := range d.events {
		ev.wait(now)
	}
	s.waiting = append(s.waiting, d)
	s.hold(d)
}

// hold makes later events of its channels wait in a delivery.
func (s *delivering) hold(d *delivery) {
	d.channels = make(map[string]int)
	for _, ev := range d.events {
		d.channels[ev.channel]++
		s.held[ev.channel] = d
	}
}

// push lets an event wait in a delivery.
func (d *delivery) push(ev *event, now time.Time) {
	ev.wait(now)
	d.events = append(d.events, ev)
	d.channels[ev.channel]++
}

// ended are the events that are given up even if they were never tried. Those that
// have waited for longest are the first ones.
func (d *delivery) ended(now time.Time) []*event {
	n := 0
	for n < len(d.events) && !d.events[n].ends.After(now) {
		n++
	}
	return d.events[:n]
}

// settle takes events that are done out of a delivery that waits, which ends it
// if nothing is left.
func (s *delivering) settle(d *delivery, done []*event) {
	for _, ev := range done {
		if d.channels[ev.channel]--; d.channels[ev.channel] == 0 {
			delete(d.channels, ev.channel)
			delete(s.held, ev.channel)
		}
	}
	first := 0
	for first < len(d.events) && d.events[first].done {
		first++
	}
	left, others := d.events[first:], first < len(done)
	clear(d.events[:first]) // and their memory; done may be the same
	if others {
		left = slices.DeleteFunc(left, func(ev *event) bool { return ev.done })
	}
	n, _ := fitting(left)
	*d = delivery{events: left, n: n, since: time.Now(), channels: d.channels}
	if len(left) == 0 {
		s.waiting = slices.DeleteFunc(s.waiting, func(other *delivery) bool { return other == d })
		if s.next == d {
			s.next = nil
		}
	}
}

// split halves a delivery that was refused: by channels, whose order it keeps,
// or within the only channel. The second half waits as a delivery of its own.
func (s *delivering) split(d *delivery) {
	var channels []string // of the events that were refused
	events := make(map[string]int)
	for _, ev := range d.events[:d.n] {
		if events[ev.channel]++; events[ev.channel] == 1 {
			channels = append(channels, ev.channel)
		}
	}
	if len(channels) == 1 {
		s.isolate(d)
		d.n /= 2
		return
	}
	first, n := map[string]bool{channels[0]: true}, events[channels[0]]
	for _, channel := range channels[1 : len(channels)-1] {
		if n >= d.n/2 {
			break
		}
		first[channel] = true
		n += events[channel]
	}
	s.part(d, n, first)
}

// isolate leaves in a delivery only the channel of its first event, which was
// alone in the request. The others wait as a delivery of their own.
func (s *delivering) isolate(d *delivery) {
	s.part(d, d.n, map[string]bool{d.events[0].channel: true})
}

// part leaves in a delivery only events of some channels, n of which were in the
// request.
func (s *delivering) part(d *delivery, n int, channels map[string]bool) {
	rest := &delivery{n: d.n - n, tried: n < d.n}
	if rest.tried {
		rest.since = d.since
	}
	var kept []*event
	for _, ev := range d.events {
		if channels[ev.channel] {
			kept = append(kept, ev)
		} else {
			rest.events = append(rest.events, ev)
		}
	}
	if len(rest.events) == 0 {
		return
	}
	d.events, d.n = kept, n
	s.hold(d)
	if rest.n == 0 {
		rest.n, _ = fitting(rest.events)
	}
	s.wait(rest)
}
