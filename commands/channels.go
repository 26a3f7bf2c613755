package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"belfry/commands/client"
	"belfry/protocol"
)

// Channels lists the channels that have subscribers.
type Channels struct {
	Client *client.Client
	Prefix string // of their names
	Info   bool   // says how many subscriptions each has, and how many users
	JSON   bool   // prints a JSON object a line: see [Channel]
	Out    io.Writer
}

// Channel is a channel as [Channels] prints it with JSON. Counts are left out where the
// server does not tell them.
type Channel struct {
	Name          string `json:"channel"`
	Subscriptions *int   `json:"subscription_count,omitempty"`
	Users         *int   `json:"user_count,omitempty"` // of a presence channel
}

const presence = "presence-"

// Run asks and prints.
func (c *Channels) Run(ctx context.Context) error {
	found, err := c.list(ctx, c.Prefix, "subscription_count")
	if err != nil {
		return err
	}
	// Servers tell users only to those who ask for presence channels alone.
	if prefix := c.Prefix; c.Info && (strings.HasPrefix(prefix, presence) || strings.HasPrefix(presence, prefix)) {
		if !strings.HasPrefix(prefix, presence) {
			prefix = presence
		}
		users, err := c.list(ctx, prefix, "user_count")
		if err != nil {
			return err
		}
		for name, channel := range users {
			channel.Subscriptions = found[name].Subscriptions
			found[name] = channel
		}
	}
	return c.print(found)
}

// list asks for channels, with a count if counts are wanted.
func (c *Channels) list(ctx context.Context, prefix, count string) (map[string]Channel, error) {
	query := make(url.Values)
	if prefix != "" {
		query.Set("filter_by_prefix", prefix)
	}
	if c.Info {
		query.Set("info", count)
	}
	text, err := c.Client.Get(ctx, "channels", query)
	if e := (*client.StatusError)(nil); errors.As(err, &e) && e.Status == http.StatusBadRequest && count == "subscription_count" && c.Info {
		query.Del("info") // hosted Pusher knows no such count here
		text, err = c.Client.Get(ctx, "channels", query)
	}
	if err != nil {
		return nil, err
	}
	var answer struct {
		Channels map[string]struct {
			Subscriptions *int `json:"subscription_count"`
			Users         *int `json:"user_count"`
		} `json:"channels"`
	}
	if err := protocol.ReadJSON(text, &answer); err != nil {
		return nil, fmt.Errorf("the server's list of channels cannot be read: %w", err)
	}
	list := make(map[string]Channel, len(answer.Channels))
	for name, channel := range answer.Channels {
		list[name] = Channel{name, channel.Subscriptions, channel.Users}
	}
	return list, nil
}

func (c *Channels) print(found map[string]Channel) error {
	table := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', 0)
	if c.Info && !c.JSON {
		fmt.Fprintln(table, "CHANNEL\tSUBSCRIPTIONS\tUSERS")
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		channel := found[name]
		switch {
		case c.JSON:
			if err := writeJSON(c.Out, channel); err != nil {
				return err
			}
		case c.Info:
			fmt.Fprintf(table, "%s\t%s\t%s\n", client.Printable(name), count(channel.Subscriptions), count(channel.Users))
		default:
			fmt.Fprintln(table, client.Printable(name))
		}
	}
	return table.Flush()
}

func count(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// Connections says how many connections the app has.
type Connections struct {
	Client *client.Client
	JSON   bool // prints the answer
	Out    io.Writer
}

// Run asks and prints. Hosted Pusher and Soketi answer 404.
func (c *Connections) Run(ctx context.Context) error {
	text, err := c.Client.Get(ctx, "connections", nil)
	if err != nil {
		return err
	}
	var answer struct {
		Connections *int `json:"connections"`
	}
	if err := protocol.ReadJSON(text, &answer); err != nil || answer.Connections == nil {
		return errors.New("the server's answer has no number of connections")
	}
	if c.JSON {
		return writeJSON(c.Out, answer)
	}
	_, err = fmt.Fprintln(c.Out, *answer.Connections)
	return err
}
