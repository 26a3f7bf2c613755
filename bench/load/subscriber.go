//go:build linux

package load

import (
	"bytes"
	"fmt"
	"time"
)

// state is how far a subscriber has come.
type state uint8

const (
	greeting    state = iota // waits for pusher:connection_established
	subscribing              // waits for subscription_succeeded
	subscribed
)

// owner is told of what becomes of a subscriber, on the loop's goroutine.
type owner interface {
	// opened: the subscription has succeeded.
	opened(*Subscriber) error
	// ended: the connection is closed. err says why, and is nil after the
	// client has closed it. What it returns ends the loop.
	ended(s *Subscriber, err error) error
}

// link carries a subscriber's messages, by one of the transports.
type link interface {
	send(messages ...[]byte) error
	// close begins to leave. The owner is told of the end.
	close() error
	// receiver is the descriptor that messages come from.
	receiver() int
}

// Subscriber is one client, subscribed to one channel.
type Subscriber struct {
	target   *Target
	owner    owner
	audience *Audience
	link     link
	state    state
	socketID string
	user     int // in a presence channel; 0: one of its own is to be given to it
	answer   int // bytes of the subscription_succeeded

	received uint64 // events
	sum      uint64 // of their numbers
	order    uint64 // a digest of their numbers and serials, in the order in which they came
	serial   uint64 // number of the last one's; 0 without
}

// open begins the subscriber's connection. It becomes a member of its audience
// when its subscription has succeeded.
func (l *Loop) open(s *Subscriber) error {
	if s.user == 0 {
		s.user = l.dialed + 1
	}
	if s.target.Transport.Lines() {
		return l.openSession(s)
	}
	return l.openWebSocket(s)
}

// move ends the subscription and begins one to the channel of another audience,
// which may be the same. The owner is told again when that has succeeded.
func (s *Subscriber) move(to *Audience) error {
	from := s.audience
	s.audience, s.state, s.serial = to, subscribing, 0
	s.forget()
	return s.link.send(unsubscription(from.Channel), subscription(s.target.App, to.Channel, s.socketID, s.user))
}

// forget forgets what was received, but for the last serial: later ones are still higher.
func (s *Subscriber) forget() { s.received, s.sum, s.order = 0, 0, 0 }

// count counts an event. Its serial is 0 if it has none.
func (s *Subscriber) count(number, serial uint64) {
	const prime = 1099511628211 // of FNV-1, 64 bits
	s.received++
	s.sum += number
	s.order = (s.order*prime+number)*prime + serial
	s.serial = serial
}

func (s *Subscriber) message(b []byte, now time.Duration) error {
	if s.state == subscribed {
		if ok, err := s.audience.receive(s, b, now); ok || err != nil {
			return err
		}
	}
	switch {
	case s.state == subscribed && s.audience.presence() && bytes.Contains(b, []byte("member_added")):
		s.audience.Added++
		return nil
	case bytes.Contains(b, []byte("pusher:error")):
		return fmt.Errorf("the server sent an error: %s", clip(b))
	case bytes.Contains(b, []byte("pusher:ping")):
		return s.link.send(pusherPong)
	case s.state == greeting && bytes.Contains(b, []byte("pusher:connection_established")):
		id := findSocketID(b)
		if id == nil {
			return fmt.Errorf("no socket_id in %s", clip(b))
		}
		s.state, s.socketID = subscribing, string(id)
		return s.link.send(subscription(s.target.App, s.audience.Channel, s.socketID, s.user))
	case s.state == subscribing && bytes.Contains(b, []byte("subscription_succeeded")):
		s.state, s.answer = subscribed, len(b)
		s.audience.Members = append(s.audience.Members, s)
		return s.owner.opened(s)
	case s.state == subscribing || s.state == greeting:
		return fmt.Errorf("unexpected: %s", clip(b))
	default:
		return nil // such as a subscription count
	}
}
