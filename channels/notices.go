package channels

import (
	"time"

	"belfry/protocol"
)

// Listener is told what an application's backend may want to know of its
// channels. It is called under locks, so that it learns of one channel's events in
// their order: it must not block, and must not keep the event's data. Events are
// final: who comes back within [Grace] is not told of at all.
type Listener interface {
	// Happened takes an event. An event that the cluster keeps is part of a delivery,
	// which the listener holds until it has nothing to do with the event any more: if
	// this node ends before, another node is given the event; if the delivery has failed,
	// any node is.
	// Else d is nil.
	Happened(e protocol.WebhookEvent, d *Delivery)
	// Lost says of how many events of a channel it will not be told, as too many wait
	// in the cluster.
	Lost(channel string, events int)
	// Wants reports whether the backend wants to know when a channel of that name
	// or its members come, or when they go. Nothing is kept of others.
	Wants(channel string) bool
}

const (
	// countedAlways is up to how many subscribers each change of a channel's
	// subscription count is told: telling n subscribers of each of n joins
	// costs n². It is Pusher's figure, as is countInterval.
	countedAlways = 100
	// countInterval is how often a larger channel's count is told.
	countInterval = 5 * time.Second
	// missInterval is for how long a cache miss speaks for all who miss the
	// same event.
	missInterval = time.Second
)

// notices are what was last told of a channel. The channel's lock guards them.
type notices struct {
	counted  time.Time // when the subscription count was told
	count    int       // which it was then
	counting bool      // it will be looked at later
	missed   time.Time // when a cache miss was told
}

// ensureNotices returns the channel's notices, which it makes at first. mu is held.
func (c *channel) ensureNotices() *notices {
	if c.notices == nil {
		c.notices = new(notices)
	}
	return c.notices
}

// happenedBy tells the application's backend of what a client caused. mu is held.
func (c *channel) happenedBy(by protocol.Source, name, userID string) {
	if c.app.listener == nil || c.kind == protocol.User {
		return
	}
	e := protocol.WebhookEvent{Name: name, Channel: c.name, UserID: userID, Source: by}
	switch name {
	case protocol.WebhookChannelOccupied, protocol.WebhookMemberAdded:
		if c.watched() {
			c.app.departures.arrived(e)
		}
	case protocol.WebhookChannelVacated, protocol.WebhookMemberRemoved:
		if c.watched() {
			c.app.departures.departed(e)
		}
	default:
		c.app.listener.Happened(e, nil)
	}
}

// watched reports whether the backend wants to know who comes and goes. When an application
// of a cluster has been closed here, its listener does not say what those of the other
// nodes want: they may have to be told who leaves.
func (c *channel) watched() bool {
	if c.app.listener == nil || c.kind == protocol.User {
		return false
	}
	return c.remote != nil && c.app.closed.Load() || c.app.listener.Wants(c.name)
}

// missed tells the backend that a cache channel has no last event for the
// client that subscribes. mu is held.
func (c *channel) missed(by protocol.Source, now time.Time) {
	if n := c.ensureNotices(); now.Sub(n.missed) >= missInterval {
		n.missed = now
		c.happenedBy(by, protocol.WebhookCacheMiss, "")
	}
}

// tellsCount reports whether subscribers are told how many they are.
func (c *channel) tellsCount() bool {
	return !c.kind.IsPresence() && c.kind != protocol.User && c.app.limits.Load().SubscriptionCount
}

// subscriptionCount is that of the whole cluster, if there is one. mu is held.
func (c *channel) subscriptionCount() int {
	if c.remote != nil {
		return c.remote.total
	}
	return int(c.count)
}

// countChanged tells how many subscribers there are now, or later if there are
// many and that was told a moment ago. by is the client that came or left,
// if one is known. idle is as of [channel.append]. mu is held.
func (c *channel) countChanged(by protocol.Source) (idle []*shard) {
	if !c.tellsCount() {
		return nil
	}
	now, n, count := time.Now(), c.ensureNotices(), c.subscriptionCount()
	wait := countInterval - now.Sub(n.counted)
	if count > countedAlways && wait > 0 {
		c.countLater(wait)
		return nil
	}
	n.counted, n.count = now, count
	if c.app.listener != nil && c.remote == nil { // in a cluster, it is a transition
		c.app.listener.Happened(protocol.WebhookEvent{Name: protocol.WebhookSubscriptionCount, Channel: c.name, Count: count, Source: by}, nil)
	}
	return c.append(pending{frame: protocol.SubscriptionCountFrame(c.name, count), at: now})
}

// countLater has the count looked at in a while. mu is held.
func (c *channel) countLater(wait time.Duration) {
	if !c.notices.counting {
		c.notices.counting = true
		c.app.broker.timers.after(wait, c.countLate)
	}
}

// countLate is countChanged for what has changed since.
func (c *channel) countLate() {
	c.mu.Lock()
	c.notices.counting = false
	var idle []*shard
	if c.subscriptionCount() != c.notices.count {
		idle = c.countChanged(0)
	}
	c.unlock(idle)
}

// countMissed is the subscription count for a subscriber that was let in after it
// was told; 0 if none was. Another one follows if the subscriber changes it. mu is held.
func (c *channel) countMissed() int {
	r := c.remote
	if !c.tellsCount() {
		return 0
	}
	if n := c.ensureNotices(); n.count != r.total {
		n.count = uncounted // one subscriber is told something else than the others
		c.countLater(max(0, countInterval-time.Since(n.counted)))
	}
	return r.total
}

// uncounted differs from every count.
const uncounted = -1
