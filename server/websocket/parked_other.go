//go:build !linux || blocking

package websocket

import (
	"crypto/tls"
	"net"
	"net/http"
)

// Parks says that connections are not parked on this system.
const Parks = false

// ListenTLS makes a listener's connections speak TLS.
func ListenTLS(l net.Listener, config *tls.Config) net.Listener { return tls.NewListener(l, config) }

// takeOver is for package door, which needs epoll.
func (h *Handler) takeOver(http.ResponseWriter) (*conn, []byte) { return nil, nil }

// newConn takes over a connection; parking needs epoll. The build tag blocking is
// there to test this form on Linux.
func (h *Handler) newConn(nc net.Conn) (*conn, error) {
	return newBlocking(h, nc), nil
}
