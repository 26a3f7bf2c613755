package webhooks

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/server/config"
	"belfry/server/metrics"
)

// endpoint is one URL of an application: its queue, a goroutine that collects
// events into batches, and one that posts these.
type endpoint struct {
	app     *App
	url     string
	headers atomic.Pointer[map[string]string] // of the next request
	shelf   *shelf                            // nil: no spool
	log     *slog.Logger

	ctx       context.Context // of its requests
	cancel    context.CancelFunc
	flush     chan struct{} // closed: nothing more is added; end when all is delivered
	arrived   chan struct{} // there are events to collect
	filled    chan struct{} // there are enough for a batch
	ready     chan struct{} // there are batches to deliver
	collected chan struct{} // closed: there will be no more batches
	running   sync.WaitGroup

	unsaved atomic.Bool // the spool has failed, and that is told

	mu         sync.Mutex // guards the following
	events     [][]byte   // encoded, in no batch yet
	eventBytes int
	batches    []*batch // the first ones may be in a request
	queued     int      // events, wherever they are
	bytes      int      // of those
	dropped    int      // events, since the queue is full
	toldFull   bool     // that it is

	trouble trouble // owned by deliver
}

// batch is what is posted and spooled as one.
type batch struct {
	events [][]byte
	bytes  int
	made   time.Time
	timeMS int64  // when it was made; made is when it was found, for one of the spool
	file   string // in the spool; empty: it is not there
}

// newEndpoint starts an endpoint, with what the spool has for it.
func newEndpoint(a *App, w config.Webhook) *endpoint {
	e := &endpoint{
		app: a, url: w.URL,
		log:       a.log.With("endpoint", w.Endpoint()),
		flush:     make(chan struct{}),
		arrived:   make(chan struct{}, 1),
		filled:    make(chan struct{}, 1),
		ready:     make(chan struct{}, 1),
		collected: make(chan struct{}),
	}
	e.headers.Store(&w.Headers)
	e.ctx, e.cancel = context.WithCancel(a.sender.ctx)
	if a.sender.spool != nil {
		e.shelf = a.sender.spool.shelf(a.id, w.URL)
		e.restore()
	}
	e.running.Go(e.collect)
	e.running.Go(e.deliver)
	return e
}

// add queues an event unless the queue is full: then it is dropped, as what
// came before has waited longer.
func (e *endpoint) add(event []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queued >= maxQueued || e.bytes+len(event) > maxQueuedBytes {
		e.app.counts.Dropped(metrics.DroppedQueueFull, 1)
		if e.dropped++; e.dropped == 1 {
			signal(e.arrived) // to tell
		}
		return
	}
	e.queued++
	e.bytes += len(event)
	e.events = append(e.events, event)
	e.eventBytes += len(event)
	if len(e.events) == 1 {
		signal(e.arrived)
	}
	if e.full() {
		signal(e.filled)
	}
}

// full says whether the events are enough for a batch. The caller holds e.mu.
func (e *endpoint) full() bool { return len(e.events) >= batchEvents || e.eventBytes >= batchBytes }

func (e *endpoint) length() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.queued
}

// collect makes batches until flush is closed, and of what is left then.
func (e *endpoint) collect() {
	defer close(e.collected)
	for {
		select {
		case <-e.arrived:
		case <-e.flush:
			e.cut(true)
			return
		}
		e.tellFull()
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

// cut makes batches of the events; of the last ones only if the batch is full,
// or if they are not to wait for more.
func (e *endpoint) cut(rest bool) {
	for {
		b := e.next(rest)
		if b == nil {
			return
		}
		if e.shelf != nil {
			e.save(b)
		}
		e.mu.Lock()
		e.batches = append(e.batches, b)
		e.mu.Unlock()
		signal(e.ready)
	}
}

// next takes the events of a batch off the list.
func (e *endpoint) next(rest bool) *batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.events) == 0 {
		e.events = nil
		return nil
	}
	if !rest && !e.full() {
		signal(e.arrived) // for those that stay
		return nil
	}
	n, bytes := 0, 0
	for n < len(e.events) && fits(n, bytes, 1, len(e.events[n])) {
		bytes += len(e.events[n])
		n++
	}
	now := time.Now()
	b := &batch{events: slices.Clone(e.events[:n]), bytes: bytes, made: now, timeMS: now.UnixMilli()}
	clear(e.events[:n])
	e.events = e.events[n:]
	e.eventBytes -= bytes
	return b
}

