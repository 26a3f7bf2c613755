//go:build !blocking

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"belfry/channels"
	"belfry/server/apps"
	"belfry/server/door"
	"belfry/server/handover"
	"belfry/server/keepalive"
	"belfry/server/session"
	"belfry/server/systemd"
	"belfry/server/webhooks"
	"belfry/server/websocket"
)

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
	if err == nil && h.Console {
		sockets.Console, err = s.nextListener()
	}
	if err == nil && h.Redirect {
		sockets.Redirect, err = s.nextListener()
	}
	if err == nil {
		err = s.inheritNode(h.Node)
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

// succeed finds out whether another process has started this one to hand over to it.
func (s *Server) succeed() (err error) {
	s.settled, s.alone = make(chan struct{}), make(chan struct{})
	if s.before, err = handover.Inherited(); err == nil && s.before == nil {
		close(s.settled)
		close(s.alone)
	}
	return err
}

// succeeds says whether another process has done so.
func (s *Server) succeeds() bool { return s.before != nil }

// adopting says whether everything is frozen to restore the state of another process. If
// that fails, the process ends without thawing: it must not serve a part of that state.
func (s *Server) adopting() bool { return s.thaw != nil }

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
	if err := s.listenToBefore(); err != nil {
		return err
	}
	answer := ready{Version: handover.Version, LooksUp: s.apps.HasDirectory(), Secure: s.secured(), Path: s.config.Server.Path, PassedOn: s.passed.Addr().String()}
	s.apps.All(func(a *apps.App) { answer.Apps = append(answer.Apps, a.ID) })
	s.before.SetDeadline(time.Now().Add(handover.ReadyTimeout + 2*handover.FreezeTimeout + 2*handover.CutTimeout + handover.AdoptTimeout))
	if err := s.before.Send(handover.Ready, answer); err != nil {
		return err
	}
	if err := s.before.Flush(); err != nil {
		return err
	}
	if err := s.listenAlong(); err != nil {
		return err
	}
	thaw, err := s.freeze()
	if err != nil {
		return err
	}
	s.thaw = thaw
	thawDeliveries, err := s.freezeDeliveries()
	if err != nil {
		return err
	}
	s.thaw = func() {
		thawDeliveries()
		thaw()
	}
	if err := s.restoreAll(); err != nil {
		return err
	}
	if err := s.awaitCut(); err != nil {
		return err
	}
	s.takeRequests() // whoever hears of this handover may ask for the next
	if err := s.before.Send(handover.Adopted, nil); err != nil {
		return err
	}
	if err := s.before.Flush(); err != nil {
		return err
	}
	// The process before says Go, ends this one, or has ended itself. Nothing is late here.
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

// restoring is what is known while state is restored.
type restoring struct {
	app    *apps.App // of the channels that come; nil: none has come
	frames [][]byte  // that wait for clients
}

// restoreAll restores what comes until there is no more. Everything is frozen.
func (s *Server) restoreAll() error {
	var r restoring
	for {
		kind, text, err := s.before.Receive()
		if err != nil {
			return err
		}
		if kind == handover.Complete {
			s.apps.All(func(a *apps.App) { err = errors.Join(err, a.Channels.Restored()) })
			return err
		}
		if err := s.restore(&r, kind, text); err != nil {
			return fmt.Errorf("state %q: %w", kind, err)
		}
	}
}

func (s *Server) restore(r *restoring, kind handover.Kind, text []byte) error {
	if r.app == nil && (kind == stateChannel || kind == stateDepartures || kind == stateKeys || kind == stateUsers) {
		return handover.ErrRecord
	}
	switch kind {
	case stateTime:
		return restoreRecord(text, func(now keepalive.Time) error {
			s.watch.Continue(now)
			return nil
		})
	case stateApp:
		return restoreRecord(text, func(e apps.Exported) error {
			if r.app = s.apps.Restored(e); r.app == nil {
				return fmt.Errorf("%w: an app that is not served", handover.ErrRecord)
			}
			return r.app.Restore(e)
		})
	case stateChannel:
		return restoreRecord(text, r.app.Channels.RestoreChannel)
	case stateDepartures:
		return restoreRecord(text, func(e []channels.ExportedDeparture) error {
			r.app.Channels.RestoreDepartures(e)
			return nil
		})
	case stateKeys:
		return restoreRecord(text, func(e []channels.ExportedKey) error {
			r.app.Channels.RestoreKeys(e)
			return nil
		})
	case stateTopics:
		return restoreRecord(text, s.listenTo)
	case stateUsers:
		return restoreRecord(text, func(e channels.ExportedWhereabouts) error {
			r.app.Channels.RestoreWhereabouts(e)
			return nil
		})
	case stateOutboxes:
		return restoreRecord(text, s.broker.RestoreOutboxes)
	case stateFrames:
		return restoreRecord(text, func(frames []byte) error {
			r.frames = append(r.frames, frames)
			return websocket.CheckFrames(frames)
		})
	case stateConnection:
		var e websocket.Exported
		return s.restoreWith(text, &e, func(fd int) error { return s.websocket.Restore(fd, e, r.frames) })
	case stateVisitor:
		var e door.Exported
		return s.restoreWith(text, &e, func(fd int) error {
			if s.door == nil {
				return handover.ErrRecord
			}
			return s.door.Restore(fd, e)
		})
	case stateAbsent:
		return restoreRecord(text, func(e session.Exported) error {
			absent, err := s.websocket.Admission.RestoreAbsent(e)
			if err == nil {
				s.absent = append(s.absent, absent)
			}
			return err
		})
	}
	return handover.ErrRecord
}

// restoreRecord restores what a record has.
func restoreRecord[E any](text []byte, restore func(E) error) error {
	var e E
	if err := handover.Read(text, &e); err != nil {
		return err
	}
	return restore(e)
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
	s.broker.Resume()
	s.thaw()
	s.changes.Begin()
	for _, absent := range s.absent {
		absent.End(session.Drain)
	}
	s.absent = nil
	s.changes.End()
	s.evict() // the configuration may be another one
	running.Go(s.settle)
	running.Go(func() { _ = s.answers.Serve(s.passed) }) // until endPassedOn
}

// listenToBefore prepares to answer requests that the process before passes on, which has
// verified them.
func (s *Server) listenToBefore() (err error) {
	verified := s.api()
	verified.Verified = true
	s.answers.Handler = s.recovered(verified)
	s.passed, err = handover.ListenLocal()
	return err
}

// endPassedOn answers no requests that are passed on any more, but those that have come
// before the context ends.
func (s *Server) endPassedOn(ctx context.Context) {
	if s.passed != nil && s.answers.Shutdown(ctx) != nil {
		s.answers.Close()
	}
}

// settleTimeout is how long the process before may take to have its webhooks answered: a
// request takes ten seconds at most, and this leaves time to spare.
const settleTimeout = 30 * time.Second

// settle delivers webhooks once the process before does not any more.
func (s *Server) settle() {
	defer close(s.alone)
	defer s.before.Close()
	s.takeRest()
	s.before.SetDeadline(time.Time{})
	for {
		if _, _, err := s.before.Receive(); err != nil {
			return
		}
	}
}

// takeRest takes the webhooks that the process before has left.
func (s *Server) takeRest() {
	defer close(s.settled)
	s.before.SetDeadline(time.Now().Add(settleTimeout))
	var left []webhooks.Exported
	err := s.before.Expect(handover.Rest, &left)
	if err != nil {
		s.log.Warn("the process before has not said which webhooks it has left: those that were neither in the spool nor in the cluster are lost", "error", err)
	}
	s.webhooks.Release(left, func(app, name string) *channels.Delivery {
		if a := s.apps.ByID(app); a != nil {
			return a.Channels.Delivery(name)
		}
		return nil
	})
	s.broker.ReleaseDeliveries(err != nil)
}

// awaitSettled returns when the process before has nothing more to say, or ctx ends.
func (s *Server) awaitSettled(ctx context.Context) {
	select {
	case <-s.settled:
	case <-ctx.Done():
	}
}
