// Package server is the network side of Belfry: it builds listeners and
// routes, serves until it is told to stop, and drains.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels"
	"belfry/channels/cluster"
	"belfry/server/api"
	"belfry/server/apps"
	"belfry/server/apps/source"
	"belfry/server/bugs"
	"belfry/server/capacity"
	"belfry/server/certificates"
	"belfry/server/config"
	"belfry/server/console"
	"belfry/server/door"
	"belfry/server/fallback"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/outbox"
	"belfry/server/poller"
	"belfry/server/refusals"
	"belfry/server/session"
	"belfry/server/systemd"
	"belfry/server/trace"
	"belfry/server/webhooks"
	"belfry/server/websocket"
)

// Build says which build is running.
type Build struct {
	Version, Revision, GoVersion string
}

// Server is one running Belfry.
type Server struct {
	config      *config.Config
	version     string // of the build
	log         *slog.Logger
	logLevel    *slog.LevelVar // that reloads set; may be nil
	listener    net.Listener
	accepted    net.Listener   // of it, those that net/http serves
	driver      cluster.Driver // nil for a server that is no node of a cluster
	broker      *channels.Broker
	apps        *apps.Registry
	metrics     *metrics.Metrics
	webhooks    *webhooks.Sender
	watch       *keepalive.Watch
	budget      *outbox.Budget
	pollers     *poller.Pollers
	websocket   *websocket.Handler
	fallback    *fallback.Handler
	trace       *trace.Trace
	refusals    *refusals.Log
	bugs        *bugs.Log
	certificate certificate           // with server.tls.cert_file
	storage     certificates.Storage  // with server.tls.acme; else nil
	acme        *certificates.Manager // likewise
	capacity    *capacity.Capacity
	draining    atomic.Bool
	intake      interface{ StopAccepting() }
	inherited   bool            // the listener's socket outlives the process
	hurry       context.Context // ends when no request's body is waited for any more
	hasten      context.CancelFunc
	entrance
	succession
	http *http.Server

	// Only with server.redirect_http.
	redirectListener net.Listener
	redirectHTTP     *http.Server

	// Only with metrics.listen.
	metricsListener net.Listener
	metricsHTTP     *http.Server

	console *console.Console // nil if it is not enabled
	// Only with console.listen.
	consoleListener net.Listener
	consoleHTTP     *http.Server
}

// Bounds of an HTTP request, besides its body: how long its head and all of it
// may take, how long an answer may, and how long a connection may be idle
// between two. Reverb and Soketi close after each; Laravel and the official
// libraries keep a connection for minutes when they may.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

// Check reports what would keep a server from starting with a configuration,
// except that another process has its ports. It leaves nothing behind.
func Check(cfg *config.Config) error {
	s := newServer(cfg, slog.New(slog.DiscardHandler))
	return s.prepare()
}

func newServer(cfg *config.Config, log *slog.Logger) *Server {
	s := &Server{config: cfg, log: log, trace: new(trace.Trace), refusals: refusals.New(log)}
	s.refusals.TraceTo(s.trace)
	s.hurry, s.hasten = context.WithCancel(context.Background())
	return s
}

// prepare does what can fail because of what the configuration names, and starts
// nothing.
func (s *Server) prepare() (err error) {
	if err := checkAddresses(s.config); err != nil {
		return err
	}
	switch s.config.Server.TLS.Mode() {
	case config.TLSFiles:
		if _, err := s.certificate.load(s.config.Server.TLS); err != nil {
			return err
		}
	case config.TLSACME:
		if s.storage, err = newStorage(s.config, s.log); err != nil {
			return s.about("server.tls.acme.storage", err)
		}
	}
	if err := webhooks.CheckSpool(s.config.Webhooks.Spool); err != nil {
		return s.about("webhooks.spool", err)
	}
	if s.driver, err = newDriver(s.config.Cluster, s.log); err != nil {
		return fmt.Errorf("cluster.redis: %w", err)
	}
	return nil
}

// about returns err with the key that it is about, and with what set that.
func (s *Server) about(key string, err error) error {
	if where, _ := s.config.Where(key); where != "" {
		key = where + ": " + key
	}
	return fmt.Errorf("%s: %w", key, err)
}

