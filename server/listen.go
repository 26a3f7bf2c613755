package server

import (
	"context"
	"net"
	"syscall"
)

// sendBuffer bounds, in bytes, what the kernel keeps for a client that does
// not read; it would grow to megabytes by itself, uncounted. Linux doubles it
// for its own bookkeeping.
const sendBuffer = 128 << 10

// listen listens for clients and backends. What is set on the listener, its
// connections inherit, at no cost for each. TCP's own keep-alive is off:
// clients are asked for a sign of life, and requests have timeouts.
func listen(address string) (net.Listener, error) {
	config := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { boundSendBuffer(fd, sendBuffer) })
		},
	}
	return config.Listen(context.Background(), "tcp", address)
}
