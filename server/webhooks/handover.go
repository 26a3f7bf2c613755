package webhooks

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

// Exported is an endpoint of an application, for another process to go on with, and what
// it has not taken. What is in the spool is not in it.
type Exported struct {
	App      string           `json:"app"`
	URL      string           `json:"url"`
	Batches  []ExportedBatch  `json:"batches,omitempty"` // in the order of each channel
	Failures ExportedFailures `json:"failures,omitzero"`
}

// ExportedFailures are those since an endpoint has last taken something, and how long it
// is left alone because of them.
type ExportedFailures struct {
	Fresh  ExportedBackoff `json:"fresh,omitzero"` // of events that have not failed
	Retry  ExportedBackoff `json:"retry,omitzero"` // of events that have
	Asked  time.Time       `json:"asked,omitzero"` // until when the endpoint does not want any request
	Since  time.Time       `json:"since,omitzero"`
	Count  int             `json:"count,omitzero"`
	Warned bool            `json:"warned,omitzero"` // the log has a warning of them
}

// ExportedBackoff is the pause after failures in a row.
type ExportedBackoff struct {
	Failures int       `json:"failures,omitzero"`
	Until    time.Time `json:"until,omitzero"`
}

// ExportedBatch is a batch.
type ExportedBatch struct {
	TimeMS int64           `json:"time_ms"`
	Made   time.Time       `json:"made"`
	Events []ExportedEvent `json:"events"`
}

// ExportedEvent is one event of a batch, with its JSON.
type ExportedEvent struct {
	JSON    string          `json:"json"`
	Channel string          `json:"channel"`
	Source  protocol.Source `json:"source,omitzero"`
	Minor   bool            `json:"minor,omitzero"`
	// Delivery is the name of the delivery of the cluster that the event is part of.
	Delivery string `json:"delivery,omitzero"`
}

// Retire has what happens from here on be nobody's to tell: another process does. HandOver
// is due.
func (s *Sender) Retire() { s.retired.Store(true) }

// HandOver returns what is not delivered yet, for another process, once the requests that
// are under way have been answered. They are cut when the context ends, and then count
// as not delivered. Nothing runs any more when it returns, and the spool is free.
func (s *Sender) HandOver(ctx context.Context) (exported []Exported) {
	endpoints := s.refuse()
	defer context.AfterFunc(ctx, s.cancel)()
	for _, e := range endpoints {
		e.stopping.Store(true)
		close(e.flush)
	}
	for _, e := range endpoints {
		e.running.Wait()
		exported = append(exported, Exported{e.app.id, *e.url.Load(), e.export(), e.delivering.export()})
		e.losses.end(e.log)
	}
	s.finish()
	return exported
}

// export is what is not delivered and not in the spool. What is in the spool behind an
// event that the cluster keeps, which is not, is taken out, to keep the order. Nothing runs
// any more.
func (e *endpoint) export() (exported []ExportedBatch) {
	var batches []*batch // as far as events of them are in the following
	events := make(map[*batch][]*event)
	first := uint64(math.MaxUint64) // batch with an event that the cluster keeps
	left := e.undelivered()
	for _, ev := range left {
		if ev.delivery != nil {
			first = min(first, ev.batch.number)
		}
	}
	for _, ev := range left {
		if ev.batch.file != "" && ev.batch.number < first {
			continue
		}
		if events[ev.batch] == nil {
			batches = append(batches, ev.batch)
		}
		events[ev.batch] = append(events[ev.batch], ev)
	}
	slices.SortFunc(batches, func(a, b *batch) int { return cmp.Compare(a.number, b.number) })
	for _, b := range batches {
		if b.file != "" {
			e.unsave(b)
		}
		one := ExportedBatch{TimeMS: b.timeMS, Made: b.made}
		for _, ev := range events[b] {
			x := ExportedEvent{JSON: string(ev.json), Channel: ev.channel, Source: ev.source, Minor: ev.minor}
			if ev.delivery != nil {
				x.Delivery = ev.delivery.Name()
			}
			one.Events = append(one.Events, x)
		}
		exported = append(exported, one)
	}
	return exported
}