// New listens, so that a port in use is told before anything else, and gets
// everything ready for Run. If the process was started by another one that hands over to
// it, New takes over all that has, and Run begins to serve it.
func New(cfg *config.Config, log *slog.Logger, build Build) (_ *Server, err error) {
	s := newServer(cfg, log)
	defer func() {
		if err != nil {
			s.declineSuccession(err)
			s.closeListeners()
			if s.storage != nil {
				s.storage.Close()
			}
			if s.apps != nil {
				s.apps.Close()
			}
			if s.pollers != nil && !s.adopting() {
				s.pollers.Close()
			}
		}
	}()
	if err := s.succeed(); err != nil {
		return nil, err
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	if s.pollers, err = poller.Start(); err != nil {
		return nil, err
	}
	s.version = build.Version
	s.metrics = metrics.New(build.Version, build.Revision, build.GoVersion)
	s.metrics.Limit(cfg.Metrics.PerApp)
	s.bugs = bugs.New(log, s.metrics.Panics)
	// A processor is left to the network poller, which the flushers, always in
	// system calls, would keep waiting; package main adds one for it.
	s.broker = channels.NewBroker(runtime.GOMAXPROCS(0)-1, s.driver)
	s.broker.TraceTo(s.trace)
	s.broker.LimitHistories(cfg.Server.MaxHistoryBytes)
	s.metrics.Cluster(s.broker.Ready)
	s.metrics.Certificates(s.firstEnd, s.missingCertificates)
	if s.storage != nil {
		s.acme = s.newACME()
	}
	s.metrics.Histories(s.broker.HistoryUse)
	hooks := webhooks.Options{
		Spool:     cfg.Webhooks.Spool,
		UserAgent: "Belfry/" + build.Version,
		Log:       log,
		Trace:     s.trace,
		Shared:    s.driver != nil,
		Held:      s.succeeds(),
	}
	if s.webhooks, err = webhooks.New(hooks); err != nil {
		s.broker.Close()
		return nil, fmt.Errorf("webhooks.spool: %w", err)
	}
	s.apps = apps.NewRegistry(cfg.Apps, s.broker, s.webhooks, s.metrics)
	s.webhooks.CheckSpool()
	s.watch = keepalive.New()
	admission := &session.Admission{Apps: s.apps, Metrics: s.metrics, Log: log, Refusals: s.refusals, Bugs: s.bugs, Trace: s.trace}
	s.capacity = capacity.New(s.limits())
	s.metrics.Sockets(s.capacity)
	s.budget = outbox.NewBudget(outbox.Limits{
		Client:  cfg.Server.MaxOutboxBytes,
		Total:   cfg.Server.MaxTotalOutboxBytes,
		Timeout: cfg.Server.OutboxTimeout,
	})
	s.websocket = &websocket.Handler{
		Admission: admission,
		Watch:     s.watch,
		Log:       log,
		Bugs:      s.bugs,
		Budget:    s.budget,
		Capacity:  s.capacity,
		Pollers:   s.pollers,
		Changes:   &s.changes,
	}
	s.fallback = &fallback.Handler{
		Admission: admission,
		Watch:     s.watch,
		Bugs:      s.bugs,
		Budget:    s.budget,
		Capacity:  s.capacity,
		Changes:   &s.changes,
	}
	if err := s.lookUp(); err != nil {
		return nil, err
	}
	s.console = s.newConsole(build)
	s.http = s.newHTTP(door.Serve(s.routes()))
	s.http.ConnContext = door.ConnContext
	if s.accepted, err = s.accept(); err != nil {
		return nil, err
	}
	if s.redirectListener != nil {
		s.redirectHTTP = s.newHTTP(door.Serve(s.redirect()))
		s.redirectHTTP.ConnContext = door.ConnContext
		s.redirectHTTP.SetKeepAlivesEnabled(false) // nobody has a second request
	}
	if s.metricsListener != nil {
		mux := http.NewServeMux()
		mux.Handle("GET "+cfg.Metrics.Path, s.metricsHandler())
		s.metricsHTTP = s.newHTTP(door.Serve(mux))
		s.metricsHTTP.ConnContext = door.ConnContext
	}
	if s.consoleListener != nil {
		s.consoleHTTP = s.newHTTP(door.Serve(s.consoleRoutes()))
		s.consoleHTTP.ConnContext = door.ConnContext
	}
	return s, s.adopt()
}

// lookUp has applications be looked up, if the configuration says where.
func (s *Server) lookUp() error {
	if s.config.AppsFrom.URL == "" {
		return nil
	}
	from, err := source.Open(s.config.AppsFrom)
	if err != nil {
		return err
	}
	s.apps.SetFinder(apps.Finder{
		Source:      from,
		Limits:      s.config.Server,
		TTL:         s.config.AppsFrom.TTL,
		NegativeTTL: s.config.AppsFrom.NegativeTTL,
		Log:         s.log,
		Bugs:        s.bugs,
		Changes:     &s.changes,
		Evict:       s.evict,
	})
	return nil
}

func (s *Server) newHTTP(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		TLSNextProto:      endChallenges,
		ErrorLog:          httpErrors{s.log, s.refusals}.logger(),
	}
}

func (s *Server) api() *api.API {
	return &api.API{
		Apps:            s.apps,
		Metrics:         s.metrics,
		Refusals:        s.refusals,
		Log:             s.log,
		Prefix:          s.config.Server.Path,
		MaxRequestBytes: s.config.Server.MaxRequestBytes,
		Authorized:      door.Authorized,
		Hurry:           s.hurry,
		Changes:         &s.changes,
		Elsewhere:       s.passOn,
	}
}

