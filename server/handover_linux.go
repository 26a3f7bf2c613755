//go:build !blocking

package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"belfry/channels"
	"belfry/server/apps"
	"belfry/server/capacity"
	"belfry/server/door"
	"belfry/server/handover"
	"belfry/server/keepalive"
	"belfry/server/poller"
	"belfry/server/session"
	"belfry/server/systemd"
	"belfry/server/webhooks"
	"belfry/server/websocket"
)

// This is what package handover carries.

// The kinds of state, in the order in which they are sent: first the time, then each
// application with its channels and departures, then connections and those at the door.
const (
	stateTime       handover.Kind = 't'
	stateApp        handover.Kind = 'a'
	stateChannel    handover.Kind = 'c' // of the application before
	stateDepartures handover.Kind = 'd' // of the application before
	stateConnection handover.Kind = 's' // with a descriptor
	stateAbsent     handover.Kind = 'n' // a session whose connection stays
	stateVisitor    handover.Kind = 'v' // with a descriptor
)

// hello is the old process's first word. Its listeners come with it, those that there
// are.
type hello struct {
	Version int  `json:"version"`
	Metrics bool `json:"metrics"` // a listener for metrics comes behind the main one
	Outlive bool `json:"outlive"` // the main one's socket outlives the processes
}

// ready is the answer.
type ready struct {
	Version int      `json:"version"`
	Apps    []string `json:"apps"` // ids: sessions of others stay, to be told to go
}

// succession is the server's part in handovers: from the process before, and to the one
// behind.
type succession struct {
	changes handover.Changes

	// Of the process before.
	before  *handover.Link     // nil if there is none
	thaw    func()             // begins; nil if there is nothing to begin
	absent  []*session.Session // to be ended
	settled chan struct{}      // closed when the process before has nothing more to say

	// Of the process behind.
	signals   <-chan os.Signal   // that ask for a handover; nil if there are none
	requests  *handover.Requests // likewise; nil until they are taken, or cannot be
	program   handover.Program
	heirs     map[string]bool     // apps that it serves, by id
	successor *handover.Successor // nil until the clients are its
	moved     atomic.Bool         // they are
	elsewhere httputil.ReverseProxy
}

// HandOverOn has the server hand over to a new process of the same program on each of
// the signals, and when another process asks for it by handover.Upgrade. It comes before
// Run.
func (s *Server) HandOverOn(signals <-chan os.Signal) {
	program, err := handover.Self()
	if err != nil {
		s.log.Warn("this process cannot hand over to a new one", "error", err)
		return
	}
	s.signals, s.program = signals, program
}

// inherit takes the listeners of the process before, or of the service manager. outlive
// says that their sockets outlive this process.
func (s *Server) inherit() (sockets systemd.Sockets, outlive bool, err error) {
	if s.before == nil {
		sockets, err = systemd.Inherit()
		return sockets, true, err
	}
	s.before.SetDeadline(time.Now().Add(handover.ReadyTimeout))
	var h hello
	if err = s.before.Expect(handover.Hello, &h); err != nil {
		return sockets, false, err
	}
	if err = handover.CheckVersion(h.Version); err != nil {
		return sockets, false, err
	}
	if sockets.Main, err = s.nextListener(); err == nil && h.Metrics {
		sockets.Metrics, err = s.nextListener()
	}
	if err != nil {
		sockets.Close()
	}
	return sockets, h.Outlive, err
}

func (s *Server) nextListener() (*net.TCPListener, error) {
	fd, err := s.before.NextFile()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return nil, errors.New("a descriptor of the process before is no TCP listener")
	}
	return tcp, nil
}

// succeed finds out whether another process hands over to this one.
func (s *Server) succeed() (err error) {
	s.settled = make(chan struct{})
	if s.before, err = handover.Inherited(); err == nil && s.before == nil {
		close(s.settled)
	}
	return err
}

// succeeds says whether it does.
func (s *Server) succeeds() bool { return s.before != nil }

// declineSuccession tells the process before why this one cannot take over.
func (s *Server) declineSuccession(because error) {
	if s.before == nil {
		return
	}
	s.before.SetDeadline(time.Now().Add(time.Second))
	if s.before.Send(handover.Failed, because.Error()) == nil {
		_ = s.before.Flush() // an error: it has gone
	}
	s.before.Close()
}

