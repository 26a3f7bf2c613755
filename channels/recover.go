package channels

import (
	"slices"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// Recovery is what a reconnecting client says of one channel.
type Recovery struct {
	Since protocol.Serial // of the last event that it has; zero if that is unknown, which recovers nothing
	// Sockets are its earlier connections. It is not sent events that one of them was excepted
	// from.
	Sockets []protocol.SocketID
}

// excepts reports whether a connection is one of the client's earlier ones. The zero id is
// nobody's.
func (r *Recovery) excepts(id protocol.SocketID) bool {
	return r != nil && id != (protocol.SocketID{}) && slices.Contains(r.Sockets, id)
}

// Replay is the part of a channel's history that a new subscriber is sent, up to 4 MiB.
type Replay struct {
	// Serial is that of the event ahead of Frames or, without frames, where the subscription
	// begins. It is zero on a channel without a history.
	Serial   protocol.Serial
	Recovery protocol.RecoveryResult
	Frames   []protocol.Frame // of the events, oldest first; shared with others
	Bytes    int              // of all frames

	start *start
	sent  uint64 // start.sent ahead of the replay
}

// Withhold is for a client that cannot be sent the frames now: it has missed them, and is
// told where the subscription begins if it is told of a place at all. There have to be frames.
func (r *Replay) Withhold() {
	r.Frames, r.Bytes, r.start.sent = nil, 0, r.sent
	if r.Serial != (protocol.Serial{}) {
		r.Serial = r.start.Serial
	}
	if r.Recovery == protocol.Recovered {
		r.Recovery = protocol.Missed
	}
}

// maxReplay is how many bytes of frames one subscriber is sent at most. A client that has
// missed more is better off with what its backend has to say.
const maxReplay = 4 << 20

// start is where a subscription begins: its client is sent every later event. Of the events up
// to there, it has been sent those after sent, and the one that is numbered cached, as the last
// of a cache channel.
type start struct {
	protocol.Serial
	sent     uint64
	cached   uint64    // 0: none
	recovery *Recovery // what the client said with its subscription; constant
}

// excepts reports whether an event that a connection is excepted from is not for the
// subscriber: that connection may be an earlier one of its client.
func (s *Subscription) excepts(id protocol.SocketID) bool {
	return id == s.id || s.start != nil && s.start.recovery.excepts(id)
}

// position is where a subscription begins that is made now, zero if the channel has no history
// or is a user's, which clients cannot recover. mu is held.
func (c *channel) position() protocol.Serial {
	switch {
	case c.kind == protocol.User || !c.keeps():
		return protocol.Serial{}
	case c.remote != nil:
		return protocol.Serial(c.remote.version)
	default:
		return protocol.Serial{Epoch: c.app.numbers.epoch, Number: c.app.numbers.last.Load()}
	}
}

// begin notes where a subscription begins. recovery is nil if the client did not ask. mu is
// held.
func (c *channel) begin(s *Subscription, recovery *Recovery) {
	at := c.position()
	if at == (protocol.Serial{}) {
		return
	}
	s.start = &start{Serial: at, sent: at.Number, recovery: recovery}
	if c.remote == nil {
		c.beginHistory()
	}
}

// replay returns what the client is sent of the history, ahead of what the subscription
// brings. recovery is nil if the client did not ask. In a cluster, it may wait. Nothing is sent
// twice if the client asks later.
func (s *Subscription) replay(recovery *Recovery) (r Replay) {
	if recovery != nil {
		r.Recovery = protocol.Missed
	}
	if s.start == nil {
		return r
	}
	r.start, r.sent = s.start, s.start.sent
	r.Serial = protocol.Serial{Epoch: s.start.Epoch, Number: s.start.sent}
	retention := s.channel.app.retention(s.channel.name)
	if recovery != nil {
		if events, known := s.missed(recovery.Since, retention); known && r.add(s, events, recovery) {
			r.Recovery = protocol.Recovered
		}
	}
	if r.Recovery != protocol.Recovered && retention.Rewind > 0 {
		r.add(s, s.rewound(retention), recovery)
	}
	s.start.sent = r.Serial.Number
	return r
}

// missed are the events after a serial up to where the subscription begins. known is false if
// some of them may be lost.
func (s *Subscription) missed(since protocol.Serial, r Retention) (events []keptEvent, known bool) {
	switch {
	case since.Epoch != s.start.Epoch || since.Number > s.start.Number || r.Events == 0:
		return nil, false
	case since.Number >= s.start.sent || s.channel.upToDate(since.Number):
		return nil, true
	}
	p, err := s.past(r)
	for end := time.Now().Add(enterTimeout); err != nil && time.Now().Before(end); p, err = s.past(r) {
		select {
		case <-time.After(retryInterval):
		case <-s.channel.app.broker.ctx.Done():
			return nil, false
		}
	}
	if err != nil || p.epoch != since.Epoch || p.after > since.Number {
		return nil, false
	}
	return p.from(func(e keptEvent) bool { return e.number > since.Number }), true
}

// upToDate reports, without a question to the cluster, that nothing was published after the
// event with a number.
func (c *channel) upToDate(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote != nil && c.remote.loaded && c.remote.newest <= number
}

// rewound are the events that every new subscriber is sent, the last of them if all are too
// many.
func (s *Subscription) rewound(r Retention) []keptEvent {
	p, err := s.past(r)
	if err != nil || p.epoch != s.start.Epoch {
		return nil
	}
	events := p.from(func(e keptEvent) bool { return p.now.Sub(e.at) < r.Rewind })
	first, bytes := len(events), 0
	for first > 0 && bytes+len(events[first-1].frame) <= maxReplay {
		first--
		bytes += len(events[first].frame)
	}
	return events[first:]
}

// add adds the events up to where the subscription begins, but for those that are not for its
// client. It adds none, and reports false, if they take more than maxReplay.
func (r *Replay) add(s *Subscription, events []keptEvent, recovery *Recovery) bool {
	var frames []protocol.Frame
	bytes := 0
	for _, e := range events {
		if e.number > s.start.sent {
			break
		}
		if e.number == s.start.cached || e.except == s.id || recovery.excepts(e.except) {
			continue
		}
		if bytes += len(e.frame); bytes > maxReplay {
			return false
		}
		frames = append(frames, e.frame)
	}
	if len(frames) > 0 {
		r.Frames, r.Bytes, r.Serial.Number = frames, bytes, events[0].number-1
	}
	return true
}

// withoutCached returns the last event of a cache channel, or nil if the replay has it or
// shows that the client does.
func (s *Subscription) withoutCached(last protocol.Frame, r Replay) protocol.Frame {
	if last == nil || s.start == nil {
		return last
	}
	number := protocol.SerialOf(last).Number
	if r.Recovery == protocol.Recovered || len(r.Frames) > 0 && number > r.Serial.Number {
		return nil
	}
	s.start.cached = number
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

// from are the events from the first for which f reports true.
func (p past) from(f func(keptEvent) bool) []keptEvent {
	if i := slices.IndexFunc(p.events, f); i >= 0 {
		return p.events[i:]
	}
	return nil
}

// past returns the history with all events up to where the subscription begins.
func (s *Subscription) past(r Retention) (past, error) {
	if s.channel.remote != nil {
		return s.channel.pastOnce(r, s.start.Serial)
	}
	return s.channel.app.past(s.channel.name, r)
}

// fetch is a question to the cluster. Its answer serves several subscribers.
type fetch struct {
	done chan struct{} // closed when it is answered
	past past
	err  error
}

// fetchedFor is for how long an answer serves those who come later and need nothing newer.
const fetchedFor = time.Second

// pastOnce asks the cluster, or waits for the answer that another subscriber has asked for, so
// that the return of many clients costs a few questions. It asks again if that answer lacks
// events up to a serial.
func (c *channel) pastOnce(r Retention, until protocol.Serial) (past, error) {
	for {
		c.mu.Lock()
		f := c.remote.fetch
		if f == nil {
			f = &fetch{done: make(chan struct{})}
			c.remote.fetch = f
			c.mu.Unlock()
			f.past, f.err = c.app.pastInCluster(c.name, r)
			close(f.done)
			if f.err != nil {
				c.forgetFetch(f)
			} else {
				c.app.broker.timers.after(fetchedFor, func() { c.forgetFetch(f) })
			}
			return f.past, f.err
		}
		c.mu.Unlock()
		<-f.done
		if f.err != nil || f.past.epoch == until.Epoch && f.past.number >= until.Number {
			return f.past, f.err
		}
		c.forgetFetch(f)
	}
}

func (c *channel) forgetFetch(f *fetch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remote.fetch == f {
		c.remote.fetch = nil
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
