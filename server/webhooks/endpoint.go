package webhooks

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
)

// endpoint is one URL of an application: its queue, a goroutine that collects
// events into batches, and one that posts these.
type endpoint struct {
	app     *App
	url     atomic.Pointer[string]            // of the next request
	headers atomic.Pointer[map[string]string] // of the next request
	spool   *spoolDir                         // nil: no spool; set by begin
	begun   bool                              // begin was called; guarded by App.configuring
	log     *slog.Logger
	losses  *losses

	ctx       context.Context // of its requests
	cancel    context.CancelFunc
	flush     chan struct{} // closed: nothing more is added; end when all is delivered
	arrived   chan struct{} // there are events to collect
	filled    chan struct{} // there are enough for a batch
	ready     chan struct{} // there are batches to deliver
	collected chan struct{} // closed: there will be no more batches
	stopping  atomic.Bool   // no other request is to be made
	running   sync.WaitGroup

	spoolFailed atomic.Bool // and that is logged

	progress atomic.Pointer[progress] // what deliver shows of itself; nil before it has begun

	mu     sync.Mutex // guards the following, but not the batches that were taken off queue
	queue  queue
	untold untold

	delivering delivering // owned by deliver
}

// newEndpoint makes an endpoint that takes events. It collects and posts them once it has
// begun.
func newEndpoint(a *App, w config.Webhook) *endpoint {
	e := &endpoint{
		app:       a,
		log:       a.sender.log.With("app", a.id, "endpoint", w.Endpoint()),
		losses:    newLosses(),
		flush:     make(chan struct{}),
		arrived:   make(chan struct{}, 1),
		filled:    make(chan struct{}, 1),
		ready:     make(chan struct{}, 1),
		collected: make(chan struct{}),
		queue:     newQueue(),
	}
	e.delivering.held = make(map[string]*delivery)
	e.configure(w)
	e.ctx, e.cancel = context.WithCancel(a.sender.ctx)
	return e
}

// begin starts an endpoint with what is in its directory of the spool, nil without one,
// and with what another process has left to it. Both are older than what has been added.
func (e *endpoint) begin(dir *spoolDir, left Exported, deliveryOf func(string) *channels.Delivery) {
	e.begun, e.spool = true, dir
	e.delivering.resume(left.Failures)
	q := newQueue()
	if e.spool != nil {
		e.restore(&q)
	}
	lost := q.takeOver(left.Batches, deliveryOf)
	if q.events > 0 {
		signal(e.ready)
	}
	e.mu.Lock()
	for _, lane := range e.queue.lanes {
		for _, ev := range lane.events {
			ev.bulk = false
			if !q.add(ev) {
				lost++
			}
			signal(e.arrived)
		}
	}
	e.queue = q
	e.mu.Unlock()
	e.lose(metrics.DroppedQueueFull, lost, nil)
	e.running.Go(e.collect)
	e.running.Go(e.deliver)
}

// configure changes the next request.
func (e *endpoint) configure(w config.Webhook) {
	e.url.Store(&w.URL)
	e.headers.Store(&w.Headers)
}

// add queues an event unless the queue is full: then it is lost, as what came
// before has waited longer. An end is also lost if its beginning was.
func (e *endpoint) add(k kinds, w protocol.WebhookEvent, json []byte, d *channels.Delivery) {
	ev := &event{json: json, channel: w.Channel, source: w.Source, minor: k&minor != 0, delivery: d}
	d.Hold()
	e.mu.Lock()
	untold := k&departures != 0 && e.untold.take(endKey{k, w.Channel, w.UserID})
	added := !untold && e.queue.add(ev)
	if end := (endKey{k.counterpart(), w.Channel, w.UserID}); k&arrivals != 0 && added {
		e.untold.take(end) // of an earlier beginning, whose end the endpoint did not want
	} else if k&arrivals != 0 && !e.app.sender.shared { // in a cluster, another node may tell the end
		e.untold.add(end)
	}
	first, full := added && len(e.queue.lane(ev).events) == 1, e.queue.full()
	e.mu.Unlock()
	if !added {
		e.lose(metrics.DroppedQueueFull, 1, nil)
		d.Release()
	}
	if first {
		signal(e.arrived)
	}
	if full {
		signal(e.filled)
	}
}

func (e *endpoint) length() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queue.events
}

// collect makes batches until flush is closed, and of what is left then. It
// also logs losses, as add must not wait for a log.
func (e *endpoint) collect() {
	defer close(e.collected)
	var lossesDue <-chan time.Time
	for {
		select {
		case <-e.arrived:
		case <-e.losses.added:
			lossesDue = e.losses.write(e.log)
			continue
		case <-lossesDue:
			lossesDue = e.losses.write(e.log)
			continue
		case <-e.flush:
			e.cut(true)
			return
		}
		timer := time.NewTimer(batchDelay)
		select {
		case <-e.filled:
			e.cut(false)
		case <-timer.C:
			e.cut(true)
		case <-e.flush:
		}
		timer.Stop()
	}
}

