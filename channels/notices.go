package channels

import (
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// Listener is told what an application's backend may want to know of its
// channels. It is called under locks, so that it learns of one channel's events in
// their order: it must not block, and must not keep the event's data. Events are
// final: who comes back within [Grace] is not told of at all.
type Listener interface {
	Happened(protocol.WebhookEvent)
	// Wants reports whether the backend wants to know when a channel of that name
	// or its members come, or when they go. Nothing is kept of others.
	Wants(channel string) bool
}

const (
	// countedAlways is up to how many subscribers each change of a channel's
	// subscription count is told: telling n subscribers of each of n joins
	// costs n².
	countedAlways = cluster.CountedAlways
	// countInterval is how often a larger channel's count is told.
	countInterval = cluster.CountInterval
	// missInterval is for how long a cache miss speaks for all who miss the
	// same event.
	missInterval = time.Second
)

// notices are what was last told of a channel. The channel's lock guards them.
type notices struct {
	counted  time.Time // when the subscription count was told
	count    int32     // which it was then
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

// happened tells the application's backend of what no known client caused.
// mu is held.
func (c *channel) happened(name, userID string) {
	c.happenedBy(0, name, userID)
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
		c.app.listener.Happened(e)
	}
}

// watched reports whether the backend wants to know who comes and goes.
func (c *channel) watched() bool {
	return c.app.listener != nil && c.kind != protocol.User && c.app.listener.Wants(c.name)
}

func (c *channel) happenedCount(n int) { c.happenedCountBy(0, n) }

func (c *channel) happenedCountBy(by protocol.Source, n int) {
	if c.app.listener != nil {
		c.app.listener.Happened(protocol.WebhookEvent{Name: protocol.WebhookSubscriptionCount, Channel: c.name, Count: n, Source: by})
	}
}

// missed tells the backend that a cache channel has no last event for the
// client that subscribes. mu is held.
func (c *channel) missed(by protocol.Source, now time.Time) {
	if n := c.ensureNotices(); now.Sub(n.missed) >= missInterval {
		n.missed = now
		c.happenedBy(by, protocol.WebhookCacheMiss, "")
	}
}

// countChanged tells how many subscribers there are now, or later if there are
// many and that was told a moment ago. by is the client that came or left,
// if one is known. idle is as of [channel.append]. mu is held.
func (c *channel) countChanged(by protocol.Source) (idle []*shard) {
	if c.kind.IsPresence() || c.kind == protocol.User || !c.app.limits.Load().SubscriptionCount {
		return nil
	}
	now, n := time.Now(), c.ensureNotices()
	wait := countInterval - now.Sub(n.counted)
	if c.count > countedAlways && wait > 0 {
		if !n.counting {
			n.counting = true
			c.app.broker.timers.after(wait, c.countLate)
		}
		return nil
	}
	n.counted, n.count = now, c.count
	c.happenedCountBy(by, int(c.count))
	return c.append(pending{frame: protocol.SubscriptionCountFrame(c.name, int(c.count)), at: now})
}

// countLate is countChanged for what has changed since.
func (c *channel) countLate() {
	c.mu.Lock()
	c.notices.counting = false
	var idle []*shard
	if c.count != c.notices.count {
		idle = c.countChanged(0)
	}
	count := c.count
	c.mu.Unlock()
	c.start(idle, count)
}
