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

// move begins to pass requests on to the new process, whose the clients are from here on,
// and stops accepting connections. Everything is frozen.
func (s *Server) move(successor *handover.Successor) {
	s.successor = successor
	successor.SetDeadline(time.Time{})
	systemd.Notify(s.log, systemd.MainPID(successor.Pid()))
	s.elsewhere = s.proxy(s.heir.PassedOn)
	s.broker.HandedOver()
	s.moved.Store(true)
	s.draining.Store(true)
	s.webhooks.Retire()
	s.capacity.RefuseClients(session.Restarting)
	s.changes.Move()
	switch {
	case s.door == nil:
		s.intake.StopAccepting()
	case s.heir.takesRequests(s.config.Server):
		s.door.Close()
	default:
		s.door.Retire()
	}
}

// passedAtOnce is how many requests are passed on at a time. Each takes a descriptor of
// both processes.
const passedAtOnce = 32

// proxy passes requests on to the process that listens on a Unix socket.
func (s *Server) proxy(socket string) *httputil.ReverseProxy {
	dialer := new(net.Dialer)
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			MaxConnsPerHost: passedAtOnce,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
		},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "belfry"})
			// The new process may have another prefix, and always serves requests without.
			if prefix := s.config.Server.Path; strings.HasPrefix(r.Out.URL.Path, prefix+"/apps/") {
				r.Out.URL.Path = strings.TrimPrefix(r.Out.URL.Path, prefix)
				r.Out.URL.RawPath = strings.TrimPrefix(r.Out.URL.RawPath, prefix)
			}
		},
		ModifyResponse: func(a *http.Response) error {
			a.Header.Del("Date") // the server of the original request sets both
			a.Header.Del("Content-Length")
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.log.Warn("a request cannot be passed to the new process", "error", err)
			writeJSON(w, http.StatusServiceUnavailable, `{"error":"the server is being replaced: try again"}`)
		},
	}
}

// passOn has the new process answer a request that has come to this one. The request has
// been verified here, as the new configuration may have another secret.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, body []byte) {
	s.lastAnswer(w, r)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	s.elsewhere.ServeHTTP(w, r)
}

// lastAnswer makes an answer the last one of its connection if the clients are the new
// process's.
func (s *Server) lastAnswer(w http.ResponseWriter, r *http.Request) {
	// The door sees to its own connections, whose requests have no http.Server.
	if s.hasMoved() && r.Context().Value(http.ServerContextKey) != nil {
		w.Header().Set("Connection", "close")
	}
}

// hasMoved says whether the clients are another process's.
func (s *Server) hasMoved() bool { return s.moved.Load() }

// leave ends what the new process has not taken over: it tells clients of TLS and of the
// fallback to reconnect, waits for the answers to webhooks, and finishes its requests.
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
	})
	s.endConsole()
	for _, h := range s.apart() {
		leaving.Go(func() { _ = h.Shutdown(ctx) }) // who is late is cut
	}
	s.tellClients(ctx, session.Together)
	// A connection of net/http's that is closed just when a request comes would lose it:
	// each has the time to send one, which is passed on, and is closed behind that.
	last, cancelLast := context.WithTimeout(ctx, grace/2)
	defer cancelLast()
	_ = s.capacity.Wait(last, capacity.Client, capacity.Refused, capacity.Session, capacity.HTTP) // the rest is cut
	leaving.Wait()
	s.closeConnections(ctx)
	s.successor.Close() // which may hand over itself from here on
	s.finish()
	s.log.Info("left")
}
