package apps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
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

// Directory is how applications are looked up that the configuration does not have. It asks
// a source for one when a client or a request first names it, and again ahead of the end of
// its time to live while the application is in use. One that nobody uses is forgotten.
//
// While the source is away, the applications that are known go on as they are.
type Directory struct {
	Source source.Source
	// Limits are the server's, which the settings of an application have to fit.
	Limits config.Server
	// TTL is how old what is known of an application may get, and NegativeTTL for how long
	// a name is remembered that is nobody's; 0: not at all.
	TTL, NegativeTTL time.Duration
	Log              *slog.Logger
	// Changes are what look-ups do to the server's state.
	Changes *handover.Changes
	Bugs    *bugs.Log
	// Evict closes the connections of applications that were removed or disabled.
	Evict func()
}

var (
	// ErrAway is the error of a look-up while the source cannot be asked.
	ErrAway = errors.New("applications cannot be looked up now: the server's log says why")
	// ErrGuessing is the error of a look-up from an address that has asked for too many names
	// that are nobody's.
	ErrGuessing = errors.New("too many unknown apps were asked for from this address")
	// ErrUnusable is the error of a look-up that found settings with a mistake in them.
	ErrUnusable = errors.New("the application's settings have a mistake in them: the server's log says which")
)

const (
	// lookupTimeout is how long a look-up may take, time for those ahead of it included.
	lookupTimeout = 10 * time.Second
	// lookupsAtOnce is how many questions the source is asked at a time, and
	// refreshesAtOnce how many of them about applications that are known, so that these
	// leave room for others.
	lookupsAtOnce   = 16
	refreshesAtOnce = 4
	// maxLookups bounds how many names are being looked up, those that wait included.
	maxLookups = 10_000
	// maxVerdicts bounds how many names are remembered that are nobody's.
	maxVerdicts = 100_000
	// maxGuesses is how many names that turn out to be nobody's one network may ask for in
	// guessesFor, and maxGuessers how many networks are counted.
	maxGuesses  = 100
	guessesFor  = 10 * time.Second
	maxGuessers = 10_000
	// firstRetry is when a source is asked again that did not answer; the time doubles up
	// to lastRetry.
	firstRetry = 250 * time.Millisecond
	lastRetry  = 15 * time.Second
	// sweepInterval is how often it is looked which applications to ask about again.
	sweepInterval = time.Second
	// maxNameBytes is of an id or a key that is looked up.
	maxNameBytes = 255
)

// sourced is what is known of an application by its source. The registry's lock guards it.
type sourced struct {
	document []byte
	due      time.Time // when the source is asked again
	problems string    // of the document that the source has now; empty: it is this one
}

// directory is a Directory in use.
type directory struct {
	Directory
	registry *Registry
	metrics  *metrics.Lookups
	flights  singleflight.Group
	slots    chan struct{}
	wake     chan struct{} // the sweeper looks at once

	ctx     context.Context // of all look-ups
	cancel  context.CancelFunc
	running sync.WaitGroup // look-ups

	mu       sync.Mutex // guards the following
	lookups  map[*lookup]struct{}
	verdicts map[question]verdict // of names for which there is no application
	failures int                  // since the source last answered
	retry    time.Time            // when it is asked again after these
	guessed  map[netip.Prefix]int // names that are nobody's, by who has asked, since guessing
	guessing time.Time
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
	stale bool // the application may have changed since
}

// verdict is why there is no application of a name.
type verdict struct {
	err   error // nil: there is none; ErrUnusable
	until time.Time
}

// LookUp has the registry look applications up from here on. Close is due.
func (r *Registry) LookUp(d Directory) {
	ctx, cancel := context.WithCancel(context.Background())
	looking := &directory{
		Directory: d, registry: r, ctx: ctx, cancel: cancel,
		slots:   make(chan struct{}, lookupsAtOnce),
		wake:    make(chan struct{}, 1),
		lookups: make(map[*lookup]struct{}), verdicts: make(map[question]verdict),
	}
	looking.metrics = r.metrics.Lookups(r.lookedUp, func() bool { return !looking.away() })
	r.directory = looking
	r.broker.Unserved(r.want)
}