// adopt takes over everything of the process before, if there is one. When it returns
// without an error, the clients are this process's, and none has been read from or
// written to: Run begins with that.
func (s *Server) adopt() error {
	if s.before == nil {
		return nil
	}
	answer := ready{Version: handover.Version}
	s.apps.All(func(a *apps.App) { answer.Apps = append(answer.Apps, a.ID) })
	s.before.SetDeadline(time.Now().Add(handover.FreezeTimeout + handover.AdoptTimeout + handover.ReadyTimeout))
	if err := s.before.Send(handover.Ready, answer); err != nil {
		return err
	}
	if err := s.before.Flush(); err != nil {
		return err
	}
	var err error
	if s.thaw, err = s.freeze(); err != nil {
		return err
	}
	if err := s.restoreAll(); err != nil {
		return err
	}
	s.takeRequests() // whoever hears of this handover may ask for the next
	if err := s.before.Send(handover.Adopted, nil); err != nil {
		return err
	}
	if err := s.before.Flush(); err != nil {
		return err
	}
	// The process before ends this one, or says Go, or has ended: it takes its time.
	s.before.SetDeadline(time.Time{})
	switch err := s.before.Expect(handover.Go, nil); {
	case err == nil:
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET):
		s.log.Warn("the process before has ended during the handover: its clients are this one's")
	default:
		return err
	}
	s.log.Info("took over from the process before", "connections", s.connections())
	return nil
}

// restoreAll restores what comes until there is no more. Everything is frozen.
func (s *Server) restoreAll() error {
	var app *apps.App // of the channels that come
	for {
		kind, text, err := s.before.Receive()
		if err != nil {
			return err
		}
		switch {
		case kind == handover.Complete:
			s.apps.All(func(a *apps.App) { err = errors.Join(err, a.Channels.Restored()) })
			return err
		case kind == stateApp:
			app, err = s.restoreApp(text)
		case app == nil && kind != stateTime:
			err = handover.ErrRecord
		default:
			err = s.restore(kind, text, app)
		}
		if err != nil {
			return fmt.Errorf("state %q: %w", kind, err)
		}
	}
}

func (s *Server) restoreApp(text []byte) (*apps.App, error) {
	var e apps.Exported
	if err := handover.Read(text, &e); err != nil {
		return nil, err
	}
	app := s.apps.ByID(e.ID)
	if app == nil {
		return nil, fmt.Errorf("%w: an app that is not served", handover.ErrRecord)
	}
	return app, app.Restore(e)
}

func (s *Server) restore(kind handover.Kind, text []byte, app *apps.App) error {
	switch kind {
	case stateTime:
		var now keepalive.Time
		if err := handover.Read(text, &now); err != nil {
			return err
		}
		s.watch.Continue(now)
	case stateChannel:
		var e channels.ExportedChannel
		if err := handover.Read(text, &e); err != nil {
			return err
		}
		return app.Channels.RestoreChannel(e)
	case stateDepartures:
		var e []channels.ExportedDeparture
		if err := handover.Read(text, &e); err != nil {
			return err
		}
		app.Channels.RestoreDepartures(e)
	case stateConnection:
		var e websocket.Exported
		return s.restoreWith(text, &e, func(fd int) error { return s.websocket.Restore(fd, e) })
	case stateVisitor:
		var e door.Exported
		return s.restoreWith(text, &e, func(fd int) error {
			if s.door == nil { // the new configuration has TLS
				return unix.Close(fd)
			}
			return s.door.Restore(fd, e)
		})
	case stateAbsent:
		var e session.Exported
		if err := handover.Read(text, &e); err != nil {
			return err
		}
		absent, err := s.websocket.Admission.RestoreAbsent(e)
		s.absent = append(s.absent, absent)
		return err
	default:
		return handover.ErrRecord
	}
	return nil
}

// restoreWith restores what has a descriptor.
func (s *Server) restoreWith(text []byte, into any, restore func(fd int) error) error {
	fd, err := s.before.NextFile()
	if err != nil {
		return err
	}
	if err = handover.Read(text, into); err == nil {
		err = restore(fd)
	}
	if err != nil {
		unix.Close(fd)
	}
	return err
}

