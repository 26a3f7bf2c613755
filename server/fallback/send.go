package fallback

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"belfry/protocol"
	"belfry/server/door"
	"belfry/server/metrics"
)

// bodyLimit is how many bytes of a request carry one message of most bytes: in
// a JSON string, a quote or a backslash takes two, and a JSON text has no other
// character that must be escaped.
func bodyLimit(most int) int64 { return 2*int64(most) + int64(len(`[""]`)) }

// send takes messages of a session's client. pusher-js looks at no answer to
// this: what it is to know is sent to the session's receiver.
func (h *Handler) send(w http.ResponseWriter, r *http.Request) {
	c := h.find(nameOf(r))
	if c == nil {
		h.refuse(w, r, http.StatusNotFound, "no such session: it has ended, or it is not this client's")
		return
	}
	door.Authorized(w, r)
	status, why := h.handle(c, w, r)
	if why != "" {
		h.refuse(w, r, status, why)
		return
	}
	w.WriteHeader(status)
}

// handle reads and handles the messages. why is empty when all is well.
func (h *Handler) handle(c *conn, w http.ResponseWriter, r *http.Request) (status int, why string) {
	status, why = http.StatusInternalServerError, "internal error" // if it panics
	defer h.Bugs.Recover(c.panicked)
	c.seen.Store(h.Watch.Now())
	most := c.session.App().Settings().MaxMessageBytes
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit(most)))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		c.session.App().Metrics.LimitMet(metrics.MaxMessageBytes)
		return c.invalid(http.StatusRequestEntityTooLarge, len(body), tooLong(most))
	case err != nil:
		return http.StatusBadRequest, "body could not be read"
	}
	messages, err := protocol.ParseMessages(body)
	if err != nil {
		return c.invalid(http.StatusBadRequest, len(body), "Invalid messages: "+err.Error())
	}
	for _, m := range messages {
		if len(m) > most {
			c.session.App().Metrics.LimitMet(metrics.MaxMessageBytes)
			return c.invalid(http.StatusRequestEntityTooLarge, len(m), tooLong(most))
		}
	}
	if len(messages) == 0 {
		c.answerHeartbeat()
	}
	// The session takes one message after the other.
	c.handling.Lock()
	defer c.handling.Unlock()
	moved := h.Changes.Begin()
	defer h.Changes.End()
	if moved { // the session is being closed, and nobody would hear of this
		return http.StatusServiceUnavailable, "the server is being replaced: connect anew"
	}
	for _, m := range messages {
		c.session.Handle([]byte(m))
	}
	return http.StatusNoContent, ""
}

func tooLong(most int) string { return fmt.Sprintf("Message is longer than %d bytes", most) }

// invalid refuses a request in both ways: to who sent it, and to the client's
// error handlers.
func (c *conn) invalid(status, size int, why string) (int, string) {
	c.session.HandleInvalid(size, why)
	return status, why
}
