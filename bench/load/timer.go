//go:build linux

package load

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Timer calls a function at even intervals until it is stopped.
type Timer struct {
	fd   int
	left int
	tick func(now time.Duration) error
}

// Every starts a timer that ticks count times. When the loop is late, the
// missed ticks follow at once.
func (l *Loop) Every(interval time.Duration, count int, tick func(now time.Duration) error) (*Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	every := unix.NsecToTimespec(int64(interval))
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("timerfd_settime", err)
	}
	t := &Timer{fd: fd, left: count, tick: tick}
	if err := l.watch(fd, unix.EPOLLIN, t); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return t, nil
}

// Done reports whether all ticks have been.
func (t *Timer) Done() bool { return t.left == 0 }

func (t *Timer) ready(l *Loop, _ uint32) error {
	var due [8]byte
	if _, err := unix.Read(t.fd, due[:]); err != nil {
		return os.NewSyscallError("read", err)
	}
	now := l.clock.Now()
	for range min(binary.NativeEndian.Uint64(due[:]), uint64(t.left)) {
		t.left--
		if err := t.tick(now); err != nil {
			return err
		}
	}
	if t.left == 0 {
		l.forget(t.fd)
		unix.Close(t.fd)
	}
	return nil
}
