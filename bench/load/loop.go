//go:build linux

package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// readBuffer is what one read takes at most, in bytes. The list of the members
// of a large presence channel has to fit.
const readBuffer = 1 << 20

var errEnded = errors.New("the loop was closed")

// source is a descriptor that a loop watches.
type source interface {
	// ready is called on the loop's goroutine when the descriptor is. An error
	// ends the loop.
	ready(l *Loop, events uint32) error
}

// Loop serves connections on one thread. Do, Wake, Await and Close may be called
// from any goroutine; everything else of this package that has a loop must be used
// within Do or Await.
type Loop struct {
	clock Clock
	epoll int
	wake  int // an eventfd: there is a call
	calls chan call
	ended chan struct{}
	err   error // why the loop ended; to be read after ended is closed

	// Owned by the loop's goroutine.
	sources []source // by descriptor
	buffer  []byte
	dialed  int
	after   func() error // called after each round of events; nil: nothing
	waiters []*waiter
	closing bool
}

type call struct {
	f    func() error
	done chan error
}

type waiter struct {
	condition func() bool
	done      chan struct{}
}

// NewLoop starts a loop, which the caller has to close.
func NewLoop(clock Clock) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &Loop{
		clock:  clock,
		epoll:  epoll,
		wake:   wake,
		calls:  make(chan call, 16),
		ended:  make(chan struct{}),
		buffer: make([]byte, readBuffer),
	}
	if err := l.watch(wake, unix.EPOLLIN, wakeup{wake}); err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, err
	}
	go l.run()
	return l, nil
}

// Close ends the loop and its connections, abruptly. It is called once, when
// nobody uses the loop any more.
func (l *Loop) Close() {
	_ = l.Do(func() error { l.closing = true; return nil })
	<-l.ended
	unix.Close(l.wake)
}

// Do calls f on the loop's goroutine and returns its error, or why the loop has
// ended. An error of f does not end the loop.
func (l *Loop) Do(f func() error) error {
	c := call{f, make(chan error, 1)}
	select {
	case l.calls <- c:
	case <-l.ended:
		return l.err
	}
	if err := l.Wake(); err != nil {
		return err
	}
	select {
	case err := <-c.done:
		return err
	case <-l.ended:
		return l.err
	}
}

// Wake makes the loop do a round, for its AfterEach.
func (l *Loop) Wake() error {
	_, err := unix.Write(l.wake, binary.NativeEndian.AppendUint64(nil, 1))
	return os.NewSyscallError("write", err)
}

// Await waits until condition, called on the loop's goroutine after each round
// of events, is true. what says in an error what did not happen in time.
func (l *Loop) Await(ctx context.Context, limit time.Duration, what string, condition func() bool) error {
	w := &waiter{condition, make(chan struct{})}
	if err := l.Do(func() error { l.waiters = append(l.waiters, w); return nil }); err != nil {
		return err
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-w.done:
		return nil
	case <-l.ended:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return fmt.Errorf("%s: not within %v", what, limit)
	}
}

// AfterEach has f called after each round of events; nil ends that.
func (l *Loop) AfterEach(f func() error) { l.after = f }

func (l *Loop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.err = l.serve()
	for fd, s := range l.sources {
		if s != nil && fd != l.wake { // which Do may still write to
			abandon(fd)
		}
	}
	unix.Close(l.epoll)
	close(l.ended)
}

func (l *Loop) serve() error {
	events := make([]unix.EpollEvent, 512)
	for !l.closing {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, e := range events[:n] {
			if s := l.sources[e.Fd]; s != nil {
				if err := s.ready(l, e.Events); err != nil {
					return err
				}
			}
		}
		if l.after != nil {
			if err := l.after(); err != nil {
				return err
			}
		}
		l.checkWaiters()
	}
	return errEnded
}

func (l *Loop) checkWaiters() {
	kept := l.waiters[:0]
	for _, w := range l.waiters {
		if w.condition() {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	clear(l.waiters[len(kept):])
	l.waiters = kept
}

// watch begins to serve a descriptor, which it closes when the loop ends.
func (l *Loop) watch(fd int, events uint32, s source) error {
	for fd >= len(l.sources) {
		l.sources = append(l.sources, nil)
	}
	l.sources[fd] = s
	e := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &e))
}

// change says what to watch a descriptor for; nothing leaves errors and
// hang-ups.
func (l *Loop) change(fd int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, fd, &e))
}

// mute stops serving a descriptor: not even its hang-up is told. unmute goes on.
func (l *Loop) mute(fd int) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil))
}

func (l *Loop) unmute(fd int) error { return l.watch(fd, unix.EPOLLIN, l.sources[fd]) }

// forget is for a descriptor that the caller closes.
func (l *Loop) forget(fd int) { l.sources[fd] = nil }

// wakeup takes what other goroutines want to be done.
type wakeup struct{ fd int }

func (w wakeup) ready(l *Loop, _ uint32) error {
	var count [8]byte
	if _, err := unix.Read(w.fd, count[:]); err != nil {
		return os.NewSyscallError("read", err)
	}
	for {
		select {
		case c := <-l.calls:
			c.done <- c.f()
		default:
			return nil
		}
	}
}
