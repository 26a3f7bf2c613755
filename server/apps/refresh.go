package apps

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"belfry/server/apps/source"
	"belfry/server/refusals"
)

const (
	// sweepInterval is how often it is looked which apps to ask about again.
	sweepInterval = time.Second
	// refreshesAtOnce is how many questions about apps that are known the source is asked at
	// a time: there is room for others.
	refreshesAtOnce = 4
)

// Run keeps what was looked up up to date until the context ends. Without a Finder, it
// does nothing.
func (r *Registry) Run(ctx context.Context) {
	if r.finder != nil {
		r.finder.run(ctx)
	}
}

// Refresh has the source asked about all apps that are known, at once.
func (r *Registry) Refresh() {
	if r.finder != nil {
		r.finder.changed("")
	}
}

// run asks about apps again when they are due, and looks for the source when it is away, until
// the context ends.
func (d *finder) run(ctx context.Context) {
	d.check()
	var watching sync.WaitGroup
	watching.Go(func() { d.watch(ctx) })
	defer watching.Wait()
	ticker := time.NewTicker(min(sweepInterval, d.TTL/4))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-d.wake:
		}
		if d.away() {
			d.check()
		}
		if !d.away() {
			d.sweep(ctx)
		}
	}
}

// check finds out whether the source answers, if it is to be asked now.
func (d *finder) check() {
	if failures, ok := d.mayAsk(); ok {
		d.test(failures)
	}
}

// sweep asks about the apps that are due, and forgets those that nobody uses.
func (d *finder) sweep(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	turns := make(chan struct{}, refreshesAtOnce)
	for _, a := range d.registry.due() {
		if d.forget(a) {
			continue
		}
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		asking.Go(func() {
			defer func() { <-turns }()
			d.refresh(a)
		})
	}
}

// due are the apps that the source is to be asked about.
func (r *Registry) due() (due []*App) {
	now := time.Now()
	r.updating.Lock()
	defer r.updating.Unlock()
	r.All(func(a *App) {
		if a.lookedUp.Load() != nil && !a.lookedUp.Load().due.After(now) {
			due = append(due, a)
		}
	})
	return due
}

// next is when an app is asked about again that a look-up has just found: ahead of its time to
// live, and not when others are.
func (d *finder) next(l *lookup) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.stale {
		return time.Now()
	}
	return time.Now().Add(d.TTL/2 + rand.N(d.TTL/4))
}

// refresh asks about an app that is known.
func (d *finder) refresh(a *App) {
	q := question{source.ByID, a.ID}
	found, err, _ := d.flights.Do(q.String(), func() (any, error) { return d.answer(q, noNetwork) })
	if found == false && err == nil {
		d.remove(a)
	}
}

// remove ends an app that its source has not any more.
func (d *finder) remove(a *App) {
	moved := d.Changes.Begin()
	defer d.Changes.End()
	r := d.registry
	r.updating.Lock()
	gone := !moved && a.lookedUp.Load() != nil && r.byID.get(a.ID) == a
	if gone {
		r.remove(a)
	}
	r.updating.Unlock()
	if gone {
		d.Log.Info("app removed from apps_from", "app", a.Settings().App)
		d.Evict()
	}
}

// forget forgets an app that nobody has used since it was last asked about, and reports
// whether it has. While the source is away, nothing is forgotten.
func (d *finder) forget(a *App) bool {
	if a.used.Swap(false) || d.away() {
		return false
	}
	moved := d.Changes.Begin()
	defer d.Changes.End()
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	a.forgotten.Store(true) // whoever holds it from here on looks again
	if moved || a.lookedUp.Load() == nil || !a.idle() {
		a.forgotten.Store(false)
		return false
	}
	r.forget(a)
	return true
}

// changed has the source asked about an app, "" for all, as soon as may be. Names that were
// nobody's may be somebody's.
func (d *finder) changed(id string) {
	d.mu.Lock()
	if len(d.negatives) > 0 {
		d.negatives = make(negatives)
	}
	d.outage.hurry()
	for l := range d.lookups {
		if id == "" || l.by == source.ByKey || l.name == id {
			l.stale = true
		}
	}
	d.mu.Unlock()
	d.registry.hurry(id)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// hurry makes an app due, "" for all.
func (r *Registry) hurry(id string) {
	r.updating.Lock()
	defer r.updating.Unlock()
	hurry := func(a *App) {
		if a != nil && a.lookedUp.Load() != nil {
			a.lookedUp.Load().due = time.Time{}
		}
	}
	if id == "" {
		r.All(hurry)
	} else {
		hurry(r.byID.get(id))
	}
}

// watch hears of changes from the source, if it tells of them, until the context ends.
func (d *finder) watch(ctx context.Context) {
	for {
		err := d.Source.Watch(ctx, d.changed)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.Log.Debug("the source tells of no changes; they are seen within apps_from.ttl", "error", refusals.Clean(err.Error()))
		select {
		case <-time.After(lastRetry/2 + rand.N(lastRetry/2)):
		case <-ctx.Done():
			return
		}
	}
}
