package outbox

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of what waits for clients.
type Limits struct {
	Client  int           // bytes for one client
	Total   int           // bytes for all together; the client with most is cut off
	Timeout time.Duration // without progress, before a client is cut off; whole seconds
}

// Budget is what may wait for all clients together. Its methods may be called
// concurrently.
type Budget struct {
	limits Limits
	bytes  atomic.Int64
	now    atomic.Int64  // seconds since it was made
	over   chan struct{} // more waits than may

	cutting sync.Mutex // held while clients are cut off; ahead of all other locks

	mu      sync.Mutex // guards waiting; taken while an outbox's lock is held
	waiting map[*queue]struct{}

	stop chan struct{}
	done sync.WaitGroup
}

// NewBudget starts to watch over what waits in outboxes. Close must be called.
func NewBudget(limits Limits) *Budget {
	b := &Budget{limits: limits, over: make(chan struct{}, 1), waiting: make(map[*queue]struct{}), stop: make(chan struct{})}
	b.done.Go(b.run)
	return b
}

// Close ends watching.
func (b *Budget) Close() {
	close(b.stop)
	b.done.Wait()
}

// Freeze has nobody cut off until Thaw. It waits for what is being done about that.
func (b *Budget) Freeze() { b.cutting.Lock() }

// Thaw ends Freeze.
func (b *Budget) Thaw() { b.cutting.Unlock() }

// Bytes is how much waits for all clients together.
func (b *Budget) Bytes() int { return int(b.bytes.Load()) }

func (b *Budget) added(n int) {
	if total := b.bytes.Add(int64(n)); n > 0 && total > int64(b.limits.Total) {
		select {
		case b.over <- struct{}{}:
		default:
		}
	}
}

func (b *Budget) watch(q *queue) {
	b.mu.Lock()
	b.waiting[q] = struct{}{}
	b.mu.Unlock()
}

func (b *Budget) forget(q *queue) {
	b.mu.Lock()
	delete(b.waiting, q)
	b.mu.Unlock()
}

func (b *Budget) run() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-second.C:
			b.now.Add(1)
			b.cutStalled()
		case <-b.over:
			b.cutLargest()
		}
	}
}

// queues are those in which something waits.
func (b *Budget) queues() []*queue {
	b.mu.Lock()
	defer b.mu.Unlock()
	queues := make([]*queue, 0, len(b.waiting))
	for q := range b.waiting {
		queues = append(queues, q)
	}
	return queues
}

// cutStalled cuts off clients that have taken nothing for too long.
func (b *Budget) cutStalled() {
	b.cutting.Lock()
	defer b.cutting.Unlock()
	now, timeout := b.now.Load(), int64(b.limits.Timeout/time.Second)
	for _, q := range b.queues() {
		if now-q.progress.Load() > timeout { // a second of which may not be over
			q.outbox.cutOff()
		}
	}
}

// cutLargest cuts off the clients for which most waits until a tenth of the total
// is free: one that is a little over it would be cut for each event.
func (b *Budget) cutLargest() {
	b.cutting.Lock()
	defer b.cutting.Unlock()
	queues := b.queues()
	sizes := make(map[*queue]int, len(queues)) // as they change meanwhile
	for _, q := range queues {
		sizes[q] = q.len()
	}
	slices.SortFunc(queues, func(x, y *queue) int { return cmp.Compare(sizes[y], sizes[x]) })
	for _, q := range queues {
		if b.Bytes() <= b.limits.Total-b.limits.Total/10 {
			return
		}
		q.outbox.cutOff()
	}
}