// begin begins to serve the clients of the process before, if there was one. It returns
// at once.
func (s *Server) begin(running *sync.WaitGroup) {
	if s.thaw == nil {
		return
	}
	s.thaw()
	s.changes.Begin()
	for _, absent := range s.absent {
		absent.End(session.Drain)
	}
	s.absent = nil
	s.changes.End()
	for _, t := range s.transports() { // the configuration may be another one
		t.Evict()
	}
	running.Go(s.settle)
}

// settleTimeout is how long the process before may take to have its webhooks answered,
// with some time to spare: it gives them its shutdown_grace.
const settleTimeout = 30 * time.Second

// settle delivers webhooks once the process before does not any more.
func (s *Server) settle() {
	defer close(s.settled)
	defer s.before.Close()
	s.before.SetDeadline(time.Now().Add(settleTimeout))
	var left []webhooks.Exported
	if err := s.before.Expect(handover.Rest, &left); err != nil {
		s.log.Warn("the process before has not said which webhooks it has left: those that were not in the spool are lost", "error", err)
	}
	s.webhooks.Release(left)
}

// freeze has nothing change until thaw is called. The error says what does not come to
// its end; then nothing is frozen, soon.
func (s *Server) freeze() (thaw func(), err error) {
	// In this order: a handler of a poller or of the watch may be about to change
	// something, and what changes has the flushers deliver.
	steps := []struct {
		what         string
		freeze, thaw func()
	}{
		{"what clients send", s.pollers.Freeze, s.pollers.Thaw},
		{"deadlines of connections", s.watch.Freeze, s.watch.Thaw},
		{"slow clients", s.budget.Freeze, s.budget.Thaw},
		{"requests", s.changes.Freeze, s.changes.Thaw},
		{"deliveries", s.broker.Freeze, s.broker.Thaw},
	}
	var at atomic.Int32
	frozen := make(chan struct{})
	go func() {
		defer close(frozen)
		for _, step := range steps {
			step.freeze()
			at.Add(1)
		}
	}()
	thaw = func() {
		<-frozen
		for _, step := range slices.Backward(steps) {
			step.thaw()
		}
	}
	select {
	case <-frozen:
		return thaw, nil
	case <-time.After(handover.FreezeTimeout):
		what := steps[min(int(at.Load()), len(steps)-1)].what
		go thaw()
		return nil, fmt.Errorf("the server does not come to rest within %s: %s are still being handled", handover.FreezeTimeout, what)
	}
}

// awaitSettled returns when the process before has nothing more to say, or ctx ends.
func (s *Server) awaitSettled(ctx context.Context) {
	select {
	case <-s.settled:
	case <-ctx.Done():
	}
}

// takeRequests has other processes ask for a handover.
func (s *Server) takeRequests() {
	if s.requests != nil {
		return
	}
	var err error
	if s.requests, err = handover.Listen(); err != nil {
		s.log.Warn("belfry upgrade cannot reach this process; SIGUSR2 can", "error", err)
	}
}

// serveHandovers hands over when that is asked for. It returns when the context ends or a
// new process has taken over.
func (s *Server) serveHandovers(ctx context.Context) {
	if s.signals == nil {
		<-ctx.Done()
		return
	}
	var asked <-chan *handover.Request
	if s.takeRequests(); s.requests != nil {
		defer s.requests.Close()
		asked = s.requests.C
	}
	for s.successor == nil {
		select {
		case <-ctx.Done():
			return
		case <-s.signals:
			_, _ = s.handOver(ctx) // which has been logged
		case request := <-asked:
			request.Answer(s.handOver(ctx))
		}
	}
}

// mayHandOver returns what keeps this process from it.
func (s *Server) mayHandOver() error {
	switch {
	case s.clustered():
		return errors.New("a node of a cluster cannot hand over yet: stop it and start it, the other nodes take its clients")
	case s.config.Generated:
		return errors.New("the app was made up for this run, and a new process would make up another: give the server a configuration")
	case os.Getpid() == 1:
		return errors.New("this process is pid 1, with which its container ends: have the container replaced")
	}
	select {
	case <-s.settled:
		return nil
	case <-time.After(handover.FreezeTimeout):
		return errors.New("the process before is still having webhooks answered: ask again in a moment")
	}
}