func (s *Server) closeListeners() {
	for _, l := range append([]net.Listener{s.listener}, s.listenersApart()...) {
		if l != nil {
			l.Close()
		}
	}
}

// LogLinesDropped exports a count of lines that the log's reader has not taken.
func (s *Server) LogLinesDropped(count func() uint64) { s.metrics.LogLinesDropped(count) }

// Addr is where the server listens: the real port when 0 was asked for.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// MetricsAddr is where metrics are served if not at Addr; else nil.
func (s *Server) MetricsAddr() net.Addr {
	if s.metricsListener == nil {
		return nil
	}
	return s.metricsListener.Addr()
}

// RedirectAddr is where http is sent to https; nil: nowhere.
func (s *Server) RedirectAddr() net.Addr {
	if s.redirectListener == nil {
		return nil
	}
	return s.redirectListener.Addr()
}

// Secure reports whether the server speaks TLS.
func (s *Server) Secure() bool { return s.secured() }

// Run serves until the context ends, and then drains: after drain_delay it tells
// clients to reconnect, delivers webhooks, finishes the requests it has, closes its
// listener last, and returns when all have gone, or after shutdown_grace whatever is
// left. The error is that of a listener that failed before.
//
// Run also returns when a new process has taken over: see HandOverOn.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	failed := make(chan error, 5) // of all who send
	s.begin(&running)
	serve := func(server *http.Server, listener net.Listener) {
		running.Go(func() {
			err := server.Serve(listener)
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- err
				stop()
			}
		})
	}
	serve(s.http, s.accepted)
	if err := s.openDoor(); err != nil {
		failed <- err
		stop()
	}
	if s.redirectHTTP != nil {
		serve(s.redirectHTTP, s.counted(s.redirectListener, false))
	}
	if s.acme != nil {
		running.Go(func() { s.acme.Run(ctx) })
	}
	if s.metricsHTTP != nil {
		serve(s.metricsHTTP, s.counted(s.metricsListener, false))
	}
	if s.consoleHTTP != nil {
		serve(s.consoleHTTP, s.consoleListen())
	}
	if s.console != nil {
		running.Go(func() { s.console.Run(ctx) })
	}
	running.Go(func() { s.tellManager(ctx) })
	if s.driver != nil {
		running.Go(func() { s.tellNodes(ctx) })
	}
	running.Go(func() { s.expireCaches(ctx) })
	running.Go(func() { s.apps.Run(ctx) })
	running.Go(func() { s.metrics.Run(ctx) })

	s.serveHandovers(ctx)
	stop()
	ended := make(chan struct{})
	go func() {
		if s.hasMoved() {
			s.leave()
		} else {
			s.drain()
		}
		running.Wait()
		if s.storage != nil {
			s.storage.Close() // behind the manager, which stores what it has ordered
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(s.config.Server.DrainDelay + max(s.config.Server.ShutdownGrace, leastGrace)):
		s.log.Error("stopping took longer than shutdown_grace: the process ends with connections left", "connections", s.connections())
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// leastGrace is what cutting connections takes on a slow machine, whatever
// shutdown_grace is.
const leastGrace = time.Second

// apart returns the servers that have a listener beside the main one.
func (s *Server) apart() (servers []*http.Server) {
	for _, h := range []*http.Server{s.redirectHTTP, s.metricsHTTP, s.consoleHTTP} {
		if h != nil {
			servers = append(servers, h)
		}
	}
	return servers
}

// clustered says whether other nodes serve clients too.
func (s *Server) clustered() bool { return s.config.Cluster.Driver != config.ClusterLocal }

// connections is how many clients are connected to any application.
func (s *Server) connections() (n int) {
	s.apps.All(func(a *apps.App) { n += a.Connections() })
	return n
}

// statusInterval is how often the service manager is told how many clients there are.
const statusInterval = 10 * time.Second

// tellManager tells the service manager that the server is ready, and, until the
// context ends, how many clients it has.
func (s *Server) tellManager(ctx context.Context) {
	s.awaitSettled(ctx) // the service manager does not listen to this process before
	ticker := time.NewTicker(statusInterval)
	defer ticker.Stop()
	for systemd.Notify(s.log, systemd.Ready); ; {
		systemd.Notify(s.log, systemd.Status("%d connections", s.connections()))
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// cacheSweep is how often last events past their time are looked for. They
// are never replayed; this is for their memory.
const cacheSweep = time.Minute

func (s *Server) expireCaches(ctx context.Context) {
	ticker := time.NewTicker(cacheSweep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.apps.All(func(a *apps.App) { a.Channels.Expire(now) })
		}
	}
}
