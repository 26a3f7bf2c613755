package outbox

import (
	"errors"
	"unsafe"
)

// Exported is what waits in an outbox, for another process to go on with.
type Exported struct {
	Segments []ExportedSegment `json:"segments,omitempty"`
	Sent     int               `json:"sent,omitzero"`    // bytes of the first segment that have gone out
	Largest  int               `json:"largest,omitzero"` // item, in bytes; see Limits
	Stalled  int64             `json:"stalled,omitzero"` // seconds without progress
}

// ExportedSegment is whole frames: those that are given here, or, if there are none, those
// of an [Exporter] that have the number.
type ExportedSegment struct {
	Frames []byte `json:"frames,omitempty"`
	Number int    `json:"number,omitzero"`
}

// Exporter exports outboxes, and gives each run of frames that waits in several of them to
// Share once. One goroutine uses it.
type Exporter struct {
	// Share takes frames ahead of the outboxes that refer to them: the first ones have
	// the number 0.
	Share func(frames []byte) error

	numbers map[run]int
}

// run identifies frames by where they are in memory. It keeps them there.
type run struct {
	first  *byte
	length int
}

// number returns the number of frames, which it shares if they are new.
func (x *Exporter) number(frames []byte) (int, error) {
	r := run{unsafe.SliceData(frames), len(frames)}
	if n, known := x.numbers[r]; known {
		return n, nil
	}
	if err := x.Share(frames); err != nil {
		return 0, err
	}
	if x.numbers == nil {
		x.numbers = make(map[run]int)
	}
	n := len(x.numbers)
	x.numbers[r] = n
	return n, nil
}

// Export returns what waits. ok is false if the outbox does not take frames any more. The
// error is that of Share. Nothing may be held back.
func (o *Outbox) Export(x *Exporter) (e Exported, ok bool, err error) {
	o.Lock()
	defer o.Unlock()
	if o.state != open || o.held {
		return e, false, nil
	}
	q := o.waiting
	if q == nil || len(q.segments) == 0 {
		return e, true, nil
	}
	for _, frames := range q.segments {
		var s ExportedSegment
		if len(frames) < leastShared { // they are this client's own
			s.Frames = frames
		} else if s.Number, err = x.number(frames); err != nil {
			return e, false, err
		}
		e.Segments = append(e.Segments, s)
	}
	e.Sent, e.Largest = q.sent, q.largest
	e.Stalled = o.budget.now.Load() - q.progress.Load()
	return e, true, nil
}

var errExported = errors.New("what waits for a client does not fit together")

// Restore has a new outbox go on with what waited in another one. shared are frames of an
// Exporter, by their numbers; outboxes refer to the same ones. Flush is due when the
// socket takes bytes.
func (o *Outbox) Restore(e Exported, shared [][]byte) error {
	o.Lock()
	defer o.Unlock()
	if len(e.Segments) == 0 {
		return nil
	}
	q := o.queue()
	q.largest = max(e.Largest, 0)
	for _, s := range e.Segments {
		frames := s.Frames
		if len(frames) == 0 {
			if s.Number < 0 || s.Number >= len(shared) {
				return errExported
			}
			frames = shared[s.Number]
		}
		q.segments = append(q.segments, frames)
		q.grow(len(frames))
	}
	if e.Sent < 0 || e.Sent >= len(q.segments[0]) {
		return errExported
	}
	q.advance(e.Sent)
	q.progress.Store(o.budget.now.Load() - max(e.Stalled, 0))
	return nil
}
