//go:build !linux

package websocket

import "net"

// newConn takes over a connection; parking needs epoll.
func (h *Handler) newConn(nc net.Conn) (*conn, error) {
	return newBlocking(h, nc), nil
}

// pollers are not needed without parked connections.
type pollers struct{}

func (*pollers) start() error { return nil }
func (*pollers) close()       {}
