//go:build !blocking

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/poller"
	"belfry/server/session"
)

// This file has what the server sends by package handover, and the old process's side of
// a handover. The new process's side is in takeover_linux.go, and what the old one does
// behind it in leave_linux.go.

// The kinds of state, in the order in which they are sent: first, of a node of a cluster,
// the topics, in part before anything is frozen. Each of these records is answered by the
// same kind. Then the time, each application with its channels and departures, outboxes, and
// then connections and those at the door.
const (
	stateTime       handover.Kind = 't'
	stateApp        handover.Kind = 'a'
	stateUsers      handover.Kind = 'u' // of the application before, in a cluster
	stateTopics     handover.Kind = 'l' // to be listened to; the answer has none
	stateOutboxes   handover.Kind = 'o' // of a node of a cluster
	stateChannel    handover.Kind = 'c' // of the application before
	stateDepartures handover.Kind = 'd' // of the application before
	stateKeys       handover.Kind = 'k' // of the application before
	stateFrames     handover.Kind = 'f' // that wait for clients: connections refer to them by their number, from 0
	stateConnection handover.Kind = 's' // with a descriptor
	stateAbsent     handover.Kind = 'n' // a session whose connection stays
	stateVisitor    handover.Kind = 'v' // with a descriptor
)

// hello is the first record of the old process. Its listeners come ahead of it.
type hello struct {
	Version  int  `json:"version"`
	Metrics  bool `json:"metrics"`           // a listener for metrics comes behind the main one
	Console  bool `json:"console,omitzero"`  // one for the console comes behind these
	Redirect bool `json:"redirect,omitzero"` // and one for http that is sent to https
	Outlive  bool `json:"outlive"`           // the main one's socket outlives the processes

	Node *node `json:"node,omitempty"` // nil for a server that is no node of a cluster
}

// ready is the answer of the new process.
type ready struct {
	Version  int      `json:"version"`
	Apps     []string `json:"apps"`              // ids: sessions of others stay, to be told to go
	LooksUp  bool     `json:"looks_up,omitzero"` // apps that the process before has looked up are served, too
	Secure   bool     `json:"secure,omitzero"`
	Path     string   `json:"path,omitzero"`      // ahead of /app and /apps
	PassedOn string   `json:"passed_on,omitzero"` // Unix socket of requests that are passed on
}

// succession is the server's part in handovers: from the process before, which has
// started this one, and to the process behind, which this one starts.
type succession struct {
	changes handover.Changes

	// Of the process before.
	before  *handover.Link     // nil if there is none
	passed  net.Listener       // of requests that it passes on; nil if there is none
	answers http.Server        // to these
	thaw    func()             // begins; nil if there is nothing to begin
	absent  []*session.Session // to be ended
	settled chan struct{}      // closed when the process before has nothing more to say
	alone   chan struct{}      // closed when that has ended: until then, it may pass requests on

	// Of the process behind.
	signals   <-chan os.Signal   // that ask for a handover; nil if there are none
	requests  *handover.Requests // likewise; nil until they are taken, or cannot be
	program   handover.Program
	heir      ready                  // what it has said
	heirs     map[string]bool        // apps that it serves, by id
	successor *handover.Successor    // nil until the clients are its
	moved     atomic.Bool            // they are
	elsewhere *httputil.ReverseProxy // to it
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
	s.takeRequests()
}

// freeze stops everything that changes state, until thaw is called. The error says what
// has not come to rest in time. Then nothing stays frozen, and thaw is nil.
func (s *Server) freeze() (thaw func(), err error) {
	// In this order: a handler of a poller or of the watch may begin a change, a change may
	// wait for the cluster, and what waits is done by calls to it.
	return freeze(
		step{"what clients send", s.pollers.Freeze, s.pollers.Thaw},
		step{"deadlines of connections", s.watch.Freeze, s.watch.Thaw},
		step{"slow clients", s.budget.Freeze, s.budget.Thaw},
		step{"requests", s.changes.Freeze, s.changes.Thaw},
		step{"messages that wait for the cluster", s.websocket.Admission.FreezeWaiting, s.websocket.Admission.ThawWaiting},
		step{"calls to the cluster", s.broker.FreezeCalls, s.broker.ThawCalls},
	)
}

// freezeDeliveries is freeze for the channels. On a node of a cluster it comes behind the
// cut: until then, there is always something to deliver.
func (s *Server) freezeDeliveries() (thaw func(), err error) {
	return freeze(step{"deliveries", s.broker.Freeze, s.broker.Thaw})
}

// step is a part of a freeze.
type step struct {
	what         string
	freeze, thaw func()
}

