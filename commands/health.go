package commands

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"belfry/commands/client"
	"belfry/protocol"
)

// Health asks a server whether it is ready.
type Health struct {
	Client *client.Client
	Up     bool          // only whether it lives: /up instead of /ready
	JSON   bool          // prints the answer
	Within time.Duration // for the answer
	Out    io.Writer
}

// Run asks and prints one line. An answer other than 200 is an error.
func (h *Health) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, h.Within, fmt.Errorf("no answer within %v", h.Within))
	defer cancel()
	path := "/ready"
	if h.Up {
		path = "/up"
	}
	text, _, err := h.Client.GetPlain(ctx, path)
	if h.Up && waitsForCertificate(err) {
		text, err = []byte(`{"health":"up, without a certificate yet"}`), nil
	}
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("GET %s: %w", h.Client.API.JoinPath(path), context.Cause(ctx))
		}
		return err
	}
	var answer struct {
		Status string `json:"status"`
		Health string `json:"health"`
	}
	said := "ok"
	if protocol.ReadJSON(text, &answer) == nil {
		said = cmp.Or(answer.Status, answer.Health, said)
	}
	if h.JSON {
		_, err = fmt.Fprintf(h.Out, "%s\n", client.Printable(string(text)))
	} else {
		_, err = fmt.Fprintln(h.Out, client.Printable(said))
	}
	return err
}

// waitsForCertificate says whether a server has answered by an alert of TLS (RFC 8446 section
// 6): it lives, and one that gets its certificate by ACME answers so until it has the first.
func waitsForCertificate(err error) bool {
	alert := (*net.OpError)(nil)
	return errors.As(err, &alert) && alert.Op == "remote error"
}
