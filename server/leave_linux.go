//go:build !blocking

package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"belfry/server/capacity"
	"belfry/server/handover"
	"belfry/server/session"
	"belfry/server/systemd"
	"belfry/server/webhooks"
)

// move is for when the clients are the new process's. Everything is frozen.
func (s *Server) move(successor *handover.Successor) {
	s.successor = successor
	successor.SetDeadline(time.Time{})
	systemd.Notify(s.log, systemd.MainPID(successor.Pid()))
	dialer, socket := new(net.Dialer), s.heir.PassedOn
	s.elsewhere = httputil.ReverseProxy{
		Transport: &http.Transport{
			MaxConnsPerHost: passedAtOnce,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
		},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "belfry"})
			if prefix := s.config.Server.Path; strings.HasPrefix(r.Out.URL.Path, prefix+"/apps/") { // which the new process may not know
				r.Out.URL.Path = strings.TrimPrefix(r.Out.URL.Path, prefix)
				r.Out.URL.RawPath = strings.TrimPrefix(r.Out.URL.RawPath, prefix)
			}
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
	switch {
	case s.door == nil:
		s.intake.StopAccepting()
	case s.heir.takesRequests(s.config.Server):
		s.door.StopAccepting()
		s.door.Close()
	default:
		s.door.Retire()
	}
}

// passedAtOnce is how many requests are passed on at a time: each takes a descriptor of
// both processes.
const passedAtOnce = 32

// passOn has the new process answer a request that has come here, and that is verified:
// the new configuration may have another path, or another secret.
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
	grace := max(s.config.Server.ShutdownGrace, leastGrace)
	ctx, cancel := context.WithTimeout(context.Background(), grace*9/10)
	defer cancel()
	var leaving sync.WaitGroup
	leaving.Go(func() {
		// A request that is cut would be sent once more by the new process, which waits.
		answered, cancel := context.WithTimeout(context.Background(), webhooks.RequestTimeout)
		defer cancel()
		left := s.webhooks.HandOver(answered)
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
	last, cancelLast := context.WithTimeout(ctx, grace/2)
	defer cancelLast()
	_ = s.capacity.Wait(last, capacity.Client, capacity.Refused, capacity.Session, capacity.HTTP) // the rest is cut
	leaving.Wait()
	s.closeConnections(ctx)
	s.finish()
	s.log.Info("left")
}
