// Package keepalive watches over connections' deadlines: one sweep a second
// over a compact list instead of a timer each.
package keepalive

import (
	"sync"
	"sync/atomic"
	"time"
)

// Time is whole seconds on the watch's own clock.
type Time = uint32

// Never is a deadline that does not come.
const Never = ^Time(0)

// Slot is a place in the list. The zero Slot is that of what is not watched yet.
type Slot int32

// Watched is something with a deadline.
type Watched interface {
	// Due is called when the deadline has come, and returns the next one,
	// unless it has set a later one itself.
	Due(now Time) (next Time)
}

// Watch sweeps. All methods may be called concurrently.
type Watch struct {
	now atomic.Uint32

	sweeping sync.Mutex // held during a sweep, and while frozen; ahead of all other locks
	ahead    Time       // of its own clock; guarded by sweeping

	mu      sync.Mutex // guards the following
	due     []Time     // by slot
	watched []Watched  // by slot; nil is free
	free    []Slot
	asking  Slot // whose Due is being called; 0 for none
	sooner  Time // what Earlier has said of it meanwhile

	stop chan struct{}
	done sync.WaitGroup
}

// New starts a watch. Its clock begins at 1.
func New() *Watch {
	w := &Watch{due: make([]Time, 1), watched: make([]Watched, 1), stop: make(chan struct{})}
	w.now.Store(1)
	w.done.Go(w.run)
	return w
}

// Close stops sweeping.
func (w *Watch) Close() {
	close(w.stop)
	w.done.Wait()
}

// Freeze has nobody's Due called until Thaw. It waits for a sweep that is going on.
func (w *Watch) Freeze() { w.sweeping.Lock() }

// Thaw ends Freeze.
func (w *Watch) Thaw() { w.sweeping.Unlock() }

// Continue sets the clock to that of another watch, so that times of that one mean the
// same here. It is called while the watch is frozen, and nothing is watched yet.
func (w *Watch) Continue(now Time) {
	w.ahead = now - w.Now()
	w.now.Store(now)
}

// Now is the time of the last sweep.
func (w *Watch) Now() Time { return w.now.Load() }

// Add watches until Remove is called with the slot, which it sets before
// anybody can find x here.
func (w *Watch) Add(x Watched, slot *Slot, due Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.free); n > 0 {
		*slot = w.free[n-1]
		w.free = w.free[:n-1]
	} else {
		*slot = Slot(len(w.due))
		w.due = append(w.due, 0)
		w.watched = append(w.watched, nil)
	}
	w.due[*slot], w.watched[*slot] = due, x
}

// Set changes a deadline.
func (w *Watch) Set(slot Slot, due Time) {
	w.mu.Lock()
	w.due[slot] = due
	w.mu.Unlock()
}

// Earlier changes a deadline to one that comes sooner than the one there is, or
// than the one that Due is about to return.
func (w *Watch) Earlier(slot Slot, due Time) {
	w.mu.Lock()
	w.due[slot] = min(w.due[slot], due)
	if slot == w.asking {
		w.sooner = min(w.sooner, due)
	}
	w.mu.Unlock()
}

// Remove ends watching; the slot is another's from here on.
func (w *Watch) Remove(slot Slot) {
	if slot == 0 {
		return
	}
	w.mu.Lock()
	w.watched[slot] = nil
	w.free = append(w.free, slot)
	w.mu.Unlock()
}

// All calls f with everything watched, without a lock.
func (w *Watch) All(f func(Watched)) {
	w.mu.Lock()
	all := make([]Watched, 0, len(w.watched)-len(w.free))
	for _, x := range w.watched {
		if x != nil {
			all = append(all, x)
		}
	}
	w.mu.Unlock()
	for _, x := range all {
		f(x)
	}
}

func (w *Watch) run() {
	start := time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var overdue []entry
	for {
		select {
		case <-w.stop:
			return
		case now := <-ticker.C:
			overdue = w.sweep(Time(now.Sub(start)/time.Second)+1, overdue[:0])
		}
	}
}

type entry struct {
	slot    Slot
	watched Watched
}

func (w *Watch) sweep(now Time, overdue []entry) []entry {
	w.sweeping.Lock()
	defer w.sweeping.Unlock()
	now += w.ahead
	w.now.Store(now)
	w.mu.Lock()
	for i, due := range w.due {
		if due <= now && w.watched[i] != nil {
			overdue = append(overdue, entry{Slot(i), w.watched[i]})
		}
	}
	w.mu.Unlock()
	for _, e := range overdue {
		w.mu.Lock()
		w.asking, w.sooner = e.slot, ^Time(0)
		w.mu.Unlock()
		next := e.watched.Due(now)
		w.mu.Lock()
		if w.watched[e.slot] == e.watched && w.due[e.slot] <= now {
			w.due[e.slot] = min(next, w.sooner)
		}
		w.asking = 0
		w.mu.Unlock()
	}
	clear(overdue)
	return overdue
}
