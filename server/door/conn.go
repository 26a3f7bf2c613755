package door

import (
	"io"
	"log/slog"
	"net"

	"belfry/server/refusals"
)

// conn is a connection that net/http serves, with what was read of it ahead.
type conn struct {
	*net.TCPConn
	read     []byte
	refusals *refusals.Log // nil once the first byte was looked at
}

// tlsHandshake is the content type of the record that a TLS client begins with
// (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// Read implements net.Conn. A client that speaks TLS to this plain port sees
// nothing but a closed connection, and so would an operator without the log.
func (c *conn) Read(p []byte) (n int, err error) {
	if len(c.read) > 0 {
		n = copy(p, c.read)
		c.read = c.read[n:]
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

// Unwrap returns the connection itself, and what was read of it and not by way of
// Read. Package websocket takes it over.
func (c *conn) Unwrap() (*net.TCPConn, []byte) { return c.TCPConn, c.read }

// Listen looks at the first bytes of a listener's connections.
func Listen(l net.Listener, r *refusals.Log) net.Listener { return listener{l, r} }

type listener struct {
	net.Listener
	refusals *refusals.Log
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	return &conn{TCPConn: tcp, refusals: l.refusals}, nil
}
