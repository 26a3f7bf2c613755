package websocket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/outbox"
	"belfry/server/session"
)

// closeTimeout is how long, in seconds, a peer may take to read our last
// frames and to close its side.
const closeTimeout = 5

// inputBuffer is read at a time, in bytes. It is small so that a client that
// sends many messages at once leaves the others their turn.
const inputBuffer = 4 << 10

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
	counted bool          // against Capacity
	seen    atomic.Uint32 // keepalive.Time of the last bytes from the client
	closing atomic.Bool   // the last frame is on its way

	// begun is when the message began whose end has not come yet; 0 for none.
	begun atomic.Uint32 // keepalive.Time

	// Owned by the one goroutine that reads.
	ended      bool        // no message is read any more, bytes are discarded
	unfinished *unfinished // nil mostly
}

// unfinished is the beginning of a message whose end has not come yet.
type unfinished struct {
	data    []byte
	scanner scanner
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
	next = c.session.Due(now, c.seen.Load())
	if begun := c.begun.Load(); begun != 0 {
		limit := begun + c.messageTimeout()
		if now >= limit {
			c.session.App().Metrics.LimitMet(metrics.MessageTimeout)
			c.session.Close(session.Unfinished, protocol.Errorf(protocol.CodeInactive,
				"Message was begun and not finished within %s: see message_timeout", c.session.App().Settings().MessageTimeout))
			return c.handler.Watch.Now() + closeTimeout
		}
		next = min(next, limit)
	}
	return next
}

// leave ends the session, if there is one.
func (c *conn) leave(reason session.Reason) {
	if c.session != nil {
		c.session.End(reason)
	}
}

// take handles the whole messages in what came, and keeps the rest. It reports
// whether the reader may be used for another connection.
func (c *conn) take(r *reader, came []byte) (clean bool) {
	if c.ended || c.closing.Load() {
		return false
	}
	data, scan := came, scanner{}
	if u := c.unfinished; u != nil {
		u.data = append(u.data, came...)
		data, scan = u.data, u.scanner
	}
	limit := c.session.App().Settings().MaxMessageBytes
	n, verdict := scan.whole(data, limit)
	r.lend(c, data[:n], limit)
	for !c.ended && r.unread() && c.receive(r) {
	}
	switch {
	case c.ended:
	case verdict == tooBig:
		c.breach(websocket.StatusMessageTooBig, fmt.Sprintf("message is larger than max_message_bytes %d", limit))
	case verdict == broken:
		c.breach(websocket.StatusProtocolError, "protocol error")
	}
	if c.ended {
		c.unfinished = nil
	} else {
		c.keep(data[n:], n, scan)
	}
	return r.takeBack()
}

// keep keeps the beginning of a message, behind n bytes of whole ones.
func (c *conn) keep(rest []byte, n int, scan scanner) {
	u := c.unfinished
	switch {
	case len(rest) == 0:
		c.unfinished = nil
		c.begun.Store(0)
		return
	case u == nil:
		u = &unfinished{data: bytes.Clone(rest)}
		c.unfinished = u
	case n > 0: // else rest is the whole of what was kept already
		u.data = append(u.data[:0], rest...)
	}
	u.scanner = scan
	if c.begun.Load() == 0 || n > 0 {
		now := c.handler.Watch.Now()
		c.begun.Store(now)
		c.handler.Watch.Earlier(c.slot, now+c.messageTimeout())
	}
}

// messageTimeout is in seconds.
func (c *conn) messageTimeout() keepalive.Time {
	return keepalive.Time(c.session.App().Settings().MessageTimeout / time.Second)
}

// takeEarly is take for what came with the handshake.
func (c *conn) takeEarly(r *reader, early []byte) (clean bool) {
	defer c.recovered()
	return c.take(r, early)
}

// receive reads one message and handles it. It returns false when there is none
// now, or never will be again: see c.ended.
func (c *conn) receive(r *reader) bool {
	kind, err := r.receive()
	switch {
	case errors.Is(err, errParked):
		return false
	case err != nil:
		c.failed(err)
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

// failed is the end of reading: the peer closed, or broke the rules.
func (c *conn) failed(err error) {
	c.ended = true
	if websocket.CloseStatus(err) != -1 {
		c.leave(session.ByClient)
	} else {
		// The library has sent a close frame for most breaches, in which case
		// this one is not sent.
		c.breach(websocket.StatusProtocolError, "protocol error")
	}
}

// breach closes as RFC 6455 section 7.1.7 has it.
func (c *conn) breach(code websocket.StatusCode, reason string) {
	c.ended = true
	why := session.ProtocolError
	if code == websocket.StatusMessageTooBig {
		why = session.TooBig
	}
	c.session.Breach(why, &protocol.Error{Code: int(code), Message: reason})
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
