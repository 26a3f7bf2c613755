package channels

import (
	"context"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// remote is a channel's part in a cluster: what this node has told of it, and
// what it has heard. A channel of a single node has none. The channel's lock
// guards it.
//
// The cluster is not told of changes one by one. A channel that differs from
// what the cluster knows gets a goroutine that brings it up to date, in as many
// steps as it takes, each of which says all that has come together meanwhile.
type remote struct {
	entering int32            // connections that wait to be subscribers
	here     map[string]*here // users of this node, on a presence channel
	untold   map[string]*here // those of whom the cluster does not know what is so; nil while there are none
	changed  chan struct{}    // closed when anything below has changed; nil while nobody waits

	working   bool   // a goroutine is bringing the cluster up to date
	failures  uint64 // of its steps
	listening bool
	told      int32 // subscriptions that the cluster knows of
	reset     bool  // what it knows of the members is uncertain
	doubts    int   // how often everything has become so
	loaded    bool  // members and last are the cluster's
	recount   bool  // the subscription count is to be told once more
	heard     int   // the subscription count that was told last

	version uint64            // of the channel's members
	kept    uint64            // of its last event when that was loaded
	early   []cluster.Message // changes of the members since the node listens, before they are loaded
}

// maxEarly is how many changes are kept before the members are loaded; if there
// are more, they are loaded again.
const maxEarly = 1000

// enterTimeout is how long a connection waits for the cluster to let it in.
const enterTimeout = 10 * time.Second

func (c *channel) topic() cluster.Topic { return cluster.Topic{App: c.app.id, Channel: c.name} }

// enter waits until this node receives what is published on the channel, and
// the cluster knows that somebody is on it. Without an error it returns with mu
// held, and the connection is counted among the entering.
func (a *App) enter(name string, m *protocol.Member) (*channel, error) {
	c := a.lock(name)
	r := c.remote
	r.entering++
	if m != nil {
		r.come(*m)
	}
	var timeout <-chan time.Time
	for {
		if m != nil && r.here[m.UserID].full {
			c.retreat(m)
			return nil, ErrFull
		}
		if c.admits(m) {
			return c, nil
		}
		c.kick()
		failures, changed := r.failures, r.wait()
		c.mu.Unlock()
		if timeout == nil {
			t := time.NewTimer(enterTimeout)
			defer t.Stop()
			timeout = t.C
		}
		late := false
		select {
		case <-changed:
		case <-timeout:
			late = true
		case <-a.broker.ctx.Done():
			late = true
		}
		c.mu.Lock()
		if late || r.failures != failures {
			c.retreat(m)
			return nil, cluster.ErrUnavailable
		}
	}
}

// retreat takes back what enter did, and unlocks.
func (c *channel) retreat(m *protocol.Member) {
	c.remote.entering--
	if m != nil {
		c.remote.leave(m.UserID)
	}
	c.kick()
	c.removeIfUnused()
	c.mu.Unlock()
}

// admits reports whether a connection may become a subscriber. mu is held.
func (c *channel) admits(m *protocol.Member) bool {
	r := c.remote
	if !r.listening || r.told == 0 && !c.bare || c.needsLoad() {
		return false
	}
	if m == nil {
		return true
	}
	h := r.here[m.UserID]
	return h.known && r.version >= h.since && c.members.byID[m.UserID] != nil
}

// needsLoad reports that the channel has a state that this node does not have
// yet. mu is held.
func (c *channel) needsLoad() bool {
	return !c.remote.loaded && (c.kind.IsPresence() || c.kind.IsCache())
}

// wait returns what is closed with the next change. mu is held.
func (r *remote) wait() <-chan struct{} {
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

func (r *remote) notify() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// present is how many connections of this node the cluster should know of. mu
// is held.
func (c *channel) present() int32 {
	if c.bare {
		return 0
	}
	return c.count + c.remote.entering
}

// wanted reports whether the node has to listen. mu is held.
func (c *channel) wanted() bool { return c.count+c.remote.entering > 0 }

// differs reports whether the cluster knows something else than what is so.
// mu is held.
func (c *channel) differs() bool {
	r := c.remote
	if c.bare {
		return false
	}
	if c.present() != r.told || r.reset || r.recount || c.wanted() && c.needsLoad() {
		return true
	}
	for _, h := range r.untold {
		if !h.full {
			return true
		}
	}
	return false
}

// kick has the cluster brought up to date if it is not. mu is held.
func (c *channel) kick() {
	r := c.remote
	if !r.working && (c.wanted() != r.listening || c.differs()) && c.app.broker.ctx.Err() == nil {
		r.working = true
		c.app.broker.work(c)
	}
}

// work is the goroutine that does it.
func (c *channel) work() {
	for c.step() {
	}
}

// step makes one call, and reports whether there may be more to do.
func (c *channel) step() bool {
	driver := c.app.broker.driver
	c.mu.Lock()
	r := c.remote
	var err error
	switch {
	case c.wanted() && !r.listening:
		c.mu.Unlock()
		err = driver.Listen(c.app.broker.ctx, c.topic())
		c.mu.Lock()
		r.listening = err == nil
	case c.differs():
		err = c.update(driver)
	case !c.wanted() && r.listening:
		c.unload()
		c.mu.Unlock()
		driver.Ignore(c.topic())
		c.mu.Lock()
	default:
		r.working = false
		c.removeIfUnused()
		c.mu.Unlock()
		return false
	}
	r.notify()
	if err != nil {
		r.working = false
		r.failures++
		c.app.broker.node.retryLater(c)
		c.removeIfUnused()
	}
	c.mu.Unlock()
	return err == nil
}

// unload forgets what was heard, as nothing more will be. mu is held.
func (c *channel) unload() {
	r := c.remote
	r.listening, r.loaded, r.heard, r.version, r.kept, r.early = false, false, 0, 0, 0, nil
	c.last = nil
	if c.kind.IsPresence() {
		c.members = new(roster)
	}
}

// update tells the cluster what this node has, and takes what it answers. mu is
// held on entry and on return; it is released during the call to the driver.
func (c *channel) update(driver cluster.Driver) error {
	r := c.remote
	share, doubts := c.share(), r.doubts
	c.mu.Unlock()
	o, err := driver.Update(c.app.broker.ctx, c.topic(), share)
	members := newRoster(o.Roster) // Encoding a large roster takes milliseconds, which the lock is spared.
	c.mu.Lock()
	if err != nil {
		r.doubt() // whether it has happened is not known
		return err
	}
	if r.doubts != doubts {
		// The outcome did happen, so the backend is told. But what the cluster knows
		// became uncertain during the call, so r does not take the outcome over: the
		// next update tells everything once more.
		c.tell(o)
		return nil
	}
	r.told, r.reset, r.recount = int32(share.Count), false, false
	for _, m := range share.Join {
		h := r.here[m.UserID]
		h.sent, h.known, h.since = false, true, o.Version
		r.compare(m.UserID, h)
	}
	for _, id := range o.Full {
		h := r.here[id]
		h.known, h.full = false, true
		if h.connections == 0 {
			delete(r.here, id)
		}
		r.compare(id, h)
	}
	if share.Load {
		c.load(o, members)
	}
	c.tell(o)
	switch {
	case o.CountLater:
		c.app.broker.timers.after(cluster.CountInterval, c.recountLater)
	case o.CountTold:
		c.happenedCount(o.Count)
	}
	return nil
}

// share is what this node has, and has not told. mu is held.
func (c *channel) share() cluster.Share {
	r := c.remote
	limits := c.app.limits.Load()
	var grace time.Duration
	if c.watched() && !c.app.departures.isEnded() {
		grace = Grace
	}
	s := cluster.Share{
		Grace:      grace,
		Count:      int(c.present()),
		Reset:      r.reset,
		MaxMembers: limits.PresenceMembers,
		TellCount:  limits.SubscriptionCount && !c.kind.IsPresence() && c.kind != protocol.User,
		Watched:    c.kind == protocol.User,
		Load:       c.wanted() && c.needsLoad(),
	}
	for id, h := range r.untold {
		if h.connections > 0 {
			h.sent, h.full = true, false
			s.Join = append(s.Join, h.member)
		} else {
			// If the user comes back meanwhile, it is new.
			delete(r.here, id)
			delete(r.untold, id)
			s.Leave = append(s.Leave, id)
		}
	}
	return s
}

func (c *channel) recountLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dead && c.count > 0 {
		c.remote.recount = true
		c.kick()
	}
}

// countHeard is the subscription count for a subscriber that was let in after
// the cluster had counted it. mu is held.
func (c *channel) countHeard() int {
	if c.remote.told != c.present() {
		return 0 // it is yet to be counted, and will hear
	}
	return c.remote.heard
}

// tell tells the backend what a change of a node's share came to. mu is held.
func (c *channel) tell(o cluster.Outcome) {
	if o.Occupied {
		c.happened(protocol.WebhookChannelOccupied, "")
	}
	for _, id := range o.Added {
		c.happened(protocol.WebhookMemberAdded, id)
	}
	for _, id := range o.Removed {
		c.happened(protocol.WebhookMemberRemoved, id)
	}
	if o.Vacated {
		c.happened(protocol.WebhookChannelVacated, "")
	}
}

// load makes the cluster's members and last event this node's. Subscribers who
// knew others are told the differences. members holds those of o.Roster. mu is
// held.
func (c *channel) load(o cluster.Outcome, members *roster) {
	r := c.remote
	first := c.count == 0
	r.loaded = true
	if c.kind.IsCache() {
		c.last = nil
		if o.Last.Payload != nil {
			c.keep(o.Last.Payload, o.Last.TTL)
		}
		if first { // others will receive what was published since
			r.kept = o.Last.Version
		}
	}
	if c.kind.IsPresence() {
		c.tellDifference(members, o.Roster)
		c.members = members
		r.version = o.Version
	}
	early := r.early
	r.early = nil
	for _, m := range early {
		c.memberChanged(m)
	}
}

// tellDifference tells subscribers what has changed while nothing was heard.
// members holds those of list, who are there now. mu is held.
func (c *channel) tellDifference(members *roster, list []protocol.Member) {
	now := time.Now()
	var idle []*shard
	for _, id := range c.members.ids() {
		if members.byID[id] == nil {
			idle = append(idle, c.append(pending{frame: protocol.MemberRemovedFrame(c.name, id), at: now})...)
		}
	}
	for _, m := range list {
		if c.members.byID[m.UserID] == nil {
			idle = append(idle, c.append(pending{frame: protocol.MemberAddedFrame(c.name, m), at: now})...)
		}
	}
	c.queue(idle)
}

// queue is start for who holds mu: everything is the flushers'.
func (c *channel) queue(idle []*shard) {
	for _, s := range idle {
		c.app.broker.flushers[c.home].push(s)
	}
}

// memberChanged takes the next change of the members. mu is held.
func (c *channel) memberChanged(m cluster.Message) {
	r := c.remote
	switch {
	case !r.loaded:
		if len(r.early) < maxEarly {
			r.early = append(r.early, m)
		}
		return
	case m.Version <= r.version:
		return // it is in what was loaded
	case m.Version > r.version+1:
		r.loaded = false // some were missed
		c.kick()
		return
	}
	r.version = m.Version
	frame := protocol.MemberAddedFrame(c.name, m.Member)
	if m.Kind == cluster.MemberRemoved {
		frame = protocol.MemberRemovedFrame(c.name, m.Member.UserID)
		c.members.remove(m.Member.UserID)
	} else {
		c.members.add(m.Member)
	}
	c.queue(c.append(pending{frame: frame, at: time.Now()}))
	r.notify()
}

// keep makes an event the channel's last. mu is held.
func (c *channel) keep(payload []byte, ttl time.Duration) {
	e, err := parseEvent(payload)
	if err != nil {
		return
	}
	c.last = &lastEvent{frame: protocol.TextFrame(e.json), expires: time.Now().Add(ttl)}
}

// uncertain makes the cluster be told everything once more. mu is held.
func (c *channel) uncertain() {
	c.remote.loaded = false
	c.remote.doubt()
	c.kick()
}

// doubt has the next update tell everything: what the cluster knows is
// uncertain, and so is what an update under way will have come to.
func (r *remote) doubt() {
	r.doubts++
	r.reset = true
	for id, h := range r.here {
		h.sent, h.known = false, false
		if h.connections == 0 {
			delete(r.here, id) // nobody whom the next update does not name is there
		}
		r.compare(id, h)
	}
}

// within bounds a call that somebody waits for.
func (b *Broker) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, d)
}

// idle reports that there is nothing that the cluster still has to be told.
func (r *remote) idle() bool {
	return r.entering == 0 && !r.working && !r.listening && r.told == 0 && len(r.here) == 0
}
