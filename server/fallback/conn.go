package fallback

import (
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

// never is a time that does not come.
const never = ^keepalive.Time(0)

type state uint8

const (
	open    state = iota
	closing       // takes nothing more; what is queued ends with the goodbye
	removed       // forgotten
)

// conn is one session's transport: what waits to be sent, and the request, if
// any, that sends it. A session between two polls is no more than this.
type conn struct {
	handler *Handler
	name    name
	session *session.Session
	place   *capacity.Place
	slot    keepalive.Slot
	seen    atomic.Uint32 // keepalive.Time of the client's last request

	handling sync.Mutex // held while one request's messages are handled

	mu    sync.Mutex // guards the following
	state state
	// until is when the session is over: unless a receiver comes while it is
	// open, and in any case while it is closing.
	until    keepalive.Time
	receiver *receiver // nil while there is none
	greeted  bool      // the OpenLine is on its way
	slow     bool      // it is closing as a slow consumer
	beat     bool      // a heartbeat is due
	wrote    keepalive.Time
	held     bool          // no message goes out, and what comes is behind the queue's mark
	queue    *outbox.Queue // whole lines; nil while nothing waits
}

// Send implements session.Conn.
func (c *conn) Send(frames []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enqueue(protocol.AppendLines(nil, frames), false)
}

// Deliver implements session.Conn.
func (c *conn) Deliver(s *channels.Subscription, lines []byte) (kept bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !s.Left() && c.enqueue(lines, true)
}

// answerHeartbeat sends something, unless something is being sent anyway.
func (c *conn) answerHeartbeat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting() == 0 {
		c.enqueue([]byte(protocol.EmptyLine), false)
	}
}

// Hold implements session.Conn.
func (c *conn) Hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
	if c.queue != nil {
		c.queue.Mark()
	}
}

// Release implements session.Conn.
func (c *conn) Release(first []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	switch lines := protocol.AppendLines(nil, first); {
	case c.state != open:
	case c.queue == nil:
		c.enqueue(lines, false)
	case !c.queue.Insert(lines):
		c.cutOff()
	default:
		c.receiver.notify()
	}
}

// CutOff implements outbox.Owner.
func (c *conn) CutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != removed && !c.slow {
		c.cutOff()
	}
}

// Ping implements session.Conn: pusher-js answers a heartbeat with an empty
// list when it streams, and with the next request when it polls.
func (c *conn) Ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beat = true
	c.receiver.notify()
}

// Close implements session.Conn.
func (c *conn) Close(e *protocol.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == open {
		c.close(e)
	}
}

// finish ends the session without a goodbye.
func (c *conn) finish(reason session.Reason) {
	c.mu.Lock()
	c.remove()
	c.mu.Unlock()
	c.end(reason)
}

// end is for a conn that was removed. It must not be called with mu held,
// which the session takes under its own lock.
func (c *conn) end(reason session.Reason) {
	c.mu.Lock()
	if c.slow {
		reason = session.SlowConsumer
	}
	c.mu.Unlock()
	c.session.End(reason) // the first reason counts
}

// Due implements keepalive.Watched.
func (c *conn) Due(now keepalive.Time) (next keepalive.Time) {
	self := c
	defer c.handler.recovered(&self)
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
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.receiver
	switch {
	case c.state == removed:
		return never, ending
	case now >= c.until:
		c.remove()
		return never, over
	case c.slow:
		return c.until, tooSlow
	case c.state == closing:
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

// The following need mu.

// waiting is how many bytes wait to be sent.
func (c *conn) waiting() int {
	if c.queue == nil {
		return 0
	}
	return c.queue.Len()
}

// enqueue appends lines to the queue, and reports whether it has kept them.
func (c *conn) enqueue(lines []byte, shared bool) (kept bool) {
	if c.state != open {
		return false
	}
	if c.queue == nil {
		c.queue = c.handler.Budget.NewQueue(c)
	}
	kept, ok := c.queue.Add(lines, shared)
	if !ok {
		c.cutOff()
		return false
	}
	c.receiver.notify()
	return kept
}

// drop forgets what waits.
func (c *conn) drop() {
	if c.queue != nil {
		c.queue.Drop()
		c.queue = nil
	}
}

// cutOff is the end of a slow consumer.
func (c *conn) cutOff() {
	c.drop()
	c.slow = true
	c.close(session.TooSlow)
	c.handler.Watch.Set(c.slot, c.handler.Watch.Now()) // for Due to end the session, which takes its lock
}

// close queues the goodbye: the error event and the close of the same code. A
// client that lets too much wait already gets just that.
func (c *conn) close(e *protocol.Error) {
	goodbye := appendGoodbye(nil, e)
	if c.queue == nil {
		c.queue = c.handler.Budget.NewQueue(c)
	}
	if _, ok := c.queue.Add(goodbye, false); !ok {
		c.queue.Drop()
		_, _ = c.queue.Add(goodbye, false) // there is room
	}
	c.state = closing
	c.held = false
	c.await(returnWait)
	c.receiver.notify()
}

// await sets when the session is over unless something comes in between.
func (c *conn) await(seconds keepalive.Time) {
	c.until = c.handler.Watch.Now() + seconds + 1 // a second of which may be over
	c.handler.Watch.Set(c.slot, c.until)
}

// remove forgets the conn. Its session is to be ended, without mu.
func (c *conn) remove() {
	if c.state == removed {
		return
	}
	c.state = removed
	c.drop()
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
