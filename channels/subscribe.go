package channels

import (
	"time"

	"belfry/protocol"
)

// Joined is what a new subscriber is answered with.
type Joined struct {
	// Members of a presence channel, the new one included, in parts.
	Members []protocol.Members
	// Last is the last event of a cache channel, nil if there is none or the client is given
	// it otherwise. Miss says that there is none.
	Last protocol.Frame
	Miss bool
	// Count is the subscription count if this subscriber may have missed it; 0
	// if it has not.
	Count int
	Replay
}

// Subscribe adds a subscriber to a channel, and holds it back: events published
// from here on reach it once the caller has answered the client. member is nil
// except on presence channels. The error is [ErrFull], [ErrBusy] for a new member of a
// channel that has too much pending or, on a node of a cluster only, ErrUnavailable of
// package cluster; there, Subscribe may wait.
func (a *App) Subscribe(sub Subscriber, name string, m *protocol.Member) (*Subscription, Joined, error) {
	return a.Resume(sub, name, m, nil)
}

// Resume is Subscribe for a client that says what it has of the channel; resume is nil if it
// does not. If the history cannot be read, that is no error: the client is told that it may
// have missed something.
func (a *App) Resume(sub Subscriber, name string, m *protocol.Member, resume *Resume) (*Subscription, Joined, error) {
	s := &Subscription{subscriber: sub, id: sub.ID()}
	first := false // of the user
	if a.broker.driver != nil {
		var since protocol.Serial
		if resume != nil {
			since = resume.Since
		}
		c, err := a.enter(name, m, since)
		if err != nil {
			return nil, Joined{}, err
		}
		c.remote.entering-- // to be counted below
		s.channel = c
		if m != nil {
			// A member of the roster would keep alive a roster that load has replaced.
			s.member = &member{userID: m.UserID}
		}
	} else {
		c := a.lock(name)
		s.channel = c
		if m != nil && c.pends(maxMembersPending) && c.members.byID[m.UserID] == nil {
			c.unlock(nil) // or whoever comes and goes could have any number of events wait
			return nil, Joined{}, ErrBusy
		}
		if m != nil {
			s.member, first = c.members.join(*m, a.limits.Load().PresenceMembers)
			if s.member == nil {
				c.unlock(nil)
				return nil, Joined{}, ErrFull
			}
		}
	}
	c := s.channel
	sub.Hold()
	if c.count == 0 && c.remote == nil {
		c.happenedBy(s.subscriber.Source(), protocol.WebhookChannelOccupied, "")
	}
	var idle []*shard
	if first {
		c.happenedBy(s.subscriber.Source(), protocol.WebhookMemberAdded, m.UserID)
		idle = c.append(pending{frame: protocol.MemberAddedFrame(name, *m), at: time.Now()})
	}
	c.add(s) // behind that: nobody is told of itself
	if m == nil && c.remote == nil {
		idle = c.countChanged(s.subscriber.Source())
	}
	joined := c.joined()
	c.begin(s, resume)
	if joined.Miss {
		c.missed(s.subscriber.Source(), time.Now())
	}
	if c.remote != nil {
		joined.Count = c.countMissed()
	}
	c.unlock(idle)
	joined.Replay = s.replay(resume)
	joined.Last = s.withoutCached(joined.Last, joined.Replay)
	return s, joined, nil
}

// add counts a subscription in. mu is held.
func (c *channel) add(s *Subscription) {
	if c.count++; c.count == 1 {
		c.app.occupied[c.kind].Add(1)
		c.historyUsed()
	}
	c.app.subscriptions.Add(1)
	c.shard(s.subscriber).add(s)
}

// Rejoin is the answer to a client that subscribes once more, or says only now what it had
// of the channel ahead of its subscription; resume is nil if it does not. In a cluster, it may
// wait. Only who has subscribed may call it, one call at a time.
func (a *App) Rejoin(s *Subscription, resume *Resume) Joined {
	s.channel.mu.Lock()
	joined := s.channel.joined()
	s.channel.mu.Unlock()
	if resume != nil {
		joined.Replay = s.replay(resume)
		joined.Serial = protocol.Serial{} // the client may have been sent later events
	}
	return joined
}

// joined is what a subscriber learns now. mu is held.
func (c *channel) joined() (j Joined) {
	if c.kind.IsPresence() {
		j.Members = c.members.snapshot()
	}
	c.expire(time.Now())
	if c.last != nil {
		j.Last = c.last.frame
	}
	j.Miss = c.kind.IsCache() && c.last == nil
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
	if c.count == 0 {
		a.occupied[c.kind].Add(-1)
		c.historyUsed()
	}
	var idle []*shard
	switch {
	case c.remote != nil:
		if s.member != nil {
			c.remote.leave(s.member.userID)
		}
	case s.member == nil:
		idle = c.countChanged(s.subscriber.Source())
	case c.members.leave(s.member):
		c.happenedBy(s.subscriber.Source(), protocol.WebhookMemberRemoved, s.member.userID)
		idle = c.append(pending{frame: protocol.MemberRemovedFrame(c.name, s.member.userID), at: time.Now()})
	}
	if c.count == 0 && c.remote == nil {
		c.happenedBy(s.subscriber.Source(), protocol.WebhookChannelVacated, "")
	}
	keeps := c.history != nil
	c.unlock(idle)
	if keeps { // it may be one more that nobody uses
		a.broker.histories.trim()
	}
}
