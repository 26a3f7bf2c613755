package apps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"belfry/server/apps/source"
	"belfry/server/bugs"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/metrics"
	"belfry/server/refusals"
)

// Finder is how apps are looked up that the configuration does not have. It asks a source
// for one when a client or a request first names it, and again ahead of the end of its time to
// live while the app is in use. One that nobody uses is forgotten.
//
// While the source is away, the apps that are known go on as they are.
type Finder struct {
	Source source.Source
	// Limits are the server's, which the settings of an app have to fit.
	Limits config.Server
	// TTL is how old what is known of an app may get while the source answers, and NegativeTTL
	// for how long a name is remembered for which there is no app; 0: not at all.
	TTL, NegativeTTL time.Duration
	Log              *slog.Logger
	// Changes are what look-ups do to the server's state.
	Changes *handover.Changes
	Bugs    *bugs.Log
	// Evict closes the connections of apps that were removed or disabled.
	Evict func()
}

var (
	// ErrAway is the error of a look-up while the source cannot be asked.
	ErrAway = errors.New("cannot be looked up now: try again")
	// ErrUnusable is the error of a look-up that found settings with a mistake in them.
	ErrUnusable = errors.New("cannot be served: its settings have a mistake, see the server's log")
	// ErrGuessing is the error of a look-up from a network that has asked for too many names
	// for which there is no app.
	ErrGuessing = errors.New("is not looked up: too many unknown apps were asked for from this network")
)

const (
	// lookupTimeout is how long a look-up may take, time for those ahead of it included.
	lookupTimeout = 10 * time.Second
	// maxLookups bounds how many names are being looked up, those that wait included, and
	// maxWaiting how many of them for one network.
	maxLookups = 10_000
	maxWaiting = 1000
)

// lookedUp is what is known of an app by its source. The registry's lock, updating, guards its
// fields.
type lookedUp struct {
	document []byte    // nil if the app was configured until now
	due      time.Time // when the source is asked again
	problems string    // of the document that the source has now; empty: it is this one
}

// finder is a Finder in use.
type finder struct {
	Finder
	registry *Registry
	metrics  *metrics.Lookups
	flights  singleflight.Group
	slots    chan struct{}
	wake     chan struct{} // has run look at once

	ctx     context.Context // of all look-ups
	cancel  context.CancelFunc
	running sync.WaitGroup // look-ups

	mu        sync.Mutex // guards the following
	lookups   map[*lookup]struct{}
	waiting   map[netip.Prefix]int // these look-ups, by who has asked first
	outage    outage
	negatives negatives
	guesses   guesses
}

// question is what the source is asked.
type question struct {
	by   source.By
	name string
}

func (q question) String() string { return fmt.Sprint(q.by, " ", q.name) }

// lookup is a question that is being asked.
type lookup struct {
	question
	from  netip.Prefix // of who has asked first
	stale bool         // the app may have changed since; guarded by finder.mu
}

// SetFinder has the registry look apps up. It comes before everything but Update; Close is
// due.
func (r *Registry) SetFinder(d Finder) {
	ctx, cancel := context.WithCancel(context.Background())
	made := &finder{
		Finder: d, registry: r, ctx: ctx, cancel: cancel,
		slots:     make(chan struct{}, source.MaxOpen),
		wake:      make(chan struct{}, 1),
		lookups:   make(map[*lookup]struct{}),
		waiting:   make(map[netip.Prefix]int),
		negatives: make(negatives),
	}
	made.metrics = r.metrics.Lookups(r.countLookedUp, func() bool { return !made.away() })
	r.finder = made
	r.broker.OnUnserved(r.want)
}

// HasFinder reports whether apps are looked up.
func (r *Registry) HasFinder() bool { return r.finder != nil }

// Close ends look-ups.
func (r *Registry) Close() {
	if r.finder != nil {
		r.finder.close()
	}
}

