package session

import (
	"time"

	"belfry/protocol"
	"belfry/server/metrics"
)

// allowanceSeconds is for how many seconds' worth of messages a connection may
// send at once: a page that subscribes to all its channels does.
const allowanceSeconds = 10

// allowance is what is left of a connection's messages. Every connection has
// one; a rate.Limiter would take ten times its memory.
type allowance struct {
	left int32
	at   uint32 // seconds since 1970 until which left was added to; 0 at first
}

// take takes n messages of perSecond, or what is left if that is less, and reports
// whether all n were left.
func (a *allowance) take(n, perSecond int, now time.Time) bool {
	most := int64(perSecond) * allowanceSeconds
	left, second := int64(a.left), uint32(now.Unix())
	if a.at == 0 {
		left = most
	} else if second > a.at {
		left += int64(second-a.at) * int64(perSecond)
	}
	left = min(left, most, 1<<31-1)
	a.at = second
	a.left = int32(max(left-int64(n), 0))
	return left >= int64(n)
}

// withinRate takes n messages, or frames, and reports whether message_rate allows
// them now. mu is held.
func (s *Session) withinRate(n int) bool {
	most := s.app.Settings().MessageRate
	within := most == 0 || s.messages.take(n, most, time.Now())
	if !within {
		s.hurried.Store(true)
		s.app.Metrics.LimitMet(metrics.MessageRate)
	}
	return within
}

// drop refuses a message that is over the rate: a subscription on its channel,
// as always, and others once a second for all. mu is held.
func (s *Session) drop(m protocol.Message) {
	now := uint32(time.Now().Unix())
	if m.Event != protocol.EventSubscribe && now == s.lastRefusal {
		return
	}
	s.lastRefusal = now
	s.refuseMessage(m, 429, protocol.Errorf(protocol.CodeClientEvent,
		"Messages of this connection exceed %d a second and are dropped: see message_rate", s.app.Settings().MessageRate))
}

// refuseMessage refuses a message that is not looked at any further: a
// subscription on its channel. status is as of [protocol.SubscriptionErrorFrame].
// mu is held.
func (s *Session) refuseMessage(m protocol.Message, status int, e *protocol.Error) {
	if m.Event == protocol.EventSubscribe {
		if req, _ := protocol.ParseSubscribe(m.Data); req.Channel != "" {
			s.refuseSubscription(req.Channel, protocol.SubscriptionLimitReached, status, e)
			return
		}
	}
	s.refuse(e)
}

// Spend counts frames that carry no message against message_rate: pings, and
// fragments.
func (s *Session) Spend(frames int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withinRate(frames)
}

// Hurried reports, once, that the client has sent more than may be taken now: it is over
// message_rate, or too much waits for the cluster. The transport then reads no more of
// it for a while.
func (s *Session) Hurried() bool { return s.hurried.Load() && s.hurried.Swap(false) }
