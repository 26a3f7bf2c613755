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
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"belfry/protocol"
	"belfry/server/bugs"
	"belfry/server/capacity"
	"belfry/server/door"
	"belfry/server/handover"
	"belfry/server/keepalive"
	"belfry/server/outbox"
	"belfry/server/poller"
	"belfry/server/refusals"
	"belfry/server/session"
)

// Handler upgrades requests and serves the connections.
type Handler struct {
	Admission *session.Admission
	Watch     *keepalive.Watch
	Log       *slog.Logger
	Bugs      *bugs.Log
	// Budget bounds what may wait for connections.
	Budget *outbox.Budget
	// Pollers watch parked connections.
	Pollers *poller.Pollers
	// Capacity decides who is served; a client that finds none is closed with 4100.
	Capacity *capacity.Capacity
	// Changes are frozen during a handover.
	Changes *handover.Changes
}

// ServeHTTP connects a client to the application whose key is in the path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	found, known := h.Admission.FindKnown(key)
	if !known {
		if door.Postpone(w) {
			return
		}
		found = h.Admission.Find(r.Context(), key, r.RemoteAddr)
	}
	defer found.Release()
	h.serve(w, r, func(c *conn) *protocol.Error {
		query := r.URL.Query()
		s, e := h.Admission.Admit(session.Handshake{
			App:      found,
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
	hj := &hijacker{ResponseWriter: w, handler: h, place: door.Place(w, r)}
	if hj.place == nil {
		hj.place = h.Capacity.Enter(capacity.HTTP, nil)
	}
	_, err := websocket.Accept(hj, r, &websocket.AcceptOptions{
		Subprotocols:       subprotocols(r),
		InsecureSkipVerify: true, // origins are the application's business, behind the handshake
	})
	switch {
	case errors.Is(err, errHijacked):
		h.Changes.Begin() // if all has moved, RefusesClients is true
		defer h.Changes.End()
		h.admit(hj.conn, hj.refused, admit, hj.response)
		hj.conn.socket.start(hj.early)
	case errors.Is(err, errFull):
		h.Admission.Refusals.Add(refusals.Refusal{What: "connection refused", Code: http.StatusServiceUnavailable, Reason: hj.refused.Message},
			slog.String("remote", r.RemoteAddr))
		for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"} {
			w.Header().Del(name) // the library has accepted
		}
		http.Error(w, errFull.Error(), http.StatusServiceUnavailable)
	default:
		h.Admission.Refusals.Add(refusals.Refusal{What: "no WebSocket handshake", Reason: err.Error() + "; a proxy may drop the Upgrade header"},
			slog.String("remote", r.RemoteAddr))
	}
}

// admit answers the handshake, and then greets the client, or tells it why it is
// refused.
func (h *Handler) admit(c *conn, refused *protocol.Error, admit func(*conn) *protocol.Error, response []byte) {
	defer c.handler.Bugs.Recover(c.panicked)
	if refused != nil {
		h.Admission.Reject("", refused)
	}
	c.out.Await() // so that our half of the handshake and the greeting are one write
	if refused == nil {
		refused = admit(c)
	}
	c.out.Start(response)
	due := keepalive.Never
	if c.session != nil {
		due = h.Watch.Now()
	}
	h.Watch.Add(c, &c.slot, due)
	switch {
	case refused != nil:
		told := c.place.Refuse()
		c.Close(refused)
		if !told {
			c.out.Abort(c.socket.cut) // behind what the socket has taken
		}
	case h.Capacity.RefusesClients(): // Drain may have looked for it before it was watched
		c.session.Close(session.Drain, session.Restarting)
	default: // likewise Evict
		c.session.Evict()
	}
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

// remove forgets a connection whose socket is closed.
func (h *Handler) remove(c *conn) {
	h.Watch.Remove(c.slot)
	c.place.Leave()
}

// Drain tells all clients to reconnect, see [session.CloseAll].
func (h *Handler) Drain(ctx context.Context, pause time.Duration) {
	session.CloseAll(ctx, slices.Collect(h.Sessions()), pause)
}

// Sessions are those of the clients that are connected, among them some that have just
// ended.
func (h *Handler) Sessions() iter.Seq[*session.Session] {
	return func(yield func(*session.Session) bool) {
		for _, c := range h.conns() {
			if c.session != nil && !yield(c.session) {
				return
			}
		}
	}
}

// End returns when all clients have gone. Those that are left when the context ends are
// cut, and who was still being admitted then is a moment later.
func (h *Handler) End(ctx context.Context) {
	gone := h.waitForClients(ctx)
	for !gone {
		for _, c := range h.conns() {
			c.out.Abort(c.socket.cut)
		}
		again, cancel := context.WithTimeout(context.Background(), cutAgain)
		gone = h.waitForClients(again)
		cancel()
	}
}

// cutAgain is how long End waits for those it has cut before it looks for others.
const cutAgain = 10 * time.Millisecond

// waitForClients reports whether all clients have gone before the context has ended.
func (h *Handler) waitForClients(ctx context.Context) (gone bool) {
	return h.Capacity.Wait(ctx, capacity.Client, capacity.Refused) == nil
}

// Evict closes the connections of applications that were disabled or removed.
// It waits for none of them.
func (h *Handler) Evict() {
	for s := range h.Sessions() {
		s.Evict()
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
	errFull     = errors.New("server is over its capacity") // nor can the client be told by way of a WebSocket
)

// hijacker takes the connection over in the place of the library, which verifies
// the handshake and would read and write by means that need a goroutine for each
// connection.
type hijacker struct {
	http.ResponseWriter
	handler  *Handler
	place    *capacity.Place
	full     bool            // answered with errFull, elsewhere
	refused  *protocol.Error // why the client is not served; nil if it is
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
	var told bool
	if hj.refused, told = hj.place.Serve(); !told {
		hj.full = true
		return nil, nil, errFull
	}
	head := bytes.NewBuffer(make([]byte, 0, 512))
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = hj.Header().Write(head) // a buffer takes everything
	head.WriteString("\r\n")
	hj.response = head.Bytes()
	if hj.conn, hj.early = hj.handler.takeOver(hj.ResponseWriter, hj.place); hj.conn != nil {
		return nil, nil, errHijacked
	}
	nc, buffered, err := http.NewResponseController(hj.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// A client may send its first message without waiting for our answer.
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	early = bytes.Clone(early)
	if err = nc.SetDeadline(time.Time{}); err == nil {
		hj.conn, hj.early, err = hj.handler.newConn(nc, hj.place)
	}
	if err != nil {
		nc.Close()
		hj.place.Leave()
		return nil, nil, err
	}
	hj.early = append(early, hj.early...)
	return nil, nil, errHijacked
}