// LooksUp reports whether there is a Directory.
func (r *Registry) LooksUp() bool { return r.directory != nil }

// LookedUp reports whether an application was, and is not configured.
func (r *Registry) LookedUp(a *App) bool { return r.document(a) != nil }

// document is what the source has of an application; nil if it is configured.
func (r *Registry) document(a *App) []byte {
	r.updating.Lock()
	defer r.updating.Unlock()
	if a.source == nil {
		return nil
	}
	return a.source.document
}

// lookedUp is how many applications are known that are not configured.
func (r *Registry) lookedUp() (n int) {
	r.updating.Lock()
	defer r.updating.Unlock()
	r.All(func(a *App) {
		if a.source != nil {
			n++
		}
	})
	return n
}

// Run keeps what was looked up up to date until the context ends. Without a Directory, it
// does nothing.
func (r *Registry) Run(ctx context.Context) {
	if r.directory != nil {
		r.directory.run(ctx)
	}
}

// Close ends look-ups.
func (r *Registry) Close() {
	if r.directory != nil {
		r.directory.close()
	}
}

// Refresh has the source asked about all applications that are known, at once.
func (r *Registry) Refresh() {
	if r.directory != nil {
		r.directory.changed("")
	}
}

// Known is [Registry.Find] for who cannot wait. known is false if the source has to be
// asked; if it is true and a is nil, there is no such application.
func (r *Registry) Known(by source.By, name string) (a *App, known bool) {
	in := &r.byID
	if by == source.ByKey {
		in = &r.byKey
	}
	for {
		a := in.get(name)
		if a == nil {
			return nil, r.directory == nil || r.directory.isNone(question{by, name})
		}
		if a.hold() {
			return a, true
		}
		r.awaitUpdate() // it is being forgotten
	}
}

// awaitUpdate returns when no application is coming, changing or going.
func (r *Registry) awaitUpdate() {
	r.updating.Lock()
	defer r.updating.Unlock()
}

// isNone reports whether it is known that there is no such application.
func (d *directory) isNone(q question) bool {
	v, ok := d.verdict(q)
	return ok && v.err == nil
}

// Find returns the application of that id or key, or nil if there is none. It may have to be
// looked up, which takes a while; a context that ends before is an error, as are ErrAway,
// ErrGuessing and ErrUnusable. from is the network address of who asks. The application is
// not forgotten before Release.
func (r *Registry) Find(ctx context.Context, by source.By, name, from string) (*App, error) {
	for {
		if a, known := r.Known(by, name); known {
			return a, nil
		}
		network := Network(from)
		if r.directory.guesses(network) {
			return nil, ErrGuessing
		}
		found, err := r.directory.ask(ctx, question{by, name})
		if err == nil && !found {
			r.directory.noteGuess(network)
		}
		if err != nil || !found {
			return nil, err
		}
	}
}

// guesses reports whether somebody has asked for too many names that are nobody's.
func (d *directory) guesses(network netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.guessing) >= guessesFor {
		d.guessed, d.guessing = nil, time.Now()
	}
	return d.guessed[network] >= maxGuesses
}

// noteGuess counts a name that is nobody's for who has asked for it, if that has an address.
func (d *directory) noteGuess(network netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.guessed == nil {
		d.guessed = make(map[netip.Prefix]int)
	}
	if network.IsValid() && len(d.guessed) < maxGuessers {
		d.guessed[network]++
	}
}

// want has an application looked up, if it is not known, and does not wait.
func (r *Registry) want(id string) {
	if a, known := r.Known(source.ByID, id); known {
		a.Release()
	} else {
		r.directory.begin(question{source.ByID, id})
	}
}

