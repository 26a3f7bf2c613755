// Package fallback serves clients whose WebSocket does not get through: the
// HTTP transports xhr_streaming and xhr_polling of pusher-js, a subset of
// SockJS. Behind them is the same session as behind a WebSocket.
//
// # The wire
//
// All requests are POSTs below one path, /app/{key}/{server}/{session}, whose
// last two parts the client makes up:
//
//	xhr_streaming  receives: a response that does not end while the session lives
//	xhr            receives: a response with what there is, after which the client asks again
//	xhr_send       sends: a JSON list of messages
//
// What is received are lines, see [protocol.Frame.AppendLine].
//
// # Nothing lost, nothing twice
//
// A streaming client that has read more than restartLength aborts the response
// and asks for another one of the same session. What was written into the old
// one meanwhile would be lost. So the server counts as the client does: the
// line that exceeds restartLength is the last one in that response, and what
// follows waits for the next. A client that has not read so much never
// restarts, and one that has read that line always does.
//
// # Whose session it is
//
// A session has no secret that an unmodified client could send. It belongs to
// the client that opened it: the same application key, network address, Origin
// and User-Agent. Who comes with the path of another's session, which a proxy's
// log may tell, finds none.
package fallback

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"belfry/protocol"
	"belfry/server/bugs"
	"belfry/server/capacity"
	"belfry/server/handover"
	"belfry/server/keepalive"
	"belfry/server/outbox"
	"belfry/server/refusals"
	"belfry/server/session"
)

// Handler serves the requests of all sessions.
type Handler struct {
	Admission *session.Admission
	Watch     *keepalive.Watch
	Bugs      *bugs.Log
	// Budget bounds what may wait for sessions.
	Budget *outbox.Budget
	// Capacity is taken by sessions; a client that finds none is refused with
	// 4100.
	Capacity *capacity.Capacity
	// Changes are frozen during a handover.
	Changes *handover.Changes

	mu    sync.Mutex // guards conns; taken while a conn's is held, never the other way round
	conns map[name]*conn
}

// ServeHTTP serves one request. The path has the parts key, server, session
// and transport.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowAnyOrigin(w.Header())
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		preflight(w, r)
		return
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		h.refuse(w, r, http.StatusMethodNotAllowed, "use POST")
		return
	}
	if strings.Contains(r.PathValue("server")+r.PathValue("session"), ".") {
		h.refuse(w, r, http.StatusNotFound, "no such session: its name may not have a dot")
		return
	}
	switch r.PathValue("transport") {
	case "xhr_streaming":
		h.receive(w, r, protocol.XHRStreaming)
	case "xhr":
		h.receive(w, r, protocol.XHRPolling)
	case "xhr_send":
		h.send(w, r)
	default:
		h.refuse(w, r, http.StatusNotFound, "no such transport: there are xhr_streaming, xhr and xhr_send")
	}
}

// allowAnyOrigin lets a browser's page read the answer. Which origins may
// connect is the application's business: a page that may not is to be told.
func allowAnyOrigin(header http.Header) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Cache-Control", "no-store, no-cache, no-transform, must-revalidate, max-age=0")
}

// preflightAge is how long, in seconds, a browser may keep the answer to a
// preflight: a day, of which browsers take what they like.
const preflightAge = "86400"

// preflight answers what a browser asks ahead of a POST with a content type of
// application/json (Fetch standard, "CORS-preflight request").
func preflight(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
	asked := r.Header.Get("Access-Control-Request-Headers")
	if asked == "" {
		asked = "content-type"
	}
	header.Set("Access-Control-Allow-Headers", asked)
	header.Set("Access-Control-Max-Age", preflightAge)
	w.WriteHeader(http.StatusNoContent)
}

// refuse answers with a status and logs it, for people: pusher-js looks at none.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, why string) {
	h.Admission.Refusals.Add(refusals.Refusal{What: "fallback request refused", Code: status, Reason: why},
		slog.String("path", r.URL.Path), slog.String("remote", r.RemoteAddr))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(protocol.AppendString([]byte(`{"error":`), why), '}')) // an error means that the client has gone
}

// find returns the session of that name, or nil.
func (h *Handler) find(n name) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns[n]
}

// insert makes a session known, unless there is one of its name already, which
// it returns.
func (h *Handler) insert(c *conn) *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if existing := h.conns[c.name]; existing != nil {
		return existing
	}
	if h.conns == nil {
		h.conns = make(map[name]*conn)
	}
	h.conns[c.name] = c
	return c
}

func (h *Handler) forget(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conns[c.name] == c {
		delete(h.conns, c.name)
	}
}

// all are the sessions there are now.
func (h *Handler) all() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*conn, 0, len(h.conns))
	for _, c := range h.conns {
		all = append(all, c)
	}
	return all
}

// Evict closes the sessions of applications that were disabled or removed. It
// waits for none of them.
func (h *Handler) Evict() {
	for s := range h.Sessions() {
		s.Evict()
	}
}

// Drain tells all clients to reconnect, see [session.CloseAll].
func (h *Handler) Drain(ctx context.Context, pause time.Duration) {
	session.CloseAll(ctx, slices.Collect(h.Sessions()), pause)
}

// Sessions are those that there are now, among them some that have just ended.
func (h *Handler) Sessions() iter.Seq[*session.Session] {
	return func(yield func(*session.Session) bool) {
		for _, c := range h.all() {
			if !yield(c.session) {
				return
			}
		}
	}
}

// Export calls leave with all sessions, which stay when everything else moves to another
// process, until it fails. The watch is frozen.
func (h *Handler) Export(leave func(session.Exported) error) error {
	for _, c := range h.all() {
		if e, alive := c.session.Export(); alive {
			if err := leave(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// End ends the sessions that are left. No request is being served any more, but those
// that were cut.
func (h *Handler) End() {
	for _, c := range h.all() {
		c.finish(session.Drain)
	}
}
