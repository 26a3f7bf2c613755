package webhooks

import (
	"log/slog"
	"sync"
	"time"

	"belfry/server/metrics"
)

// quiet is how long one kind of message about an endpoint is not repeated.
const quiet = time.Minute

// lossTexts are what is logged of each reason.
var lossTexts = map[string]string{
	metrics.FailedStatus:     "webhooks are given up: the endpoint refuses them",
	metrics.FailedRedirect:   "webhooks are given up: the endpoint redirects them",
	metrics.FailedExpired:    "webhooks are given up: the endpoint has not taken them in time",
	metrics.DroppedQueueFull: "webhooks are dropped: the queue is full",
	metrics.DroppedRemoved:   "webhooks are dropped: their endpoint is not configured any more",
	metrics.DroppedShutdown:  "webhooks are dropped: they could not be delivered before the end",
}

// losses adds up the events that an endpoint loses, so that the log has all of
// them, but one line a reason and minute.
type losses struct {
	added chan struct{} // there is something to write

	mu    sync.Mutex // guards the following
	kinds map[string]*loss
	ended *slog.Logger // writes at once from here on; nil: not yet
}

// loss is what was lost for one reason since it was last written.
type loss struct {
	events  int
	because any // of the last one; nil: nothing to add to the reason
	written time.Time
}

func newLosses() *losses {
	return &losses{added: make(chan struct{}, 1), kinds: make(map[string]*loss)}
}

// lose counts events that will not be delivered. The reason is one of those that
// metrics have.
func (e *endpoint) lose(reason string, events int, because any) {
	if events == 0 {
		return
	}
	switch reason {
	case metrics.FailedStatus, metrics.FailedRedirect, metrics.FailedExpired:
		e.app.counts.Failed(reason, events)
	default:
		e.app.counts.Dropped(reason, events)
	}
	e.losses.add(reason, events, because)
}

func (l *losses) add(reason string, events int, because any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[reason]
	if k == nil {
		k = new(loss)
		l.kinds[reason] = k
	}
	k.events += events
	k.because = because
	if l.ended != nil {
		l.writeAll(l.ended)
	} else {
		signal(l.added)
	}
}

// write logs what was not logged for a minute, and returns a channel that
// fires when there is more to log; nil if nothing is left.
func (l *losses) write(log *slog.Logger) (due <-chan time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var next time.Time
	for reason, k := range l.kinds {
		at := k.written.Add(quiet)
		switch {
		case k.events == 0:
		case at.After(now):
			next = earlier(next, at)
		default:
			k.write(log, reason, now)
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(next.Sub(now))
}

// end logs what is left.
func (l *losses) end(log *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = log
	l.writeAll(log)
}

func (l *losses) writeAll(log *slog.Logger) {
	for reason, k := range l.kinds {
		if k.events > 0 {
			k.write(log, reason, time.Now())
		}
	}
}

func (k *loss) write(log *slog.Logger, reason string, now time.Time) {
	attributes := []any{"reason", reason, "events", k.events}
	if k.because != nil {
		attributes = append(attributes, "because", k.because)
	}
	log.Warn(lossTexts[reason], attributes...)
	*k = loss{written: now}
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