func freeze(steps ...step) (thaw func(), err error) {
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

// takeRequests begins to take the requests of other processes for a handover. Run answers
// them.
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
	if s.requests != nil {
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

// aloneTimeout is how long a handover waits for the end of the process before.
const aloneTimeout = 10 * time.Second

// mayHandOver returns what keeps this process from it.
func (s *Server) mayHandOver() error {
	switch {
	case s.config.Generated:
		return errors.New("the app was made up for this run, and a new process would make up another: give the server a configuration")
	case !s.succeeds() && endsContainer(os.Getpid(), os.Getppid(), "/proc"):
		return errors.New("the container of this process ends with it: have the container replaced")
	}
	select {
	case <-s.alone:
		return nil
	case <-time.After(aloneTimeout):
		return errors.New("the process before still has requests or webhooks under way: ask again in a moment")
	}
}

// endsContainer says whether a container may end with the process that was started in it:
// the process is the first one, its parent is outside, or process 1, which is no service
// manager, has started it, itself or by shells that wait for it. An init such as tini ends
// with what it has started. proc is the directory of processes.
//
// A shell that does not wait, as one at a terminal, cannot be told from one that does.
func endsContainer(pid, parent int, proc string) bool {
	if pid == 1 {
		return true
	}
	for {
		if parent == 0 {
			return true
		}
		name, grandparent, err := describe(proc, parent)
		switch {
		case err != nil:
			return false
		case parent == 1:
			return !slices.Contains([]string{"systemd", "init", ""}, name)
		case !slices.Contains([]string{"sh", "ash", "bash", "busybox", "dash"}, name):
			return false
		}
		parent = grandparent
	}
}

// describe returns the name of a process and its parent.
func describe(proc string, pid int) (name string, parent int, err error) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0, err
	}
	// The name stands in parentheses, which it may have itself, and then state and parent.
	start, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if start < 0 || end < start {
		return "", 0, fmt.Errorf("process %d: unknown form of stat", pid)
	}
	var state string
	_, err = fmt.Sscan(string(text[end+1:]), &state, &parent)
	return string(text[start+1 : end]), parent, err
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
	s.log.Info("handing over to a new process", "program", s.program.Path, "pid", successor.Pid())
	if err := s.handOverTo(ctx, successor); err != nil {
		return 0, err
	}
	return successor.Pid(), nil
}

// handOverTo hands over to a process that has been started. With an error, that process
// has ended.
func (s *Server) handOverTo(ctx context.Context, successor *handover.Successor) (err error) {
	var thaws []func()
	defer func() {
		if err != nil { // ahead of thawing, so that no two processes serve a client
			err = s.stay(ctx, successor, err)
		}
		for _, thaw := range slices.Backward(thaws) {
			thaw()
		}
	}()
	stopWatching := context.AfterFunc(ctx, func() { successor.SetDeadline(time.Now()) })
	defer stopWatching()
	within := func(d time.Duration) error {
		successor.SetDeadline(time.Now().Add(d))
		return ctx.Err() // which may have ended before
	}
	if err := within(handover.ReadyTimeout); err != nil {
		return err
	}
	if err := s.introduce(successor); err != nil {
		return err
	}
	topics, err := s.bringAlong(successor, nil)
	if err != nil {
		return err
	}
	frozen := time.Now()
	thaw, err := s.freeze()
	if err != nil {
		return err
	}
	thaws = append(thaws, thaw)
	if err := within(handover.CutTimeout); err != nil {
		return err
	}
	thaws = append(thaws, s.broker.Resume) // which does nothing once the node has moved
	if err := s.cut(ctx, successor, topics); err != nil {
		return err
	}
	if thaw, err = s.freezeDeliveries(); err != nil {
		return err
	}
	thaws = append(thaws, thaw)
	if err := within(handover.AdoptTimeout); err != nil {
		return err
	}
	handed, err := s.exportAll(successor)
	if err != nil {
		return err
	}
	if err := successor.Expect(handover.Adopted, nil); err != nil {
		return err
	}
	if !stopWatching() { // from here on, the end of ctx changes nothing
		return ctx.Err()
	}
	if err := errors.Join(successor.Send(handover.Go, nil), successor.Flush()); err != nil {
		return err
	}
	for _, h := range handed { // ahead of all: what is done to a socket here is done to it there
		h.HandedOver()
	}
	s.move(successor)
	s.log.Info("handed over", "pid", successor.Pid(), "pause", time.Since(frozen).Round(time.Millisecond))
	return nil
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
	for _, l := range append([]net.Listener{s.listener}, s.listenersApart()...) {
		if l == nil {
			continue
		}
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
	n, err := s.place()
	if err != nil {
		return err
	}
	h := hello{Version: handover.Version, Metrics: s.metricsListener != nil, Console: s.consoleListener != nil, Redirect: s.redirectListener != nil, Outlive: s.inherited, Node: n}
	if err := errors.Join(successor.Send(handover.Hello, h), successor.Flush()); err != nil {
		return err
	}
	s.heir = ready{}
	if err := successor.Expect(handover.Ready, &s.heir); err != nil {
		return err
	}
	s.findHeirs()
	if err := handover.CheckVersion(s.heir.Version); err != nil {
		return err
	}
	return s.checkHeirs()
}

// findHeirs finds out which apps the new process serves: it is told of those that were looked
// up when it is given them.
func (s *Server) findHeirs() {
	s.heirs = make(map[string]bool)
	for _, id := range s.heir.Apps {
		s.heirs[id] = true
	}
	if !s.heir.LooksUp {
		return
	}
	s.apps.All(func(a *apps.App) {
		if s.apps.LookedUp(a) {
			s.heirs[a.ID] = true
		}
	})
}

// takesRequests says whether the new process answers what is sent to this one's listener.
// Else this one answers the requests of all connections that it has.
func (r ready) takesRequests(cfg config.Server) bool {
	return r.Secure == (cfg.TLS.Mode() != config.TLSOff) && r.Path == cfg.Path
}
