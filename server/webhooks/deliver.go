package webhooks

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"belfry/protocol"
	"belfry/server/metrics"
	"belfry/server/trace"
)

// How often and for how long an event is tried. Pusher retries with exponential
// backoff for five minutes.
const (
	firstRetry = time.Second // most that a first retry waits; twice that for each further one
	maxRetry   = time.Minute
	giveUp     = 5 * time.Minute // since the event's batch was made; once more while it waits behind another

	// freeRefusals is how many requests with parts of refused ones may fail in a
	// row before the next one waits: enough to find one event among batchEvents.
	freeRefusals = 10
)

// waitingTurn follows the lanes of the queue: it is the turn of what has been in
// a request that failed.
const (
	waitingTurn = lanes
	turns       = lanes + 1
)

// delivering is what deliver remembers.
type delivering struct {
	turn    int // that was last
	waiting []*delivery
	held    map[string]*delivery // those of waiting, by each channel of their events
	next    *delivery            // one of waiting that goes first, whosever turn it is

	fresh, retry backoff   // of the lanes, and of waiting
	asked        time.Time // until when the endpoint does not want any request

	// Since the last success.
	failingSince time.Time // zero: nothing has failed
	failed       int       // requests; not those that repeated one event, and an unanswered one counts for many

	requests []Request // the last ones, the newest first; not changed, but replaced

	finished bool      // there will be no more batches
	flushed  bool      // flush has ended a pause
	warned   bool      // of a failure since the last success
	warnedAt time.Time // of a failure
}

// backoff is the pause after failures in a row.
type backoff struct {
	failures int
	until    time.Time // no request before
}

// fail makes the next request wait, but for the first failures, which are free.
func (b *backoff) fail(now time.Time, free int) {
	if b.failures++; b.failures > free {
		b.until = now.Add(pause(b.failures - free))
	}
}

// pause is how long to wait after failures in a row, one at least.
func pause(failures int) time.Duration {
	most := maxRetry
	if failures < 7 {
		most = min(most, firstRetry<<(failures-1))
	}
	return rand.N(most) + 1 // never nothing
}

// deliver posts what is queued until there will be no more, or its context ends.
func (e *endpoint) deliver() {
	for d := e.await(); d != nil; d = e.await() {
		e.try(d)
	}
}

// await returns what is to be delivered next, nil at the end.
func (e *endpoint) await() *delivery {
	s := &e.delivering
	for e.ctx.Err() == nil && !e.stopping.Load() {
		e.expire()
		d, at := e.choose(time.Now())
		e.show(at)
		if d != nil {
			return d
		}
		if at.IsZero() && s.finished {
			return nil
		}
		var due <-chan time.Time
		flush, collected := e.flush, e.collected
		if !at.IsZero() {
			due = time.After(time.Until(at))
		}
		if at.IsZero() || s.flushed {
			flush = nil
		}
		if s.finished {
			collected = nil
		}
		select {
		case <-due:
		case <-flush: // a server that stops cuts one pause short, unless the endpoint has asked for it
			if e.stopping.Load() {
				return nil // another process is to keep the pauses
			}
			s.flushed = true
			s.fresh.until, s.retry.until = s.asked, s.asked
			for _, d := range s.waiting {
				d.due = time.Time{}
			}
		case <-e.ready:
		case <-collected:
			s.finished = true
		case <-e.ctx.Done():
		}
	}
	return nil
}

// choose returns what may be delivered now, or else when there will be something;
// zero if nothing is there.
func (e *endpoint) choose(now time.Time) (d *delivery, at time.Time) {
	s := &e.delivering
	if s.next != nil && s.retry.failures <= freeRefusals && !s.retry.until.After(now) {
		d, s.next = s.next, nil
		return d, at
	}
	for i := range turns {
		turn := (s.turn + 1 + i) % turns
		var ready time.Time
		if turn == waitingTurn {
			d, ready = s.due(now)
		} else {
			d, ready = e.take(turn, now)
		}
		if d != nil {
			s.turn = turn
			return d, at
		}
		at = earlier(at, ready)
	}
	return nil, at
}

// due returns one of those that wait and are due, or else when there will be one,
// or one of their events ends.
func (s *delivering) due(now time.Time) (best *delivery, at time.Time) {
	for _, d := range s.waiting {
		at = earlier(at, d.events[0].ends)
		due := d.due
		if s.retry.until.After(due) {
			due = s.retry.until
		}
		if due.After(now) {
			at = earlier(at, due)
		} else if best == nil || s.promises(d, best) {
			best = d
		}
	}
	return best, at
}

