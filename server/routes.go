package server

import (
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"

	"belfry/server/refusals"
)

// routes serves every path with the configured prefix and without it: proxies
// and libraries disagree on whether it stays.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, h http.Handler) {
		mux.Handle(path, h)
		if s.config.Server.Path != "" {
			mux.Handle(s.config.Server.Path+path, h)
		}
	}
	handle("/app/{key}", s.websocket)
	handle("/pusher/app/{key}/{server}/{session}/{transport}", s.fallback)
	handle("/apps/", s.api())
	handle("/up", get(func(w http.ResponseWriter) { writeJSON(w, http.StatusOK, `{"health":"OK"}`) }))
	handle("/ready", get(s.ready))
	if s.config.Metrics.Enabled && s.metricsListener == nil {
		mux.Handle("GET "+s.config.Metrics.Path, s.metricsHandler())
	}
	if s.console != nil && s.consoleListener == nil {
		s.mountConsole(mux, s.config.Console.Path)
		if s.config.Server.Path != "" {
			s.mountConsole(mux, s.config.Server.Path+s.config.Console.Path)
		}
	}
	mux.HandleFunc("/", s.notFound)
	return s.recovered(trust(s.config.Server.TrustedProxies, singleSlashes(mux)))
}

// singleSlashes serves //app/KEY, which a path option of "/" makes, as
// /app/KEY. The mux would redirect, and no WebSocket client follows.
func singleSlashes(next http.Handler) http.Handler {
	collapse := func(path string) string {
		for strings.Contains(path, "//") {
			path = strings.ReplaceAll(path, "//", "/")
		}
		return path
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path, r.URL.RawPath = collapse(r.URL.Path), collapse(r.URL.RawPath)
		next.ServeHTTP(w, r)
	})
}

func get(f func(http.ResponseWriter)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeJSON(w, http.StatusMethodNotAllowed, `{"error":"use GET"}`)
			return
		}
		f(w)
	})
}

// ready is for load balancers: whether to send clients here.
func (s *Server) ready(w http.ResponseWriter) {
	if s.draining.Load() && !s.hasMoved() { // who serves from here on is ready
		writeJSON(w, http.StatusServiceUnavailable, `{"status":"draining"}`)
		return
	}
	if s.broker.Ready() != nil { // the log says why: here, anybody may ask
		writeJSON(w, http.StatusServiceUnavailable, `{"status":"cluster is not reachable"}`)
		return
	}
	writeJSON(w, http.StatusOK, `{"status":"ready"}`)
}

func writeJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write([]byte(body)) // an error means that the client has gone
}

// notFound refuses: a WebSocket with the code that tells a client to give up,
// behind the handshake, as it cannot see a status.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.websocket.ServeNotFound(w, r)
		return
	}
	s.log.Debug("no such path", "path", refusals.Clean(r.URL.Path), "remote", r.RemoteAddr)
	writeJSON(w, http.StatusNotFound, `{"error":"no such path: there are /app/{key}, /pusher/app/{key}/…, /apps/{id}/…, /up and /ready"}`)
}

// metricsHandler asks for the bearer token if one is configured.
func (s *Server) metricsHandler() http.Handler {
	h := s.metrics.Handler()
	token := s.config.Metrics.Token
	if token == "" {
		return h
	}
	want := []byte("Bearer " + token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, `{"error":"metrics need the bearer token of metrics.token"}`)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// recovered turns a panic, which is a bug, into a 500 for that request.
func (s *Server) recovered(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				s.bugs.Tell(p, slog.String("path", refusals.Clean(r.URL.Path)))
				writeJSON(w, http.StatusInternalServerError, `{"error":"internal error"}`)
			}
		}()
		s.lastAnswer(w, r)
		h.ServeHTTP(w, r)
	})
}
