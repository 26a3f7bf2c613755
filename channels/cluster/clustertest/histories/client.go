package histories

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

// client is a connection. It is a [channels.Subscriber], and does one thing after
// the other, as a session does.
type client struct {
	world *world
	node  *node
	app   *channels.App // of the node when the client came
	page  *page
	id    protocol.SocketID

	// The world's lock guards the following.
	seats   map[string]*seat // by channel: asked for, and not left
	gone    bool             // it subscribes no more, and its page hears nothing of it
	torn    bool             // its connection breaks in the middle of what comes next
	queue   []func()         // what it does next
	running bool             // a goroutine does it
	held    bool
	late    []delivery // what came while it was held
}

// seat is a subscription of a client, from when it was asked for.
type seat struct {
	client   *client
	channel  string
	user     string
	asked    time.Time
	answered time.Time // zero: not yet, or refused
	left     time.Time // zero: it is there still; when it was refused, or began to leave
	s        *channels.Subscription

	got []receipt
	// resumed says that its page has said which connections it had before, and recovered
	// that it was answered with all that the page had missed.
	resumed, recovered bool

	warned  time.Time // when it was told last that it may have missed events
	roster  map[string]bool
	removed map[string]int // how often it was told that each has left
	count   int            // the subscription count that it was told last
}

// receipt is an event that a seat has received.
type receipt struct {
	event int
	at    time.Time
	how   how
}

// how a seat receives an event.
type how uint8

const (
	live      how = iota
	asLast        // as the channel's last event, with the answer
	asHistory     // as one that the page has missed, with the answer
)

type delivery struct {
	s      *channels.Subscription
	frames []byte
}

// present reports that it has been answered and has not left. The world's lock
// is held.
func (s *seat) present() bool { return !s.answered.IsZero() && s.left.IsZero() }

func (c *client) ID() protocol.SocketID   { return c.id }
func (c *client) Source() protocol.Source { return 0 }
func (c *client) Lines() bool             { return false }
func (c *client) Send(protocol.Frame)     {}

// Dropped takes back that a client event was accepted: it is one of those that
// nobody has received.
func (c *client) Dropped(channel string, err error) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	for _, e := range c.world.events {
		if e.by == c && e.channel == channel && !e.received {
			e.err = err
		}
	}
}

// Terminate ends the connection, which tells the client that it may have missed
// something, too.
func (c *client) Terminate() {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	if c.gone || c.node.state == dead {
		return
	}
	c.world.breakOff(c)
}

func (c *client) Hold() {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.held = true
}

func (c *client) Deliver(s *channels.Subscription, frames []byte) (kept bool) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	switch {
	case s.Left() || c.node.state == dead:
	case c.held:
		c.late = append(c.late, delivery{s, slices.Clone(frames)})
	default:
		c.take(s, frames)
	}
	return false
}

// do has the client do something after what it does already. The world's lock is
// held, but not when f is called.
func (c *client) do(f func()) {
	c.queue = append(c.queue, f)
	if c.running {
		return
	}
	c.running = true
	c.world.busy.Go(func() {
		c.world.mu.Lock()
		for len(c.queue) > 0 {
			f := c.queue[0]
			c.queue = c.queue[1:]
			c.world.mu.Unlock()
			f()
			c.world.mu.Lock()
		}
		c.running = false
		c.world.mu.Unlock()
	})
}

// subscribe asks for a channel, unless the client has it.
func (c *client) subscribe(channel, user string) {
	c.node.using.RLock()
	defer c.node.using.RUnlock()
	w := c.world
	w.mu.Lock()
	if c.gone || c.node.state == dead || c.seats[channel] != nil {
		w.mu.Unlock()
		return
	}
	s := &seat{client: c, channel: channel, user: user, asked: time.Now()}
	c.seats[channel] = s
	c.page.wants[channel] = user
	recovery := c.recovery(channel)
	w.seats = append(w.seats, s)
	var m *protocol.Member
	if user != "" {
		m = &protocol.Member{UserID: user, UserInfo: []byte(`{"name":"` + user + `"}`)}
	}
	w.mu.Unlock()
	subscription, joined, err := c.app.Recover(c, channel, m, recovery)
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.node.state == dead {
		return
	}
	if err != nil {
		if c.app == c.node.app && c.node.steady(s.asked, time.Now()) { // of an application that was not removed
			w.fault("refused", "a connection to node %d was refused %s: %v", c.node.number, channel, err)
		}
		delete(c.seats, channel)
		s.left = time.Now()
		w.departed(s)
		switch {
		case c.gone:
		case recovery != nil:
			w.breakOff(c) // as the server does
		default:
			c.page.close(channel)
		}
		return
	}
	s.s, s.answered = subscription, time.Now()
	c.answer(s, joined, recovery)
}

