// Package websocket serves WebSocket connections (RFC 6455) by sockets that never
// block a writer and, on Linux, need no goroutine while they are idle. The library
// github.com/coder/websocket verifies the handshake, and is the oracle that this
// package's reading of frames is tested against.
//
// A connection has one of two forms. Parked, for TCP on Linux, with TLS or without:
// a poller of our own watches the descriptor and reads what comes. Blocking, on
// other systems: a goroutine reads, and another one writes while there is something
// to write. Both push what they read through the same frames.
package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"belfry/protocol"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/outbox"
	"belfry/server/poller"
	"belfry/server/refusals"
	"belfry/server/session"
)

// Handler upgrades requests and serves the connections.
type Handler struct {
	Admission *session.Admission
	Watch     *keepalive.Watch
	Metrics   *metrics.Metrics
	Log       *slog.Logger
	// Budget bounds what may wait for connections.
	Budget *outbox.Budget
	// Pollers watch parked connections.
	Pollers *poller.Pollers
	// Capacity is taken by clients that are served; a client that finds none is
	// closed with 4100.
	Capacity *session.Capacity

	mu       sync.Mutex // guards the following
	open     int        // connections, from before the handshake until the socket is closed
	served   int        // those of them that count against Capacity
	draining bool
	empty    chan struct{} // closed when draining and no connection is left
}

// Start prepares for serving; Drain ends it.
func (h *Handler) Start() { h.empty = make(chan struct{}) }

// ServeHTTP connects a client to the application whose key is in the path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(c *conn) *protocol.Error {
		query := r.URL.Query()
		s, e := h.Admission.Admit(session.Handshake{
			Key:      r.PathValue("key"),
			Protocol: query["protocol"],
			Client:   query.Get("client"),
			Version:  query.Get("version"),
			Origin:   r.Header.Get("Origin"),
			Remote:   r.RemoteAddr,
		}, c)
		c.session = s
		return e
	})
}

// ServeNotFound refuses a connection to a path that is not served.
func (h *Handler) ServeNotFound(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func(*conn) *protocol.Error {
		e := protocol.Errorf(protocol.CodePathNotFound, "Path not found: connect to /app/{key}")
		h.Admission.Reject("", e, slog.String("path", r.URL.Path))
		return e
	})
}

// serve upgrades, admits and, in any case, returns at once.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, admit func(*conn) *protocol.Error) {
	hj := &hijacker{ResponseWriter: w, handler: h}
	defer func() {
		if hj.entered && hj.conn == nil {
			h.leave(hj.refused == nil)
		}
	}()
	_, err := websocket.Accept(hj, r, &websocket.AcceptOptions{
		Subprotocols:       subprotocols(r),
		InsecureSkipVerify: true, // origins are the application's business, behind the handshake
	})
	switch {
	case errors.Is(err, errHijacked):
	case errors.Is(err, errFull):
		h.Admission.Refusals.Add(refusals.Refusal{What: "connection refused", Code: http.StatusServiceUnavailable, Reason: errFull.Error()},
			slog.String("remote", r.RemoteAddr))
		for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"} {
			w.Header().Del(name) // the library has accepted
		}
		http.Error(w, errFull.Error(), http.StatusServiceUnavailable)
		return
	default:
		h.Admission.Refusals.Add(refusals.Refusal{What: "no WebSocket handshake", Reason: err.Error() + "; a proxy may drop the Upgrade header"},
			slog.String("remote", r.RemoteAddr))
		return
	}
	c := hj.conn
	c.counted = hj.refused == nil
	h.admit(c, hj.refused, admit, hj.response)
	c.socket.start(hj.early)
}

// admit answers the handshake, and a client that is refused by that and a
// reason. A bug in it ends this connection only: the reader finds it cut.
func (h *Handler) admit(c *conn, refused *protocol.Error, admit func(*conn) *protocol.Error, response []byte) {
	defer c.recovered()
	c.out.Await() // so that our half of the handshake and the greeting are one write
	if refused == nil {
		refused = h.guard(c, admit)
	}
	c.out.Start(response)
	due := never
	if c.session != nil {
		due = h.Watch.Now()
	}
	h.Watch.Add(c, &c.slot, due)
	switch {
	case refused != nil:
		h.giveUpCapacity(c)
		c.Close(refused)
	case h.isDraining(): // Drain may have looked for it before it was watched
		c.session.Close(session.Drain, session.Restarting)
	default: // likewise Evict
		c.session.Evict()
	}
}

// guard admits. A bug in it ends this connection only, in the way of a refusal.
func (h *Handler) guard(c *conn, admit func(*conn) *protocol.Error) (refused *protocol.Error) {
	defer func() {
		if p := recover(); p != nil {
			h.panicked(p)
			c.session = nil
			refused = protocol.Errorf(closeInternalError, "internal error")
		}
	}()
	return admit(c)
}

// panicked tells of a bug, in the function that recovers from it.
func (h *Handler) panicked(p any) {
	h.Metrics.Panics.Inc()
	h.Log.Error("panic while serving a connection; it is closed", "panic", p, "stack", string(debug.Stack()))
}

