//go:build !linux || blocking

package websocket

import (
	"crypto/tls"
	"net"
	"net/http"

	"belfry/server/capacity"
	"belfry/server/door"
)

// Parks says that connections are not parked on this system.
const Parks = false

// ListenTLS makes a listener's connections speak TLS.
func ListenTLS(l net.Listener, config *tls.Config) net.Listener { return tls.NewListener(l, config) }

// takeOver is for package door, which needs epoll.
func (h *Handler) takeOver(http.ResponseWriter, *capacity.Place) (*conn, []byte) { return nil, nil }

// newConn takes over a connection; parking needs epoll. The build tag blocking is
// there to test this form on Linux.
func (h *Handler) newConn(nc net.Conn, place *capacity.Place) (c *conn, early []byte, err error) {
	counted := door.Counted(nc)
	if counted == nil {
		return newBlocking(h, nc, place), nil, nil
	}
	if _, ok := counted.Take(); !ok {
		return nil, nil, net.ErrClosed
	}
	return newBlocking(h, nc, place), nil, nil // nothing was read ahead without a door
}
