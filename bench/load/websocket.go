//go:build linux

package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// phase is how far a WebSocket has come.
type phase uint8

const (
	connecting phase = iota
	securing         // does the handshake of TLS
	upgrading        // waits for the answer to the handshake
	upgraded
	closing // has sent a close frame
)

// webSocket is a subscriber's WebSocket.
type webSocket struct {
	*Subscriber
	stream
	phase    phase
	secured  func() (done bool, err error) // goes on with securing
	answered bool                          // the server's close frame has come
	partial  []byte                        // the beginning of a message of which the rest is yet to come
}

func (l *Loop) openWebSocket(s *Subscriber) error {
	fd, connected, err := s.target.dial(l.dialed)
	if err != nil {
		return err
	}
	l.dialed++
	w := &webSocket{Subscriber: s, stream: stream{fd: fd}}
	s.link = w
	var events uint32 = unix.EPOLLOUT
	if connected {
		if err := w.connected(); err != nil {
			unix.Close(fd)
			return err
		}
		events = unix.EPOLLIN
	}
	if err := l.watch(fd, events, w); err != nil {
		unix.Close(fd)
		return err
	}
	return nil
}

func (w *webSocket) connected() error {
	if w.target.TLS == nil {
		return w.upgrade()
	}
	w.phase = securing
	w.secured = w.beginTLS(w.target.TLS)
	return w.goOnSecuring()
}

func (w *webSocket) goOnSecuring() error {
	done, err := w.secured()
	if !done || err != nil {
		return err
	}
	w.secured = nil
	return w.upgrade()
}

func (w *webSocket) upgrade() error {
	w.phase = upgrading
	return w.write(handshake(w.target.Host, w.target.App.Key))
}

// send implements link.
func (w *webSocket) send(messages ...[]byte) error {
	var frames []byte
	for _, m := range messages {
		frames = appendFrame(frames, opText, m)
	}
	return w.write(frames)
}

// close implements link: it begins the close handshake.
func (w *webSocket) close() error {
	w.phase = closing
	return w.write(closeNormal)
}

// receiver implements link.
func (w *webSocket) receiver() int { return w.fd }

func (w *webSocket) ready(l *Loop, events uint32) error {
	switch w.phase {
	case connecting:
		if err := connectError(w.fd); err != nil {
			return w.end(l, err)
		}
		if err := w.connected(); err != nil {
			return w.end(l, err)
		}
		return l.change(w.fd, unix.EPOLLIN)
	case securing:
		if err := w.goOnSecuring(); err != nil {
			return w.end(l, err)
		}
		return nil
	}
	for {
		held := copy(l.buffer, w.partial)
		n, err := w.read(l.buffer[held:])
		switch {
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return w.end(l, err)
		case n == 0:
			return w.end(l, errHungUp)
		}
		rest, err := w.consume(l.buffer[:held+n], l.clock.Now())
		if err != nil {
			return w.end(l, err)
		}
		if len(rest) == len(l.buffer) {
			return w.end(l, fmt.Errorf("the server sent a message of more than %d bytes", len(rest)))
		}
		if len(rest) > 0 || len(w.partial) > 0 {
			w.partial = append(w.partial[:0], rest...)
		}
		if held+n < len(l.buffer) {
			return nil
		}
	}
}

var errHungUp = errors.New("the server closed the connection without a close frame")

// end closes the descriptor and tells the owner.
func (w *webSocket) end(l *Loop, err error) error {
	l.forget(w.fd)
	unix.Close(w.fd)
	if w.phase == closing && w.answered {
		err = nil
	}
	return w.owner.ended(w.Subscriber, err)
}

// consume takes whole messages and returns the rest.
func (w *webSocket) consume(b []byte, now time.Duration) (rest []byte, err error) {
	if w.phase == upgrading {
		answer, ok, err := parseResponse(b, true)
		if !ok || err != nil {
			return b, err
		}
		if answer.status != 101 {
			return nil, fmt.Errorf("the handshake was answered with status %d: %s", answer.status, clip(answer.body))
		}
		w.phase = upgraded
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
		if err := w.handle(f.opcode, b[f.header:f.size], now); err != nil {
			return nil, err
		}
		b = b[f.size:]
	}
}

func (w *webSocket) handle(opcode byte, payload []byte, now time.Duration) error {
	switch opcode {
	case opText:
		return w.message(payload, now)
	case opPing:
		return w.write(appendFrame(nil, opPong, payload))
	case opPong:
		return nil
	case opClose:
		if w.phase == closing {
			w.answered = true
			return nil
		}
		return closed(payload)
	default:
		return fmt.Errorf("%w: opcode %d", errFrame, opcode)
	}
}

func closed(payload []byte) error {
	if len(payload) < 2 {
		return &ClosedError{}
	}
	return &ClosedError{int(binary.BigEndian.Uint16(payload)), string(clip(payload[2:]))}
}