// handOver starts a new process, which takes over from this one. With an error, all is as
// it was. The server is to leave otherwise.
func (s *Server) handOver(ctx context.Context) (pid int, err error) {
	defer func() {
		if err != nil {
			s.log.Error("no handover: this process goes on", "error", err)
		}
	}()
	if err := s.mayHandOver(); err != nil {
		return 0, err
	}
	successor, err := s.program.Start()
	if err != nil {
		return 0, fmt.Errorf("the new process cannot be started: %w", err)
	}
	pid = successor.Pid()
	s.log.Info("handing over to a new process", "program", s.program.Path, "pid", pid)
	stop := context.AfterFunc(ctx, func() { successor.SetDeadline(time.Now()) })
	defer stop()
	within := func(d time.Duration) error {
		successor.SetDeadline(time.Now().Add(d))
		return ctx.Err() // which may have ended before
	}
	if err = within(handover.ReadyTimeout); err == nil {
		err = s.introduce(successor)
	}
	var thaw func()
	var frozen time.Time
	if err == nil {
		frozen = time.Now()
		thaw, err = s.freeze()
	}
	if err != nil {
		return 0, s.stay(ctx, successor, err)
	}
	defer thaw()
	var handed []interface{ HandedOver() }
	if err = within(handover.AdoptTimeout); err == nil {
		handed, err = s.exportAll(successor)
	}
	if err == nil {
		err = successor.Expect(handover.Adopted, nil)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = errors.Join(successor.Send(handover.Go, nil), successor.Flush())
	}
	if err != nil {
		return 0, s.stay(ctx, successor, err)
	}
	for _, h := range handed { // ahead of all: what is done to a socket here is done to it there
		h.HandedOver()
	}
	s.move(successor)
	s.log.Info("handed over", "pid", pid, "pause", time.Since(frozen).Round(time.Millisecond))
	return pid, nil
}

// stay ends a process that does not take over, and says why.
func (s *Server) stay(ctx context.Context, successor *handover.Successor, because error) error {
	switch {
	case ctx.Err() != nil:
		because = errors.New("the server is stopping")
	case errors.Is(because, os.ErrDeadlineExceeded):
		because = errors.New("the new process has not answered in time")
	}
	return successor.End(because)
}

