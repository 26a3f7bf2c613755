package outbox

import (
	"errors"
	"slices"
)

// Exported is what waits in an outbox, for another process to go on with.
type Exported struct {
	// Frames begin with the one of which Sent bytes have gone out.
	Frames  []byte `json:"frames,omitempty"`
	Sent    int    `json:"sent,omitzero"`
	Largest int    `json:"largest,omitzero"` // item, in bytes; see Limits
	Stalled int64  `json:"stalled,omitzero"` // seconds without progress
}

// Export returns what waits. ok is false if the outbox does not take frames any more.
// Nothing may be held back.
func (o *Outbox) Export() (e Exported, ok bool) {
	o.Lock()
	defer o.Unlock()
	if o.state != open || o.held {
		return e, false
	}
	q := o.waiting
	if q == nil || len(q.segments) == 0 {
		return e, true
	}
	start := o.wholeFrames(q.segments[0], q.sent)
	e.Frames = slices.Concat(q.segments...)[start:]
	e.Sent, e.Largest = q.sent-start, q.largest
	e.Stalled = o.budget.now.Load() - q.progress.Load()
	return e, true
}

var errExported = errors.New("what waits for a client does not fit together")

// Restore has a new outbox go on with what waited in another one. Flush is due when the
// socket takes bytes.
func (o *Outbox) Restore(e Exported) error {
	o.Lock()
	defer o.Unlock()
	if len(e.Frames) == 0 {
		return nil
	}
	if e.Sent < 0 || e.Sent >= len(e.Frames) {
		return errExported
	}
	q := o.queue()
	q.largest = max(e.Largest, 0)
	q.grow(len(e.Frames))
	q.segments = [][]byte{e.Frames}
	q.advance(e.Sent)
	q.progress.Store(o.budget.now.Load() - max(e.Stalled, 0))
	return nil
}
