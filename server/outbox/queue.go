package outbox

import (
	"slices"
	"sync/atomic"
)

const (
	// ownSegment is how large a segment of the queue's own may grow, in bytes.
	ownSegment = 16 << 10
	// leastShared is the size from which bytes that do not change are kept as they
	// are rather than copied: a reference costs as much as a few dozen bytes.
	leastShared = 256
)

// queue is what waits for one client, first in, first out. Its outbox's lock guards
// it, and its [Budget] says what it may hold.
//
// A large broadcast that waits for many clients is in memory once: their queues
// refer to the same bytes.
type queue struct {
	outbox *Outbox

	segments [][]byte
	own      bool // the last segment may be appended to
	sent     int  // bytes of the first segment that have gone out
	largest  int  // size of the largest item since nothing waited; see add
	mark     int  // in segments

	// Read by the budget, too.
	bytes    atomic.Int64 // that wait
	progress atomic.Int64 // when something went out, or nothing waited, on the budget's clock
}

// len is how many bytes wait.
func (q *queue) len() int { return int(q.bytes.Load()) }

// add appends bytes, and reports whether it has kept a reference to them, which it
// may do if shared says that they do not change.
//
// ok is false, and nothing is added, when more waits already than the limit and
// the largest item together: the client does not read. So what waits decides, not
// what is added, and a client that has asked for a large answer and reads it may
// have as much wait behind that as any other.
func (q *queue) add(b []byte, shared bool) (kept, ok bool) {
	if len(b) == 0 {
		return false, true
	}
	if !q.room(len(b)) {
		return false, false
	}
	q.grow(len(b))
	if shared && len(b) >= leastShared {
		q.segments = append(q.segments, b)
		q.own = false
		return true, true
	}
	if last := len(q.segments) - 1; q.own && len(q.segments[last])+len(b) <= ownSegment {
		q.segments[last] = append(q.segments[last], b...)
	} else {
		q.segments = append(q.segments, slices.Clone(b))
		q.own = true
	}
	return false, true
}

// room says whether an item of n bytes may wait.
func (q *queue) room(n int) bool {
	if q.len() > q.outbox.budget.limits.Client+q.largest {
		return false
	}
	q.largest = max(q.largest, n)
	return true
}

func (q *queue) grow(n int) {
	if q.bytes.Add(int64(n)) == int64(n) { // it was empty
		q.progress.Store(q.outbox.budget.now.Load())
		q.outbox.budget.watch(q)
	}
	q.outbox.budget.added(n)
}

// setMark remembers the end of what waits, for insert. Nothing may go out until then.
func (q *queue) setMark() {
	q.mark = len(q.segments)
	q.own = false // what comes is apart from what is there
}

// insert puts bytes ahead of what has been added since setMark. ok is as of add.
func (q *queue) insert(b []byte) (ok bool) {
	if len(b) == 0 {
		return true
	}
	if !q.room(len(b)) {
		return false
	}
	q.grow(len(b))
	q.segments = slices.Insert(q.segments, q.mark, slices.Clone(b))
	q.own = q.own && q.mark < len(q.segments)-1
	return true
}

// next returns bytes that are to go out next, nil if nothing waits.
func (q *queue) next() []byte {
	if len(q.segments) == 0 {
		return nil
	}
	return q.segments[0][q.sent:]
}

// advance says that n bytes of those that next returned have gone out.
func (q *queue) advance(n int) {
	if n == 0 {
		return
	}
	q.sent += n
	if q.sent == len(q.segments[0]) {
		q.segments[0] = nil
		q.segments = q.segments[1:]
		q.sent = 0
		q.own = q.own && len(q.segments) > 0
	}
	q.progress.Store(q.outbox.budget.now.Load())
	q.shrink(n)
}

func (q *queue) shrink(n int) {
	left := q.bytes.Add(int64(-n))
	q.outbox.budget.added(-n)
	if left == 0 {
		q.segments = nil // and its memory
		q.mark, q.largest = 0, 0
		q.outbox.budget.forget(q)
	}
}

// drop forgets all that waits, and returns the bytes of the first segment and how
// many of them have gone out.
func (q *queue) drop() (first []byte, sent int) {
	if len(q.segments) > 0 {
		first, sent = q.segments[0], q.sent
	}
	q.segments, q.sent, q.own, q.mark = nil, 0, false, 0
	if n := q.len(); n > 0 {
		q.shrink(n)
	}
	return first, sent
}
