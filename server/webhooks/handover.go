package webhooks

import (
	"cmp"
	"context"
	"slices"
	"time"

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

// export is what is not delivered and not in the spool. Nothing runs any more.
func (e *endpoint) export() (exported []ExportedBatch) {
	var batches []*batch // as far as events of them are in the following
	events := make(map[*batch][]*event)
	for _, ev := range e.undelivered() {
		if ev.batch.file != "" {
			continue
		}
		if events[ev.batch] == nil {
			batches = append(batches, ev.batch)
		}
		events[ev.batch] = append(events[ev.batch], ev)
	}
	slices.SortFunc(batches, func(a, b *batch) int { return cmp.Compare(a.number, b.number) })
	for _, b := range batches {
		one := ExportedBatch{TimeMS: b.timeMS, Made: b.made}
		for _, ev := range events[b] {
			one.Events = append(one.Events, ExportedEvent{string(ev.json), ev.channel, ev.source, ev.minor})
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
// many events have no room.
func (q *queue) takeOver(batches []ExportedBatch) (lost int) {
	for _, e := range batches {
		q.last++
		b := &batch{number: q.last, made: e.Made, timeMS: e.TimeMS}
		for _, one := range e.Events {
			b.events = append(b.events, &event{json: []byte(one.JSON), channel: one.Channel, source: one.Source, minor: one.Minor, batch: b})
			b.bytes += len(one.JSON)
		}
		switch {
		case len(b.events) == 0:
		case q.fits(len(b.events), b.bytes):
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
// that is not configured any more is dropped, and logged.
func (s *Sender) Release(left []Exported) {
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
		a.release(byURL[a.id])
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
func (a *App) release(left map[string]*Exported) {
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
		e.begin(a.directory(w, a.configured), theirs)
	}
}
