//go:build !blocking

package websocket

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"belfry/server/door"
	"belfry/server/poller"
)

// ListenTLS makes a listener's connections speak TLS. Those that were counted can be
// parked once they are WebSockets.
func ListenTLS(l net.Listener, config *tls.Config) net.Listener { return tlsListener{l, config} }

type tlsListener struct {
	net.Listener
	config *tls.Config
}

// Accept implements net.Listener.
func (l tlsListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c, ok := nc.(*door.Conn)
	if !ok {
		return tls.Server(nc, l.config), nil
	}
	return tls.Server(&tlsSocket{Conn: c}, l.config), nil
}

// tlsSocket is what a TLS connection reads and writes records by: the TCP
// connection while net/http serves requests, and a parked connection's descriptor
// from then on. Then it never blocks: there is nothing to read but what the
// poller has read, and what the descriptor does not take is kept.
type tlsSocket struct {
	*door.Conn // until it is parked

	// Set once, by park, before another goroutine knows the socket.
	parked bool
	fd     int

	in []byte // read by the poller, whose goroutine owns it

	mu     sync.Mutex // guards the following, and each use of fd for writing
	closed bool       // the number may be another's by now
	out    []byte     // records, at most a few, that the descriptor has not taken
}

// park makes the socket one of a descriptor. Nobody uses it meanwhile.
func (s *tlsSocket) park(fd int) {
	s.parked, s.fd, s.Conn = true, fd, nil // and its memory
}

// maxUnsentRecords is how many bytes of records may be left when another one is made:
// more than one record is, only if the client has Go's TLS answer it (RFC 8446 section
// 4.6.3) without reading that.
const maxUnsentRecords = 64 << 10

var errUnreadRecords = errors.New("the client does not read answers of TLS")

// errNothingToRead is a temporary error, after which a TLS connection goes on.
var errNothingToRead net.Error = os.ErrDeadlineExceeded.(net.Error)

// Read implements net.Conn.
func (s *tlsSocket) Read(p []byte) (int, error) {
	if !s.parked {
		return s.Conn.Read(p)
	}
	if len(s.in) == 0 {
		return 0, errNothingToRead
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write implements net.Conn. A parked socket takes everything: its callers look at
// flush before they write more.
func (s *tlsSocket) Write(p []byte) (int, error) {
	if !s.parked {
		return s.Conn.Write(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) > maxUnsentRecords {
		return 0, errUnreadRecords
	}
	if len(s.out) > 0 {
		s.out = append(s.out, p...)
		return len(p), nil
	}
	n, err := s.write(p)
	if err != nil {
		return n, err
	}
	s.out = append(s.out, p[n:]...)
	return len(p), nil
}

// stuffed says that the client does not read answers of TLS.
func (s *tlsSocket) stuffed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) > maxUnsentRecords
}

// flush writes records that are left, and reports whether some still are.
func (s *tlsSocket) flush() (blocked bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) == 0 {
		return false, nil
	}
	n, err := s.write(s.out)
	if n == len(s.out) {
		s.out = nil // and its memory
		return false, err
	}
	s.out = s.out[n:]
	return true, err
}

// write writes what the descriptor takes. mu is held.
func (s *tlsSocket) write(p []byte) (n int, err error) {
	if s.closed {
		return 0, net.ErrClosed
	}
	return poller.WriteSome(s.fd, p)
}

// close closes the descriptor, after which nothing is written.
func (s *tlsSocket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.out = nil
	unix.Close(s.fd)
}

// Deadlines are net/http's; a parked socket has its own.

// SetDeadline implements net.Conn.
func (s *tlsSocket) SetDeadline(t time.Time) error {
	if s.parked {
		return nil
	}
	return s.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *tlsSocket) SetReadDeadline(t time.Time) error {
	if s.parked {
		return nil
	}
	return s.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (s *tlsSocket) SetWriteDeadline(t time.Time) error {
	if s.parked {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}
