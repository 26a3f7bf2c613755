package session

import (
	"errors"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// On a node of a cluster, some messages wait for an answer from elsewhere. The
// transport's goroutine, which serves many connections, does not: such a
// message has a goroutine of its own, and what the client sends meanwhile waits
// for its turn.

// Over enoughDeferred messages or half of maxDeferredBytes, the client is not read from
// until some have been handled. What it has sent before that still has room; only the
// fallback, whose requests come by themselves, gets to the bounds.
const (
	enoughDeferred   = 1000
	maxDeferred      = 2 * enoughDeferred
	maxDeferredBytes = 1 << 20
)

// deferred is what waits behind a message that is being handled.
type deferred struct {
	messages []deferredMessage
	bytes    int
}

type deferredMessage struct {
	protocol.Message
	size    int
	dismiss func() // ends the expectation of a subscription; nil if there is none
}

// defers takes a message that has to wait, or another one behind it. mu is held.
func (s *Session) defers(m protocol.Message, size int) bool {
	switch {
	case s.deferred != nil:
		if n := len(s.deferred.messages); n < maxDeferred && s.deferred.bytes <= maxDeferredBytes {
			s.deferred.messages = append(s.deferred.messages, deferredMessage{m, size, s.expect(m)})
			s.deferred.bytes += size
		} else {
			s.refuseMessage(m, 503, protocol.Errorf(protocol.CodeOverCapacity, "Message dropped: %d others of this connection wait for the cluster", n))
		}
		if len(s.deferred.messages) >= enoughDeferred || s.deferred.bytes > maxDeferredBytes/2 {
			s.hurried.Store(true)
		}
		return true
	case s.app.Channels.Waits() && waits(m.Event):
		s.deferred = new(deferred)
		s.admission.waiting.RLock()
		go s.work(m)
		return true
	}
	return false
}

// waits reports whether messages of that name may wait for the cluster.
func waits(event string) bool {
	return event == protocol.EventSubscribe || event == protocol.EventSignin || event == protocol.EventRecover
}

// FreezeWaiting returns once no message waits for the cluster. Whatever comes then waits
// for ThawWaiting, and so does whoever brings it.
func (a *Admission) FreezeWaiting() { a.waiting.Lock() }

// ThawWaiting ends FreezeWaiting.
func (a *Admission) ThawWaiting() { a.waiting.Unlock() }

// work handles a message, and then what has come in meanwhile. A bug ends this
// connection only.
func (s *Session) work(m protocol.Message) {
	defer s.admission.waiting.RUnlock()
	defer s.admission.Bugs.Recover(func() {
		s.Close(Panic, &protocol.Error{Code: protocol.CodeOverCapacity, Message: "Internal error"})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	next := deferredMessage{Message: m}
	defer func() {
		next.end()
		for _, m := range s.deferred.messages {
			m.end()
		}
		s.deferred = nil
	}()
	for {
		s.handle(next.Message)
		if s.ended || len(s.deferred.messages) == 0 {
			return
		}
		next.end()
		next = s.deferred.messages[0]
		s.deferred.messages = s.deferred.messages[1:]
		s.deferred.bytes -= next.size
	}
}

func (m deferredMessage) end() {
	if m.dismiss != nil {
		m.dismiss()
	}
}

// expect has the cluster prepare a subscription whose turn comes later, so that many
// of one connection take a few round trips together. It says nothing of those that
// will be refused. mu is held.
func (s *Session) expect(m protocol.Message) (dismiss func()) {
	if m.Event != protocol.EventSubscribe {
		return nil
	}
	req, err := protocol.ParseSubscribe(m.Data)
	settings := s.app.Settings()
	if most := settings.MaxChannelsPerConnection; most > 0 && s.subscriptions.len()+len(s.deferred.messages) >= most {
		return nil
	}
	if err != nil || protocol.CheckChannel(req.Channel, settings.MaxChannelName) != nil || s.subscriptions.find(req.Channel) != nil {
		return nil
	}
	kind := protocol.KindOf(req.Channel)
	if kind == protocol.User || kind.Authorized() && settings.Credentials.VerifyChannel(req.Auth, s.id.String(), req.Channel, req.ChannelData) != nil {
		return nil
	}
	var member *protocol.Member
	if kind.IsPresence() {
		if member, err = s.member(req.ChannelData); err != nil {
			return nil
		}
	}
	return s.app.Channels.Expect(req.Channel, member)
}

// unlocked runs what may wait, without mu, which is held before and after.
func (s *Session) unlocked(f func()) {
	s.mu.Unlock()
	defer s.mu.Lock()
	f()
}

// unavailable tells a client that the cluster cannot be reached.
func unavailable(err error) *protocol.Error {
	return &protocol.Error{Code: protocol.CodeOverCapacity, Message: "Not possible now: " + public(err)}
}

// public is what a client is told of an error. Why and where the cluster cannot
// be reached is in the log, and nobody else's business.
func public(err error) string {
	if errors.Is(err, cluster.ErrUnavailable) {
		return cluster.ErrUnavailable.Error()
	}
	return err.Error()
}