// export returns what deliver remembers of failures.
func (s *delivering) export() ExportedFailures {
	return ExportedFailures{
		Fresh: ExportedBackoff{s.fresh.failures, s.fresh.until},
		Retry: ExportedBackoff{s.retry.failures, s.retry.until},
		Asked: s.asked, Since: s.failingSince, Count: s.failed, Warned: s.warned,
	}
}

// resume goes on with the failures of another process. Events that have failed there are
// tried like others, once the endpoint is not left alone any more.
func (s *delivering) resume(f ExportedFailures) {
	s.fresh = backoff{f.Fresh.Failures, f.Fresh.Until}
	s.retry = backoff{f.Retry.Failures, f.Retry.Until}
	s.asked, s.failingSince, s.failed, s.warned = f.Asked, f.Since, f.Count, f.Warned
}

// takeOver queues batches of another process, behind those of the spool, and returns how
// many events have no room. deliveryOf finds a delivery by its name; an event of none that
// is known comes from the cluster once more.
func (q *queue) takeOver(batches []ExportedBatch, deliveryOf func(string) *channels.Delivery) (lost int) {
	for _, e := range batches {
		q.last++
		b := &batch{number: q.last, made: e.Made, timeMS: e.TimeMS}
		for _, one := range e.Events {
			ev := &event{json: []byte(one.JSON), channel: one.Channel, source: one.Source, minor: one.Minor, batch: b}
			if one.Delivery != "" {
				if ev.delivery = deliveryOf(one.Delivery); ev.delivery == nil {
					continue
				}
			}
			b.events = append(b.events, ev)
			b.bytes += len(one.JSON)
		}
		switch {
		case len(b.events) == 0:
		case q.fits(len(b.events), b.bytes):
			for _, ev := range b.events {
				ev.delivery.Hold()
			}
			q.restore(b)
		default:
			lost += len(b.events)
		}
	}
	return lost
}

// Held reports whether Release is due.
func (s *Sender) Held() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// Release ends Options.Held: it opens the spool, and begins to deliver what another
// process has left, which is older than what has happened here. An endpoint whose URL has
// changed gets what was left to it by the rule of [App.Configure]. What is left to one
// that is not configured any more is dropped, and logged. deliveryOf finds a delivery of the
// cluster by the app's id and its name; it may be nil on a single node.
func (s *Sender) Release(left []Exported, deliveryOf func(app, name string) *channels.Delivery) {
	if err := s.open(); err != nil {
		s.log.Error("webhooks are only in memory until the next start, as their spool cannot be opened", "error", err)
	}
	s.mu.Lock()
	s.held = false
	s.mu.Unlock()
	byURL := make(map[string]map[string]*Exported) // by application
	for i, e := range left {
		if byURL[e.App] == nil {
			byURL[e.App] = make(map[string]*Exported)
		}
		byURL[e.App][e.URL] = &left[i]
	}
	for _, a := range s.all() {
		a.release(byURL[a.id], func(name string) *channels.Delivery { return deliveryOf(a.id, name) })
	}
	for _, e := range left {
		if len(e.Batches) > 0 {
			s.log.Warn("webhooks are dropped: their endpoint is not configured any more", "app", e.App)
		}
	}
	s.CheckSpool()
}

// release begins with endpoints that were made meanwhile. They take what was left to
// them, by URL.
func (a *App) release(left map[string]*Exported, deliveryOf func(string) *channels.Delivery) {
	a.configuring.Lock()
	defer a.configuring.Unlock()
	next := successors(left, a.configured)
	for _, w := range a.configured {
		e := a.endpoints[w.URL]
		if e == nil || e.begun {
			continue
		}
		var theirs Exported
		if l := next[w.URL]; l != nil {
			theirs, l.Batches = *l, nil
		}
		e.begin(a.directory(w, a.configured), theirs, deliveryOf)
	}
}
