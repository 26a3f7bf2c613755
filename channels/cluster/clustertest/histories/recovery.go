package histories

import (
	"fmt"
	"slices"
	"time"

	"belfry/protocol"
)

// A page gets each event of a channel with a history once and in order, over all its
// connections, from its first answer until it leaves. Where it does not, it is told so ahead
// of the events that follow, and only if it could not get what it missed.

// numbered notes the serial with which a seat has received an event. The world's lock is held.
func (w *world) numbered(s *seat, id int, serial protocol.Serial, how how) {
	e := w.events[id]
	w.heard(s.channel, serial, time.Now())
	switch b := s.client.page.bookmarks[s.channel]; {
	case e.serial != protocol.Serial{} && e.serial != serial:
		w.fault("recovery", "event %d of %s is %v and %v", id, s.channel, e.serial, serial)
	case how != asLast:
		s.note(entry{what: delivered, serial: serial, event: id})
	case b != nil && !s.client.gone && (serial.Epoch != b.serial.Epoch || serial.Number > b.serial.Number):
		w.fault("recovery", "a newcomer to %s is given %v as the last event, and begins behind %v", s.channel, serial, b.serial)
	}
	e.serial = serial
}

// excused reports whether it may be that a page is told of a loss: the store has lost its
// data, the history does not have as much as the page has missed, or it could not be asked.
// The world's lock is held.
func (w *world) excused(b *bookmark, e entry) bool {
	if w.lostBetween(w.epochs[epochOf{b.channel, e.before.Epoch}], e.at) {
		return true
	}
	r, missing := kept[b.channel], 0
	for _, other := range w.events {
		if other.channel != b.channel || other.serial != (protocol.Serial{}) && other.serial.Number <= e.before.Number {
			continue
		}
		if missing++; missing > r.Events || e.at.Sub(other.begun) >= r.Age {
			return true
		}
	}
	return e.what == missed && !e.node.steady(e.asked, e.at)
}

// part of a log is what a page has got between two losses that it was told of.
type part struct {
	from protocol.Serial
	last uint64 // the highest number that it has got; of a part that begins with a warning, some may be lower than from
	open bool   // it is still subscribed
}

// contains reports that a page should have got an event in that part.
func (p part) contains(s protocol.Serial) bool {
	return s.Epoch == p.from.Epoch && s.Number > p.from.Number && (s.Number <= p.last || p.open)
}

// examineBookmarks looks at what pages have got of channels with a history. The world's lock
// is held.
func (w *world) examineBookmarks() (all []finding) {
	for _, b := range w.bookmarks {
		all = append(all, w.examineBookmark(b)...)
	}
	return all
}

func (w *world) examineBookmark(b *bookmark) (all []finding) {
	has := make(map[int]bool)
	var parts []part
	var losses []time.Time
	for _, e := range b.log {
		switch last := len(parts) - 1; e.what {
		case recovered:
		case answered:
			parts = append(parts, part{from: e.serial, last: e.serial.Number})
		case missed:
			parts = append(parts, part{from: e.serial, last: e.serial.Number})
			losses = append(losses, e.at)
		case warned:
			parts = append(parts, part{from: e.serial})
			losses = append(losses, e.at)
		case delivered:
			has[e.event] = true
			if p := &parts[last]; e.serial.Epoch != p.from.Epoch || e.serial.Number <= p.last {
				all = append(all, found("recovery", "event %d of %s is twice there, out of order, or ahead of a loss: %s", e.event, b.channel, b.text()))
			} else {
				p.last = e.serial.Number
			}
		}
	}
	current := b.page.clients[len(b.page.clients)-1].seats[b.channel]
	open := !b.closed && current != nil && current.present()
	parts[len(parts)-1].open = open
	for i, e := range w.events {
		if e.channel != b.channel || has[i] || b.page.had(e.except) || !w.accepted(e) {
			continue
		}
		due := slices.ContainsFunc(parts, func(p part) bool { return p.contains(e.serial) })
		told := slices.ContainsFunc(losses, func(at time.Time) bool { return !at.Before(e.begun) })
		if w.older {
			due = due && !told // numbers of an epoch may have been given twice until it ended
		}
		if due || open && b.log[0].at.Before(e.begun) && !told {
			all = append(all, found("recovery", "event %d (%v) of %s was accepted, but a page has %s", i, e.serial, b.channel, b.text()))
		}
	}
	return all
}

// accepted reports that an event of a channel with a history must be in it, as somebody has
// received it or it was told so.
func (w *world) accepted(e *event) bool {
	return e.serial != protocol.Serial{} || e.err == nil && (e.by == nil || e.by.node.steady(e.begun, e.end))
}

// text is the log as text.
func (b *bookmark) text() string {
	text := ""
	for _, e := range b.log {
		at := e.at.Sub(b.page.clients[0].world.begun).Round(time.Millisecond)
		switch e.what {
		case answered:
			text += fmt.Sprintf("begins at %v on node %d after %s; ", e.serial, e.node.number, at)
		case recovered:
			text += fmt.Sprintf("recovers on node %d after %s; ", e.node.number, at)
		case missed:
			text += fmt.Sprintf("goes on at %v on node %d after %s; ", e.serial, e.node.number, at)
		case warned:
			text += fmt.Sprintf("is warned: %v after %s; ", e.serial, at)
		case delivered:
			text += fmt.Sprintf("%d (%v) after %s; ", e.event, e.serial, at)
		}
	}
	if b.closed {
		text += "leaves"
	}
	return text
}

// publishKept publishes on the channels of which a broken page has a bookmark. The world's
// lock is held.
func (w *world) publishKept() {
	for _, n := range w.nodes {
		if n.state != running {
			continue
		}
		for _, channel := range names {
			if slices.ContainsFunc(w.broken[:], func(p *page) bool { return p != nil && p.bookmarks[channel] != nil }) {
				w.publish(n, channel, nil)
			}
		}
		return
	}
}
