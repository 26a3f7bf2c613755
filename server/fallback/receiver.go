package fallback

import (
	"bytes"
	"strings"

	"belfry/protocol"
	"belfry/server/keepalive"
)

const (
	// restartLength is how much of one response, in units of UTF-16, a client
	// has read before it asks for another one: MAX_BUFFER_LENGTH in
	// src/core/http/http_request.ts of pusher-js 8.6.0.
	restartLength = 256 << 10
	// restartWait is how long, in seconds, it may at least take to read that;
	// it is looked at with the heartbeats.
	restartWait = 60
	// maxPollAnswer bounds the answer to a poll, in bytes. A longer line goes
	// alone.
	maxPollAnswer = 128 << 10
	// pollRate is how many bytes a second a polling client reads at least: it
	// has the time for them before it must come back.
	pollRate = 16 << 10
)

// prelude fills the buffers of browsers and proxies that keep back the first
// bytes of a response: as long as that of SockJS' servers, and a heartbeat.
var prelude = strings.Repeat("h", 2048) + "\n"

// receiver is a request that waits for what a session sends. Its conn's mutex
// guards all but the constant fields.
type receiver struct {
	polling bool
	wake    chan struct{} // of capacity 1: look again

	begun  bool
	units  int            // written, or about to be, as the client counts
	fullAt keepalive.Time // when units came to exceed restartLength
}

func newReceiver(t protocol.Transport) *receiver {
	return &receiver{polling: t == protocol.XHRPolling, wake: make(chan struct{}, 1)}
}

// notify wakes the request. There may be none.
func (r *receiver) notify() {
	if r == nil {
		return
	}
	select {
	case r.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// full reports that nothing of consequence may follow in this response.
func (r *receiver) full() bool { return !r.polling && r.units > restartLength }

// attach makes r the session's receiver in place of the one before, whose
// client has gone away without our noticing. It reports false when the session
// is no more.
func (c *conn) attach(r *receiver) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == removed {
		return false
	}
	c.receiver.notify()
	c.receiver = r
	now := c.handler.Watch.Now()
	c.seen.Store(now)
	c.wrote = now
	if c.state == open {
		c.until = never
		c.handler.Watch.Set(c.slot, now) // there may be a nearer deadline now
	}
	return true
}

// detach is the end of a receiver, after which the client has so many seconds
// to come back.
func (c *conn) detach(r *receiver, wait keepalive.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(r, wait)
}

// release is detach with mu held.
func (c *conn) release(r *receiver, wait keepalive.Time) {
	if c.receiver != r || c.state == removed {
		return
	}
	c.receiver = nil
	if c.state == open {
		c.await(wait)
	}
}

// step is what a receiver is to do once it has written its lines.
type step uint8

const (
	wait   step = iota // until woken
	part               // end the response; the session goes on, or another request's
	finish             // end the response, and the session
)

// take moves what r may write now behind lines, which are empty.
func (c *conn) take(r *receiver, lines []byte) ([]byte, step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.receiver != r {
		return lines, part
	}
	lines = c.takeSigns(r, lines)
	if r.polling && len(lines) > 0 {
		c.release(r, returnWait)
		return lines, part
	}
	if !c.held {
		lines = c.takeMessages(r, lines)
	}
	now := c.handler.Watch.Now()
	if len(lines) > 0 {
		c.wrote = now
	}
	if r.full() && r.fullAt == 0 {
		r.fullAt = now
	}
	switch {
	case c.state == closing && c.waiting() == 0:
		c.remove()
		return lines, finish
	case r.polling && len(lines) > 0:
		c.release(r, returnWait+keepalive.Time(len(lines)/pollRate))
		return lines, part
	}
	return lines, wait
}

// takeSigns is take for what is no message.
func (c *conn) takeSigns(r *receiver, lines []byte) []byte {
	if !r.begun && !r.polling {
		lines = append(lines, prelude...)
	}
	r.begun = true
	if !c.greeted {
		c.greeted = true
		lines = append(lines, protocol.OpenLine...)
	}
	if c.beat && (!r.polling || c.waiting() == 0) { // else the answer comes anyway
		lines = append(lines, protocol.HeartbeatLine...)
	}
	c.beat = false
	r.units += len(lines)
	return lines
}

// takeMessages is take for messages: those that fit, of one segment of the queue
// after the other.
func (c *conn) takeMessages(r *receiver, lines []byte) []byte {
	for c.queue != nil {
		next := c.queue.Next()
		n := r.fitting(next, len(lines))
		lines = append(lines, next[:n]...)
		if n > 0 {
			c.queue.Sent(n)
		}
		if c.queue.Len() == 0 {
			c.queue = nil
		} else if n < len(next) {
			break
		}
	}
	return lines
}

// fitting is how much of lines may be written now, behind so many bytes: up to the
// line with which the client restarts, or an answer's worth.
func (r *receiver) fitting(lines []byte, behind int) (n int) {
	for n < len(lines) && !r.full() {
		end := n + bytes.IndexByte(lines[n:], '\n') + 1
		if r.polling && behind+n > 0 && behind+end > maxPollAnswer {
			break
		}
		r.units += protocol.LineUnits(lines[n:end])
		n = end
	}
	return n
}

// keptBytes is how large the buffer of a request that waits may stay.
const keptBytes = 4 << 10
