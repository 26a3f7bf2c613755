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

// receiver is a request that waits for what a session sends. The lock of its conn's
// outbox guards all but the constant fields and lines. These are the request's
// goroutine's; taking is true only while that one, holding the lock, flushes the outbox
// into them.
type receiver struct {
	polling bool
	wake    chan struct{} // of capacity 1: look again

	taking bool   // moves what waits to lines
	lines  []byte // to be written
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
	c.out.Lock()
	defer c.out.Unlock()
	if c.removed {
		return false
	}
	c.receiver.notify()
	c.receiver = r
	now := c.handler.Watch.Now()
	c.seen.Store(now)
	c.wrote = now
	if c.out.OpenLocked() {
		c.until = keepalive.Never
		c.handler.Watch.Set(c.slot, now) // there may be a nearer deadline now
	}
	return true
}

// detach is the end of a receiver, after which the client has so many seconds
// to come back.
func (c *conn) detach(r *receiver, wait keepalive.Time) {
	c.out.Lock()
	defer c.out.Unlock()
	c.release(r, wait)
}

// release is detach with the outbox's lock held.
func (c *conn) release(r *receiver, wait keepalive.Time) {
	if c.receiver != r {
		return
	}
	c.receiver = nil
	if c.out.OpenLocked() {
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

// take replaces r's lines with what it may write now.
func (c *conn) take(r *receiver) step {
	c.out.Lock()
	defer c.out.Unlock()
	r.lines = r.lines[:0]
	if c.receiver != r {
		return part
	}
	c.begin(r)
	begun := len(r.lines)
	if !r.polling || len(r.lines) == 0 {
		r.taking = true
		c.out.FlushLocked()
		r.taking = false
		c.addSigns(r, len(r.lines) == begun)
	}
	now := c.handler.Watch.Now()
	if len(r.lines) > 0 {
		c.wrote = now
	}
	if r.full() && r.fullAt == 0 {
		r.fullAt = now
	}
	switch {
	case c.removed:
		return finish
	case r.polling && len(r.lines) > 0:
		c.release(r, returnWait+keepalive.Time(len(r.lines)/pollRate))
		return part
	}
	return wait
}

// begin adds what comes ahead of all messages. In a poll, it goes alone.
func (c *conn) begin(r *receiver) {
	if !r.begun && !r.polling {
		r.add(prelude)
	}
	r.begun = true
	if !c.greeted {
		c.greeted = true
		r.add(protocol.OpenLine)
	}
}

// addSigns adds the signs of life that are due, and that messages are not: silent
// says that there are none.
func (c *conn) addSigns(r *receiver, silent bool) {
	if c.beat && !c.removed && (silent || !r.polling) { // the end of a poll is answered anyway
		r.add(protocol.HeartbeatLine)
	}
	if c.answer && silent && !r.full() {
		r.add(protocol.EmptyLine)
	}
	c.beat, c.answer = false, false
}

// add adds lines that are no messages.
func (r *receiver) add(lines string) {
	r.lines = append(r.lines, lines...)
	r.units += len(lines)
}

// fitting is how much of lines may be added now: up to the line with which the
// client restarts, or an answer's worth.
func (r *receiver) fitting(lines []byte) (n int) {
	for n < len(lines) && !r.full() {
		end := n + bytes.IndexByte(lines[n:], '\n') + 1
		if r.polling && len(r.lines)+n > 0 && len(r.lines)+end > maxPollAnswer {
			break
		}
		r.units += protocol.LineUnits(lines[n:end])
		n = end
	}
	return n
}

// keptBytes is how large the buffer of a request that waits may stay.
const keptBytes = 4 << 10
