package histories

import (
	"fmt"
	"slices"
	"time"

	"belfry/protocol"
)

// examineDeliveries looks at who received which events, and in which order. The
// world's lock is held.
func (w *world) examineDeliveries() (all []finding) {
	order := make(map[[2]int]*seat) // who received one event before another
	for _, s := range w.seats {
		all = append(all, w.examineOrder(s, order)...)
		if !s.present() {
			continue
		}
		for i, e := range w.events {
			if !w.meant(s, e) || s.has(i) {
				continue
			}
			check := "deliveries"
			if !s.client.node.steady(e.begun, e.end.Add(w.times.InFlight)) {
				check = "losses"
			}
			// With the store's data, a node that has missed nothing loses events of channels with a
			// history, too, and tells so.
			if check == "deliveries" && !(keeps(s.channel) && w.lostSince(e.begun.Add(-w.times.InFlight))) || s.warned.Before(e.begun) {
				all = append(all, found(check, "event %d was accepted, but did not reach a subscriber of %s on node %d, who got %s",
					i, s.channel, s.client.node.number, events(s.got)))
			}
		}
		all = append(all, w.examineReplay(s)...)
	}
	return all
}

// meant reports whether a seat, which is there still, is one of those that an
// event has to reach, if its node could reach the store meanwhile.
func (w *world) meant(s *seat, e *event) bool {
	return e.channel == s.channel && e.err == nil && !s.client.page.had(e.except) && s.answered.Before(e.begun) &&
		(e.by == nil || e.by.node.steady(e.begun, e.end))
}

func (s *seat) has(event int) bool {
	return slices.ContainsFunc(s.got, func(r receipt) bool { return r.event == event })
}

// before reports that an event was accepted before another was published. One that
// failed may have an effect later.
func (w *world) before(a, b int) bool {
	if by := w.events[a].by; by != nil && by == w.events[b].by {
		return a < b // each client's are in order
	}
	return w.events[a].err == nil && w.events[a].end.Before(w.events[b].begun)
}

// examineOrder looks for events that a seat received in another order than they
// were published in, or than another seat.
func (w *world) examineOrder(s *seat, order map[[2]int]*seat) (all []finding) {
	for j, later := range s.got {
		for _, earlier := range s.got[:j] {
			a, b := earlier.event, later.event
			if a == b {
				continue
			}
			if w.before(b, a) {
				all = append(all, found("deliveries", "events of %s in the wrong order on node %d: %s", s.channel, s.client.node.number, events(s.got)))
			}
			order[[2]int{a, b}] = s
			if other := order[[2]int{b, a}]; other != nil {
				all = append(all, found("deliveries", "events of %s in different orders: %s on node %d, %s on node %d",
					s.channel, events(s.got), s.client.node.number, events(other.got), other.client.node.number))
			}
		}
	}
	return all
}

// examineReplay looks at what a seat of a cache channel was given of the events
// before its answer: the last one that the backend has published, unless it was to be
// kept from this client, or a later one,
// if the node could know and the store has not lost it.
func (w *world) examineReplay(s *seat) []finding {
	if !protocol.KindOf(s.channel).IsCache() || s.recovered {
		return nil // its page has it
	}
	for i, e := range w.events {
		if e.channel != s.channel || e.by != nil || e.except == s.client || e.err != nil || !e.end.Before(s.answered) || s.has(i) ||
			w.lostSince(e.begun) || !s.client.node.steady(e.begun, s.answered.Add(w.times.InFlight)) {
			continue
		}
		if len(s.got) == 0 || s.got[0].how != asLast || w.before(s.got[0].event, i) {
			return []finding{found("newcomers", "a newcomer to %s on node %d got %s, and should have got event %d",
				s.channel, s.client.node.number, events(s.got), i)}
		}
	}
	return nil
}

// lostSince reports that the store has lost its data since then.
func (w *world) lostSince(at time.Time) bool { return w.lostBetween(at, time.Now()) }

// events is what was received, as text.
func events(got []receipt) string {
	if len(got) == 0 {
		return "nothing"
	}
	text := ""
	for _, r := range got {
		switch r.how {
		case asLast:
			text += "last "
		case asHistory:
			text += "missed "
		}
		text += fmt.Sprint(r.event) + " "
	}
	return "[" + text[:len(text)-1] + "]"
}
