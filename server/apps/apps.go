// Package apps holds the applications that a server serves: their
// credentials, their limits, and what is going on in each.
package apps

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
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
	holders     atomic.Int64             // who keep it from being forgotten, beside its connections
	forgotten   atomic.Bool              // it is known no more: who has just found it is to look again
	used        atomic.Bool              // since the source was last asked about it
	lookedUp    atomic.Pointer[lookedUp] // nil if it is configured
	connections atomic.Int64
	peak        atomic.Int64                         // of connections
	byTransport [protocol.NumTransports]atomic.Int64 // these connections, by transport
	addresses   addresses                            // of these connections, by network address; filled only while the app limits addresses
	requests    atomic.Pointer[rate.Limiter]         // of the HTTP API; nil: no limit
	sources     [sourceKeyBytes]byte                 // mixed into sources; constant once it serves
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
	refuseDisabled = &protocol.Error{Code: protocol.CodeAppDisabled, Message: "Application is disabled: enabled is false"}
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

// hold keeps the application from being forgotten until Release, and reports whether that
// has not happened yet.
func (a *App) hold() bool {
	a.holders.Add(1)
	if a.forgotten.Load() {
		a.holders.Add(-1)
		return false
	}
	if !a.used.Load() {
		a.used.Store(true)
	}
	return true
}

// Release ends what [Registry.Find] has begun. It does nothing to a nil App.
func (a *App) Release() {
	if a != nil {
		a.holders.Add(-1)
	}
}

// idle reports whether nobody would miss anything of the application if it was forgotten.
func (a *App) idle() bool {
	return a.holders.Load() == 0 && a.connections.Load() == 0 && a.Channels.Idle() && a.Webhooks.Queued() == 0
}

// Connections is how many are open, subscribed or not.
func (a *App) Connections() int { return int(a.connections.Load()) }

// PeakConnections is how many were open at most since the server has the application.
func (a *App) PeakConnections() int { return int(a.peak.Load()) }

// notePeak notes that so many connections are open.
func (a *App) notePeak(n int64) {
	for peak := a.peak.Load(); n > peak && !a.peak.CompareAndSwap(peak, n); {
		peak = a.peak.Load()
	}
}

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
	a.notePeak(n)
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

// Exported is what another process needs to go on with an application, beside its
// channels and connections.
type Exported struct {
	ID       string `json:"id"`
	Document []byte `json:"document,omitempty"` // of an application that was looked up
	Sources  []byte `json:"sources"`            // the key of its sources
	Requests *Rate  `json:"requests,omitempty"`

	Numbers channels.ExportedNumbers `json:"numbers,omitzero"`
}

// Export returns it.
func (r *Registry) Export(a *App) Exported {
	return Exported{a.ID, r.document(a), a.sources[:], ExportRate(a.requests.Load()), a.Channels.ExportNumbers()}
}

// Restored returns the application that another process has exported, which is to be
// restored next, or nil if this one does not serve it. One that was looked up need not be
// known here.
func (r *Registry) Restored(e Exported) *App {
	if a := r.byID.get(e.ID); a != nil || r.finder == nil || e.Document == nil {
		return a
	}
	return r.finder.adopt(e.Document)
}

// Restore comes before anything else of the application is restored.
func (a *App) Restore(e Exported) error {
	if len(e.Sources) != sourceKeyBytes {
		return fmt.Errorf("key of sources of app %s has %d bytes, not %d", a.ID, len(e.Sources), sourceKeyBytes)
	}
	copy(a.sources[:], e.Sources)
	a.Channels.RestoreNumbers(e.Numbers)
	e.Requests.Spend(a.requests.Load())
	return nil
}

// Rate is what is left of a rate.
type Rate struct {
	Burst int     `json:"burst"`
	Left  float64 `json:"left"`
}

// ExportRate is nil if there is no limiter.
func ExportRate(l *rate.Limiter) *Rate {
	if l == nil {
		return nil
	}
	return &Rate{l.Burst(), l.Tokens()}
}

// Spend leaves of a new limiter, which may be nil, what was left of the one that was
// exported, if the limit is the same.
func (r *Rate) Spend(l *rate.Limiter) {
	if r != nil && l != nil && l.Burst() == r.Burst {
		l.AllowN(time.Now(), r.Burst-int(min(max(r.Left, 0), float64(r.Burst))))
	}
}

// Adopt counts a connection in that another process has had. It is not counted at its
// address: see CountAt.
func (a *App) Adopt(t protocol.Transport) {
	a.notePeak(a.connections.Add(1))
	a.byTransport[t].Add(1)
	a.Metrics.Begin()
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
	sum := sha256.Sum256(network.Addr().AppendTo(a.sources[:sourceKeyBytes:sourceKeyBytes]))
	return protocol.Source(max(binary.NativeEndian.Uint64(sum[:]), noAddress+1)) // 0 is not known
}

// sourceKeyBytes is how much that nobody else knows is in each source.
const sourceKeyBytes = 16

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
