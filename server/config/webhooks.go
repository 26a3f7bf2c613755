package config

import (
	"fmt"
	"log/slog"
	"net/url"
)

// Webhooks is what concerns the webhooks of every app.
type Webhooks struct {
	Spool string // directory for batches that are not delivered yet; empty: they are only in memory
}

// Webhook is an endpoint that is told what happens in an app. Its URL may hold
// a secret, its headers usually do: nothing prints them, see [Webhook.Endpoint].
type Webhook struct {
	URL     string            `json:"-"` // absolute, http or https; each once in an app
	Events  []string          // names of [protocol.WebhookEvents]
	Headers map[string]string `json:"-"` // sent in addition
	Filter  WebhookFilter
}

// WebhookFilter limits an endpoint to some channels: those with both.
type WebhookFilter struct {
	ChannelPrefix string // empty: any
	ChannelSuffix string // empty: any
}

// Endpoint is the URL as it may be shown: scheme, host and path, without user
// information and query.
func (w Webhook) Endpoint() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return "[not a URL]"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// LogValue gives a logger what String shows.
func (w Webhook) LogValue() slog.Value { return slog.StringValue(w.String()) }

// String shows the endpoint without what may be secret.
func (w Webhook) String() string {
	return fmt.Sprintf("{URL:%s Events:%v Headers:%d Filter:%+v}", w.Endpoint(), w.Events, len(w.Headers), w.Filter)
}

// GoString is [Webhook.String].
func (w Webhook) GoString() string { return w.String() }
