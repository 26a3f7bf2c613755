package channels

import (
	"errors"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// reconciler brings what the cluster has of this node's share of a channel in step
// with what is so. What the cluster should have is computed from the channel; acked
// is what it has confirmed. The channel's lock guards all of it.
type reconciler struct {
	entering  int32                 // connections that wait to be subscribers
	users     map[string]*localUser // of this node, or confirmed as such, on a presence channel
	changed   map[string]*localUser // those of whom the cluster does not know what is so
	acked     *acked
	listening bool

	queued  bool // in the run queue, or being worked on
	calling bool // an Update is under way
	held    bool // the last call has failed, and no other one is due yet

	counted time.Time // when the cluster was last told another count
	timing  bool      // a look at the count is due
}

// acked is what the cluster has confirmed of this node's share, beside the users, each of
// whom says whether it is confirmed. It never changes; another one takes its place. An
// Update remembers which one it is based on, and its answer counts only if that is still
// in place.
type acked struct {
	certain bool   // the cluster has just this; else it has to be told everything
	epoch   string // of the last Update that was confirmed
	count   int32  // likewise
}

// rememberPublic is for how long the cluster remembers at most that a public channel had no
// event.
const rememberPublic = 10 * time.Minute

// nothing is what the cluster knows of a channel that this node was never on.
var nothing = &acked{certain: true}

// localUser is a user with connections of this node.
type localUser struct {
	member      protocol.Member
	connections int
	confirmed   bool   // by the last Update that was
	since       uint64 // number of the version that has it; when confirmed
	full        bool   // the cluster had no place for it
}

func (u *localUser) here() bool { return u.connections > 0 && !u.full }

// come counts a connection of a user in.
func (r *reconciler) come(m protocol.Member) {
	u := r.users[m.UserID]
	if u == nil {
		if r.users == nil {
			r.users = make(map[string]*localUser)
		}
		u = &localUser{member: m}
		r.users[m.UserID] = u
	}
	u.connections++
	u.full = false // it is worth another try
	r.compare(m.UserID, u)
}

// leave counts a connection of a user out.
func (r *reconciler) leave(userID string) {
	u := r.users[userID]
	u.connections--
	r.compare(userID, u)
}

// compare keeps changed in step, and forgets a user that is of no concern any more.
// While an Update is under way, it may be about any user: then it leaves that to
// compareAll.
func (r *reconciler) compare(userID string, u *localUser) {
	if u.here() != u.confirmed || r.calling {
		if r.changed == nil {
			r.changed = make(map[string]*localUser)
		}
		r.changed[userID] = u
		return
	}
	delete(r.changed, userID)
	if u.connections == 0 {
		delete(r.users, userID)
	}
}

func (r *reconciler) compareAll() {
	for id, u := range r.changed {
		r.compare(id, u)
	}
	if len(r.changed) == 0 {
		r.changed = nil
	}
}

// doubt has the next Update tell everything.
func (r *reconciler) doubt() {
	r.acked = &acked{epoch: r.acked.epoch, count: r.acked.count}
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

// differs reports whether an Update is due. mu is held.
func (c *channel) differs() bool {
	r := c.remote
	if c.bare {
		return false
	}
	return !r.acked.certain || len(r.changed) > 0 || c.wanted() && c.needsLoad() || c.countDiffers()
}

// countDiffers reports whether the cluster is to be told another count now. That of
// a large channel can wait if it alone has changed.
func (c *channel) countDiffers() bool {
	r := c.remote
	present := c.present()
	if present == r.acked.count {
		return false
	}
	wait := countInterval - time.Since(r.counted)
	if present == 0 || r.acked.count == 0 || r.total <= countedAlways || wait <= 0 {
		return true
	}
	if !r.timing {
		r.timing = true
		c.app.broker.timers.after(wait, func() {
			c.mu.Lock()
			r.timing = false
			c.unlock(nil)
		})
	}
	return false
}

// due reports whether the channel belongs into the run queue. mu is held.
func (c *channel) due() bool {
	r := c.remote
	if r.queued || r.held || c.dead || c.app.follows() {
		return false
	}
	return c.wanted() != r.listening || c.differs()
}

// work makes one call to the cluster, in the turn of the channel.
func (c *channel) work() {
	driver, ctx := c.app.broker.driver, c.app.broker.ctx
	var idle []*shard
	var err error
	c.mu.Lock()
	r := c.remote
	switch {
	case c.wanted() && !r.listening:
		c.mu.Unlock()
		err = driver.Listen(ctx, c.topic())
		c.mu.Lock()
		r.listening = err == nil
	case c.differs():
		idle, err = c.update()
	case !c.wanted() && r.listening:
		r.listening = false
		c.unload()
		c.mu.Unlock()
		driver.Ignore(c.topic())
		c.mu.Lock()
	}
	r.queued = false
	if err != nil {
		r.held = true
		r.failures++
		c.app.broker.node.retryLater(c)
	}
	r.notify()
	c.unlock(idle)
}

// update tells the cluster what this node has, and takes what it answers. mu is
// held on entry and on return; it is released during the call.
func (c *channel) update() (idle []*shard, err error) {
	r, b := c.remote, c.app.broker
	share, base, heard, came := c.share(), r.acked, r.heard, r.came
	r.calling = true
	c.mu.Unlock()
	o, err := b.driver.Update(b.ctx, c.topic(), share)
	var members *roster
	if o.Snapshot != nil {
		members = newRoster(o.Snapshot.Members) // Encoding a large roster takes milliseconds, which the lock is spared.
	}
	if o.Hint != nil {
		b.node.outboxes.hint(*o.Hint)
	}
	if o.Lost > 0 {
		c.app.listener.Lost(c.name, o.Lost)
	}
	c.mu.Lock()
	r.calling = false
	defer r.compareAll()
	switch {
	case errors.Is(err, cluster.ErrForgotten):
		r.doubt()
		return nil, nil
	case errors.Is(err, cluster.ErrUnknown):
		r.doubt()
		return nil, err
	case err != nil || r.acked != base:
		return nil, err
	}
	now := time.Now()
	if int(r.acked.count) != share.Count {
		r.counted = now
	}
	r.acked = &acked{true, o.Version.Epoch, int32(share.Count)}
	if r.heard == heard { // else what was heard may be newer, or what is newer will be heard
		// A message that told of r.total, too, may have been lost.
		missed := share.Whole && (r.total != o.Count || c.notices != nil && c.notices.count != o.Count)
		r.total = o.Count
		if missed {
			idle = c.countChanged(0)
		}
	}
	for _, m := range share.Join {
		u := r.users[m.UserID]
		u.confirmed, u.since = true, o.Version.Number
	}
	for _, id := range share.Leave {
		r.users[id].confirmed = false
	}
	for _, id := range o.Full {
		u := r.users[id]
		u.confirmed, u.full = false, true
	}
	if share.Load {
		idle = append(idle, c.load(o.Version, *o.Snapshot, share.Since, members, came, now)...)
	} else if r.loaded && r.version.Epoch != o.Version.Epoch {
		r.loaded = false
	}
	return idle, nil
}

// share is what this node has, and what the cluster does not know of it. mu is held.
func (c *channel) share() cluster.Share {
	r := c.remote
	limits := c.app.limits.Load()
	s := cluster.Share{
		Count:      int(c.present()),
		Epoch:      r.acked.epoch,
		Whole:      !r.acked.certain,
		Before:     int(r.acked.count),
		MaxMembers: limits.PresenceMembers,
		TellCount:  c.tellsCount(),
		Watched:    c.kind == protocol.User,
		Record:     c.watched(),
		Grace:      Grace,
	}
	if c.wanted() && c.needsLoad() {
		s.Load, s.Since = true, r.since()
		if retention := limits.retention(c.name); retention.Events > 0 {
			s.Remember = cluster.NumberFor
			if !c.kind.Authorized() { // strangers can make up any number of those
				s.Remember = min(retention.Age, rememberPublic)
			}
		}
	}
	users := r.changed
	if s.Whole {
		users = r.users
	}
	var known []protocol.Member
	for id, u := range users {
		switch {
		case u.here() && u.confirmed:
			known = append(known, u.member)
		case u.here():
			s.Join = append(s.Join, u.member)
		case u.confirmed:
			s.Leave = append(s.Leave, id)
		}
	}
	s.Join, s.Known = append(known, s.Join...), len(known)
	return s
}

// idle reports that there is nothing that the cluster still has to be told.
func (r *reconciler) idle() bool {
	return r.entering == 0 && !r.queued && !r.listening && r.acked.certain && r.acked.count == 0 && len(r.users) == 0
}