// introduce sends the listeners, and returns when the new process is ready.
func (s *Server) introduce(successor *handover.Successor) error {
	listeners := []net.Listener{s.listener}
	if s.metricsListener != nil {
		listeners = append(listeners, s.metricsListener)
	}
	for _, l := range listeners {
		fd, err := poller.Duplicate(l.(*net.TCPListener))
		if err != nil {
			return err
		}
		err = successor.SendFiles(fd)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	h := hello{Version: handover.Version, Metrics: s.metricsListener != nil, Outlive: s.inherited}
	if err := errors.Join(successor.Send(handover.Hello, h), successor.Flush()); err != nil {
		return err
	}
	var answer ready
	if err := successor.Expect(handover.Ready, &answer); err != nil {
		return err
	}
	s.heirs = make(map[string]bool)
	for _, id := range answer.Apps {
		s.heirs[id] = true
	}
	return handover.CheckVersion(answer.Version)
}

// exportAll sends everything. Everything is frozen.
func (s *Server) exportAll(successor *handover.Successor) (handed []interface{ HandedOver() }, err error) {
	if err := successor.Send(stateTime, s.watch.Now()); err != nil {
		return nil, err
	}
	s.apps.All(func(a *apps.App) {
		if err == nil && s.heirs[a.ID] {
			err = exportApp(successor, a)
		}
	})
	if err != nil {
		return nil, err
	}
	out := &batch{link: successor.Link}
	leave := func(e session.Exported) error {
		if !s.heirs[e.App] {
			return nil
		}
		return successor.Send(stateAbsent, e)
	}
	connections, err := s.websocket.Export(s.heirs, func(fd int, e websocket.Exported) error { return out.add(stateConnection, fd, e) }, leave)
	if err != nil {
		return nil, err
	}
	handed = append(handed, connections)
	if err := s.fallback.Export(leave); err != nil {
		return nil, err
	}
	if s.door != nil {
		visitors, err := s.door.Export(func(fd int, e door.Exported) error { return out.add(stateVisitor, fd, e) })
		if err != nil {
			return nil, err
		}
		handed = append(handed, visitors)
	}
	return handed, errors.Join(out.flush(), successor.Send(handover.Complete, nil), successor.Flush())
}

// departuresAtOnce is how many departures are in one record.
const departuresAtOnce = 1000

func exportApp(successor *handover.Successor, a *apps.App) error {
	if err := successor.Send(stateApp, a.Export()); err != nil {
		return err
	}
	if err := a.Channels.ExportChannels(func(e channels.ExportedChannel) error { return successor.Send(stateChannel, e) }); err != nil {
		return err
	}
	for some := range slices.Chunk(a.Channels.ExportDepartures(), departuresAtOnce) {
		if err := successor.Send(stateDepartures, some); err != nil {
			return err
		}
	}
	return nil
}

// batch collects records that have a descriptor each, so that many descriptors are sent
// at once.
type batch struct {
	link    *handover.Link
	fds     []int
	records []func() error
}

// filesAtOnce is how many; a message of a Unix socket has 253 at most.
const filesAtOnce = 250

func (b *batch) add(kind handover.Kind, fd int, v any) error {
	b.fds = append(b.fds, fd)
	b.records = append(b.records, func() error { return b.link.Send(kind, v) })
	if len(b.fds) < filesAtOnce {
		return nil
	}
	return b.flush()
}

func (b *batch) flush() error {
	err := b.link.SendFiles(b.fds...)
	for _, send := range b.records {
		if err == nil {
			err = send()
		}
	}
	b.fds, b.records = b.fds[:0], b.records[:0]
	return err
}

// move is for when the clients are the new process's. Everything is frozen.
func (s *Server) move(successor *handover.Successor) {
	s.successor = successor
	successor.SetDeadline(time.Time{})
	systemd.Notify(s.log, systemd.MainPID(successor.Pid()))
	target := &url.URL{Scheme: "http", Host: s.listener.Addr().String()}
	transport := new(http.Transport)
	if s.secured() {
		target.Scheme = "https"
		// It is this server's own address, and a request has no secret in it.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	s.elsewhere = httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(a *http.Response) error {
			a.Header.Del("Date") // who answers sets them
			a.Header.Del("Content-Length")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.log.Warn("a request cannot be passed to the new process", "error", err)
			writeJSON(w, http.StatusServiceUnavailable, `{"error":"the server is being replaced: try again"}`)
		},
	}
	s.moved.Store(true)
	s.draining.Store(true)
	s.webhooks.Retire()
	s.capacity.RefuseClients(session.Restarting)
	s.changes.Move()
	if s.door != nil {
		s.door.Close()
	}
}

// passOn has the new process answer a request that has come here.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, body []byte) {
	s.lastAnswer(w, r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	s.elsewhere.ServeHTTP(w, r)
}

// lastAnswer has an answer be the last of its connection once the clients are another
// process's.
func (s *Server) lastAnswer(w http.ResponseWriter, r *http.Request) {
	if s.hasMoved() && r.Context().Value(http.ServerContextKey) != nil { // the door knows
		w.Header().Set("Connection", "close")
	}
}

// hasMoved says whether the clients are another process's.
func (s *Server) hasMoved() bool { return s.moved.Load() }

// leave ends what a new process has not taken over: it tells clients of TLS and of the
// fallback to reconnect, has webhooks answered that are under way, and finishes the
// requests it has.
func (s *Server) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Server.ShutdownGrace*9/10)
	defer cancel()
	s.intake.StopAccepting()
	var leaving sync.WaitGroup
	leaving.Go(func() {
		left := s.webhooks.HandOver(ctx)
		if err := errors.Join(s.successor.Send(handover.Rest, left), s.successor.Flush()); err != nil {
			s.log.Error("webhooks are lost, as the new process does not take them", "error", err)
		}
		s.successor.Close()
	})
	if s.metricsHTTP != nil {
		leaving.Go(func() { _ = s.metricsHTTP.Shutdown(ctx) }) // who is late is cut
	}
	s.tellClients(ctx, session.Together)
	// A connection of net/http's that is closed just when a request comes would lose it:
	// each has the time to send one, which is passed on, and is closed behind that.
	last, cancelLast := context.WithTimeout(ctx, s.config.Server.ShutdownGrace/2)
	defer cancelLast()
	_ = s.capacity.Wait(last, capacity.Client, capacity.Refused, capacity.Session, capacity.HTTP) // the rest is cut
	leaving.Wait()
	s.closeConnections(ctx)
	s.finish()
	s.log.Info("left")
}
