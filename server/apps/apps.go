// Package apps holds the applications that a server serves: their
// credentials, their limits, and what is going on in each.
package apps

import (
	"hash/maphash"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

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
	byTransport [protocol.NumTransports]atomic.Int64 // these connections, by transport
	addresses   addresses                            // of these connections, by network address; filled only while the app limits addresses
	requests    atomic.Pointer[rate.Limiter]         // of the HTTP API; nil: no limit
	sources     maphash.Seed
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

// Connect counts a connection from a network address in, or returns why the
// application may not have it. A connection that was counted in must be counted
// out with Disconnect, to which the Address is passed, nil or not.
func (a *App) Connect(t protocol.Transport, remote string) (*Address, *protocol.Error) {
	s := a.Settings()
	n := a.connections.Add(1)
	if s.MaxConnections > 0 && n > int64(s.MaxConnections) {
		a.connections.Add(-1)
		a.Metrics.LimitMet(metrics.MaxConnections)
		return nil, protocol.Errorf(protocol.CodeOverQuota, "Application is over its quota of %d connections: see max_connections", s.MaxConnections)
	}
	address, e := a.connectFrom(remote, s)
	if e != nil {
		a.connections.Add(-1)
		return nil, e
	}
	a.byTransport[t].Add(1)
	return address, nil
}

// connectFrom counts a connection in at its address if that has limits.
func (a *App) connectFrom(remote string, s *Settings) (*Address, *protocol.Error) {
	if !s.limitsAddresses() {
		return nil, nil
	}
	network, source := Network(remote), a.Source(remote)
	if source == noAddress {
		return nil, nil // a Unix socket, or a proxy that hides it
	}
	address, met := a.addresses.connect(source, s.MaxConnectionsPerAddress, s.ConnectRatePerAddress, time.Now())
	switch met {
	case tooMany:
		a.Metrics.LimitMet(metrics.MaxConnectionsPerAddress)
		return nil, protocol.Errorf(protocol.CodeOverCapacity, "Too many connections from %s: %d are open, see max_connections_per_address", network, s.MaxConnectionsPerAddress)
	case tooFast:
		a.Metrics.LimitMet(metrics.ConnectRatePerAddress)
		return nil, protocol.Errorf(protocol.CodeOverCapacity, "Too many new connections from %s: more than %d a second, see connect_rate_per_address", network, s.ConnectRatePerAddress)
	}
	return address, nil
}

// limitsAddresses says whether there are limits for one address.
func (s *Settings) limitsAddresses() bool {
	return s.MaxConnectionsPerAddress > 0 || s.ConnectRatePerAddress > 0
}

// CountAt counts a connection at its address that is open and is not, as there
// were no limits for one when it was opened. It returns nil if there are none now.
func (a *App) CountAt(source protocol.Source) *Address {
	if source == noAddress || !a.Settings().limitsAddresses() {
		return nil
	}
	return a.addresses.count(source)
}

// Disconnect counts a connection out. address is what Connect returned for it.
func (a *App) Disconnect(t protocol.Transport, address *Address) {
	if address != nil {
		a.addresses.disconnect(address)
	}
	a.byTransport[t].Add(-1)
	a.connections.Add(-1)
}

// Source is the same for all connections from one network. Those without an
// address, by a Unix socket for example, are one source.
func (a *App) Source(remote string) protocol.Source {
	network := Network(remote)
	if !network.IsValid() {
		return noAddress
	}
	return protocol.Source(max(maphash.Comparable(a.sources, network), noAddress+1)) // 0 is not known
}

// noAddress is the source of all connections without an address.
const noAddress = 1

// AllowRequest reports whether api_request_rate allows a request to the HTTP API
// now.
func (a *App) AllowRequest() bool {
	limiter := a.requests.Load()
	if limiter == nil || limiter.Allow() {
		return true
	}
	a.Metrics.LimitMet(metrics.APIRequestRate)
	return false
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
