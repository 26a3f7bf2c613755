package websocket

import (
	"context"
	"errors"
	"sync/atomic"
	"unicode/utf8"

	"github.com/coder/websocket"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/keepalive"
	"belfry/server/outbox"
	"belfry/server/session"
)

// closeTimeout is how long, in seconds, a peer may take to read our last
// frames and to close its side.
const closeTimeout = 5

// never is a deadline that does not come.
const never = ^keepalive.Time(0)

// forever is for reads: a context that can end costs a timer each.
var forever = context.Background()

// conn is what both forms of a connection have in common: the session's
// transport. What the WebSocket library writes are whole control frames, which
// go through the outbox like everything else and so never end up inside another
// frame.
type conn struct {
	handler *Handler
	socket  socket
	out     outbox.Outbox
	session *session.Session // nil when the client was refused
	slot    keepalive.Slot
	placed  bool          // it has a place
	seen    atomic.Uint32 // keepalive.Time of the last bytes from the client
	closing atomic.Bool   // the last frame is on its way

	// Owned by the one goroutine that reads: no message is read any more, bytes
	// are discarded.
	ended bool
}

// socket is the part that differs between the forms.
type socket interface {
	outbox.Writer
	// cut ends the connection at once, in both directions. It is called under
	// the outbox's lock, and makes the reader see the end.
	cut()
	// start begins reading. r is the reader that the handshake has made, early
	// are bytes that came with it.
	start(r *reader, early []byte)
}

// init prepares a connection. The outbox and the watch need the whole.
func (c *conn) init(h *Handler, s socket) {
	c.handler, c.socket = h, s
	c.out.Init(s, h.MaxOutboxBytes)
	c.seen.Store(h.Watch.Now())
}

// Send implements session.Conn.
func (c *conn) Send(frames []byte) { c.out.Send(frames) }

// Deliver implements session.Conn.
func (c *conn) Deliver(s *channels.Subscription, frames []byte) { c.out.Deliver(frames, s.Left) }

// Hold implements session.Conn.
func (c *conn) Hold() { c.out.Hold() }

// Release implements session.Conn.
func (c *conn) Release(first []byte) { c.out.Release(first) }

// Ping implements session.Conn.
func (c *conn) Ping() { c.out.Send(protocol.PingFrame) }

// Close implements session.Conn.
func (c *conn) Close(e *protocol.Error) { c.end(farewell(e)) }

// farewell is the error event and the close frame of the same code.
func farewell(e *protocol.Error) []byte {
	return append(protocol.ErrorFrame(e), protocol.CloseFrame(e.Code, e.Message)...)
}

// end sends the last frames and gives the peer closeTimeout to close its side.
func (c *conn) end(last []byte) {
	c.closing.Store(true)
	c.handler.Watch.Set(c.slot, c.handler.Watch.Now()+closeTimeout)
	c.out.Close(last)
}

// Slow implements outbox.Writer.
func (c *conn) Slow() []byte {
	c.closing.Store(true)
	go func() {
		defer c.recovered()
		c.handler.Watch.Set(c.slot, c.handler.Watch.Now()+closeTimeout)
		c.leave(session.SlowConsumer)
	}()
	return farewell(session.TooSlow)
}

// Due implements keepalive.Watched.
func (c *conn) Due(now keepalive.Time) (next keepalive.Time) {
	defer c.recovered()
	if c.closing.Load() {
		c.out.Abort(c.socket.cut)
		return never
	}
	if c.session == nil {
		return never
	}
	return c.session.Due(now, c.seen.Load())
}

// leave ends the session, if there is one.
func (c *conn) leave(reason session.Reason) {
	if c.session != nil {
		c.session.End(reason)
	}
}

// receive reads one message and handles it. It returns false when there is none
// now, or never will be again: see c.ended.
func (c *conn) receive(r *reader) bool {
	kind, err := r.receive()
	switch {
	case errors.Is(err, errParked):
		return false
	case err != nil:
		c.failed(err, r.gone)
		return false
	case kind == websocket.MessageBinary:
		c.session.HandleBinary(len(r.message))
	case !utf8.Valid(r.message):
		c.breach(websocket.StatusInvalidFramePayloadData, "text is not valid UTF-8")
		return false
	default:
		c.session.Handle(r.message)
	}
	return true
}

// failed is the end of reading: the peer closed, or went, or broke the rules.
func (c *conn) failed(err error, gone bool) {
	c.ended = true
	switch {
	case websocket.CloseStatus(err) != -1, gone:
		c.leave(session.ByClient)
	default:
		// The library has sent a close frame for most breaches, in which case
		// this one is not sent.
		c.breach(websocket.StatusProtocolError, "protocol error")
	}
}

// breach closes as RFC 6455 section 7.1.7 has it.
func (c *conn) breach(code websocket.StatusCode, reason string) {
	c.ended = true
	c.leave(session.ProtocolError)
	c.end(protocol.CloseFrame(int(code), reason))
}

// recovered is deferred around everything that a client can reach: a bug ends
// that client's connection only. The reader sees the end, and cleans up.
func (c *conn) recovered() {
	p := recover()
	if p == nil {
		return
	}
	c.closing.Store(true)
	c.out.Abort(c.socket.cut)
	c.handler.panicked(p)
	defer func() {
		if p := recover(); p != nil { // a bug in leaving
			c.handler.panicked(p)
		}
	}()
	c.leave(session.Panic)
}

// control sends a control frame of the library's.
func (c *conn) control(frame []byte) {
	const opcodeClose, header, code = 8, 2, 2
	switch {
	case frame[0]&0x0f != opcodeClose:
		c.out.Send(frame)
	case len(frame) > header+code && !utf8.Valid(frame[header+code:]):
		// The library returns a reason as it came.
		c.end(protocol.CloseFrame(int(websocket.StatusInvalidFramePayloadData), "reason is not valid UTF-8"))
	default:
		c.end(frame)
	}
}
