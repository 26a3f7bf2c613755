// Package outbox is the outbound half of a connection: whole frames, or lines of
// the HTTP fallback, go in from any goroutine, none of which ever waits for the
// client.
//
// [Outbox] pushes: a frame goes straight to the socket while the socket takes it.
// The receivers of the fallback pull. What is not taken waits in a [Queue], by one
// rule for both: bounded in bytes for each client and, in a [Budget], for all
// together, and in the time without progress. A client that lets more pile up is a
// slow consumer: it is cut off, and nobody else notices.
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
	open     state = iota
	starting       // takes frames, none of which goes out before Start
	closing        // takes nothing more; what is queued still goes out
	parting        // closing, and what was queued has made way for a goodbye
	closed         // finished
)

// Outbox is one connection's. All methods may be called concurrently.
type Outbox struct {
	w      Writer
	budget *Budget

	mu      sync.Mutex // guards the following; held during TryWrite, which does not block
	state   state
	held    bool   // nothing goes out, and what comes is behind the queue's mark
	waiting *Queue // nil while nothing waits, as it is mostly
}

// Init prepares an outbox that is a part of its connection.
func (o *Outbox) Init(w Writer, budget *Budget) { o.w, o.budget = w, budget }

// Send offers whole frames, which it does not keep. After Close it does
// nothing.
func (o *Outbox) Send(frames []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send(frames, false)
}

// Deliver is Send for frames of a subscription that never change, unless left
// reports that it has ended. It reports whether it has kept them: see
// channels.Subscriber.
func (o *Outbox) Deliver(frames []byte, left func() bool) (kept bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !left() && o.send(frames, true)
}

// Hold keeps back everything that is sent until Release, so that an answer can
// go ahead of it.
func (o *Outbox) Hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = true
	if o.waiting != nil {
		o.waiting.Mark()
	}
}

// Release sends first, whole frames, ahead of what was held back.
func (o *Outbox) Release(first []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	switch {
	case o.state != open:
	case o.waiting == nil:
		o.send(first, false)
	case !o.waiting.Insert(first):
		o.slow()
	default:
		o.flush()
	}
}

// Await keeps back everything until Start. It comes before all other calls; Close
// comes behind Start.
func (o *Outbox) Await() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = starting
	o.held = true
}

// Start ends what Await began: it sends preface, which is no frame, and what has
// been sent since in one write. A new socket takes a preface of a few
// hundred bytes whole; if it does not, the outbox finishes.
func (o *Outbox) Start(preface []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != starting {
		return
	}
	o.state = open
	o.held = false
	var frames []byte
	if q := o.waiting; q != nil {
		for next := q.Next(); next != nil; next = q.Next() {
			frames = append(frames, next...)
			q.Sent(len(next))
		}
		o.waiting = nil
	}
	n, err := o.w.TryWrite(append(preface, frames...))
	n -= len(preface)
	switch {
	case err == nil && n < 0:
		o.finish(io.ErrShortWrite)
	case err != nil:
		o.finish(err)
	case n < len(frames):
		o.rest(frames, n, false)
	}
}

// Flush writes what waits; the socket has become writable.
func (o *Outbox) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
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
	if _, ok := o.queue().Add(last, false); !ok {
		o.partWith(last)
	}
	o.flush()
}

// CutOff implements [Owner]: the client does not read enough. One that is closing
// does not either. One that is starting has nothing but a greeting to read.
func (o *Outbox) CutOff() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state == open || o.state == closing {
		o.slow()
	}
}

// Abort drops what waits and takes nothing more. It calls cut, which ends the
// connection, under the lock of all writes; Finish is not called any more.
func (o *Outbox) Abort(cut func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state = closed
	o.drop()
	cut()
}

// Locked calls f under the lock of all writes.
func (o *Outbox) Locked(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

// The following need mu.

func (o *Outbox) queue() *Queue {
	if o.waiting == nil {
		o.waiting = o.budget.NewQueue(o)
	}
	return o.waiting
}

func (o *Outbox) send(frames []byte, shared bool) (kept bool) {
	if o.state > starting || len(frames) == 0 {
		return false
	}
	if o.held || o.waiting != nil {
		kept, ok := o.queue().Add(frames, shared)
		if !ok {
			o.slow()
		}
		return kept
	}
	n, err := o.w.TryWrite(frames)
	switch {
	case err != nil:
		o.finish(err)
	case n < len(frames):
		return o.rest(frames, n, shared)
	}
	return false
}

// rest queues frames of which n bytes have gone out: those that have gone out
// whole are left away. Nothing waits yet.
func (o *Outbox) rest(frames []byte, n int, shared bool) (kept bool) {
	start := wholeFrames(frames, n)
	kept, _ = o.queue().Add(frames[start:], shared)
	o.waiting.Sent(n - start)
	return kept
}

func (o *Outbox) flush() {
	if o.state == closed || o.held {
		return
	}
	if q := o.waiting; q != nil {
		for next := q.Next(); next != nil; next = q.Next() {
			n, err := o.w.TryWrite(next)
			if err != nil {
				o.finish(err)
				return
			}
			q.Sent(n)
			if n < len(next) {
				return
			}
		}
		o.waiting = nil
	}
	if o.state == closing || o.state == parting {
		o.finish(nil)
	}
}

// slow cuts off a slow consumer: it gets the rest of the frame that the socket
// has a part of, and a goodbye.
func (o *Outbox) slow() {
	o.held = false
	o.partWith(o.w.Slow())
	o.flush()
}

// partWith replaces what waits, but for the rest of a frame.
func (o *Outbox) partWith(last []byte) {
	o.state = parting
	var rest []byte
	if q := o.waiting; q != nil {
		rest = slices.Clone(unfinished(q.Drop()))
	}
	_, _ = o.queue().Add(append(rest, last...), false) // there is room
}

// unfinished is the rest of the frame within which sent is.
func unfinished(frames []byte, sent int) []byte {
	end := wholeFrames(frames, sent)
	if end < sent {
		end += protocol.FrameLen(frames[end:])
	}
	return frames[sent:end]
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

func (o *Outbox) drop() {
	if o.waiting != nil {
		o.waiting.Drop()
		o.waiting = nil
	}
}

func (o *Outbox) finish(err error) {
	o.state = closed
	o.drop()
	o.w.Finish(err)
}