// fits says whether a batch may take more. An event that is too large for any
// is alone.
func fits(events, bytes, moreEvents, moreBytes int) bool {
	return events == 0 || events+moreEvents <= batchEvents && bytes+moreBytes <= batchBytes
}

// tellFull logs that the queue is full, once until it has room again.
func (e *endpoint) tellFull() {
	e.mu.Lock()
	tell, queued, bytes := e.dropped > 0 && !e.toldFull, e.queued, e.bytes
	e.toldFull = e.dropped > 0
	e.mu.Unlock()
	if tell {
		e.log.Warn("the queue of webhooks is full: new events are dropped until half of it is delivered or given up",
			"events", queued, "bytes", bytes)
	}
}

// save writes a batch to the spool.
func (e *endpoint) save(b *batch) {
	if err := e.shelf.write(b); err != nil {
		e.tellSpool("webhooks cannot be written to the spool; they are only in memory", err)
	} else if e.unsaved.CompareAndSwap(true, false) {
		e.log.Info("the spool of webhooks works again")
	}
}

// unsave removes a batch from the spool.
func (e *endpoint) unsave(b *batch) {
	if b.file == "" {
		return
	}
	if err := e.shelf.remove(b); err != nil {
		e.tellSpool("webhooks cannot be removed from the spool; they go out again at the next start", err)
	}
}

// tellSpool counts an error of the spool, and logs it once until a batch can be
// written again.
func (e *endpoint) tellSpool(what string, err error) {
	e.app.counts.SpoolErrors.Inc()
	if e.unsaved.CompareAndSwap(false, true) {
		e.log.Warn(what, "error", err)
	}
}

// restore queues what the spool has. Files that cannot be read stay there.
func (e *endpoint) restore() {
	batches, err := e.shelf.load()
	if err != nil {
		e.app.counts.SpoolErrors.Inc()
		e.log.Warn("webhooks in the spool cannot all be read; those stay there", "error", err)
	}
	for i, b := range batches {
		if e.queued+len(b.events) > maxQueued || e.bytes+b.bytes > maxQueuedBytes {
			e.forget(batches[i:], metrics.DroppedQueueFull)
			e.log.Warn("there is more in the spool of webhooks than the queue takes: the rest is dropped", "batches", len(batches)-i)
			batches = batches[:i]
			break
		}
		e.queued += len(b.events)
		e.bytes += b.bytes
	}
	e.batches = batches
	if e.queued > 0 {
		e.log.Info("webhooks in the spool go out now", "events", e.queued)
	}
}

// forget drops batches, and their files. It returns how many events those had.
func (e *endpoint) forget(batches []*batch, reason string) (events int) {
	for _, b := range batches {
		events += len(b.events)
		e.unsave(b)
	}
	e.app.counts.Dropped(reason, events)
	return events
}

// remove ends an endpoint that is not configured any more. Nothing may be added
// from here on.
func (e *endpoint) remove() {
	e.cancel()
	close(e.flush)
	e.running.Wait()
	if n := e.forget(e.batches, metrics.DroppedRemoved); n > 0 {
		e.log.Warn("webhooks are dropped: their endpoint is not configured any more", "events", n)
	}
	if e.shelf != nil {
		e.shelf.close()
	}
}

// keep leaves in the spool what was not delivered when the server stops, or
// drops it.
func (e *endpoint) keep() {
	kept, dropped := 0, 0
	for _, b := range e.batches {
		if b.file != "" {
			kept += len(b.events)
		} else {
			dropped += len(b.events)
		}
	}
	e.app.counts.Dropped(metrics.DroppedShutdown, dropped)
	if kept > 0 {
		e.log.Info("webhooks stay in the spool for the next start", "events", kept)
	}
	if dropped > 0 {
		e.log.Warn("webhooks are dropped: they could not be delivered before the end", "events", dropped)
	}
}