// answer takes what a new subscriber is answered with, then what was held back.
// The world's lock is held.
func (c *client) answer(s *seat, joined channels.Joined, recovery *channels.Recovery) {
	s.count = joined.Count
	if s.user != "" {
		s.roster, s.removed = make(map[string]bool), make(map[string]int)
		for _, id := range ids(protocol.Success{Channel: s.channel, Members: joined.Members}.Frame().JSON()) {
			s.roster[id] = true
		}
		if !s.roster[s.user] {
			c.world.fault("rosters", "%s is not among the members that it is told of %s", s.user, s.channel)
		}
	}
	s.begin(joined.Replay, recovery)
	if joined.Last != nil {
		if s.recovered {
			c.world.fault("recovery", "a page that is given what it has missed of %s is given the last event once more", s.channel)
		}
		s.take(joined.Last.JSON(), asLast)
	}
	c.takeAll(s, slices.Concat(joined.Frames...), asHistory)
	late := c.late
	c.held, c.late = false, nil
	for _, d := range late {
		if !d.s.Left() {
			c.take(d.s, d.frames)
		}
	}
}

// say sends a client event, if the client is subscribed.
func (c *client) say(channel string) {
	c.node.using.RLock()
	defer c.node.using.RUnlock()
	w := c.world
	w.mu.Lock()
	s := c.seats[channel]
	if s == nil || !s.present() {
		w.mu.Unlock()
		return
	}
	// It is accepted at once, and on its way for a while.
	now := time.Now()
	e := &event{channel: channel, except: c, by: c, begun: now, end: now.Add(w.times.InFlight)}
	id := len(w.events)
	w.events = append(w.events, e)
	w.mu.Unlock()
	err := c.app.PublishFrom(s.s, encode(channel, id), "")
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		e.err = err
		if c.node.steady(now, time.Now()) {
			w.fault("refused", "client event %d was refused at node %d: %v", id, c.node.number, err)
		}
	}
}

// encode is an event with a number.
func encode(channel string, id int) protocol.Event {
	return protocol.Event{Name: eventName, Channel: channel, Data: fmt.Appendf(nil, `"%d"`, id)}
}

// leave ends a subscription, if there is one.
func (c *client) leave(channel string) {
	c.node.using.RLock()
	defer c.node.using.RUnlock()
	w := c.world
	w.mu.Lock()
	s := c.seats[channel]
	delete(c.seats, channel)
	if s == nil || c.node.state == dead {
		w.mu.Unlock()
		return
	}
	s.left = time.Now()
	w.departed(s)
	if !c.gone {
		c.page.close(channel)
	}
	w.mu.Unlock()
	c.app.Unsubscribe(s.s)
}

// end has the client leave all channels, and subscribe no more. The world's lock
// is held.
func (c *client) end() {
	c.gone = true
	c.do(func() {
		for _, channel := range names {
			c.leave(channel)
		}
	})
}

// take takes frames of a subscription. The world's lock is held.
func (c *client) take(of *channels.Subscription, frames []byte) {
	s := c.seats[of.Channel()]
	if s == nil || s.s != of {
		return // it is leaving
	}
	c.takeAll(s, frames, live)
}

// takeAll takes frames for a seat. A connection that is torn breaks in the middle of them, if
// they are several. The world's lock is held.
func (c *client) takeAll(s *seat, frames []byte, how how) {
	var all []protocol.Frame
	for len(frames) > 0 {
		n := protocol.FrameLen(frames)
		all = append(all, protocol.Frame(frames[:n]))
		frames = frames[n:]
	}
	for i, f := range all {
		if c.torn && i > 0 && i == len(all)/2 {
			c.world.breakOff(c)
		}
		s.take(f.JSON(), how)
	}
}

