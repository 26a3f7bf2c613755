//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Publishers are connections to the HTTP API in one loop, each with at most one
// request under way.
type Publishers struct {
	Target *Target
	Loop   *Loop
	// Fresh closes a connection after its answer, and opens a new one for the
	// next request, as each request of PHP does. Otherwise they are kept alive.
	Fresh bool
	// Next gives the request that a free connection sends, or nil if there is
	// none now. It is valid until the next call. Next is asked whenever a
	// connection becomes free, and by Pump.
	Next func(now time.Duration) []byte

	// Answered is how many requests were, and Latency from sending one, or from
	// connecting for it, to its answer, in microseconds.
	Answered uint64
	Latency  *hdrhistogram.Histogram

	free  []*publisher
	total int
}

// Connect opens so many connections, unless each request needs a fresh one. It is
// to be called within Do.
func (p *Publishers) Connect(n int) error {
	p.Latency = NewHistogram()
	p.total = n
	for range n {
		one := &publisher{all: p, stream: stream{fd: -1}}
		p.free = append(p.free, one)
		if p.Fresh {
			continue
		}
		if err := one.connect(); err != nil {
			return err
		}
	}
	return nil
}

// Reset forgets what was counted.
func (p *Publishers) Reset() {
	p.Answered = 0
	p.Latency.Reset()
}

// Close closes the connections, which must be idle.
func (p *Publishers) Close() {
	for _, one := range p.free {
		if one.fd >= 0 {
			p.Loop.forget(one.fd)
			abandon(one.fd)
		}
	}
	p.free, p.total = nil, 0
}

// Idle reports whether all requests were answered.
func (p *Publishers) Idle() bool { return len(p.free) == p.total }

// Pump sends while there is something to send and a connection for it.
func (p *Publishers) Pump() error {
	for len(p.free) > 0 {
		now := p.Loop.clock.Now()
		request := p.Next(now)
		if request == nil {
			return nil
		}
		one := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		if err := one.send(request, now); err != nil {
			return err
		}
	}
	return nil
}

// publisher is one connection, which is opened again when the server closes it
// between two requests.
type publisher struct {
	all    *Publishers
	stream // fd is -1 when there is none
	busy   bool
	sentAt time.Duration
	answer []byte // as far as it has come
}

func (p *publisher) connect() error {
	l := p.all.Loop
	fd, connected, err := p.all.Target.dial(l.dialed)
	if err != nil {
		return err
	}
	l.dialed++
	p.stream = stream{fd: fd}
	if err := p.establish(connected); err != nil {
		unix.Close(fd)
		p.fd = -1
		return fmt.Errorf("publishing: connect to %s: %w", p.all.Target.Host, err)
	}
	return l.watch(fd, unix.EPOLLIN, p)
}

// establish waits for the connection: on one machine, that is soon there.
func (p *publisher) establish(connected bool) error {
	if !connected {
		if err := awaitReady(p.fd, unix.POLLOUT); err != nil {
			return err
		}
		if err := connectError(p.fd); err != nil {
			return err
		}
	}
	if p.all.Target.TLS == nil {
		return nil
	}
	return p.blockForTLS(p.all.Target.TLS)
}

// hangUp closes the connection.
func (p *publisher) hangUp() {
	p.all.Loop.forget(p.fd)
	unix.Close(p.fd)
	p.stream = stream{fd: -1}
}

func (p *publisher) send(request []byte, now time.Duration) error {
	if p.fd < 0 {
		if err := p.connect(); err != nil {
			return err
		}
	}
	p.busy, p.sentAt = true, now
	return p.write(request)
}

func (p *publisher) ready(l *Loop, _ uint32) error {
	n, err := p.read(l.buffer)
	switch {
	case err == unix.EAGAIN:
		return nil
	case err != nil && p.busy:
		return fmt.Errorf("publishing: %w", err)
	}
	ended := err != nil || n == 0
	if ended {
		p.hangUp()
		if !p.busy {
			return nil
		}
	}
	input := l.buffer[:n]
	if len(p.answer) > 0 {
		p.answer = append(p.answer, input...)
		input = p.answer
	}
	answer, ok, err := parseResponse(input, ended)
	switch {
	case err != nil:
		return err
	case !ok && ended:
		return errors.New("publishing: the server closed the connection without an answer")
	case !ok:
		p.answer = append(p.answer[:0], input...)
		return nil
	case !p.busy || len(input) > answer.size:
		return fmt.Errorf("publishing: the server sent more than an answer: %q", clip(input))
	case answer.status/100 != 2:
		return fmt.Errorf("publishing: status %d: %s", answer.status, clip(answer.body))
	}
	if p.all.Fresh && !ended {
		p.hangUp()
	}
	p.answer = p.answer[:0]
	p.busy = false
	p.all.Answered++
	record(p.all.Latency, l.clock.Now()-p.sentAt)
	p.all.free = append(p.all.free, p)
	return p.all.Pump()
}
