package server

import (
	"io"
	"log"
	"log/slog"
	"net"
	"strings"

	"belfry/protocol"
	"belfry/server/refusals"
)

// A client that speaks TLS to a plain port, or plain HTTP to a TLS port, sees
// nothing but a closed connection, and so would an operator. Both are logged.

// plainListener accepts connections that are not to speak TLS.
type plainListener struct {
	net.Listener
	refusals *refusals.Log
}

// Accept implements net.Listener.
func (l plainListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	return &plainConn{TCPConn: tcp, refusals: l.refusals}, nil
}

// plainConn looks at the first byte that comes.
type plainConn struct {
	*net.TCPConn
	refusals *refusals.Log // nil once that is done
}

// tlsHandshake is the content type of the record that a TLS client begins with
// (RFC 8446 section 5.1).
const tlsHandshake = 0x16

// Read implements net.Conn.
func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
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

// TCP is the connection itself, for package websocket.
func (c *plainConn) TCP() *net.TCPConn { return c.TCPConn }

// httpErrors takes what net/http logs: faults of clients mostly.
type httpErrors struct {
	log      *slog.Logger
	refusals *refusals.Log
}

// Write implements io.Writer.
func (e httpErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.Contains(text, "client sent an HTTP request to an HTTPS server") {
		e.refusals.Add(refusals.Refusal{What: "connection refused",
			Reason: "a client speaks plain HTTP (http or ws) to this port, which is TLS: have it use https or wss, or remove server.tls"})
	} else {
		e.log.Debug(protocol.Clip(text, 500))
	}
	return len(line), nil
}

func (e httpErrors) logger() *log.Logger { return log.New(e, "", 0) }