// ask looks somebody up, and reports whether the registry knows it now. All who ask the same
// at a time are one question to the source.
func (d *directory) ask(ctx context.Context, q question) (found bool, err error) {
	if len(q.name) > maxNameBytes {
		return false, nil
	}
	if v, ok := d.verdict(q); ok {
		return false, v.err
	}
	select {
	case answer := <-d.begin(q):
		return answer.Val == true, answer.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// begin begins to look somebody up.
func (d *directory) begin(q question) <-chan singleflight.Result {
	return d.flights.DoChan(q.String(), func() (any, error) {
		return d.look(q)
	})
}

// look asks the source, and reports whether the registry knows the application now.
func (d *directory) look(q question) (found bool, err error) {
	l := &lookup{question: q}
	if !d.enter(l) {
		return false, ErrAway
	}
	defer d.leave(l)
	defer d.Bugs.Recover(func() { found, err = false, ErrUnusable })
	document, err := d.find(q)
	switch odd := (*source.RowError)(nil); {
	case err == nil:
		found, err = d.learn(l, document)
	case errors.As(err, &odd):
		d.misread(l, odd)
		err = ErrUnusable
	case errors.Is(err, source.ErrNone):
		err = nil
	}
	if !found && err != ErrAway {
		d.note(q, err)
	}
	return found, err
}

// find asks the source, when it is this question's turn.
func (d *directory) find(q question) (document []byte, err error) {
	round, ok := d.mayAsk()
	if !ok {
		return nil, ErrAway
	}
	ctx, cancel := context.WithTimeout(d.ctx, lookupTimeout)
	defer cancel()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, ErrAway
	}
	asked := time.Now()
	document, err = d.Source.Find(ctx, q.by, q.name)
	if err != nil && !errors.Is(err, source.ErrNone) && !errors.As(err, new(*source.RowError)) {
		d.metrics.Failed(time.Since(asked))
		d.failed(round, err)
		return nil, ErrAway
	}
	d.metrics.Answered(err == nil, time.Since(asked))
	d.answered()
	return document, err
}

// enter counts a look-up in, unless too many wait or the directory is closed.
func (d *directory) enter(l *lookup) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lookups) >= maxLookups || d.ctx.Err() != nil {
		return false
	}
	d.lookups[l] = struct{}{}
	d.running.Add(1)
	return true
}

func (d *directory) leave(l *lookup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lookups, l)
	d.running.Done()
}

// close ends all look-ups.
func (d *directory) close() {
	d.mu.Lock()
	d.cancel() // nobody enters any more
	d.mu.Unlock()
	d.running.Wait()
	_ = d.Source.Close()
}

// verdict returns why there is no application of a name, if that is known.
func (d *directory) verdict(q question) (verdict, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.verdicts[q]
	return v, time.Now().Before(v.until)
}

// note remembers a verdict. If there are too many, it first forgets them all: the source is
// asked about each name once more.
func (d *directory) note(q question, err error) {
	if d.NegativeTTL == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.verdicts) >= maxVerdicts {
		clear(d.verdicts)
	}
	d.verdicts[q] = verdict{err, time.Now().Add(d.NegativeTTL)}
}

// mayAsk reports whether the source is to be asked now, and how often it has failed by now.
// While it is away, it is asked one question at a time.
func (d *directory) mayAsk() (failures int, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.failures > 0 {
		if now.Before(d.retry) {
			return 0, false
		}
		d.retry = now.Add(lookupTimeout) // when this question has been answered in any case
	}
	return d.failures, true
}

// failed notes that the source has not answered a question. Of those that it was asked at a
// time, one counts. before is how often it had failed when it was asked.
func (d *directory) failed(before int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failures != before || d.ctx.Err() != nil {
		return
	}
	if before == 0 {
		d.Log.Error("applications cannot be looked up; those that are known go on as they are", "apps_from", refusals.Clean(err.Error()))
	}
	wait := min(firstRetry<<min(before, 10), lastRetry)
	d.failures++
	d.retry = time.Now().Add(wait/2 + rand.N(wait/2))
}

// answered notes that the source is there.
func (d *directory) answered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failures > 0 {
		d.failures = 0
		d.Log.Info("applications can be looked up again")
	}
}

