// Package server is the network side of Belfry: it builds listeners and
// routes, serves until it is told to stop, and drains.
package server

import (
	"context"
	"crypto/tls"
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
	"belfry/server/api"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/fallback"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/session"
	"belfry/server/webhooks"
	"belfry/server/websocket"
)

// Build says which build is running.
type Build struct {
	Version, Revision, GoVersion string
}

// Server is one running Belfry.
type Server struct {
	config    *config.Config
	log       *slog.Logger
	listener  net.Listener
	broker    *channels.Broker
	apps      *apps.Registry
	metrics   *metrics.Metrics
	webhooks  *webhooks.Sender
	watch     *keepalive.Watch
	websocket *websocket.Handler
	fallback  *fallback.Handler
	draining  atomic.Bool
	http      *http.Server

	// Only with metrics.listen.
	metricsListener net.Listener
	metricsHTTP     *http.Server
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

// New listens, so that a port in use is told before anything else, and gets
// everything ready for Run.
func New(cfg *config.Config, log *slog.Logger, build Build) (_ *Server, err error) {
	s := &Server{config: cfg, log: log}
	defer func() {
		if err != nil {
			s.closeListeners()
		}
	}()
	var certificates *tls.Config
	if cfg.Server.TLS.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Server.TLS.CertFile, cfg.Server.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("server.tls: %w", err)
		}
		certificates = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	if s.listener, err = listen(cfg.Server.Listen); err != nil {
		return nil, fmt.Errorf("server.listen: %w", err)
	}
	if cfg.Metrics.Enabled && cfg.Metrics.Listen != "" {
		if s.metricsListener, err = net.Listen("tcp", cfg.Metrics.Listen); err != nil {
			return nil, fmt.Errorf("metrics.listen: %w", err)
		}
	}
	s.metrics = metrics.New(build.Version, build.Revision, build.GoVersion)
	driver, err := newDriver(cfg.Cluster, log)
	if err != nil {
		return nil, fmt.Errorf("cluster.redis: %w", err)
	}
	// A processor is left to the network poller, which the flushers, always in
	// system calls, would keep waiting; package main adds one for it.
	s.broker = channels.NewBroker(runtime.GOMAXPROCS(0)-1, driver)
	s.metrics.Cluster(s.broker.Ready)
	hooks := webhooks.Options{
		Spool:     cfg.Webhooks.Spool,
		UserAgent: "Belfry/" + build.Version,
		Log:       log,
	}
	if driver != nil {
		hooks.Settle = s.broker.Settle
	}
	if s.webhooks, err = webhooks.New(hooks); err != nil {
		s.broker.Close()
		return nil, fmt.Errorf("webhooks.spool: %w", err)
	}
	s.apps = apps.NewRegistry(cfg.Apps, s.broker, s.webhooks, s.metrics)
	s.webhooks.CheckSpool()
	s.watch = keepalive.New()
	gate := &session.Gate{Apps: s.apps, Metrics: s.metrics, Log: log}
	places := s.places()
	s.websocket = &websocket.Handler{
		Gate:           gate,
		Watch:          s.watch,
		Metrics:        s.metrics,
		Log:            log,
		MaxOutboxBytes: cfg.Server.MaxOutboxBytes,
		Places:         places,
	}
	s.fallback = &fallback.Handler{
		Gate:           gate,
		Watch:          s.watch,
		Metrics:        s.metrics,
		Log:            log,
		MaxOutboxBytes: cfg.Server.MaxOutboxBytes,
		Places:         places,
	}
	if err := s.websocket.Start(); err != nil {
		s.watch.Close()
		s.broker.Close()
		none, cancel := context.WithCancel(context.Background())
		cancel()
		s.webhooks.Close(none)
		return nil, err
	}
	s.http = s.newHTTP(s.routes())
	s.http.TLSConfig = certificates
	if s.metricsListener != nil {
		mux := http.NewServeMux()
		mux.Handle("GET "+cfg.Metrics.Path, s.metricsHandler())
		s.metricsHTTP = s.newHTTP(mux)
	}
	return s, nil
}

func (s *Server) newHTTP(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

func (s *Server) api() *api.API {
	return &api.API{
		Apps:            s.apps,
		Metrics:         s.metrics,
		Log:             s.log,
		Prefix:          s.config.Server.Path,
		MaxRequestBytes: s.config.Server.MaxRequestBytes,
	}
}

func (s *Server) closeListeners() {
	for _, l := range []net.Listener{s.listener, s.metricsListener} {
		if l != nil {
			l.Close()
		}
	}
}

// Addr is where the server listens: the real port when 0 was asked for.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// MetricsAddr is where metrics are served if not at Addr; else nil.
func (s *Server) MetricsAddr() net.Addr {
	if s.metricsListener == nil {
		return nil
	}
	return s.metricsListener.Addr()
}

// Secure reports whether the server speaks TLS.
func (s *Server) Secure() bool { return s.http.TLSConfig != nil }

// Run serves until the context ends, and then drains: it accepts no more,
// finishes the requests it has, tells clients to reconnect over
// shutdown_grace, delivers webhooks, and returns when all have gone. The error
// is that of a listener that failed before.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	failed := make(chan error, 2)
	serve := func(server *http.Server, listener net.Listener) {
		running.Go(func() {
			var err error
			if server.TLSConfig != nil {
				err = server.ServeTLS(listener, "", "")
			} else {
				err = server.Serve(listener)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- err
				stop()
			}
		})
	}
	serve(s.http, s.listener)
	if s.metricsHTTP != nil {
		serve(s.metricsHTTP, s.metricsListener)
	}
	running.Go(func() { s.expireCaches(ctx) })

	<-ctx.Done()
	s.drain()
	running.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func (s *Server) drain() {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Server.ShutdownGrace)
	defer cancel()
	s.log.Info("stopping: telling clients to reconnect", "grace", s.config.Server.ShutdownGrace)
	if s.config.Cluster.Driver == config.ClusterLocal {
		s.webhooks.FlushGraces() // nobody can come back here
		s.drainClients(ctx)
	} else {
		s.drainClients(ctx)
		s.broker.Flush(ctx)
		s.webhooks.AwaitGraces(ctx) // but to another node
	}
	if s.metricsHTTP != nil {
		s.metricsHTTP.Close()
	}
	s.broker.Close()
	s.watch.Close()
	s.webhooks.Close(ctx)
	s.log.Info("stopped")
}

// drainClients ends connections and requests. It leaves a fifth of the time to
// webhooks if there are any: each client that goes may be one.
func (s *Server) drainClients(ctx context.Context) {
	if s.webhooks.HasEndpoints() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.config.Server.ShutdownGrace*4/5)
		defer cancel()
	}
	var clients sync.WaitGroup
	clients.Go(func() {
		if s.http.Shutdown(ctx) != nil {
			s.http.Close()
		}
	})
	clients.Go(func() { s.fallback.Drain(ctx) })
	s.websocket.Drain(ctx)
	clients.Wait()
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