// begin takes what an answer says of a channel's history. The world's lock is held.
func (s *seat) begin(r channels.Replay, recovery *channels.Recovery) {
	w := s.client.world
	e := entry{what: answered, asked: s.asked, serial: r.Serial}
	switch {
	case (r.Serial == protocol.Serial{}) == keeps(s.channel) || (r.Recovery == protocol.NotAsked) != (recovery == nil):
		w.fault("recovery", "the answer to a subscription of %s has the serial %v and the recovery %d", s.channel, r.Serial, r.Recovery)
	case r.Recovery == protocol.Recovered:
		e.what = recovered
		if r.Serial.Epoch != recovery.Since.Epoch || r.Serial.Number < recovery.Since.Number {
			w.fault("recovery", "a page that has %v of %s is recovered from %v", recovery.Since, s.channel, r.Serial)
		}
	case r.Recovery == protocol.Missed:
		e.what = missed
	}
	s.resumed, s.recovered = recovery != nil, e.what == recovered
	w.heard(s.channel, r.Serial, s.asked) // a client that asked earlier may not have been answered
	s.note(e)
}

// take takes a message. The world's lock is held.
func (s *seat) take(text []byte, how how) {
	w := s.client.world
	var m struct{ Event, Channel, Data, Serial string }
	if err := json.Unmarshal(text, &m); err != nil || m.Channel != s.channel {
		w.fault("deliveries", "a subscriber of %s received %s", s.channel, text)
		return
	}
	var about struct {
		User  string `json:"user_id"`
		Count int    `json:"subscription_count"`
	}
	switch m.Event {
	case eventName:
	case protocol.EventSubscriptionSucceeded:
		s.warn(text, m.Data, m.Serial)
		return
	default:
		if err := json.Unmarshal([]byte(m.Data), &about); err != nil {
			w.fault("deliveries", "a subscriber of %s received %s", s.channel, text)
		}
	}
	switch m.Event {
	case protocol.EventMemberAdded:
		if s.roster[about.User] {
			w.fault("rosters", "%s is told that %s came to %s, whom it knew", s.user, about.User, s.channel)
		}
		s.roster[about.User] = true
	case protocol.EventMemberRemoved:
		if !s.roster[about.User] {
			w.fault("rosters", "%s is told that %s left %s, whom it did not know", s.user, about.User, s.channel)
		}
		s.removed[about.User]++
		if told, may := s.removed[about.User], len(w.gone[subject{s.channel, about.User}]); told > may {
			w.fault("rosters", "%s is told %d times that %s left %s, who may have left %d times", s.user, told, about.User, s.channel, may)
		}
		delete(s.roster, about.User)
	case protocol.EventSubscriptionCount:
		s.count = about.Count
	case eventName:
		id, err := strconv.Atoi(m.Data)
		if err != nil || id >= len(w.events) {
			w.fault("deliveries", "a subscriber of %s received %s", s.channel, text)
			return
		}
		w.received(s, receipt{id, time.Now(), how})
		serial, numbered := protocol.ParseSerial(m.Serial)
		if keeps(s.channel) != numbered {
			w.fault("recovery", "an event of %s has the serial %q", s.channel, m.Serial)
		}
		if numbered {
			w.numbered(s, id, serial, how)
		}
	}
}

// warn takes that the subscription has succeeded once more: messages may have been
// lost. It tells of members just those that the seat knows, and of a channel with a history
// where it goes on. The world's lock is held.
func (s *seat) warn(text []byte, data, position string) {
	s.warned = time.Now()
	serial, numbered := protocol.ParseSerial(position)
	var about struct{ Recovered *bool }
	_ = json.Unmarshal([]byte(data), &about)
	if keeps(s.channel) != numbered || numbered != (about.Recovered != nil && !*about.Recovered) {
		s.client.world.fault("recovery", "a subscriber of %s is told once more that it is: %s", s.channel, text)
	}
	if numbered {
		s.client.world.heard(s.channel, serial, time.Now())
		s.note(entry{what: warned, serial: serial})
	}
	if s.user == "" {
		return
	}
	told := ids(text)
	slices.Sort(told)
	if known := slices.Sorted(maps.Keys(s.roster)); !slices.Equal(told, known) {
		s.client.world.fault("rosters", "%s is told once more that %v are on %s, of whom it knew %v", s.user, told, s.channel, known)
	}
}

// ids are those of the members in an answer.
func ids(text []byte) []string {
	var m struct{ Data string }
	var data struct{ Presence struct{ IDs []string } }
	if json.Unmarshal(text, &m) != nil || json.Unmarshal([]byte(m.Data), &data) != nil {
		return nil
	}
	return data.Presence.IDs
}