// away reports whether the source was away when it was last asked.
func (d *directory) away() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failures > 0
}

// resting reports whether the source is away, and not to be asked yet.
func (d *directory) resting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failures > 0 && time.Now().Before(d.retry)
}

// changed has the source asked about an application, "" for all, as soon as may be. Names
// that were nobody's may be somebody's.
func (d *directory) changed(id string) {
	d.mu.Lock()
	clear(d.verdicts)
	d.retry = time.Time{}
	for l := range d.lookups {
		if id == "" || l.by == source.ByKey || l.name == id {
			l.stale = true
		}
	}
	d.mu.Unlock()
	d.registry.due(id)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// next is when an application is asked about again that a look-up has just found: ahead of
// its time to live, and not when others are.
func (d *directory) next(l *lookup) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.stale {
		return time.Now()
	}
	return time.Now().Add(d.TTL/2 + rand.N(d.TTL/4))
}

// learn has the registry know an application as its source has it, and reports whether it
// does.
func (d *directory) learn(l *lookup, document []byte) (known bool, err error) {
	c, warnings, err := config.ParseApp(fmt.Sprintf("app with %s %q of apps_from", l.by, refusals.Clean(l.name)), document, d.Limits)
	if answered := map[source.By]string{source.ByID: c.ID, source.ByKey: c.Key}[l.by]; err == nil && answered != l.name {
		err = fmt.Errorf("asked for the app with %s %q, it answers with app %s", l.by, refusals.Clean(l.name), c.ID)
	}
	if n := max(len(c.ID), len(c.Key)); err == nil && n > maxNameBytes {
		err = fmt.Errorf("its id or its key has %d bytes: give at most %d", n, maxNameBytes)
	}
	if err != nil {
		d.misread(l, err)
		return false, ErrUnusable
	}
	if owner := d.ownerOf(l, c); owner != c.ID {
		d.misread(l, fmt.Errorf("app %s has the key of app %s: give each its own", c.ID, owner))
		return false, ErrUnusable
	}
	moved := d.Changes.Begin()
	defer d.Changes.End()
	if moved {
		return false, ErrAway
	}
	known, evict := d.put(l, c, document)
	if evict {
		d.Evict()
	}
	if known && len(warnings) > 0 {
		d.Log.Debug("settings of an application of apps_from", "app", c, "warnings", strings.Join(warnings, "; "))
	}
	return known, nil
}

// ownerOf returns the id of the application whose key is that of c, which the source has just
// had. If another one is known by that key, the source decides whose it is now.
func (d *directory) ownerOf(l *lookup, c config.App) string {
	other := d.registry.byKey.get(c.Key)
	if l.by == source.ByKey || other == nil || other.ID == c.ID || !d.registry.LookedUp(other) {
		return c.ID
	}
	document, err := d.find(question{source.ByKey, c.Key})
	if err == nil {
		if owner, _, err := config.ParseApp("apps_from", document, d.Limits); err == nil && owner.ID == c.ID {
			return c.ID
		}
	}
	return other.ID
}

// adopt knows an application that was looked up by another process, and asks about it before
// long. It returns nil if its settings cannot be used here.
func (d *directory) adopt(document []byte) *App {
	c, _, err := config.ParseApp("apps_from", document, d.Limits)
	if err != nil {
		return nil
	}
	d.put(&lookup{stale: true}, c, document)
	return d.registry.byID.get(c.ID)
}

// misread tells of settings with mistakes in them, once if they are of an application that
// is known: it goes on as it is.
func (d *directory) misread(l *lookup, err error) {
	problems := strings.ReplaceAll(err.Error(), "\n", "; ")
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	if a := r.byID.get(l.name); l.by == source.ByID && a != nil && a.source != nil {
		a.source.due = d.next(l)
		if a.source.problems == problems {
			return
		}
		a.source.problems = problems
	}
	d.Log.Error("an application of apps_from cannot be used", "problems", problems)
}

