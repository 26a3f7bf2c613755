package poller

import (
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
	done, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(done), nil
}

// epollWait returns how many events there are at the moment.
func epollWait(fd int, events []unix.EpollEvent) (n int, err error) {
	const timeout, signals, size = 0, 0, 0
	ready, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), timeout, signals, size)
	if errno != 0 {
		return 0, errno
	}
	return int(ready), nil
}
