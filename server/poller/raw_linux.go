package poller

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls below never wait, so they do without what package syscall does
// around each one for the case that it waits: to tell Go's scheduler, and wake its
// monitor, which on a server with little to do takes a quarter of its time.

// Read reads what has come on a descriptor that does not block. n is 0 at the end of
// the stream, and with an error, which is a system call's own, such as unix.EAGAIN.
func Read(fd int, p []byte) (n int, err error) { return transfer(unix.SYS_READ, fd, p) }

// Write writes what a descriptor takes that does not block. The error is a system
// call's own, such as unix.EAGAIN.
func Write(fd int, p []byte) (n int, err error) { return transfer(unix.SYS_WRITE, fd, p) }

func transfer(call uintptr, fd int, p []byte) (n int, err error) {
	for {
		done, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(done), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// WriteSome writes what a descriptor takes that does not block. n < len(p) and no
// error means that the rest would block. The error is a system call's own.
func WriteSome(fd int, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := Write(fd, p[n:])
		n += m
		if err == unix.EAGAIN {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Duplicate returns another descriptor of a socket, for use with system calls of our
// own. The error is an os.SyscallError, or that the socket is closed.
func Duplicate(socket syscall.Conn) (fd int, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	if ctl := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	}); ctl != nil {
		return -1, ctl
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// epollWait returns how many events there are at the moment.
func epollWait(fd int, events []unix.EpollEvent) (n int, err error) {
	const timeout, signals, size = 0, 0, 0
	for {
		ready, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), timeout, signals, size)
		switch errno {
		case 0:
			return int(ready), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
