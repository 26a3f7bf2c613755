package fallback

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"belfry/protocol"
	"belfry/server/door"
	"belfry/server/keepalive"
	"belfry/server/session"
)

const (
	// writeTimeout is how long a write may take: that of any answer of the
	// server.
	writeTimeout = 30 * time.Second
	// maxReceiveBody is how many bytes of a receiver's body are read and
	// ignored. pusher-js sends none.
	maxReceiveBody = 4 << 10
)

// receive writes what a session sends, and opens the session if there is none.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, t protocol.Transport) {
	// The request is over when its client goes away, which net/http sees once
	// the body was read.
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxReceiveBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		h.refuse(w, r, http.StatusRequestEntityTooLarge, "a receiver has no body")
		return
	} else if err != nil {
		h.refuse(w, r, http.StatusBadRequest, "body could not be read")
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/javascript; charset=UTF-8")
	header.Set("X-Accel-Buffering", "no") // nginx

	rec := newReceiver(t)
	var c *conn
	defer h.Bugs.Recover(func() {
		if c != nil {
			c.panicked()
		}
	})
	refused := h.attach(r, t, rec, &c)
	out := &writer{w: w, control: http.NewResponseController(w), flushes: !rec.polling}
	if refused != nil {
		out.write(appendGoodbye([]byte(protocol.OpenLine), refused))
		return
	}
	door.Authorized(w, r)
	c.serve(r.Context(), rec, out)
}

// serve writes until the response or the client ends.
func (c *conn) serve(ctx context.Context, r *receiver, out *writer) {
	defer c.detach(r, returnWait)
	out.unlimited()
	for {
		next := c.take(r)
		err := out.write(r.lines)
		switch {
		case next == finish:
			c.handler.Changes.Begin()
			defer c.handler.Changes.End()
			c.end(session.ByClient)
			return
		case err != nil, next == part:
			return
		case len(r.lines) > 0:
			continue // more may have come meanwhile
		}
		if cap(r.lines) > keptBytes {
			r.lines = nil
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
	}
}

// writer is a response that is written as it comes about.
type writer struct {
	w       http.ResponseWriter
	control *http.ResponseController
	flushes bool // otherwise the response goes out at its end, in one system call if it is short
}

// unlimited lifts the server's limit on how long reading a request may take:
// beyond it, net/http would take the client for gone.
func (w *writer) unlimited() {
	_ = w.control.SetReadDeadline(time.Time{}) // where it is not supported, there is none
}

// write writes and, in a stream, flushes. An error means that the client has
// gone, or does not read.
func (w *writer) write(lines []byte) error {
	if len(lines) == 0 {
		return nil
	}
	if err := w.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := w.w.Write(lines); err != nil || !w.flushes {
		return err
	}
	return w.control.Flush()
}

// attach finds the client's session or opens it, sets c to it, and makes rec its
// receiver.
func (h *Handler) attach(r *http.Request, t protocol.Transport, rec *receiver, c **conn) (refused *protocol.Error) {
	found := h.Admission.Find(r.Context(), r.PathValue("key"), r.RemoteAddr)
	defer found.Release()
	h.Changes.Begin() // if all has moved, RefusesClients is true
	defer h.Changes.End()
	n := nameOf(r)
	var opened *conn
	for {
		if *c = h.find(n); *c == nil {
			if opened == nil {
				if opened, refused = h.open(r, t, n, found); refused != nil {
					return refused
				}
			}
			*c = h.insert(opened)
		}
		if (*c).attach(rec) {
			break
		}
		if *c == opened { // it was ended at once, by Drain
			opened = nil
		}
	}
	switch {
	case opened == nil:
	case *c != opened:
		opened.finish(session.ByClient) // another request was faster
	case h.Capacity.RefusesClients(): // Drain may have looked for it before it was known
		opened.session.Close(session.Drain, session.Restarting)
	default: // likewise Evict
		opened.session.Evict()
	}
	return nil
}

// open admits a client to a place and watches over its session, which is not
// known yet.
func (h *Handler) open(r *http.Request, t protocol.Transport, n name, found session.Found) (c *conn, refused *protocol.Error) {
	place, refused := h.Capacity.EnterSession()
	if refused != nil {
		h.Admission.Reject("", refused)
		return nil, refused
	}
	c = &conn{handler: h, name: n, place: place, until: keepalive.Never}
	c.out.Init(c, h.Budget)
	c.seen.Store(h.Watch.Now())
	if refused = h.admit(r, t, found, c); refused != nil {
		place.Leave()
		return nil, refused
	}
	h.Watch.Add(c, &c.slot, h.Watch.Now())
	return c, nil
}

// admit decides about a client.
func (h *Handler) admit(r *http.Request, t protocol.Transport, found session.Found, c *conn) (refused *protocol.Error) {
	query := r.URL.Query()
	c.session, refused = h.Admission.Admit(session.Handshake{
		Transport: t,
		App:       found,
		Protocol:  query["protocol"],
		Client:    query.Get("client"),
		Version:   query.Get("version"),
		Origin:    r.Header.Get("Origin"),
		Remote:    r.RemoteAddr,
	}, c)
	return refused
}