// cut makes batches of the events; of the last ones only if they are enough for
// one, or if they are not to wait for more.
func (e *endpoint) cut(rest bool) {
	for {
		e.mu.Lock()
		b := e.queue.cut(rest, time.Now())
		l := promptLane
		if b == nil {
			if len(e.queue.lanes[promptLane].events)+len(e.queue.lanes[bulkLane].events) > 0 {
				signal(e.arrived) // for those that stay
			}
		} else if b.events[0].bulk {
			l = bulkLane
		}
		e.mu.Unlock()
		if b == nil {
			return
		}
		if e.spool != nil {
			e.save(b)
		}
		e.mu.Lock()
		e.queue.lanes[l].batches = append(e.queue.lanes[l].batches, b)
		e.mu.Unlock()
		signal(e.ready)
	}
}

// save writes a batch to the spool, without the events that the cluster keeps.
func (e *endpoint) save(b *batch) {
	kept := slices.DeleteFunc(slices.Clone(b.events), func(ev *event) bool { return ev.delivery != nil })
	if len(kept) == 0 {
		if b.file != "" {
			e.unsave(b)
		}
		return
	}
	if err := e.spool.write(b, kept); err != nil {
		e.logSpool("webhooks cannot be written to the spool; they are only in memory", err)
	} else if e.spoolFailed.CompareAndSwap(true, false) {
		e.log.Info("the spool of webhooks works again")
	}
}

// unsave removes a batch from the spool.
func (e *endpoint) unsave(b *batch) {
	if err := e.spool.remove(b); err != nil {
		e.logSpool("webhooks cannot be removed from the spool; they go out again at the next start", err)
	}
}

// logSpool counts an error of the spool, and logs it once until a batch can be
// written again.
func (e *endpoint) logSpool(what string, err error) {
	e.app.counts.SpoolError()
	if e.spoolFailed.CompareAndSwap(false, true) {
		e.log.Warn(what, "error", err)
	}
}

// restore queues what the spool has. Files that cannot be read stay there.
func (e *endpoint) restore(q *queue) {
	dropped := 0
	last, err := e.spool.load(func(b *batch) {
		if !q.fits(len(b.events), b.bytes) {
			dropped += len(b.events)
			e.unsave(b)
			return
		}
		q.restore(b)
	})
	q.last = last
	if err != nil {
		e.app.counts.SpoolError()
		e.log.Warn("webhooks in the spool cannot all be read; those stay there", "error", err)
	}
	if dropped > 0 {
		e.lose(metrics.DroppedQueueFull, dropped, "there is more in the spool than the queue takes")
	}
	if q.events > 0 {
		e.log.Info("webhooks in the spool go out now", "events", q.events)
	}
}

// remove ends an endpoint that is not configured any more. Nothing may be added
// from here on.
func (e *endpoint) remove() {
	if !e.begun { // what was added is to be counted as lost
		e.begin(nil, Exported{}, nil)
	}
	e.cancel()
	close(e.flush)
	e.end(metrics.DroppedRemoved)
	if e.spool != nil {
		e.spool.release()
	}
}

// end waits for the goroutines, whose end has begun. What was not delivered stays
// in the spool, or is lost. What the cluster keeps is another node's to deliver when
// the process ends, or does not serve the application any more.
func (e *endpoint) end(reason string) {
	e.running.Wait()
	kept, lost := 0, 0
	for _, ev := range e.undelivered() {
		switch {
		case ev.delivery != nil && reason == metrics.DroppedShutdown:
		case ev.delivery != nil && e.app.removed.Load():
			ev.delivery.Fail()
			ev.delivery.Release()
		case ev.delivery == nil && ev.batch.file != "":
			kept++
		default:
			lost++
			ev.delivery.Release()
		}
	}
	e.lose(reason, lost, nil)
	e.losses.end(e.log)
	switch {
	case kept == 0:
	case reason == metrics.DroppedRemoved:
		e.log.Warn("webhooks of an endpoint that is not configured any more stay in the spool: configure it again, or delete them",
			"directory", e.spool.dir, "events", kept)
	default:
		e.log.Info("webhooks stay in the spool for the next start", "events", kept)
	}
}

// undelivered are the events that are not done. Nothing runs any more.
func (e *endpoint) undelivered() (events []*event) {
	for _, l := range e.queue.lanes {
		for _, b := range l.batches {
			events = append(events, b.events...)
		}
	}
	for _, d := range e.delivering.waiting {
		events = append(events, d.events...)
	}
	return events
}
