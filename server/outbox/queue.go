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

// Queue is what waits for one client, first in, first out: whole frames for a
// socket, whole lines for a receiver of the fallback. The lock of its owner guards
// it. What it may hold is its [Budget]'s.
//
// A large broadcast that waits for many clients is in memory once: their queues
// refer to the same bytes.
type Queue struct {
	budget *Budget
	owner  Owner

	segments [][]byte
	own      bool // the last segment may be appended to
	sent     int  // bytes of the first segment that have gone out
	largest  int  // size of the largest item since nothing waited; see Add
	mark     int  // in segments

	// Read by the budget, too.
	bytes    atomic.Int64 // that wait
	progress atomic.Int64 // when something went out, or nothing waited, on the budget's clock
}

// NewQueue returns the queue of an owner.
func (b *Budget) NewQueue(owner Owner) *Queue { return &Queue{budget: b, owner: owner} }

// Len is how many bytes wait.
func (q *Queue) Len() int { return int(q.bytes.Load()) }

// Add appends bytes, and reports whether it has kept a reference to them, which it
// may do if shared says that they do not change.
//
// ok is false, and nothing is added, when more waits already than the limit and
// the largest item together: the client does not read. So what waits decides, not
// what is added, and a client that has asked for a large answer and reads it may
// have as much wait behind that as any other.
func (q *Queue) Add(b []byte, shared bool) (kept, ok bool) {
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
func (q *Queue) room(n int) bool {
	if q.Len() > q.budget.limits.Client+q.largest {
		return false
	}
	q.largest = max(q.largest, n)
	return true
}

func (q *Queue) grow(n int) {
	if q.bytes.Add(int64(n)) == int64(n) { // it was empty
		q.progress.Store(q.budget.now.Load())
		q.budget.watch(q)
	}
	q.budget.added(n)
}

// Mark remembers the end of what waits, for Insert. Nothing may go out until then.
func (q *Queue) Mark() {
	q.mark = len(q.segments)
	q.own = false // what comes is apart from what is there
}

// Insert puts bytes ahead of what has been added since Mark. ok is as of Add.
func (q *Queue) Insert(b []byte) (ok bool) {
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

// Next returns bytes that are to go out next, nil if nothing waits.
func (q *Queue) Next() []byte {
	if len(q.segments) == 0 {
		return nil
	}
	return q.segments[0][q.sent:]
}

// Sent says that n bytes of those that Next returned have gone out.
func (q *Queue) Sent(n int) {
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
	q.progress.Store(q.budget.now.Load())
	q.shrink(n)
}

func (q *Queue) shrink(n int) {
	left := q.bytes.Add(int64(-n))
	q.budget.added(-n)
	if left == 0 {
		q.segments = nil // and its memory
		q.mark, q.largest = 0, 0
		q.budget.forget(q)
	}
}

// Drop forgets all that waits, and returns the bytes of the first segment and how
// many of them have gone out.
func (q *Queue) Drop() (first []byte, sent int) {
	if len(q.segments) > 0 {
		first, sent = q.segments[0], q.sent
	}
	q.segments, q.sent, q.own, q.mark = nil, 0, false, 0
	if n := q.Len(); n > 0 {
		q.shrink(n)
	}
	return first, sent
}
