package config

import (
	"crypto/rand"
	"log/slog"
	"math/big"
	"strings"
	"time"
)

// Defaults of the server. They are Belfry's own choice where no source is given.
const (
	DefaultListen              = "127.0.0.1:8080" // the port of Laravel Reverb; loopback until somebody decides otherwise
	DefaultMaxRequestBytes     = 1 << 20          // a full batch: 10 events of 10 KiB, JSON-escaped, with room
	DefaultMaxConnections      = 0                // no limit
	DefaultMaxTotalOutboxBytes = 256 << 20        // a quarter of a small machine
	DefaultMaxHistoryBytes     = 64 << 20         // some 50,000 events of 1 KB
	DefaultOutboxTimeout       = 30 * time.Second // as long as a request's answer may take
	DefaultMaxOutboxBytes      = 1 << 20          // a hundred events of the largest size
	DefaultDrainDelay          = 0                // no load balancer
	DefaultShutdownGrace       = 10 * time.Second // what `docker stop` waits before it kills
	DefaultMetricsPath         = "/metrics"       // where Prometheus looks
	DefaultMetricsPerApp       = 1000             // some 130,000 series, which Prometheus takes easily
	DefaultConsolePath         = "/console"
	DefaultConsoleUser         = "admin"
	DefaultConsoleViewer       = "viewer"
	DefaultDirectory           = "https://acme-v02.api.letsencrypt.org/directory" // Let's Encrypt, which needs no account made by hand
	DefaultStateDirectory      = "/var/lib/belfry"                                // of the service in our packages
	DefaultRedisURL            = "redis://127.0.0.1:6379/0"                       // where Redis listens by itself
	DefaultRedisPrefix         = "belfry"
	DefaultLogLevel            = slog.LevelInfo
	DefaultLogFormat           = LogText
	DefaultAppsTable           = "apps"           // Soketi's
	DefaultAppsTTL             = 60 * time.Second // as long as a change may wait
	DefaultAppsNegativeTTL     = 10 * time.Second // as long as a new app may wait
)

// Defaults of an app: the documented limits of Pusher Channels where it has
// one, so that what works there works here.
const (
	DefaultActivityTimeout = 120 * time.Second   // Pusher protocol 7, connection_established: activity_timeout of hosted Pusher
	DefaultPongTimeout     = 30 * time.Second    // Pusher protocol 7, "Ping and pong messages"
	DefaultClientEvents    = ClientEventsMembers // Laravel Reverb's default; Pusher has a switch in its dashboard
	DefaultClientEventRate = 10                  // Pusher Channels, "Client events": 10 a second and client

	DefaultPingInterval             = 50 * time.Second // below 55 s, after which Heroku's router, and 60 s, after which nginx, cuts an idle connection
	DefaultMaxAppConnections        = 0                // no limit; Pusher's depends on the plan
	DefaultMessageRate              = 200              // a page of 1,000 channels subscribes to all of them at once
	DefaultMessageTimeout           = 30 * time.Second // as long as an HTTP request may take
	DefaultMaxMessageBytes          = 64 << 10         // Belfry's choice: six times the largest event
	DefaultMaxEventBytes            = 10 << 10         // Pusher HTTP API, "POST event": data of 10 KB
	DefaultMaxChannelsPerEvent      = 100              // Pusher HTTP API, "POST event": 100 channels
	DefaultMaxBatchEvents           = 10               // Pusher HTTP API, "POST batch events": 10 events
	DefaultMaxChannelName           = 200              // Pusher HTTP API: event names of 200; its server libraries: channel names of 200
	DefaultMaxChannelsPerConnection = 1000             // ten times what a large page subscribes to
	DefaultMaxPresenceMembers       = 100              // Pusher Channels, "Presence channels": 100 members
	DefaultMaxPresenceUserBytes     = 1 << 10          // Pusher Channels, "Presence channels": user object of 1 KB
	DefaultCacheTTL                 = 30 * time.Minute // Pusher Channels, "Cache channels": 30 minutes

	DefaultHistoryEvents = 100             // what a page shows at once
	DefaultHistoryAge    = 2 * time.Minute // a tunnel, a restart; also what Ably keeps by default

	DefaultRequireSignin = 0    // nobody must; Pusher has a switch in its dashboard ("authorized connections")
	DefaultTerminateCode = 4009 // Soketi's: the client does not come back by itself
)

// Default returns the configuration of an empty file: no apps.
func Default() (c Config) {
	c.keys().reset()
	return c
}

// DefaultApp returns an app with every limit at its default and without id,
// key and secret.
func DefaultApp() (a App) {
	a.keys().reset()
	return a
}

// DefaultWebhook returns an endpoint without a URL that is told everything.
func DefaultWebhook() (w Webhook) {
	w.keys().reset()
	return w
}

// DefaultHistory returns a history of no channel.
func DefaultHistory() (h History) {
	h.keys().reset()
	return h
}

// GeneratedApp returns an app with random credentials in the form that
// Laravel's reverb:install gives them: an id of six digits (several backend
// libraries parse only digits from a URL), key and secret of 20 lower-case
// letters and digits (100 bits) each.
func GeneratedApp() App {
	a := DefaultApp()
	n, err := rand.Int(rand.Reader, big.NewInt(900_000))
	if err != nil {
		panic(err) // crypto/rand ends the process itself before it returns an error
	}
	a.ID = n.Add(n, big.NewInt(100_000)).String()
	a.Key = strings.ToLower(rand.Text()[:20])
	a.Secret = strings.ToLower(rand.Text()[:20])
	return a
}