// LookedUp reports whether an app was looked up, and is not configured.
func (r *Registry) LookedUp(a *App) bool { return r.document(a) != nil }

// document is what the source has of an app; nil if it was not looked up.
func (r *Registry) document(a *App) []byte {
	r.updating.Lock()
	defer r.updating.Unlock()
	if a.lookedUp.Load() == nil {
		return nil
	}
	return a.lookedUp.Load().document
}

// countLookedUp is how many apps are known that are not configured. A scrape calls it: it
// takes no lock, as series are made and dropped under that of the registry.
func (r *Registry) countLookedUp() (n int) {
	r.All(func(a *App) {
		if a.lookedUp.Load() != nil {
			n++
		}
	})
	return n
}

// Known is [Registry.Find] for who cannot wait. known is false if the source has to be
// asked; if it is true and a is nil, there is no such app.
func (r *Registry) Known(by source.By, name string) (a *App, known bool) {
	for {
		a := r.names(by).get(name)
		if a == nil {
			return nil, r.finder == nil || !source.Possible(name) || r.finder.hasNone(question{by, name})
		}
		if a.hold() {
			return a, true
		}
		r.awaitUpdate() // it is being forgotten
	}
}

// names are the index of apps by their ids or their keys.
func (r *Registry) names(by source.By) *index {
	if by == source.ByKey {
		return &r.byKey
	}
	return &r.byID
}

// awaitUpdate returns when no app is coming, changing or going.
func (r *Registry) awaitUpdate() {
	r.updating.Lock()
	defer r.updating.Unlock()
}

// Find returns the app of that id or key, or nil if there is none. It may have to be looked
// up, which takes a while; a context that ends before is an error, as are ErrAway, ErrGuessing
// and ErrUnusable. from is the network address of who asks. The app is not forgotten before
// Release.
func (r *Registry) Find(ctx context.Context, by source.By, name, from string) (*App, error) {
	for range 10 { // it may be forgotten as soon as it was found
		if a, known := r.Known(by, name); known {
			return a, nil
		}
		if found, err := r.finder.ask(ctx, question{by, name}, Network(from)); err != nil || !found {
			return nil, err
		}
	}
	return nil, ErrAway
}

// want has an app looked up, if it is not known, and does not wait.
func (r *Registry) want(id string) {
	if a, known := r.Known(source.ByID, id); known {
		a.Release()
	} else {
		r.finder.start(question{source.ByID, id}, noNetwork)
	}
}

