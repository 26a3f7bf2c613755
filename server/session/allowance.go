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

// take takes one message of perSecond, and reports whether it was left.
func (a *allowance) take(perSecond int, now time.Time) bool {
	most := int64(perSecond) * allowanceSeconds
	left, second := int64(a.left), uint32(now.Unix())
	if a.at == 0 {
		left = most
	} else if second > a.at {
		left += int64(second-a.at) * int64(perSecond)
	}
	left = min(left, most, 1<<31-1)
	a.at = second
	taken := left > 0
	if taken {
		left--
	}
	a.left = int32(left)
	return taken
}

// admits reports whether message_rate allows a message now. mu is held.
func (s *Session) admits() bool {
	most := s.app.Settings().MessageRate
	admitted := most == 0 || s.messages.take(most, time.Now())
	s.over.Store(!admitted)
	if admitted {
		return true
	}
	s.app.Metrics.LimitMet(metrics.MessageRate)
	return false
}

// drop refuses a message that is over the rate: a subscription on its channel,
// as always, and others once a second for all. mu is held.
func (s *Session) drop(m protocol.Message) {
	now := time.Now().Unix()
	if m.Event != protocol.EventSubscribe && now == s.toldAt {
		return
	}
	s.toldAt = now
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
// fragments. It reports whether there was any left for them.
func (s *Session) Spend(frames int) (left bool) {
	most := s.app.Settings().MessageRate
	if most == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for range min(frames, most*allowanceSeconds) {
		left = s.messages.take(most, now)
	}
	s.over.Store(!left)
	if !left {
		s.app.Metrics.LimitMet(metrics.MessageRate)
	}
	return left
}

// OverRate reports whether the client has sent more than message_rate allows since
// the last call. The transport then reads no more of it for a while.
func (s *Session) OverRate() bool { return s.over.Load() && s.over.Swap(false) }
