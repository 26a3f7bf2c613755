package websocket

import (
	"sync/atomic"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/outbox"
	"belfry/server/session"
)

// closeTimeout is how long, in seconds, a peer may take to read our last
// frames and to close its side.
const closeTimeout = 5

// conn is what both forms of a connection have in common: the session's
// transport. Control frames go through the outbox like everything else, and so
// never end up inside another frame.
type conn struct {
	handler *Handler
	socket  socket
	out     outbox.Outbox
	session *session.Session // nil when the client was refused
	slot    keepalive.Slot
	place   *capacity.Place
	seen    atomic.Uint32 // keepalive.Time of the last bytes from the client
	closing atomic.Bool   // the last frame is on its way

	// begun is when the message began whose end has not come yet; 0 for none.
	begun atomic.Uint32 // keepalive.Time

	// Owned by the one goroutine that reads.
	ended  bool // no message is read any more, bytes are discarded
	frames frames
	pongs  []byte // frames that answer pings, for one write when what came is read
}

// socket is the part that differs between the forms.
type socket interface {
	outbox.Writer
	// cut ends the connection at once, in both directions. It is called under
	// the outbox's lock, and makes the reader see the end.
	cut()
	// pause stops reading for about a second. The reader calls it.
	pause()
	// resume ends a pause. It is called in the sweep, and when the connection is closing.
	resume()
	// start begins reading. early are bytes that came with the handshake.
	start(early []byte)
}

// init prepares a connection. The outbox and the watch need the whole.
func (c *conn) init(h *Handler, s socket, place *capacity.Place) {
	c.handler, c.socket, c.place = h, s, place
	c.out.Init(s, h.Budget)
	c.seen.Store(h.Watch.Now())
}

// Send implements session.Conn.
func (c *conn) Send(frames []byte) { c.out.Send(frames) }

// Deliver implements session.Conn.
func (c *conn) Deliver(s *channels.Subscription, frames []byte) (kept bool) {
	return c.out.Deliver(frames, s.Left)
}

// Hold implements session.Conn.
func (c *conn) Hold() { c.out.Hold() }

// Release implements session.Conn.
func (c *conn) Room(bytes int) bool { return c.out.Room(bytes) }

func (c *conn) Release(first []byte) { c.out.Release(first) }

// Ping implements session.Conn.
func (c *conn) Ping() { c.out.Send(protocol.PingFrame) }

// Waiting implements session.Conn.
func (c *conn) Waiting() int { return c.out.Waiting() }

// Seen implements session.Conn.
func (c *conn) Seen() keepalive.Time { return c.seen.Load() }

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
	c.socket.resume() // to see the peer's end
	c.out.Close(last)
}

// FrameLen implements outbox.Writer.
func (c *conn) FrameLen(frames []byte) int { return protocol.FrameLen(frames) }

// Slow implements outbox.Writer.
func (c *conn) Slow() []byte {
	c.closing.Store(true)
	go func() {
		defer c.handler.Bugs.Recover(c.panicked)
		c.handler.Changes.Begin()
		defer c.handler.Changes.End()
		c.handler.Watch.Set(c.slot, c.handler.Watch.Now()+closeTimeout)
		c.socket.resume()
		c.leave(session.SlowConsumer)
	}()
	return farewell(session.TooSlow)
}

// Due implements keepalive.Watched.
func (c *conn) Due(now keepalive.Time) (next keepalive.Time) {
	defer c.handler.Bugs.Recover(c.panicked)
	c.socket.resume()
	if c.closing.Load() {
		c.out.Abort(c.socket.cut)
		return keepalive.Never
	}
	if c.session == nil {
		return keepalive.Never
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

// take reads what came. It is called by one goroutine.
func (c *conn) take(came []byte) {
	if c.ended || c.closing.Load() {
		return
	}
	before := c.frames.part
	end := c.frames.push(came, c.session.App().Settings().MaxMessageBytes, c)
	c.answerPings()
	if n := c.frames.count; n > 0 {
		c.frames.count = 0
		c.session.Spend(n)
	}
	if c.session.Hurried() {
		c.socket.pause()
	}
	switch {
	case end != nil:
		c.finish(end)
	case c.frames.part == nil:
		c.begun.Store(0)
	case c.frames.part != before:
		now := c.handler.Watch.Now()
		c.begun.Store(now)
		c.handler.Watch.Earlier(c.slot, now+c.messageTimeout())
	}
}

// takeEarly is take for what came with the handshake.
func (c *conn) takeEarly(early []byte) {
	defer c.handler.Bugs.Recover(c.panicked)
	c.take(early)
}

// messageTimeout is in seconds.
func (c *conn) messageTimeout() keepalive.Time {
	return keepalive.Time(c.session.App().Settings().MessageTimeout / time.Second)
}

// text implements handler.
func (c *conn) text(message []byte) {
	c.answerPings()
	c.session.Handle(message)
}

// binary implements handler.
func (c *conn) binary(message []byte) {
	c.answerPings()
	c.session.HandleBinary(len(message))
}

// ping implements handler.
func (c *conn) ping(payload []byte) {
	c.pongs = append(c.pongs, protocol.ControlPongFrame(payload)...)
}

func (c *conn) answerPings() {
	if c.pongs != nil {
		c.out.Send(c.pongs)
		c.pongs = nil // and its memory
	}
}

// finish closes as RFC 6455 sections 5.5.1 and 7.1.7 have it.
func (c *conn) finish(e *ending) {
	c.ended = true
	c.frames = frames{}
	switch {
	case e.byClient:
		c.leave(session.ByClient)
	case e.code == closeTooBig:
		c.session.Breach(session.TooBig, &protocol.Error{Code: e.code, Message: e.reason})
	default:
		c.session.Breach(session.ProtocolError, &protocol.Error{Code: e.code, Message: e.reason})
	}
	c.end(protocol.CloseFrame(e.code, e.reason))
}

// panicked ends the connection on which a bug was met, and no other. The reader sees
// the end, and cleans up.
func (c *conn) panicked() {
	c.closing.Store(true)
	c.out.Abort(c.socket.cut)
	c.leave(session.Panic)
}
