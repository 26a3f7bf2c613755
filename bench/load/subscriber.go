//go:build linux

package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// state is how far a subscriber has come.
type state uint8

const (
	connecting  state = iota
	upgrading         // waits for the answer to the handshake
	greeting          // waits for pusher:connection_established
	subscribing       // waits for subscription_succeeded
	subscribed
	closing // has sent a close frame
)

// owner is told of what becomes of a subscriber, on the loop's goroutine.
type owner interface {
	// opened: the subscription has succeeded.
	opened(*Subscriber) error
	// ended: the connection is closed. err says why, and is nil after a close
	// handshake that the client began. What it returns ends the loop.
	ended(s *Subscriber, err error) error
}

// Subscriber is one WebSocket connection, subscribed to one channel.
type Subscriber struct {
	target   *Target
	owner    owner
	audience *Audience
	fd       int
	state    state
	answered bool   // the server's close frame has come
	partial  []byte // the beginning of a message of which the rest is yet to come

	received uint64 // events
	sum      uint64 // of their numbers
}

// open begins a connection for the audience, of which it becomes a member when
// its subscription has succeeded.
func (l *Loop) open(t *Target, a *Audience, o owner) error {
	fd, connected, err := t.dial(l.dialed)
	if err != nil {
		return err
	}
	l.dialed++
	s := &Subscriber{target: t, owner: o, audience: a, fd: fd}
	var events uint32 = unix.EPOLLOUT
	if connected {
		if err := s.upgrade(); err != nil {
			unix.Close(fd)
			return err
		}
		events = unix.EPOLLIN
	}
	if err := l.watch(fd, events, s); err != nil {
		unix.Close(fd)
		return err
	}
	return nil
}

func (s *Subscriber) upgrade() error {
	s.state = upgrading
	return writeAll(s.fd, handshake(s.target.Host, s.target.App.Key))
}

// move ends the subscription and begins one to the public channel of another
// audience. The owner is told again when that has succeeded.
func (s *Subscriber) move(to *Audience) error {
	frames := unsubscription(s.audience.Channel)
	frames = append(frames, subscription(s.target.App, to.Channel, nil)...)
	s.audience, s.state, s.received, s.sum = to, subscribing, 0, 0
	return writeAll(s.fd, frames)
}

// close begins the close handshake.
func (s *Subscriber) close() error {
	s.state = closing
	return writeAll(s.fd, closeNormal)
}

func (s *Subscriber) ready(l *Loop, events uint32) error {
	if s.state == connecting {
		if err := connectError(s.fd); err != nil {
			return s.end(l, err)
		}
		if err := s.upgrade(); err != nil {
			return s.end(l, err)
		}
		return l.change(s.fd, unix.EPOLLIN)
	}
	held := copy(l.buffer, s.partial)
	n, err := unix.Read(s.fd, l.buffer[held:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return s.end(l, os.NewSyscallError("read", err))
	case n == 0:
		return s.end(l, errHungUp)
	}
	rest, err := s.consume(l.buffer[:held+n], l.clock.Now())
	if err != nil {
		return s.end(l, err)
	}
	if len(rest) == len(l.buffer) {
		return s.end(l, fmt.Errorf("the server sent a message of more than %d bytes", len(rest)))
	}
	if len(rest) > 0 || len(s.partial) > 0 {
		s.partial = append(s.partial[:0], rest...)
	}
	return nil
}

var errHungUp = errors.New("the server closed the connection without a close frame")

// end closes the descriptor and tells the owner.
func (s *Subscriber) end(l *Loop, err error) error {
	l.forget(s.fd)
	unix.Close(s.fd)
	if s.state == closing && s.answered {
		err = nil
	}
	return s.owner.ended(s, err)
}

// consume takes whole messages and returns the rest.
func (s *Subscriber) consume(b []byte, now time.Duration) (rest []byte, err error) {
	if s.state == upgrading {
		answer, ok, err := parseResponse(b, true)
		if !ok || err != nil {
			return b, err
		}
		if answer.status != 101 {
			return nil, fmt.Errorf("the handshake was answered with status %d: %s", answer.status, clip(answer.body))
		}
		s.state = greeting
		b = b[answer.size-len(answer.body):]
	}
	for {
		f, ok, err := parseFrame(b)
		if err != nil {
			return nil, err
		}
		if !ok || len(b) < f.size {
			return b, nil
		}
		if err := s.handle(f.opcode, b[f.header:f.size], now); err != nil {
			return nil, err
		}
		b = b[f.size:]
	}
}

func (s *Subscriber) handle(opcode byte, payload []byte, now time.Duration) error {
	switch opcode {
	case opText:
		return s.message(payload, now)
	case opPing:
		return writeAll(s.fd, appendFrame(nil, opPong, payload))
	case opPong:
		return nil
	case opClose:
		if s.state == closing {
			s.answered = true
			return nil
		}
		return closed(payload)
	default:
		return fmt.Errorf("%w: opcode %d", errFrame, opcode)
	}
}

// ClosedError is a close frame that the server sent of itself.
type ClosedError struct {
	Code   int
	Reason string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("the server closed the connection: %d %s", e.Code, e.Reason)
}

func closed(payload []byte) error {
	if len(payload) < 2 {
		return &ClosedError{}
	}
	return &ClosedError{int(binary.BigEndian.Uint16(payload)), string(clip(payload[2:]))}
}

func (s *Subscriber) message(b []byte, now time.Duration) error {
	if s.state == subscribed {
		if ok, err := s.audience.receive(s, b, now); ok || err != nil {
			return err
		}
	}
	switch {
	case bytes.Contains(b, []byte("pusher:error")):
		return fmt.Errorf("the server sent an error: %s", clip(b))
	case bytes.Contains(b, []byte("pusher:ping")):
		return writeAll(s.fd, pusherPong)
	case s.state == greeting && bytes.Contains(b, []byte("pusher:connection_established")):
		id := findSocketID(b)
		if id == nil {
			return fmt.Errorf("no socket_id in %s", clip(b))
		}
		s.state = subscribing
		return writeAll(s.fd, subscription(s.target.App, s.audience.Channel, id))
	case s.state == subscribing && bytes.Contains(b, []byte("subscription_succeeded")):
		s.state = subscribed
		s.audience.Members = append(s.audience.Members, s)
		return s.owner.opened(s)
	case s.state == subscribing || s.state == greeting:
		return fmt.Errorf("unexpected: %s", clip(b))
	default:
		return nil // such as a subscription count
	}
}
