// Package outbox is the outbound half of a connection: whole frames go in from
// any goroutine, none of which ever waits for the client.
//
// A frame goes straight to the socket while the socket takes it. What it does
// not take waits here, bounded in bytes, until the socket is writable again. A
// client that lets more pile up is a slow consumer: it is cut off, and nobody
// else notices.
package outbox

import (
	"slices"
	"sync"

	"belfry/protocol"
)

// Writer is the socket.
type Writer interface {
	// TryWrite writes what the socket takes without blocking. n < len(p) and
	// no error means that the rest would block, and that the writer will call
	// [Outbox.Flush] when it would not. It is called under the outbox's lock
	// and must not call back.
	TryWrite(p []byte) (n int, err error)
	// Slow is called, under the same lock, when a slow consumer is cut off:
	// it returns the frames to part with and sees to the rest elsewhere.
	Slow() (goodbye []byte)
	// Finish is called at most once, under the same lock, after the last byte
	// was written, or dropped because of an error of TryWrite.
	Finish(err error)
}

type state uint8

const (
	open    state = iota
	closing       // takes nothing more; what is queued still goes out
	closed        // finished
)

// Outbox is one connection's. All methods may be called concurrently.
type Outbox struct {
	w     Writer
	limit int

	mu    sync.Mutex // guards the following; held during TryWrite, which does not block
	state state
	held  bool
	// queue begins with a whole frame while open; queue[:sent] is written.
	queue []byte
	sent  int
	// heldFrom is where in queue the frames that came since Hold begin.
	heldFrom int
}

// Init prepares an outbox that is a part of its connection. A client that lets
// more than limit bytes wait is cut off.
func (o *Outbox) Init(w Writer, limit int) {
	o.w, o.limit = w, limit
}

// Send offers whole frames, which it does not keep. After Close it does
// nothing.
func (o *Outbox) Send(frames []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send(frames)
}

// Deliver is Send for frames of a subscription, unless left reports that it
// has ended. See channels.Subscriber.
func (o *Outbox) Deliver(frames []byte, left func() bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if left() {
		return
	}
	o.send(frames)
}

// Hold keeps back everything that is sent until Release, so that an answer can
// go ahead of it.
func (o *Outbox) Hold() {
	o.mu.Lock()
	o.held, o.heldFrom = true, len(o.queue)
	o.mu.Unlock()
}

// Release sends first, whole frames, ahead of what was held back.
func (o *Outbox) Release(first []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	if o.state != open {
		return
	}
	if len(o.queue) == 0 {
		o.send(first)
		return
	}
	o.queue = slices.Insert(o.queue, o.heldFrom, first...)
	o.flush()
	o.checkLimit()
}

// Flush writes what waits; the socket has become writable.
func (o *Outbox) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.held {
		o.flush()
	}
}

// Close sends last, whole frames, behind everything that waits, and then
// finishes. Only the first Close counts.
func (o *Outbox) Close(last []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != open {
		return
	}
	o.held = false
	o.state = closing
	o.queue = append(o.queue, last...)
	o.flush()
}

// Abort drops what waits and takes nothing more. It calls cut, which ends the
// connection, under the lock of all writes; Finish is not called any more.
func (o *Outbox) Abort(cut func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = closed
	o.queue, o.sent = nil, 0
	cut()
}

// Locked calls f under the lock of all writes.
func (o *Outbox) Locked(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

// Waiting is how many bytes the socket has not taken yet.
func (o *Outbox) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue) - o.sent
}

// The following need mu.

func (o *Outbox) send(frames []byte) {
	if o.state != open || len(frames) == 0 {
		return
	}
	if o.held || len(o.queue) > 0 {
		o.queue = append(o.queue, frames...)
		o.checkLimit()
		return
	}
	n, err := o.w.TryWrite(frames)
	if err != nil {
		o.finish(err)
		return
	}
	if n == len(frames) {
		return
	}
	start := 0 // of the frame that was cut
	for size := protocol.FrameLen(frames); start+size <= n; size = protocol.FrameLen(frames[start:]) {
		start += size
	}
	o.queue = append(o.queue, frames[start:]...)
	o.sent = n - start
	o.checkLimit()
}

func (o *Outbox) flush() {
	if o.state == closed {
		return
	}
	if o.sent < len(o.queue) {
		n, err := o.w.TryWrite(o.queue[o.sent:])
		if err != nil {
			o.finish(err)
			return
		}
		o.sent += n
	}
	if o.sent < len(o.queue) {
		o.compact()
		return
	}
	o.queue, o.sent = nil, 0
	if o.state == closing {
		o.finish(nil)
	}
}

// compact forgets written frames once they are the larger part of the queue.
func (o *Outbox) compact() {
	if o.state != open || o.sent < len(o.queue)/2 {
		return
	}
	start := 0
	for size := protocol.FrameLen(o.queue); start+size <= o.sent; size = protocol.FrameLen(o.queue[start:]) {
		start += size
	}
	n := copy(o.queue, o.queue[start:])
	o.queue = o.queue[:n]
	o.sent -= start
}

// frameInProgress is the end of the frame that the socket has a part of.
func (o *Outbox) frameInProgress() (end int) {
	for end < o.sent {
		end += protocol.FrameLen(o.queue[end:])
	}
	return end
}

// checkLimit cuts off a slow consumer.
func (o *Outbox) checkLimit() {
	if o.state != open || len(o.queue)-o.sent <= o.limit {
		return
	}
	o.held = false
	rest := o.queue[o.sent:o.frameInProgress()]
	o.state = closing
	o.queue, o.sent = append(slices.Clone(rest), o.w.Slow()...), 0
	o.flush()
}

func (o *Outbox) finish(err error) {
	if o.state == closed {
		return
	}
	o.state = closed
	o.queue, o.sent = nil, 0
	o.w.Finish(err)
}
