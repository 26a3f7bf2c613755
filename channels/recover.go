package channels

import (
	"bytes"
	"slices"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// Resume is what a client that has connected again says of a channel.
type Resume struct {
	Since protocol.Serial // of the last event it has; zero if that is not known
	// Sockets are its connections before: what these had been excepted from, it is not given.
	Sockets []protocol.SocketID
}

// Replay is what a new subscriber of a channel with a history is given of it. On other
// channels, it only says that what was asked for is not to be had.
type Replay struct {
	// Serial is that of the event behind which the frames begin or, without frames, the
	// subscription.
	Serial   protocol.Serial
	Recovery protocol.Recovery
	Frames   []byte // of the events that go ahead of those of the subscription, oldest first
	Events   int    // how many frames these are
}

// maxReplay is how many bytes one subscriber is replayed at most. A client that has missed
// more is better off with what its backend has to say.
const maxReplay = 4 << 20

// position is the serial after which a subscription that begins now gets all events. It is
// zero if the channel has no history. mu is held.
func (c *channel) position() protocol.Serial {
	switch {
	case c.kind == protocol.User || c.app.retention(c.name).Events == 0:
		return protocol.Serial{}
	case c.remote != nil:
		return protocol.Serial(c.remote.version)
	default:
		return protocol.Serial{Epoch: c.app.numbers.epoch, Number: c.app.numbers.last.Load()}
	}
}

// newest is the number of the last event in the history, or a higher one if that is not
// known. mu is held.
func (c *channel) newest() uint64 {
	switch {
	case c.remote != nil:
		return c.remote.newest
	case c.history != nil:
		return c.history.newest()
	default:
		return c.app.numbers.forgotten.Load()
	}
}

// start is where a subscription begins: it gets all events after the serial. Of the events up
// to it, its client was given the one that is numbered given as the last of a cache channel.
type start struct {
	protocol.Serial
	given uint64 // 0: none
}

// begin notes where a subscription begins. newest is as of channel.newest. mu is held.
func (c *channel) begin(s *Subscription) (newest uint64) {
	if at := c.position(); at != (protocol.Serial{}) {
		s.start = &start{Serial: at}
		if c.remote == nil {
			c.beginHistory()
		}
	}
	return c.newest()
}

// replay returns what a subscription is given of the history. resume is nil if the client did
// not ask. newest is as of channel.newest when the subscription began. In a cluster, it may
// wait.
func (s *Subscription) replay(resume *Resume, newest uint64) (r Replay) {
	if resume != nil {
		r.Recovery = protocol.Missed
	}
	if s.start == nil {
		return r
	}
	retention := s.channel.app.retention(s.channel.name)
	r.Serial = s.start.Serial
	var sockets []protocol.SocketID
	if resume != nil {
		since := resume.Since
		sockets = resume.Sockets
		switch {
		case since.Epoch != s.start.Epoch || since.Number > s.start.Number || retention.Events == 0:
		case newest <= since.Number:
			r.Recovery = protocol.Recovered
			return r
		default:
			p, err := s.past(retention)
			if err == nil && p.epoch == since.Epoch && p.after <= since.Number && r.add(s, p.since(since.Number), sockets) {
				r.Recovery = protocol.Recovered
				return r
			}
		}
	}
	if retention.Rewind > 0 {
		if p, err := s.past(retention); err == nil && p.epoch == s.start.Epoch {
			young := func(e keptEvent) bool { return p.now.Sub(e.at) < retention.Rewind }
			if i := slices.IndexFunc(p.events, young); i >= 0 {
				r.add(s, p.events[i:], sockets)
			}
		}
	}
	return r
}

// add adds the events up to where the subscription begins, unless they are too many.
func (r *Replay) add(s *Subscription, events []keptEvent, sockets []protocol.SocketID) bool {
	for _, e := range events {
		if e.number > s.start.Number {
			break
		}
		if e.number == s.start.given || e.except == s.id || e.except != (protocol.SocketID{}) && slices.Contains(sockets, e.except) {
			continue
		}
		if len(r.Frames)+len(e.frame) > maxReplay {
			r.Frames, r.Events = nil, 0
			return false
		}
		r.Frames = append(r.Frames, e.frame...)
		r.Events++
	}
	if r.Events > 0 {
		r.Serial.Number = events[0].number - 1
	}
	return true
}

// give returns the last event of a cache channel if the client is neither given it by the
// replay nor has it already. Should the client say later what it has, it is not given twice
// what it is given now.
func (s *Subscription) give(last protocol.Frame, r Replay) protocol.Frame {
	if s.start == nil {
		return last
	}
	s.start.Serial = r.Serial
	if last == nil || r.Recovery == protocol.Recovered || bytes.Contains(r.Frames, last) {
		return nil
	}
	s.start.given = protocol.SerialOf(last).Number
	return last
}

// past is what there is of a channel's history. No event has a number above number; after
// is as in history. now is by the clock of the events.
type past struct {
	epoch         string
	number, after uint64
	events        []keptEvent
	now           time.Time
}

// since are the events with a higher number.
func (p past) since(number uint64) []keptEvent {
	i := slices.IndexFunc(p.events, func(e keptEvent) bool { return e.number > number })
	if i < 0 {
		return nil
	}
	return p.events[i:]
}

// past returns the history with all events up to where the subscription begins.
func (s *Subscription) past(r Retention) (past, error) {
	if s.channel.remote != nil {
		return s.channel.pastOnce(r, s.start.Serial)
	}
	return s.channel.app.past(s.channel.name, r)
}

// fetch is a question to the cluster that several subscribers wait for.
type fetch struct {
	done chan struct{} // closed when it is answered
	past past
	err  error
}

// pastOnce returns what the cluster has, with all events up to a serial. Those who ask at the
// same time share an answer, so that the return of many clients costs a few questions.
func (c *channel) pastOnce(r Retention, until protocol.Serial) (past, error) {
	for {
		c.mu.Lock()
		f := c.remote.fetch
		if f == nil {
			f = &fetch{done: make(chan struct{})}
			c.remote.fetch = f
			c.mu.Unlock()
			f.past, f.err = c.app.pastInCluster(c.name, r)
			c.mu.Lock()
			c.remote.fetch = nil
			c.mu.Unlock()
			close(f.done)
			return f.past, f.err
		}
		c.mu.Unlock()
		<-f.done
		if f.err != nil || f.past.epoch != until.Epoch || f.past.number >= until.Number {
			return f.past, f.err
		}
	}
}

func (a *App) past(name string, r Retention) (past, error) {
	if a.broker.driver != nil {
		return a.pastInCluster(name, r)
	}
	p := past{epoch: a.numbers.epoch, now: time.Now()}
	if c := a.lockExisting(name); c != nil {
		defer c.mu.Unlock()
		if h := c.history; h != nil {
			h.limit(r, p.now)
			p.after, p.number = h.after, a.numbers.last.Load()
			p.events = append(p.events, h.events...)
			return p, nil
		}
	}
	p.after, p.number = a.numbers.forgotten.Load(), a.numbers.last.Load()
	return p, nil
}

func (a *App) pastInCluster(name string, r Retention) (past, error) {
	ctx, cancel := a.broker.within(queryTimeout)
	defer cancel()
	h, err := a.broker.driver.History(ctx, cluster.Topic{App: a.id, Channel: name}, r.Events, r.Age)
	if err != nil {
		return past{}, err
	}
	p := past{epoch: h.Version.Epoch, number: h.Version.Number, after: h.After, now: h.Now}
	for _, e := range h.Events {
		if parsed, err := parseEvent(e.Payload); err == nil {
			frame := protocol.SerialFrame(parsed.json, protocol.Serial{Epoch: p.epoch, Number: e.Number})
			p.events = append(p.events, keptEvent{frame, parsed.except, e.Number, e.At})
		}
	}
	return p, nil
}
