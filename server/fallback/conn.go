package fallback

import (
	"bytes"
	"sync"
	"sync/atomic"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/outbox"
	"belfry/server/session"
)

// Times in seconds.
const (
	// heartbeatAfter is how long nothing is sent before a heartbeat, and how
	// long a poll is held: the heartbeat_delay of SockJS' servers.
	heartbeatAfter = 25
	// returnWait is how long a client without a receiver may take to come
	// back, and a goodbye waits for it: the disconnect_delay of SockJS' servers.
	returnWait = 5
)

// conn is one session's transport: its outbox, and the request, if any, that carries
// what is in there. A session between two polls is no more than this.
type conn struct {
	handler *Handler
	name    name
	session *session.Session
	place   *capacity.Place
	slot    keepalive.Slot
	seen    atomic.Uint32 // keepalive.Time of the client's last request

	handling sync.Mutex    // held while one request's messages are handled
	out      outbox.Outbox // of whole lines

	// The outbox's lock guards the following.

	// until is when the session is over: unless a receiver comes while it is
	// open, and in any case while it is closing.
	until    keepalive.Time
	receiver *receiver // nil while there is none
	greeted  bool      // the OpenLine is on its way
	slow     bool      // it is closing as a slow consumer
	removed  bool      // it is forgotten
	beat     bool      // a heartbeat is due
	answer   bool      // the client's heartbeat is to be answered
	wrote    keepalive.Time
}

// Send implements session.Conn.
func (c *conn) Send(frames []byte) { c.out.Send(protocol.AppendLines(nil, frames)) }

// Deliver implements session.Conn.
func (c *conn) Deliver(s *channels.Subscription, lines []byte) (kept bool) {
	return c.out.Deliver(lines, s.Left)
}

// Hold implements session.Conn.
func (c *conn) Hold() { c.out.Hold() }

// Release implements session.Conn.
func (c *conn) Room(bytes int) bool { return c.out.Room(bytes) }

func (c *conn) Release(first []byte) { c.out.Release(protocol.AppendLines(nil, first)) }

// Ping implements session.Conn: pusher-js answers a heartbeat with an empty
// list when it streams, and with the next request when it polls.
func (c *conn) Ping() {
	c.out.Lock()
	defer c.out.Unlock()
	c.beat = true
	c.receiver.notify()
}

// answerHeartbeat sends something, unless something is being sent anyway.
func (c *conn) answerHeartbeat() {
	c.out.Lock()
	defer c.out.Unlock()
	c.answer = true
	c.receiver.notify()
}

// Waiting implements session.Conn.
func (c *conn) Waiting() int { return c.out.Waiting() }

// Seen implements session.Conn.
func (c *conn) Seen() keepalive.Time { return c.seen.Load() }

// Close implements session.Conn.
func (c *conn) Close(e *protocol.Error) {
	c.out.Close(appendGoodbye(nil, e))
	c.out.Lock()
	defer c.out.Unlock()
	if !c.removed {
		c.await(returnWait)
	}
}

// TryWrite implements outbox.Writer: only a receiver takes lines, those that fit.
func (c *conn) TryWrite(lines []byte) (n int, err error) {
	r := c.receiver
	if r == nil || !r.taking {
		r.notify()
		return 0, nil
	}
	n = r.fitting(lines)
	r.lines = append(r.lines, lines[:n]...)
	return n, nil
}

// FrameLen implements outbox.Writer.
func (c *conn) FrameLen(lines []byte) int { return bytes.IndexByte(lines, '\n') + 1 }

// Slow implements outbox.Writer. Due ends the session, which takes its lock.
func (c *conn) Slow() (goodbye []byte) {
	c.slow = true
	c.await(returnWait)
	c.handler.Watch.Set(c.slot, c.handler.Watch.Now())
	return appendGoodbye(nil, session.TooSlow)
}

// Finish implements outbox.Writer: a receiver has the goodbye.
func (c *conn) Finish(error) { c.remove() }

// finish ends the session without a goodbye.
func (c *conn) finish(reason session.Reason) {
	c.out.Lock()
	c.remove()
	c.out.Unlock()
	c.end(reason)
}

// panicked ends the session that has met a bug, and no other.
func (c *conn) panicked() { c.finish(session.Panic) }

// end is for a conn that was removed. It must not be called with the outbox's lock
// held, which the session takes under its own.
func (c *conn) end(reason session.Reason) {
	c.out.Lock()
	if c.slow {
		reason = session.SlowConsumer
	}
	c.out.Unlock()
	c.session.End(reason) // the first reason counts
}

// Due implements keepalive.Watched.
func (c *conn) Due(now keepalive.Time) (next keepalive.Time) {
	defer c.handler.Bugs.Recover(c.panicked)
	next, verdict := c.look(now)
	switch verdict {
	case over:
		c.end(session.ByClient)
	case tooSlow:
		c.session.End(session.SlowConsumer)
	case stuck:
		c.session.Close(session.SlowConsumer, session.TooSlow)
	case alive:
		next = min(next, c.session.Due(now, c.seen.Load()))
	}
	return next
}

type verdict uint8

const (
	alive   verdict = iota
	ending          // waits for its goodbye to be fetched
	over            // nobody came for it
	tooSlow         // was cut off by what waits for it
	stuck           // has not come back for the rest
)

// look looks at the conn's own deadlines; next is when to do so again.
func (c *conn) look(now keepalive.Time) (next keepalive.Time, _ verdict) {
	c.out.Lock()
	defer c.out.Unlock()
	r := c.receiver
	switch {
	case c.removed:
		return keepalive.Never, ending
	case now >= c.until:
		c.remove()
		return keepalive.Never, over
	case c.slow:
		return c.until, tooSlow
	case !c.out.OpenLocked():
		return c.until, ending
	case r == nil:
		return c.until, alive
	case r.full() && now-r.fullAt >= restartWait:
		return now + returnWait, stuck
	case now-c.wrote >= heartbeatAfter:
		c.beat = true
		r.notify()
		return now + heartbeatAfter, alive
	default:
		return c.wrote + heartbeatAfter, alive
	}
}

// The following need the outbox's lock.

// await sets when the session is over unless something comes in between.
func (c *conn) await(seconds keepalive.Time) {
	c.until = c.handler.Watch.Now() + seconds + 1 // a second of which may be over
	c.handler.Watch.Set(c.slot, c.until)
}

// remove forgets the conn. Its session is to be ended, without the lock.
func (c *conn) remove() {
	if c.removed {
		return
	}
	c.removed = true
	c.out.AbortLocked()
	c.receiver.notify()
	c.receiver = nil
	c.handler.Watch.Remove(c.slot)
	c.handler.forget(c)
	c.place.Leave()
}

func appendGoodbye(lines []byte, e *protocol.Error) []byte {
	lines = protocol.ErrorFrame(e).AppendLine(lines)
	return protocol.AppendCloseLine(lines, e.Code, e.Message)
}
