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
	leisure
}

const (
	idle      uint32 = iota // maybe with a request that is not authorized
	busy                    // an authorized request is being served
	taken                   // it is not net/http's any more
	dismissed               // and closed
)

// leisure is since when a connection has been without an authorized request.
type leisure struct {
	since      atomic.Uint32 // keepalive.Time when it came, or its last authorized request ended
	authorized atomic.Bool   // it has had one
}

// begin begins when a connection comes, and again, authorized, when such a request has
// ended.
func (l *leisure) begin(now keepalive.Time, authorized bool) {
	l.since.Store(now)
	if authorized {
		l.authorized.Store(true)
	}
}

// is says whether the connection is as idle as that.
func (l *leisure) is(i capacity.Idleness, now keepalive.Time) bool {
	long := now > l.since.Load()+1 // a second of which may not be over
	return long && (i == capacity.Idle || !l.authorized.Load())
}

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

// Counted finds the Conn inside a type that embeds it, such as the socket below TLS.
func (c *Conn) Counted() *Conn { return c }

// Take says that whoever serves the request closes the connection, and gives back its
// place. It returns what was read ahead; ok is false if the connection was dismissed.
func (c *Conn) Take() (unread []byte, ok bool) {
	ok = c.state.CompareAndSwap(idle, taken) || c.state.CompareAndSwap(busy, taken)
	unread, c.unread = c.unread, nil
	return unread, ok
}

// requestDone is the end of a request.
func (c *Conn) requestDone() {
	if c.state.Load() == busy {
		c.begin(c.watch.Now(), true)
		c.state.CompareAndSwap(busy, idle)
	}
}

// Dismiss implements capacity.Guest.
func (c *Conn) Dismiss(i capacity.Idleness) bool {
	if !c.is(i, c.watch.Now()) || !c.state.CompareAndSwap(idle, dismissed) {
		return false
	}
	c.Close()
	return true
}
