// Package outbox is the outbound half of a connection: whole frames, or lines of
// the HTTP fallback, go in from any goroutine, none of which ever waits for the
// client.
//
// An [Outbox] hands them to its [Writer]. A socket has them pushed: it takes a frame
// at once while it has room. A session of the fallback pulls: its writer takes lines
// only while a request that can carry them flushes the outbox. What is not taken
// waits, by one rule for both: bounded in bytes for each client and, in a [Budget],
// for all together, and in the time without progress. A client that lets more pile
// up is a slow consumer: it is cut off, and nobody else notices.
//
// Frames stand for lines, too, in what follows.
package outbox

import (
	"io"
	"slices"
	"sync"
)

// Writer is the socket, or what stands for it.
type Writer interface {
	// TryWrite writes what the socket takes without blocking. n < len(p) and
	// no error means that the rest would block, and that the writer will call
	// [Outbox.Flush] when it would not. It is called under the outbox's lock
	// and must not call back.
	TryWrite(p []byte) (n int, err error)
	// FrameLen is the length of the first of whole frames.
	FrameLen(frames []byte) int
	// Slow is called, under the same lock, when a slow consumer is cut off:
	// it returns the frames to part with and sees to the rest elsewhere.
	Slow() (goodbye []byte)
	// Finish is called at most once, under the same lock, after the last byte
	// was taken, or dropped because of an error of TryWrite.
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

// Outbox is one connection's. All methods may be called concurrently, but those
// whose names end in Locked: their caller holds the lock.
type Outbox struct {
	w      Writer
	budget *Budget

	// Mutex guards the following, and what the connection keeps in step with it. It
	// is held during TryWrite, which does not block.
	sync.Mutex
	state   state
	held    bool   // as of Hold: what comes is behind the queue's mark
	waiting *queue // nil while nothing waits, as it is mostly
}

// Init prepares an outbox that is a part of its connection.
func (o *Outbox) Init(w Writer, budget *Budget) { o.w, o.budget = w, budget }

// Send offers whole frames, which it does not keep. After Close it does
// nothing.
func (o *Outbox) Send(frames []byte) {
	o.Lock()
	defer o.Unlock()
	o.send(frames, false)
}

// Deliver is Send for frames of a subscription that never change, unless left
// reports that it has ended. It reports whether it has kept them: see
// channels.Subscriber.
func (o *Outbox) Deliver(frames []byte, left func() bool) (kept bool) {
	o.Lock()
	defer o.Unlock()
	return !left() && o.send(frames, true)
}

// Hold keeps back everything that is sent until Release, so that an answer can
// go ahead of it.
func (o *Outbox) Hold() {
	o.Lock()
	defer o.Unlock()
	o.held = true
	if o.waiting != nil {
		o.waiting.setMark()
	}
}

// Release sends first, whole frames, ahead of what was held back.
func (o *Outbox) Release(first []byte) {
	o.Lock()
	defer o.Unlock()
	o.held = false
	switch {
	case !o.OpenLocked():
	case o.waiting == nil:
		o.send(first, false)
	case !o.waiting.insert(first):
		o.slow()
	default:
		o.FlushLocked()
	}
}

// Room reports whether so many bytes more may be sent: what waits for the client stays within
// its limit, or nothing does, and what waits for all together within half of theirs.
func (o *Outbox) Room(bytes int) bool {
	if o.budget.bytes.Load()+int64(bytes) > int64(o.budget.limits.Total)/2 {
		return false
	}
	o.Lock()
	defer o.Unlock()
	return o.waiting == nil || o.waiting.len() == 0 || o.waiting.len()+bytes <= o.budget.limits.Client
}

// Waiting is how many bytes wait.
func (o *Outbox) Waiting() int {
	o.Lock()
	defer o.Unlock()
	if o.waiting == nil {
		return 0
	}
	return o.waiting.len()
}

// Await keeps back everything until Start. It comes before all other calls; Close
// comes behind Start.
func (o *Outbox) Await() {
	o.Lock()
	defer o.Unlock()
	o.state = starting
}

// Start ends what Await began: it sends preface, which is no frame, and what has
// been sent since in one write. A new socket takes a preface of a few
// hundred bytes whole; if it does not, the outbox finishes.
func (o *Outbox) Start(preface []byte) {
	o.Lock()
	defer o.Unlock()
	if o.state != starting {
		return
	}
	o.state = open
	var frames []byte
	if q := o.waiting; q != nil {
		for next := q.next(); next != nil; next = q.next() {
			frames = append(frames, next...)
			q.advance(len(next))
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
	o.Lock()
	defer o.Unlock()
	o.FlushLocked()
}

// FlushLocked is Flush.
func (o *Outbox) FlushLocked() {
	if o.state == closed || o.waits() {
		return
	}
	if q := o.waiting; q != nil {
		for next := q.next(); next != nil; next = q.next() {
			n, err := o.w.TryWrite(next)
			if err != nil {
				o.finish(err)
				return
			}
			q.advance(n)
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

// Close sends last, whole frames, behind everything that waits, and then
// finishes. Only the first Close counts.
func (o *Outbox) Close(last []byte) {
	o.Lock()
	defer o.Unlock()
	if o.state != open {
		return
	}
	o.held = false
	o.state = closing
	if _, ok := o.queue().add(last, false); !ok {
		o.partWith(last)
	}
	o.FlushLocked()
}

// waits reports that nothing goes out now.
func (o *Outbox) waits() bool { return o.held || o.state == starting }

// OpenLocked reports that frames are taken: the outbox is not closing.
func (o *Outbox) OpenLocked() bool { return o.state <= starting }

// cutOff is for a client that does not read enough. One that is closing
// does not either. One that is starting has nothing but a greeting to read.
func (o *Outbox) cutOff() {
	o.Lock()
	defer o.Unlock()
	if o.state == open || o.state == closing {
		o.slow()
	}
}

// Abort drops what waits and takes nothing more. It calls cut, which ends the
// connection, under the lock of all writes; Finish is not called any more.
func (o *Outbox) Abort(cut func()) {
	o.Lock()
	defer o.Unlock()
	o.AbortLocked()
	cut()
}

// AbortLocked is Abort, and leaves it to the caller to end the connection.
func (o *Outbox) AbortLocked() {
	o.state = closed
	if o.waiting != nil {
		o.waiting.drop()
		o.waiting = nil
	}
}

// The following need the lock.

func (o *Outbox) queue() *queue {
	if o.waiting == nil {
		o.waiting = &queue{outbox: o}
	}
	return o.waiting
}

func (o *Outbox) send(frames []byte, shared bool) (kept bool) {
	if !o.OpenLocked() || len(frames) == 0 {
		return false
	}
	if o.waits() || o.waiting != nil {
		kept, ok := o.queue().add(frames, shared)
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
	start := o.wholeFrames(frames, n)
	kept, _ = o.queue().add(frames[start:], shared)
	o.waiting.advance(n - start)
	return kept
}

// slow cuts off a slow consumer: it gets the rest of the frame that the socket
// has a part of, and a goodbye.
func (o *Outbox) slow() {
	o.held = false
	o.partWith(o.w.Slow())
	o.FlushLocked()
}

// partWith replaces what waits, but for the rest of a frame.
func (o *Outbox) partWith(last []byte) {
	o.state = parting
	var rest []byte
	if q := o.waiting; q != nil {
		rest = slices.Clone(o.unfinished(q.drop()))
	}
	_, _ = o.queue().add(append(rest, last...), false) // there is room
}

// unfinished is the rest of the frame within which sent is.
func (o *Outbox) unfinished(frames []byte, sent int) []byte {
	end := o.wholeFrames(frames, sent)
	if end < sent {
		end += o.w.FrameLen(frames[end:])
	}
	return frames[sent:end]
}

// wholeFrames is where the last frame ends that is wholly within the first n
// bytes of frames, which n does not exceed.
func (o *Outbox) wholeFrames(frames []byte, n int) (end int) {
	for end < n {
		size := o.w.FrameLen(frames[end:])
		if end+size > n {
			break
		}
		end += size
	}
	return end
}

func (o *Outbox) finish(err error) {
	o.AbortLocked()
	o.w.Finish(err)
}
