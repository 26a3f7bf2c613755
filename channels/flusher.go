package channels

import (
	"runtime"
	"sync"
)

// flusher serves shards of many channels in turn.
type flusher struct {
	mu     sync.Mutex
	queue  []*shard // first in, first out, from head
	head   int
	closed bool
	wake   sync.Cond
}

func newFlusher() *flusher {
	f := new(flusher)
	f.wake.L = &f.mu
	return f
}

// push queues a shard that has something pending. It must not be queued yet:
// shard.active sees to that.
func (f *flusher) push(s *shard) {
	f.mu.Lock()
	f.queue = append(f.queue, s)
	f.mu.Unlock()
	f.wake.Signal()
}

// next waits for a shard; nil after close, when none is left.
func (f *flusher) next() *shard {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.head == len(f.queue) {
		if f.closed {
			return nil
		}
		f.queue, f.head = f.queue[:0], 0
		f.wake.Wait()
	}
	s := f.queue[f.head]
	f.queue[f.head] = nil
	f.head++
	if f.head >= 1024 && f.head*2 >= len(f.queue) {
		n := copy(f.queue, f.queue[f.head:])
		clear(f.queue[n:])
		f.queue, f.head = f.queue[:n], 0
	}
	return s
}

func (f *flusher) run() {
	var r round
	for s := f.next(); s != nil; s = f.next() {
		if s.flush(&r) {
			f.push(s)
			// A flusher spends its time in system calls that do not yield:
			// without this, the network poller starves under load.
			runtime.Gosched()
		}
	}
}

func (f *flusher) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wake.Signal()
}
