// Package webhooks delivers an application's events to its backend: it collects
// them into batches, signs these, and posts them until they are taken (Pusher
// Channels documentation, "Webhooks").
//
// # The way of one event
//
// [App.Happened] never blocks. What happened, and when it is final, is decided in
// package channels. An event is encoded once and appended to the queue of each
// endpoint that wants it.
//
// An endpoint has two goroutines. One collects events into batches: a batch is
// closed 50 ms after its first event, or at 100 events or 512 KiB. The other
// posts batches, one request at a time. What has piled up behind a slow endpoint
// is joined, up to the size of one batch. Endpoints share nothing but the pool of
// connections: one that stalls delays no other.
//
// The queue has two lanes, which take turns. Events go to the bulk lane while the
// client that caused them has more than its share undelivered, so a flood delays
// and drops its own events, not those of others. A client is a network address:
// one that reconnects has no new share. Each channel keeps its
// order through both lanes.
//
// # Failures
//
// A request without an answer (connection error, 10 s) is repeated before
// anything else. A request that is refused is halved by channels until the
// refused event is alone. That event is given up, or tried again for five minutes
// after 408, 429 or 5xx; only later events of its channel wait behind it. Pauses
// grow exponentially, with full jitter, with the failures in a row, whatever was
// in the requests: one counter is for what is new, one for what was refused. So an
// endpoint that refuses everything gets about twice the requests of one batch that
// is repeated, and one that refuses single events gets all others at once.
//
// An event is tried once at least, unless the endpoint has taken nothing for five
// minutes, or the event has waited that much longer behind others of its channel:
// a dead endpoint does not keep hours of them, nor does one that refuses a channel.
//
// # The spool
//
// With a spool, a batch is a file from when it is closed until its events were
// delivered or given up. A file is written under a temporary name and renamed,
// so it is there as a whole or not at all, and written anew when a part of its
// events is done. There is nothing to compact, to repair or to migrate, and an
// operator reads and deletes batches with cat and rm. An embedded store would do
// the same with a dependency, and a log with a compaction. It costs a create, a
// rename and an unlink a batch, that is at most 20 a second and endpoint, or one
// for every 100 events.
//
// It survives the end of the process, kill -9 included. Files are not synced,
// which would cost a disk's round trip a batch: a power failure may take the
// last seconds. It does not hold what is not in a batch yet: the last 50 ms. A
// batch whose answer did not come before a crash is sent again: delivery is at
// least once. Nor does it hold what the cluster keeps until it is delivered.
package webhooks

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/server/metrics"
	"belfry/server/trace"
)

// Bounds of one endpoint.
const (
	batchDelay  = 50 * time.Millisecond // from a batch's first event to its end
	batchEvents = 100
	batchBytes  = 512 << 10 // below the megabyte that nginx takes by default; a larger event is alone

	maxQueued      = maxBulk * 3 / 2 // events that are not delivered yet
	maxQueuedBytes = maxBulkBytes * 3 / 2
)

// Options of a [Sender].
type Options struct {
	Spool     string // directory for batches that are not delivered yet; empty: none
	UserAgent string // of every request
	Log       *slog.Logger
	Trace     *trace.Trace // nil: nobody ever watches
	// Shared says that other nodes of a cluster send webhooks of the same channels.
	Shared bool
	// Held says that another process has the spool, and what is to be delivered first:
	// nothing is sent, nor the spool opened, until Release.
	Held bool
}

// Sender delivers the webhooks of all applications of a server. All methods may
// be called concurrently.
type Sender struct {
	log       *slog.Logger
	trace     *trace.Trace
	userAgent string
	transport *http.Transport
	directory string // of the spool; empty: none
	spool     *spool // nil: none, or held; set once
	shared    bool   // see Options

	ctx    context.Context // of all requests
	cancel context.CancelFunc

	tests chan struct{} // those that are under way

	retired atomic.Bool // what happens is another process's to tell

	mu     sync.Mutex // guards the following
	apps   map[string]*App
	closed bool
	held   bool // as of Options
}

// New opens the spool, if there is one, and starts. The error is that of a
// spool that cannot be used, [ErrSpoolInUse] among others.
func New(o Options) (*Sender, error) { return newSender(o, newTransport()) }

func newSender(o Options, transport *http.Transport) (*Sender, error) {
	s := &Sender{
		log:       o.Log,
		userAgent: o.UserAgent,
		trace:     o.Trace,
		transport: transport,
		shared:    o.Shared,
		directory: o.Spool,
		held:      o.Held,
		apps:      make(map[string]*App),
		tests:     make(chan struct{}, maxTests),
	}
	if !o.Held {
		if err := s.open(); err != nil {
			return nil, err
		}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// open opens the spool, if there is to be one.
func (s *Sender) open() (err error) {
	if s.directory != "" {
		s.spool, err = openSpool(s.directory)
	}
	return err
}

// App returns the webhooks of an application, without endpoints when it is new.
func (s *Sender) App(id string, counts metrics.Webhooks) *App {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[id]
	if a == nil {
		a = &App{id: id, sender: s, counts: counts, closed: s.closed}
		s.apps[id] = a
	}
	return a
}

// all applications, in the order of their ids.
func (s *Sender) all() []*App {
	s.mu.Lock()
	defer s.mu.Unlock()
	apps := make([]*App, 0, len(s.apps))
	for _, a := range s.apps {
		apps = append(apps, a)
	}
	slices.SortFunc(apps, func(a, b *App) int { return cmp.Compare(a.id, b.id) })
	return apps
}

func (s *Sender) forget(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps[a.id] == a {
		delete(s.apps, a.id)
	}
}

// HasEndpoints reports whether any application has an endpoint.
func (s *Sender) HasEndpoints() bool {
	return slices.ContainsFunc(s.all(), func(a *App) bool { return len(a.list()) > 0 })
}

// CheckSpool logs batches in the spool whose endpoint is not configured any more.
// They stay there. Call it when all applications have their endpoints.
func (s *Sender) CheckSpool() {
	if s.spool != nil {
		s.spool.logUnused(s.log)
	}
}

// Close delivers what there is until ctx ends, and returns
// when nothing runs any more. What is left then is in the spool, or dropped and
// counted. Later events are dropped and counted, later configurations ignored.
// It is to be called once.
func (s *Sender) Close(ctx context.Context) {
	if s.Held() {
		s.Release(nil, nil)
	}
	endpoints := s.refuse()
	defer context.AfterFunc(ctx, s.cancel)()
	for _, e := range endpoints {
		close(e.flush)
	}
	for _, e := range endpoints {
		e.end(metrics.DroppedShutdown)
	}
	s.finish()
}

// refuse lets no more events in, and returns the endpoints, which do not change any
// more.
func (s *Sender) refuse() (endpoints []*endpoint) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, a := range s.all() {
		endpoints = append(endpoints, a.refuse()...)
	}
	return endpoints
}

// finish is for when no endpoint does anything any more.
func (s *Sender) finish() {
	s.cancel()
	s.transport.CloseIdleConnections()
	if s.spool != nil {
		s.spool.close()
	}
}

// signal leaves a word for whoever waits at c, a channel with room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
