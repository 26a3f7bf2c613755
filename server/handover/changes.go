package handover

import "sync"

// Changes are what requests do to a server's state. A handover freezes them, and waits
// for those that are under way. All methods may be called concurrently, those of a nil
// Changes too: that is never frozen.
type Changes struct {
	mu    sync.RWMutex
	moved bool // guarded by mu
}

// Begin comes before a change, or before several of one request, and waits while they are
// frozen. It reports whether the state has moved to another process, so that a change
// would come to nothing. End is due in any case.
//
// A goroutine ends a change before it begins another one: Freeze, which waits for the
// first, would have it wait for ever. Pollers and the watch are frozen ahead of changes,
// so their handlers may begin some.
func (c *Changes) Begin() (moved bool) {
	if c == nil {
		return false
	}
	c.mu.RLock()
	return c.moved
}

// End comes after a change.
func (c *Changes) End() {
	if c != nil {
		c.mu.RUnlock()
	}
}

// Freeze waits for the changes that have begun. No other one begins until Thaw.
func (c *Changes) Freeze() { c.mu.Lock() }

// Move notes that the state has moved to another process. Changes are frozen.
func (c *Changes) Move() { c.moved = true }

// Thaw ends Freeze.
func (c *Changes) Thaw() { c.mu.Unlock() }
