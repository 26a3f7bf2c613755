//go:build unix

package server

import "golang.org/x/sys/unix"

// fileLimit is how many descriptors the process may have, 0 if unknown. Go
// raised the soft limit to the hard one when the program started.
func fileLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > 1<<30 {
		return 0
	}
	return int(limit.Cur)
}

// boundSendBuffer bounds a socket's send buffer. Without it the kernel's own
// bound is only larger.
func boundSendBuffer(fd uintptr, bytes int) {
	_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
}
