package channels

import "sync"

// fifo is a queue whose consumers wait for work. Its methods may be called
// concurrently.
type fifo[T any] struct {
	mu     sync.Mutex
	queue  []T // first in, first out, from head
	head   int
	closed bool
	idle   bool // a consumer waits, so that the only one does nothing
	wake   sync.Cond
	rested sync.Cond // idle has become true
}

func (f *fifo[T]) init() { f.wake.L, f.rested.L = &f.mu, &f.mu }

// waitIdle returns when the queue is empty and its only consumer waits.
func (f *fifo[T]) waitIdle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.idle || f.head < len(f.queue) {
		f.rested.Wait()
	}
}

func (f *fifo[T]) push(one T) {
	f.mu.Lock()
	f.queue = append(f.queue, one)
	f.mu.Unlock()
	f.wake.Signal()
}

// next waits for an element; ok is false after close, when none is left.
func (f *fifo[T]) next() (one T, ok bool) {
	var none T
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.head == len(f.queue) {
		if f.closed {
			return none, false
		}
		f.queue, f.head, f.idle = f.queue[:0], 0, true
		f.rested.Broadcast()
		f.wake.Wait()
		f.idle = false
	}
	one = f.queue[f.head]
	f.queue[f.head] = none
	f.head++
	if f.head >= 1024 && f.head*2 >= len(f.queue) {
		n := copy(f.queue, f.queue[f.head:])
		clear(f.queue[n:])
		f.queue, f.head = f.queue[:n], 0
	}
	return one, true
}

// close lets the consumers end once nothing is left.
func (f *fifo[T]) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wake.Broadcast()
}