// promises says whether a rather than b is likely to be taken. What was refused
// alone is least so. The largest goes first, as an endpoint that refuses single
// events takes the others; but the smallest when many were refused in a row, as
// it may be free of these.
func (s *delivering) promises(a, b *delivery) bool {
	switch {
	case (a.refusals == 0) != (b.refusals == 0):
		return a.refusals == 0
	case s.retry.failures <= freeRefusals:
		return a.n > b.n
	}
	return a.n < b.n
}

// take makes a delivery of the first batches of a lane, or returns when it may.
// Events behind one that waits wait with it.
func (e *endpoint) take(lane int, now time.Time) (d *delivery, at time.Time) {
	s := &e.delivering
	e.mu.Lock()
	defer e.mu.Unlock()
	d = new(delivery)
	bytes := 0
	for e.queue.waits(lane) {
		if s.fresh.until.After(now) {
			return nil, s.fresh.until
		}
		b := e.queue.lanes[lane].batches[0]
		if len(d.events) > 0 && (len(d.events)+len(b.events) > batchEvents || bytes+b.bytes > batchBytes) {
			break
		}
		for _, ev := range e.queue.pop(lane).events {
			if waiting := s.held[ev.channel]; waiting != nil {
				waiting.push(ev, now)
				continue
			}
			d.events = append(d.events, ev)
			bytes += len(ev.json)
		}
	}
	if len(d.events) == 0 {
		return nil, at
	}
	d.n = len(d.events)
	return d, at
}

// try makes one request, and does with the events as it is answered.
func (e *endpoint) try(d *delivery) {
	s := &e.delivering
	if d.tried {
		e.app.counts.Retried()
	}
	d.tried = true
	events := d.events[:d.n]
	start := time.Now()
	o := e.post(e.ctx, body(events))
	now := time.Now()
	if !o.delivered() && e.ctx.Err() != nil {
		s.wait(d)
		return // the endpoint's end has ended the request
	}
	e.app.counts.Took(now.Sub(start))
	e.trace(o, d.n, now.Sub(start))
	s.remember(requestOf(o, start, d.n))
	if o.delivered() {
		e.app.counts.Sent(d.n)
		e.logRecovery()
		s.fresh, s.retry = backoff{}, backoff{}
		s.failingSince, s.failed = time.Time{}, 0
		e.done(events)
		if d.channels != nil {
			s.settle(d, events)
		}
		return
	}
	fresh := d.channels == nil
	s.wait(d)
	e.logFailure(d, o)
	if s.failingSince.IsZero() {
		s.failingSince = now
	}
	if d.refusals == 0 {
		s.failed++
	}
	switch {
	case o.status == 0:
		e.unanswered(d, o, now)
		return
	case !fresh:
		s.retry.fail(now, freeRefusals)
	case o.mayPass():
		s.fresh.fail(now, 0)
	}
	if o.retryAfter > 0 {
		s.asked = now.Add(o.retryAfter)
		s.fresh.until, s.retry.until = s.asked, s.asked
	}
	e.refused(d, o, now)
}

// trace tells those who watch what came of a request.
func (e *endpoint) trace(o outcome, events int, took time.Duration) {
	t := e.app.sender.trace
	if !t.Watched() {
		return
	}
	r := trace.Record{Kind: trace.Webhook, App: e.app.id, Endpoint: e.shownURL(), Status: o.status, Events: events, DelayMS: trace.MS(took)}
	if !o.delivered() {
		r.Reason = o.String()
	}
	t.Add(r)
}

// body is that of a request with these events, the same each time.
func body(events []*event) []byte {
	texts := make([][]byte, len(events))
	var timeMS int64
	for i, ev := range events {
		texts[i] = ev.json
		timeMS = max(timeMS, ev.batch.timeMS)
	}
	return protocol.WebhookBody(timeMS, texts)
}

// unanswered deals with a request that got no answer. That is not about the
// events, so the same request is tried again before anything else.
func (e *endpoint) unanswered(d *delivery, o outcome, now time.Time) {
	s := &e.delivering
	s.failed += freeRefusals
	s.fresh.fail(now, 0)
	e.giveUp(d, expired(d.events[:d.n], now), metrics.FailedExpired, o)
	if len(d.events) > 0 {
		s.next = d
		s.fresh.until = earlier(s.fresh.until, d.events[0].expires())
	}
	s.retry.until = s.fresh.until
}

