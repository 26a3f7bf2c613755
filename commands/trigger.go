package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"belfry/commands/client"
)

// Trigger publishes one event.
type Trigger struct {
	Client  *client.Client
	Channel string
	Event   string
	Data    string // JSON or any text; "-" stands for what In has
	// SocketID is of a connection that does not get the event; empty: all get it.
	SocketID string
	JSON     bool // prints the answer
	In       io.Reader
	Out      io.Writer
}

// maxInput bounds what is read of In, in bytes: more than any server takes.
const maxInput = 16 << 20

// Run publishes. The error is a *[client.StatusError] if the server refuses the event.
func (t *Trigger) Run(ctx context.Context) error {
	data := t.Data
	if data == "-" {
		text, err := io.ReadAll(io.LimitReader(t.In, maxInput+1))
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		if len(text) > maxInput {
			return errors.New("standard input has more than 16 MiB")
		}
		data = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	}
	answer, err := t.Client.Publish(ctx, client.Event{Name: t.Event, Channels: []string{t.Channel}, Data: data, SocketID: t.SocketID})
	if err != nil {
		return err
	}
	if t.JSON {
		_, err = fmt.Fprintf(t.Out, "%s\n", answer)
	} else {
		_, err = fmt.Fprintf(t.Out, "published %s to %s\n", t.Event, t.Channel)
	}
	return err
}
