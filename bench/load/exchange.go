//go:build linux

package load

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// exchange is a keep-alive connection of a session with at most one request
// under way, whose answer is read while it comes. It is opened when it is
// needed.
type exchange struct {
	session    *session
	fd         int // -1: none
	connecting bool
	request    []byte // under way; nil: none
	answer     answer
	partial    []byte // the beginning of the head or of a line, of which the rest is yet to come
}

// send begins a request. There must be none under way.
func (x *exchange) send(request []byte) error {
	x.request, x.answer = request, answer{}
	if x.fd >= 0 {
		return writeAll(x.fd, request)
	}
	fd, connected, err := x.session.target.dial(x.session.number)
	if err != nil {
		return err
	}
	x.fd, x.connecting = fd, !connected
	var events uint32 = unix.EPOLLOUT
	if connected {
		if err := writeAll(fd, request); err != nil {
			return err
		}
		events = unix.EPOLLIN
	}
	return x.session.loop.watch(fd, events, x)
}

// hangUp closes the connection, whatever is under way.
func (x *exchange) hangUp() {
	if x.fd < 0 {
		return
	}
	x.session.loop.forget(x.fd)
	unix.Close(x.fd)
	x.fd, x.request, x.partial = -1, nil, x.partial[:0]
}

func (x *exchange) ready(l *Loop, _ uint32) error {
	if x.connecting {
		if err := x.connected(l); err != nil {
			return x.session.end(err)
		}
		return nil
	}
	if err := x.read(l); err != nil {
		return x.session.end(err)
	}
	return nil
}

func (x *exchange) connected(l *Loop) error {
	if err := connectError(x.fd); err != nil {
		return err
	}
	x.connecting = false
	if err := l.change(x.fd, unix.EPOLLIN); err != nil {
		return err
	}
	return writeAll(x.fd, x.request)
}

func (x *exchange) read(l *Loop) error {
	held := copy(l.buffer, x.partial)
	n, err := unix.Read(x.fd, l.buffer[held:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return os.NewSyscallError("read", err)
	case n == 0 && x.request == nil:
		x.hangUp() // keep-alive has its limits
		return nil
	case n == 0:
		return errors.New("the server closed the connection within an answer")
	}
	rest, err := x.consume(l.buffer[:held+n], held)
	switch {
	case err != nil:
		return err
	case len(rest) == len(l.buffer):
		return fmt.Errorf("the server sent a head or a line of more than %d bytes", len(rest))
	case len(rest) > 0 || len(x.partial) > 0:
		x.partial = append(x.partial[:0], rest...)
	}
	if x.answer.part != nothing {
		return nil
	}
	if len(rest) > 0 {
		return fmt.Errorf("the answer ends within a line: %q", clip(rest))
	}
	x.request, x.answer = nil, answer{}
	return x.session.answered(x)
}

// consume reads what has come, of which the first held bytes were seen before,
// and returns what is to be seen again.
func (x *exchange) consume(b []byte, held int) (rest []byte, err error) {
	if x.request == nil {
		return nil, fmt.Errorf("the server sent what nobody has asked for: %q", clip(b))
	}
	if x.answer.part == theHead {
		n, err := x.answer.begin(b)
		if n == 0 || err != nil {
			return b, err
		}
		b, held = b[n:], 0
	}
	body, err := x.answer.body(b[held:])
	if err != nil {
		return nil, err
	}
	return x.session.take(x, b[:held+len(body)])
}
