package channels

import (
	"sync"
	"time"
)

// timers run functions later, until they are closed.
type timers struct {
	mu      sync.Mutex // guards the following
	closed  bool
	pending map[*time.Timer]struct{}

	running sync.WaitGroup

	freezing sync.RWMutex // held by functions that run; see Broker.Freeze
}

// after runs f once d has passed, in a goroutine of its own.
func (t *timers) after(d time.Duration, f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		t.mu.Lock()
		_, due := t.pending[timer]
		delete(t.pending, timer)
		if due {
			t.running.Add(1)
		}
		t.mu.Unlock()
		if due {
			defer t.running.Done()
			t.freezing.RLock()
			defer t.freezing.RUnlock()
			f()
		}
	})
	if t.pending == nil {
		t.pending = make(map[*time.Timer]struct{})
	}
	t.pending[timer] = struct{}{}
}

// close forgets what is pending and waits for what is running.
func (t *timers) close() {
	t.mu.Lock()
	t.closed = true
	for timer := range t.pending {
		timer.Stop()
	}
	t.pending = nil
	t.mu.Unlock()
	t.running.Wait()
}
