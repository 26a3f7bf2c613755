package door

import (
	"io"
	"log/slog"
	"net"
	"sync/atomic"

	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/refusals"
)

// Conn is a connection that net/http serves.
type Conn struct {
	*net.TCPConn
	place    *capacity.Place
	watch    *keepalive.Watch
	unread   []byte        // was read ahead
	refusals *refusals.Log // nil once the first byte was looked at

	state atomic.Uint32 // idle, busy, taken or dismissed
	seen  atomic.Uint32 // keepalive.Time when it began to be idle
}

const (
	idle      uint32 = iota
	busy             // a handler serves a request
	taken            // it is not net/http's any more
	dismissed        // and closed
)

// tlsHandshake is the content type of the record that a TLS client begins with
// (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// Read implements net.Conn. A client that speaks TLS to this plain port sees
// nothing but a closed connection, and so would an operator without the log.
func (c *Conn) Read(p []byte) (n int, err error) {
	if len(c.unread) > 0 {
		n = copy(p, c.unread)
		c.unread = c.unread[n:]
	} else {
		n, err = c.TCPConn.Read(p)
	}
	if n > 0 && c.refusals != nil {
		if p[0] == tlsHandshake {
			c.refusals.Add(refusals.Refusal{What: "connection refused",
				Reason: "a client speaks TLS (https or wss) to this port, which is plain: have it use http or ws, or configure server.tls"},
				slog.String("remote", c.RemoteAddr().String()))
			return 0, io.EOF
		}
		c.refusals = nil
	}
	return n, err
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	defer c.place.Leave()
	return c.TCPConn.Close()
}

// Counted returns the connection. Those that embed one have it too.
func (c *Conn) Counted() *Conn { return c }

// Take says that whoever serves the request closes the connection, and gives back its
// place. It returns what was read ahead.
func (c *Conn) Take() (unread []byte) {
	c.state.Store(taken)
	return c.unread
}

// rest is the end of a request.
func (c *Conn) rest() {
	c.seen.Store(c.watch.Now())
	c.state.CompareAndSwap(busy, idle)
}

// Dismiss implements capacity.Guest. A connection on which half a request has come
// is idle; one on which an answer may still be on its way was served just now.
func (c *Conn) Dismiss(anyway bool) bool {
	if !anyway && justNow(c.seen.Load(), c.watch) || !c.state.CompareAndSwap(idle, dismissed) {
		return false
	}
	c.Close()
	return true
}

// justNow says whether a second may not have passed since.
func justNow(since keepalive.Time, w *keepalive.Watch) bool { return since+1 >= w.Now() }