// refused deals with a request that was answered, but not with a 2xx.
func (e *endpoint) refused(d *delivery, o outcome, now time.Time) {
	s := &e.delivering
	if d.n > 1 {
		s.split(d)
		s.next = d
		return
	}
	s.isolate(d)
	first := d.events[0]
	switch {
	case !o.mayPass():
		e.giveUp(d, d.events[:1], o.reason(), o)
	case !first.expires().After(now):
		e.giveUp(d, d.events[:1], metrics.FailedExpired, o)
	default:
		d.refusals++
		wait := o.retryAfter
		if wait == 0 {
			wait = pause(d.refusals)
		}
		d.due = earlier(now.Add(wait), first.expires())
	}
}

// expire gives up what has waited for too long, tried or not. When the endpoint
// has taken nothing for that long, and that is not for the sake of a few events,
// it gives up all that is too old: an endpoint that comes back gets the last five
// minutes, not the last hours.
func (e *endpoint) expire() {
	s, now := &e.delivering, time.Now()
	for i := len(s.waiting) - 1; i >= 0; i-- { // as it may be removed
		if d := s.waiting[i]; now.Sub(d.since) > giveUp {
			e.giveUp(d, expired(d.events[:d.n], now), metrics.FailedExpired, nil)
		}
	}
	for i := len(s.waiting) - 1; i >= 0; i-- {
		d := s.waiting[i]
		e.giveUp(d, d.ended(now), metrics.FailedExpired, "they have waited too long behind others of their channel")
	}
	if s.failingSince.IsZero() || now.Sub(s.failingSince) <= giveUp || s.failed <= freeRefusals {
		return
	}
	because := fmt.Sprintf("it has taken nothing for %s", giveUp)
	var old []*event
	e.mu.Lock()
	for lane := range lanes {
		for len(e.queue.lanes[lane].batches) > 0 && !e.queue.lanes[lane].batches[0].events[0].expires().After(now) {
			old = append(old, e.queue.pop(lane).events...)
		}
	}
	e.mu.Unlock()
	e.lose(metrics.FailedExpired, len(old), because)
	e.done(old)
	for i := len(s.waiting) - 1; i >= 0; i-- {
		d := s.waiting[i]
		e.giveUp(d, expired(d.events, now), metrics.FailedExpired, because)
	}
}

// expires is when an event is tried for the last time.
func (ev *event) expires() time.Time { return ev.batch.made.Add(giveUp) }

// wait gives an event that has to wait the time in which it is to be tried again,
// or for the first time.
func (ev *event) wait(now time.Time) {
	if !ev.ends.IsZero() {
		return
	}
	from := ev.expires()
	if from.Before(now) {
		from = now // a slow endpoint has taken its time
	}
	ev.ends = from.Add(giveUp)
}

// expired are those events that are too old.
func expired(events []*event, now time.Time) (old []*event) {
	for _, ev := range events {
		if !ev.expires().After(now) {
			old = append(old, ev)
		}
	}
	return old
}

// giveUp loses some of the events of a delivery that waits.
func (e *endpoint) giveUp(d *delivery, events []*event, reason string, because any) {
	if len(events) > 0 {
		e.lose(reason, len(events), because)
		e.done(events)
		e.delivering.settle(d, events)
	}
}

// done takes events off the queue, and out of the spool.
func (e *endpoint) done(events []*event) {
	batches := make(map[*batch]bool)
	e.mu.Lock()
	for _, ev := range events {
		e.queue.done(ev)
		batches[ev.batch] = true
	}
	e.mu.Unlock()
	for b := range batches {
		b.events = slices.DeleteFunc(b.events, func(ev *event) bool { return ev.done })
		switch {
		case b.file == "":
		case len(b.events) == 0:
			e.unsave(b)
		default:
			e.save(b)
		}
	}
	for _, ev := range events {
		ev.delivery.Release()
	}
}

// logFailure warns of the first failure, unless there was a warning just now.
func (e *endpoint) logFailure(d *delivery, o outcome) {
	level, s, now := slog.LevelDebug, &e.delivering, time.Now()
	if s.failingSince.IsZero() && now.Sub(s.warnedAt) >= quiet {
		level, s.warned, s.warnedAt = slog.LevelWarn, true, now
	}
	e.log.Log(e.ctx, level, "webhooks are not taken", "because", o, "events", d.n)
}

func (e *endpoint) logRecovery() {
	if s := &e.delivering; s.warned {
		e.log.Info("webhooks are taken again", "after", time.Since(s.failingSince).Round(time.Millisecond))
		s.warned = false
	}
}