// ask looks an app up, and reports whether the registry knows it now. All who ask the same at a
// time are one question to the source.
func (d *finder) ask(ctx context.Context, q question, from netip.Prefix) (found bool, err error) {
	if why, known := d.refusal(q, from); known {
		return false, why
	}
	select {
	case answer := <-d.start(q, from):
		return answer.Val == true, answer.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// refusal is why the source is not asked for a network, if it is not.
func (d *finder) refusal(q question, from netip.Prefix) (why error, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if why, known := d.negatives.of(q, now); known {
		return why, true
	}
	return ErrGuessing, d.guesses.tooMany(from, now)
}

// hasNone reports whether it is known that there is no such app.
func (d *finder) hasNone(q question) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	why, known := d.negatives.of(q, time.Now())
	return known && why == nil
}

// noNetwork asks for names that no stranger has given.
var noNetwork netip.Prefix

// start begins to look an app up for a network. The answer is whether the registry knows it.
func (d *finder) start(q question, from netip.Prefix) <-chan singleflight.Result {
	return d.flights.DoChan(q.String(), func() (any, error) {
		if d.registry.names(q.by).get(q.name) != nil {
			return true, nil // since the caller has looked
		}
		return d.answer(q, from)
	})
}

// answer looks an app up for a network, whether the registry knows it or not, and reports
// whether it does from here on.
func (d *finder) answer(q question, from netip.Prefix) (any, error) {
	l := &lookup{question: q, from: from}
	if !d.enter(l) {
		return false, ErrAway
	}
	defer d.leave(l)
	ctx, cancel := context.WithTimeout(d.ctx, lookupTimeout)
	defer cancel()
	found, err := d.lookUp(ctx, l)
	if !found && err != ErrAway && !d.noteNone(l, err) {
		found, err = d.lookUp(ctx, l)
	}
	return found, err
}

// noteNone remembers that there is no app of a name, and who has asked for it. It does not if
// there may be one since: then it returns false.
func (d *finder) noteNone(l *lookup, why error) (noted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.stale {
		return false
	}
	d.guesses.add(l.from)
	if d.NegativeTTL > 0 {
		d.negatives.add(l.question, why, time.Now().Add(d.NegativeTTL))
	}
	return true
}

// lookUp asks the source, and reports whether the registry knows the app now.
func (d *finder) lookUp(ctx context.Context, l *lookup) (found bool, err error) {
	defer d.Bugs.Recover(func() { found, err = false, ErrUnusable })
	document, err := d.query(ctx, l.question)
	switch odd := (*source.AppError)(nil); {
	case err == nil:
		return d.accept(ctx, l, document)
	case errors.As(err, &odd):
		d.reject(l, odd)
		return false, ErrUnusable
	case errors.Is(err, source.ErrNone):
		return false, nil
	}
	return false, err
}

// query asks the source when it is this question's turn. The error is one that is about this
// app, or ErrAway.
func (d *finder) query(ctx context.Context, q question) (document []byte, err error) {
	failures, ok := d.mayAsk()
	if !ok {
		return nil, ErrAway
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, ErrAway
	}
	asked := time.Now()
	document, err = d.Source.Find(ctx, q.by, q.name)
	if err == nil || errors.Is(err, source.ErrNone) || errors.As(err, new(*source.AppError)) {
		d.metrics.Answered(err == nil, time.Since(asked))
		d.answered()
		return document, err
	}
	d.metrics.Failed(time.Since(asked))
	if d.ctx.Err() != nil || !d.test(failures) {
		return nil, ErrAway
	}
	return nil, &source.AppError{Problem: err.Error()}
}

// test reports whether the source answers anything. It fails with one name, and may do so
// because of that name: then others are not to suffer.
func (d *finder) test(failures int) (answers bool) {
	_, err, _ := d.flights.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(d.ctx, lookupTimeout)
		defer cancel()
		return nil, d.Source.Check(ctx)
	})
	if err != nil {
		d.failed(failures, err)
	} else {
		d.answered()
	}
	return err == nil
}

// enter counts a look-up in, unless too many wait, or wait for its network, or the finder is
// closed.
func (d *finder) enter(l *lookup) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lookups) >= maxLookups || d.ctx.Err() != nil || l.from.IsValid() && d.waiting[l.from] >= maxWaiting {
		return false
	}
	d.lookups[l] = struct{}{}
	d.waiting[l.from]++
	d.running.Add(1)
	return true
}

func (d *finder) leave(l *lookup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lookups, l)
	if d.waiting[l.from]--; d.waiting[l.from] == 0 {
		delete(d.waiting, l.from)
	}
	d.running.Done()
}

// close ends all look-ups.
func (d *finder) close() {
	d.mu.Lock()
	d.cancel() // nobody enters any more
	d.mu.Unlock()
	d.running.Wait()
	_ = d.Source.Close()
}

func (d *finder) mayAsk() (failures int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.outage.mayAsk(time.Now())
}

// failed notes that the source has not answered.
func (d *finder) failed(failures int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() == nil && d.outage.failed(failures, time.Now()) {
		d.Log.Error("apps cannot be looked up; those that are known go on as they are", "apps_from", refusals.Clean(err.Error()))
	}
}

// answered notes that the source has.
func (d *finder) answered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.outage.answered() {
		d.Log.Info("apps can be looked up again")
	}
}

func (d *finder) away() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.outage.away()
}
