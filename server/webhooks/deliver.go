package webhooks

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"belfry/protocol"
	"belfry/server/metrics"
)

// How often and for how long a batch is tried. Pusher retries with exponential
// backoff for five minutes.
const (
	firstRetry = time.Second // most that a first retry waits; twice that for each further one
	maxRetry   = time.Minute
	giveUp     = 5 * time.Minute // since the batch was made
)

// quiet is how long an endpoint that goes on failing is not warned of again.
const quiet = time.Minute

// trouble is what deliver remembers of an endpoint's failures.
type trouble struct {
	failing  bool      // the last request was not answered as it should
	expired  bool      // the last batch was given up for its age
	warned   bool      // of what began when failing was last set
	warnedAt time.Time // of a failure
	lost     int       // events given up and not told of
	toldAt   time.Time // of a loss
	hurried  bool      // flush has ended a pause
}

// delivery is the body of one request: one batch, or several that have piled up.
type delivery struct {
	batches []*batch
	events  int
	body    []byte
	expires time.Time
}

// deliver posts batches until there will be no more, or its context ends.
func (e *endpoint) deliver() {
	for {
		d := e.await()
		if d == nil || !e.send(d) {
			return
		}
	}
}

// await returns what is to be delivered next, nil at the end.
func (e *endpoint) await() *delivery {
	for collected := false; ; {
		if e.ctx.Err() != nil {
			return nil
		}
		if e.trouble.expired {
			e.giveUpWith(time.Now())
		}
		if d := e.take(); d != nil || collected {
			return d
		}
		select {
		case <-e.ready:
		case <-e.collected:
			collected = true
		case <-e.ctx.Done():
		}
	}
}

// take makes a delivery of the first batches. They stay where they are.
func (e *endpoint) take() *delivery {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.batches) == 0 {
		return nil
	}
	d := &delivery{expires: e.batches[0].made.Add(giveUp)}
	bytes := 0
	for _, b := range e.batches {
		if !fits(d.events, bytes, len(b.events), b.bytes) {
			break
		}
		d.batches = append(d.batches, b)
		d.events += len(b.events)
		bytes += b.bytes
	}
	events := make([][]byte, 0, d.events)
	for _, b := range d.batches {
		events = append(events, b.events...)
	}
	d.body = protocol.WebhookBody(d.batches[len(d.batches)-1].timeMS, events)
	return d
}

// send tries until the delivery is taken or given up. It returns false when the
// endpoint ends before.
func (e *endpoint) send(d *delivery) bool {
	for attempt := 1; ; attempt++ {
		if attempt > 1 {
			e.app.counts.Retried.Inc()
		}
		start := time.Now()
		o := e.post(d.body)
		if !o.delivered() && e.ctx.Err() != nil {
			return false // it has ended the request
		}
		e.app.counts.Duration.Observe(time.Since(start).Seconds())
		left := time.Until(d.expires)
		switch {
		case o.delivered():
			e.app.counts.Sent.Add(float64(d.events))
			e.tellRecovery(attempt)
			e.done(d.batches)
			return true
		case !o.mayPass():
			e.fail(d.batches, o.reason(), o, attempt)
			return true
		case left <= 0:
			e.fail(d.batches, metrics.FailedExpired, o, attempt)
			return true
		}
		pause := min(o.pause(attempt), left)
		e.tellFailure(d, o, attempt, pause)
		if !e.pause(pause, o.retryAfter > 0) {
			return false
		}
	}
}

// pause waits, and reports whether it was not the endpoint's end that ended it.
// A server that stops cuts one pause short, unless the endpoint has asked for it.
func (e *endpoint) pause(d time.Duration, asked bool) bool {
	flush := e.flush
	if asked || e.trouble.hurried {
		flush = nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-flush:
		e.trouble.hurried = true
	case <-e.ctx.Done():
		return false
	}
	return true
}

// pause is how long to wait after an attempt, the first being 1.
func (o outcome) pause(attempt int) time.Duration {
	if o.retryAfter > 0 {
		return o.retryAfter
	}
	most := maxRetry
	if attempt < 7 {
		most = min(most, firstRetry<<(attempt-1))
	}
	return rand.N(most) + 1 // never nothing
}

// done takes batches, which are the first ones, off the queue.
func (e *endpoint) done(batches []*batch) {
	e.mu.Lock()
	e.batches = slices.Delete(e.batches, 0, len(batches))
	for _, b := range batches {
		e.queued -= len(b.events)
		e.bytes -= b.bytes
	}
	dropped := 0
	if e.queued <= maxQueued/2 && e.bytes <= maxQueuedBytes/2 {
		dropped, e.dropped, e.toldFull = e.dropped, 0, false
	}
	e.mu.Unlock()
	for _, b := range batches {
		e.unsave(b)
	}
	if dropped > 0 {
		e.log.Warn("the queue of webhooks has room again", "dropped", dropped)
	}
}

// fail gives batches up. An endpoint may refuse 20 times a second: one line
// tells of all losses of a while.
func (e *endpoint) fail(batches []*batch, reason string, because any, attempts int) {
	e.trouble.failing, e.trouble.expired = true, reason == metrics.FailedExpired
	n := 0
	for _, b := range batches {
		n += len(b.events)
	}
	e.app.counts.Failed(reason, n)
	e.trouble.lost += n
	if now := time.Now(); now.Sub(e.trouble.toldAt) >= quiet {
		e.log.Warn("webhooks are given up", "because", because, "attempts", attempts, "events", e.trouble.lost)
		e.trouble.warned, e.trouble.toldAt, e.trouble.lost = true, now, 0
	}
	e.done(batches)
}

// giveUpWith gives up what has become too old behind a batch that was.
func (e *endpoint) giveUpWith(now time.Time) {
	e.mu.Lock()
	n := 0
	for n < len(e.batches) && !now.Before(e.batches[n].made.Add(giveUp)) {
		n++
	}
	old := slices.Clone(e.batches[:n])
	e.mu.Unlock()
	if n > 0 {
		e.fail(old, metrics.FailedExpired, fmt.Sprintf("the endpoint has taken nothing for %s", giveUp), 0)
	}
}

// tellFailure warns of the first failure, unless there was a warning just now.
func (e *endpoint) tellFailure(d *delivery, o outcome, attempt int, pause time.Duration) {
	level, t, now := slog.LevelDebug, &e.trouble, time.Now()
	if !t.failing && now.Sub(t.warnedAt) >= quiet {
		level, t.warned, t.warnedAt = slog.LevelWarn, true, now
	}
	t.failing = true
	e.log.Log(e.ctx, level, "webhooks are not taken", "because", o, "attempt", attempt, "events", d.events, "next_try_in", pause)
}

func (e *endpoint) tellRecovery(attempts int) {
	t := &e.trouble
	if t.warned {
		e.log.Info("webhooks are taken again", "attempts", attempts, "given_up_meanwhile", t.lost)
		t.lost = 0
	}
	t.failing, t.expired, t.warned = false, false, false
}
