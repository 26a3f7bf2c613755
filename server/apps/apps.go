// Package apps holds the applications that a server serves: their
// credentials, their limits, and what is going on in each.
package apps

import (
	"net/url"
	"strings"
	"sync/atomic"

	"belfry/auth"
	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/webhooks"
)

// App is one application. Nothing of it is shared with another.
type App struct {
	ID       string
	Channels *channels.App
	Metrics  *metrics.App
	Webhooks *webhooks.App

	settings    atomic.Pointer[Settings]
	removed     atomic.Bool
	connections atomic.Int64
	byTransport [protocol.NumTransports]atomic.Int64 // the same ones
}

// Settings are what may change of an application while it is served.
type Settings struct {
	config.App
	Credentials auth.Credentials
}

// Settings are those in force now. Ask once for what must fit together.
func (a *App) Settings() *Settings { return a.settings.Load() }

var (
	refuseRemoved  = &protocol.Error{Code: protocol.CodeUnauthorized, Message: "Application was removed from this server"}
	refuseDisabled = &protocol.Error{Code: protocol.CodeAppDisabled, Message: "Application is disabled"}
)

// Refusal is why the application has no connections now, neither old nor new
// ones; nil while it may have.
func (a *App) Refusal() *protocol.Error {
	switch {
	case a.removed.Load():
		return refuseRemoved
	case !a.Settings().Enabled:
		return refuseDisabled
	}
	return nil
}

// Connections is how many are open, subscribed or not.
func (a *App) Connections() int { return int(a.connections.Load()) }

// Connect counts a connection in, or reports that the application has all it
// may have. A connection that was counted in must be counted out with
// Disconnect.
func (a *App) Connect(t protocol.Transport) bool {
	n := a.connections.Add(1)
	if most := a.Settings().MaxConnections; most > 0 && n > int64(most) {
		a.connections.Add(-1)
		return false
	}
	a.byTransport[t].Add(1)
	return true
}

// Disconnect counts a connection out.
func (a *App) Disconnect(t protocol.Transport) {
	a.byTransport[t].Add(-1)
	a.connections.Add(-1)
}

// AllowsOrigin checks a browser's Origin header against allowed_origins: the
// host only, whatever scheme and port, as Reverb does. No header means no
// browser, which is what the check protects: such a client may connect.
func (s *Settings) AllowsOrigin(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	host := ""
	if err == nil && u.Scheme != "" {
		host = strings.ToLower(u.Hostname())
	}
	for _, pattern := range s.AllowedOrigins {
		if pattern == "*" {
			return true
		}
		pattern = strings.ToLower(pattern)
		suffix, wildcard := strings.CutPrefix(pattern, "*")
		if host != "" && (host == pattern || wildcard && len(host) > len(suffix) && strings.HasSuffix(host, suffix)) {
			return true
		}
	}
	return false
}

// PublishLimits bound what the backend may publish.
func (s *Settings) PublishLimits() protocol.Limits {
	return protocol.Limits{
		EventBytes:       s.MaxEventBytes,
		Name:             s.MaxChannelName,
		ChannelsPerEvent: s.MaxChannelsPerEvent,
		BatchEvents:      s.MaxBatchEvents,
	}
}

// live is what metrics read at a scrape.
type live struct{ *App }

func (l live) Connections(t protocol.Transport) int { return int(l.byTransport[t].Load()) }
func (l live) OccupiedChannels(k protocol.Kind) int { return l.Channels.OccupiedChannels(k) }
func (l live) Subscriptions() int                   { return l.Channels.Subscriptions() }
func (l live) WebhooksQueued() int                  { return l.Webhooks.Queued() }
