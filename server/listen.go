package server

import (
	"context"
	"net"
	"syscall"

	"belfry/server/config"
)

// listen listens for clients and backends. What is set on the listener, its
// connections inherit, at no cost for each. TCP's own keep-alive is off:
// clients are asked for a sign of life, and requests have timeouts.
func listen(address string) (net.Listener, error) {
	l := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { boundSendBuffer(fd, config.SendBuffer) })
		},
	}
	return l.Listen(context.Background(), "tcp", address)
}
