//go:build linux

package load

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// SendingCost is the processor time that a thread needs to send so many bytes to
// a client that has read all that came before: the least that any server does. It
// is the mean of count times.
func SendingCost(size, count int) (time.Duration, error) {
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	received := make(chan error, 1)
	go func() { received <- receive(listener.Addr(), size, count) }()
	conn, err := listener.AcceptTCP()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	// File makes the descriptor a blocking one: what is left is system calls.
	file, err := conn.File()
	if err != nil {
		return 0, err
	}
	defer file.Close()
	used, err := sendOften(int(file.Fd()), size, count)
	return used / time.Duration(count), errors.Join(err, <-received)
}

func sendOften(fd, size, count int) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	message := make([]byte, size)
	before, err := threadTime()
	if err != nil {
		return 0, err
	}
	for range count {
		for rest := message; len(rest) > 0; {
			n, err := unix.Write(fd, rest)
			if err != nil && err != unix.EINTR {
				return 0, os.NewSyscallError("write", err)
			}
			rest = rest[max(n, 0):]
		}
		if _, err := unix.Read(fd, message[:1]); err != nil {
			return 0, os.NewSyscallError("read", err)
		}
	}
	after, err := threadTime()
	return after - before, err
}

// receive answers every size bytes with one.
func receive(from net.Addr, size, count int) error {
	conn, err := net.Dial(from.Network(), from.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	message := make([]byte, size)
	for range count {
		if _, err := io.ReadFull(conn, message); err != nil {
			return err
		}
		if _, err := conn.Write(message[:1]); err != nil {
			return err
		}
	}
	return nil
}

// threadTime is the user and system time of this thread.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), os.NewSyscallError("clock_gettime", err)
}