// put puts in force what the source has of an application. evict says that it has not
// been disabled before.
func (d *directory) put(l *lookup, c config.App, document []byte) (known, evict bool) {
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	a := r.byID.get(c.ID)
	if other := r.byKey.get(c.Key); a != nil && a.source == nil || other != nil && other != a && other.source == nil {
		d.Log.Warn("an application of apps_from has the id or the key of one in the configuration: that one is served", "app", c)
		return false, false
	}
	if a == nil {
		a = r.newApp(c)
		a.used.Store(true)
		a.source = &sourced{document: document, due: d.next(l)}
		r.name(a, nil)
		d.Log.Debug("application looked up", "app", c)
		return true, false
	}
	a.source.due, a.source.problems = d.next(l), ""
	if bytes.Equal(a.source.document, document) {
		return true, false
	}
	a.source.document = document
	before := a.Settings()
	if reflect.DeepEqual(before.App, c) {
		return true, false
	}
	a.set(c)
	r.name(a, before)()
	d.Log.Info("application changed in apps_from", "app", c)
	return true, before.Enabled && !c.Enabled
}

// refresh asks about an application that is known.
func (d *directory) refresh(a *App) {
	if found, err := d.look(question{source.ByID, a.ID}); !found && err == nil {
		d.remove(a)
	}
}

// remove ends an application that its source has not any more.
func (d *directory) remove(a *App) {
	moved := d.Changes.Begin()
	defer d.Changes.End()
	r := d.registry
	r.updating.Lock()
	gone := !moved && a.source != nil && r.byID.get(a.ID) == a
	if gone {
		r.remove(a)
	}
	r.updating.Unlock()
	if gone {
		d.Log.Info("application removed from apps_from", "app", a.Settings().App)
		d.Evict()
	}
}

// forget forgets an application that nobody has used since it was last asked about, and
// reports whether it has. While the source is away, nothing is forgotten.
func (d *directory) forget(a *App) bool {
	if a.used.Swap(false) || d.away() {
		return false
	}
	moved := d.Changes.Begin()
	defer d.Changes.End()
	r := d.registry
	r.updating.Lock()
	defer r.updating.Unlock()
	a.forgotten.Store(true) // whoever holds it from here on looks again
	if moved || a.source == nil || !a.idle() {
		a.forgotten.Store(false)
		return false
	}
	r.forget(a)
	return true
}

// due has the source asked about an application as soon as may be, "" for all.
func (r *Registry) due(id string) {
	r.updating.Lock()
	defer r.updating.Unlock()
	hurry := func(a *App) {
		if a != nil && a.source != nil {
			a.source.due = time.Time{}
		}
	}
	if id == "" {
		r.All(hurry)
	} else {
		hurry(r.byID.get(id))
	}
}

// dueNow are the applications that the source is to be asked about.
func (r *Registry) dueNow() (due []*App) {
	now := time.Now()
	r.updating.Lock()
	defer r.updating.Unlock()
	r.All(func(a *App) {
		if a.source != nil && !a.source.due.After(now) {
			due = append(due, a)
		}
	})
	return due
}

// run asks about applications again when they are due, and looks for the source when it is
// away, until the context ends.
func (d *directory) run(ctx context.Context) {
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
		if d.resting() {
			continue
		}
		d.sweep(ctx)
		if d.away() {
			d.check()
		}
	}
}

// sweep asks about the applications that are due, and forgets those that nobody uses.
func (d *directory) sweep(ctx context.Context) {
	var asking sync.WaitGroup
	defer asking.Wait()
	turns := make(chan struct{}, refreshesAtOnce)
	for _, a := range d.registry.dueNow() {
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

// check finds out whether the source can be asked.
func (d *directory) check() {
	failures, ok := d.mayAsk()
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, lookupTimeout)
	defer cancel()
	if err := d.Source.Check(ctx); err != nil {
		d.failed(failures, err)
	} else {
		d.answered()
	}
}

// watch hears of changes from the source, if it tells of them, until the context ends.
func (d *directory) watch(ctx context.Context) {
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