// subprotocols are those offered that mean this protocol. iOS clients offer
// one and fail when it is not echoed.
func subprotocols(r *http.Request) (offered []string) {
	for _, value := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); strings.HasPrefix(name, "pusher-channels-protocol-") {
				offered = append(offered, name)
			}
		}
	}
	return offered
}

// maxRefused is how many refused clients are told why at a time when there is
// no capacity. They hold a descriptor until they have closed their side.
const maxRefused = 64

// enter counts a connection in. It may have to be refused; ok is false when it
// cannot even be told.
func (h *Handler) enter() (refused *protocol.Error, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.draining && h.open == 0:
		return nil, false
	case h.draining:
		refused = session.Restarting
	default:
		refused = h.Capacity.Acquire(1)
		if refused == nil {
			h.served++
			break
		}
		if h.open-h.served >= maxRefused {
			return nil, false
		}
		h.Admission.Reject("", refused)
	}
	h.open++
	return refused, true
}

// giveUpCapacity is for a client that was refused: it stays to be told, but does
// not count as served.
func (h *Handler) giveUpCapacity(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.counted {
		c.counted = false
		h.served--
		h.Capacity.Release(1)
	}
}

func (h *Handler) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// leave counts a connection out.
func (h *Handler) leave(counted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	if counted {
		h.served--
		h.Capacity.Release(1)
	}
	if h.draining && h.open == 0 {
		close(h.empty)
	}
}

// remove forgets a connection whose socket is closed.
func (h *Handler) remove(c *conn) {
	h.Watch.Remove(c.slot)
	h.leave(c.counted)
}

// Drain tells all clients to reconnect, spread over the time that is left
// until the context's deadline, and returns when all have gone or the deadline
// has come: then the rest is cut.
func (h *Handler) Drain(ctx context.Context) {
	h.mu.Lock()
	h.draining = true
	if h.open == 0 {
		close(h.empty)
	}
	h.mu.Unlock()

	var sessions []*session.Session
	for _, c := range h.conns() {
		if c.session != nil {
			sessions = append(sessions, c.session)
		}
	}
	session.CloseAll(ctx, sessions)
	select {
	case <-h.empty:
	case <-ctx.Done():
	}
	// One that was still being admitted is found the next time.
	for again := time.NewTicker(10 * time.Millisecond); ; {
		for _, c := range h.conns() {
			c.out.Abort(c.socket.cut)
		}
		select {
		case <-h.empty:
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// Evict closes the connections of applications that were disabled or removed.
// It waits for none of them.
func (h *Handler) Evict() {
	for _, c := range h.conns() {
		if c.session != nil {
			c.session.Evict()
		}
	}
}

// conns are all connections that are being watched.
func (h *Handler) conns() []*conn {
	var conns []*conn
	h.Watch.All(func(w keepalive.Watched) {
		if c, ok := w.(*conn); ok {
			conns = append(conns, c)
		}
	})
	return conns
}

// These end the library's part once the handshake is verified: the rest is ours.
var (
	errHijacked = errors.New("the connection is taken over")
	errFull     = errors.New("server is stopping or over its capacity") // not even a refusal can be told
)

// hijacker takes the connection over in the place of the library, which verifies
// the handshake and would read and write by means that need a goroutine for each
// connection.
type hijacker struct {
	http.ResponseWriter
	handler  *Handler
	full     bool            // answered with errFull, elsewhere
	entered  bool            // counted in
	refused  *protocol.Error // then: why the client is not served; nil if it is
	conn     *conn
	response []byte // the server's half of the handshake (RFC 6455 section 4.2.2)
	early    []byte // what has come behind the request
}

// answered reports that the library's answer is not the one to give.
func (hj *hijacker) answered() bool { return hj.conn != nil || hj.full }

// WriteHeader implements http.ResponseWriter. A successful handshake is answered
// with response, not here.
func (hj *hijacker) WriteHeader(status int) {
	if !hj.answered() && status != http.StatusSwitchingProtocols {
		hj.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter, for the library's errors.
func (hj *hijacker) Write(p []byte) (int, error) {
	if hj.answered() {
		return len(p), nil
	}
	return hj.ResponseWriter.Write(p)
}

// Hijack implements http.Hijacker. It returns errHijacked if all is well, and errFull
// if there is not even room for a refused client.
func (hj *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// Not before: what is no handshake takes no capacity, and is no client refused.
	if hj.refused, hj.entered = hj.handler.enter(); !hj.entered {
		hj.full = true
		return nil, nil, errFull
	}
	head := bytes.NewBuffer(make([]byte, 0, 512))
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = hj.Header().Write(head) // a buffer takes everything
	head.WriteString("\r\n")
	hj.response = head.Bytes()
	if hj.conn, hj.early = hj.handler.takeOver(hj.ResponseWriter); hj.conn != nil {
		return nil, nil, errHijacked
	}
	nc, buffered, err := http.NewResponseController(hj.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// A client may send its first message without waiting for our answer.
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	hj.early = bytes.Clone(early)
	if wrapped, ok := nc.(interface{ Unwrap() (*net.TCPConn, []byte) }); ok {
		tcp, unread := wrapped.Unwrap()
		hj.early = append(hj.early, unread...)
		nc = tcp
	}
	if err = nc.SetDeadline(time.Time{}); err == nil {
		hj.conn, err = hj.handler.newConn(nc)
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nil, nil, errHijacked
}
