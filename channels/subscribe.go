package channels

import (
	"time"

	"belfry/protocol"
)

// Joined is what a new subscriber is answered with.
type Joined struct {
	// Members of a presence channel, the new one included.
	Members []protocol.Member
	// Last is the last event of a cache channel, nil if there is none.
	Last protocol.Frame
}

// Subscribe adds a subscriber to a channel. Events published from here on
// reach it, so the caller must hold back deliveries until it has answered the
// client. member is nil except on presence channels. The error is [ErrFull]
// or nil.
func (a *App) Subscribe(sub Subscriber, name string, m *protocol.Member) (*Subscription, Joined, error) {
	c := a.lock(name)
	s := &Subscription{subscriber: sub, channel: c, id: sub.ID()}
	var idle []*shard
	first := false
	if m != nil {
		s.member, first = c.members.join(*m, a.limits.Load().PresenceMembers)
		if s.member == nil {
			c.removeIfUnused()
			c.mu.Unlock()
			return nil, Joined{}, ErrFull
		}
	}
	if c.count++; c.count == 1 {
		a.occupied[c.kind].Add(1)
		c.happened(protocol.WebhookChannelOccupied, "")
	}
	a.subscriptions.Add(1)
	if first {
		c.happened(protocol.WebhookMemberAdded, s.member.UserID)
		idle = c.append(pending{frame: protocol.MemberAddedFrame(name, s.member.Member), at: time.Now()})
	}
	c.shard(sub).add(s) // behind that: nobody is told of itself
	if m == nil {
		idle = c.countChanged()
	}
	joined := c.joined()
	if c.kind.IsCache() && joined.Last == nil {
		c.missed(time.Now())
	}
	count := c.count
	c.mu.Unlock()
	c.start(idle, count)
	return s, joined, nil
}

// Rejoin is the answer to a client that subscribes once more.
func (a *App) Rejoin(s *Subscription) Joined {
	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()
	return s.channel.joined()
}

// joined is what a subscriber learns now. mu is held.
func (c *channel) joined() (j Joined) {
	if c.kind.IsPresence() {
		j.Members = c.members.list()
	}
	c.expire(time.Now())
	if c.last != nil {
		j.Last = c.last.frame
	}
	return j
}

// Unsubscribe ends a subscription. Once only.
func (a *App) Unsubscribe(s *Subscription) {
	c := s.channel
	c.mu.Lock()
	s.left.Store(true)
	c.shard(s.subscriber).remove(s)
	c.count--
	a.subscriptions.Add(-1)
	var idle []*shard
	switch {
	case s.member == nil:
		idle = c.countChanged()
	case c.members.leave(s.member):
		c.happened(protocol.WebhookMemberRemoved, s.member.UserID)
		idle = c.append(pending{frame: protocol.MemberRemovedFrame(c.name, s.member.UserID), at: time.Now()})
	}
	if c.count == 0 {
		a.occupied[c.kind].Add(-1)
		c.happened(protocol.WebhookChannelVacated, "")
	}
	c.removeIfUnused()
	count := c.count
	c.mu.Unlock()
	c.start(idle, count)
}
