// Package outbox is the outbound half of a connection: whole frames go in from
// any goroutine, none of which ever waits for the client.
//
// A frame goes straight to the socket while the socket takes it. What it does
// not take waits here, bounded in bytes, until the socket is writable again. A
// client that lets more pile up is a slow consumer: it is cut off, and nobody
// else notices.
package outbox

import (
	"io"
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
	limit int32

	mu      sync.Mutex // guards the following; held during TryWrite, which does not block
	state   state
	held    bool
	waiting *backlog // nil when nothing waits, as it is mostly
}

// backlog is what the socket has not taken yet.
type backlog struct {
	// queue begins with a whole frame while the outbox is open; queue[:sent]
	// is written.
	queue []byte
	sent  int
	// heldFrom is where in queue the frames that came since Hold begin.
	heldFrom int
}

// Init prepares an outbox that is a part of its connection. A client that lets
// more than limit bytes wait, of at most 1 GiB, is cut off.
func (o *Outbox) Init(w Writer, limit int) {
	o.w, o.limit = w, int32(min(limit, 1<<30))
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
	defer o.mu.Unlock()
	o.held = true
	if b := o.waiting; b != nil {
		b.heldFrom = len(b.queue)
	}
}

// Release sends first, whole frames, ahead of what was held back.
func (o *Outbox) Release(first []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	if o.state != open {
		return
	}
	b := o.waiting
	if b == nil {
		o.send(first)
		return
	}
	b.queue = slices.Insert(b.queue, b.heldFrom, first...)
	b.heldFrom = 0
	o.flush()
	o.checkLimit()
}

// Start ends a Hold that came before everything: it sends preface, which is no
// frame, and what was held in one write. A new socket takes a preface of a few
// hundred bytes whole; if it does not, the outbox finishes.
func (o *Outbox) Start(preface []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	if o.state != open {
		return
	}
	var frames []byte
	if o.waiting != nil {
		frames, o.waiting = o.waiting.queue, nil
	}
	n, err := o.w.TryWrite(append(preface, frames...))
	n -= len(preface)
	switch {
	case err == nil && n < 0:
		o.finish(io.ErrShortWrite)
	case err != nil:
		o.finish(err)
	case n < len(frames):
		o.waiting = &backlog{queue: frames, sent: n}
	}
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
	o.queue(last)
	o.flush()
}

// Abort drops what waits and takes nothing more. It calls cut, which ends the
// connection, under the lock of all writes; Finish is not called any more.
func (o *Outbox) Abort(cut func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = closed
	o.waiting = nil
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
	if o.waiting == nil {
		return 0
	}
	return len(o.waiting.queue) - o.waiting.sent
}

// The following need mu.

func (o *Outbox) send(frames []byte) {
	if o.state != open || len(frames) == 0 {
		return
	}
	if o.held || o.waiting != nil {
		o.queue(frames)
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
	start := wholeFrames(frames, n)
	o.queue(frames[start:])
	o.waiting.sent = n - start
	o.checkLimit()
}

func (o *Outbox) queue(frames []byte) {
	if o.waiting == nil {
		o.waiting = new(backlog)
	}
	o.waiting.queue = append(o.waiting.queue, frames...)
}

func (o *Outbox) flush() {
	if o.state == closed {
		return
	}
	if b := o.waiting; b != nil {
		n, err := o.w.TryWrite(b.queue[b.sent:])
		if err != nil {
			o.finish(err)
			return
		}
		b.sent += n
		if b.sent < len(b.queue) {
			if o.state == open {
				b.compact()
			}
			return
		}
		o.waiting = nil
	}
	if o.state == closing {
		o.finish(nil)
	}
}

// compact forgets written frames once they are the larger part of the queue.
func (b *backlog) compact() {
	if b.sent < len(b.queue)/2 {
		return
	}
	start := wholeFrames(b.queue, b.sent)
	b.queue = append(b.queue[:0], b.queue[start:]...)
	b.sent -= start
}

// unfinished is the rest of the frame that the socket has a part of.
func (b *backlog) unfinished() []byte {
	end := wholeFrames(b.queue, b.sent)
	if end < b.sent {
		end += protocol.FrameLen(b.queue[end:])
	}
	return b.queue[b.sent:end]
}

// wholeFrames is where the last frame ends that is wholly within the first n
// bytes of frames, which n does not exceed.
func wholeFrames(frames []byte, n int) (end int) {
	for end < n {
		size := protocol.FrameLen(frames[end:])
		if end+size > n {
			break
		}
		end += size
	}
	return end
}

// checkLimit cuts off a slow consumer.
func (o *Outbox) checkLimit() {
	b := o.waiting
	if o.state != open || b == nil || len(b.queue)-b.sent <= int(o.limit) {
		return
	}
	o.held = false
	o.state = closing
	o.waiting = &backlog{queue: append(slices.Clone(b.unfinished()), o.w.Slow()...)}
	o.flush()
}

func (o *Outbox) finish(err error) {
	o.state = closed
	o.waiting = nil
	o.w.Finish(err)
}
