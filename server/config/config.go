// Package config reads Belfry's configuration: one YAML file, the variables
// that it mentions as ${NAME}, and a few variables of the environment.
//
// [Load] and [Parse] return either a complete [Config], every key either set
// or at its default and within its range, or [Errors]: every problem found,
// each with file, line and what is accepted.
//
// # The file
//
// The file is one YAML document of at most 1 MiB, without anchors, aliases
// and tags: nothing in it is long enough to need them, and without them no
// small file can unfold into a large one. Unknown and duplicate keys are
// errors. A section left empty ("server:") keeps its defaults. A key left
// empty is an error, unless the empty string is a value of that key.
//
// ${NAME} in a value is replaced by that environment variable, and
// ${NAME:-default} by the default if the variable is unset or empty; $${ is a
// literal ${. The replacement happens in the parsed scalar, so a variable can
// never add keys or list entries. An unquoted ${PORT} may become a number, a
// quoted one stays text. No error repeats a secret, a token, a URL, a header's
// value or the value of an environment variable.
//
// # The environment
//
// BELFRY_LISTEN, or else REVERB_SERVER_HOST and REVERB_SERVER_PORT, set
// server.listen, and REVERB_SERVER_PATH sets server.path, where the file does
// not. Without apps in the file, [AppFromEnv] gives one; with neither apps nor
// a file, [GeneratedApp] does. A variable set to nothing counts as unset.
package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"belfry/auth"
)

// The values of [App.ClientEvents].
const (
	ClientEventsMembers = "members" // subscribers of a private or presence channel may send client events to it
	ClientEventsNone    = "none"    // nobody may
)

// Config is the whole configuration. It is not changed after loading and safe
// to read concurrently.
type Config struct {
	Server   Server   `yaml:"server"`
	Apps     []App    `yaml:"apps"`
	Webhooks Webhooks `yaml:"webhooks"`
	Cluster  Cluster  `yaml:"cluster"`
	Metrics  Metrics  `yaml:"metrics"`
	Log      Log      `yaml:"log"`

	// Generated says that the only app has credentials made up for this run.
	Generated bool `yaml:"-"`
}

// Server is what concerns every app.
type Server struct {
	Listen          string         `yaml:"listen"`            // host:port; no host: all addresses; port 0: any free one
	Path            string         `yaml:"path"`              // prefix before /app and /apps: "" or "/x", no trailing slash
	TLS             TLS            `yaml:"tls"`               // none: plain HTTP
	TrustedProxies  []netip.Prefix `yaml:"trusted_proxies"`   // whose X-Forwarded-For is believed; masked, never IPv4-mapped
	MaxRequestBytes int64          `yaml:"max_request_bytes"` // body of one HTTP API request
	MaxConnections  int            `yaml:"max_connections"`   // of all apps; 0: no limit but the file descriptors
	MaxOutboxBytes  int            `yaml:"max_outbox_bytes"`  // unsent bytes of one connection before it is closed with 4100
	ShutdownGrace   time.Duration  `yaml:"shutdown_grace"`    // time to drain after SIGTERM
}

// TLS names the certificate and its key: both files or neither.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// App is one application: its credentials and limits.
type App struct {
	ID      string   `yaml:"id"`
	Key     string   `yaml:"key"`
	Secret  string   `yaml:"secret" json:"-"`
	Secrets []string `yaml:"secrets" json:"-"` // instead of Secret: all verify, the first signs; at most MaxSecrets

	Enabled         bool          `yaml:"enabled"`           // false: clients are refused with 4003
	AllowedOrigins  []string      `yaml:"allowed_origins"`   // host patterns in lower case: "*", a host, "*.example.com"
	ActivityTimeout time.Duration `yaml:"activity_timeout"`  // silence before a ping; whole seconds, told to the client
	PingInterval    time.Duration `yaml:"ping_interval"`     // silence before a ping if activity_timeout is longer; whole seconds
	PongTimeout     time.Duration `yaml:"pong_timeout"`      // silence after that ping before 4201; whole seconds
	ClientEvents    string        `yaml:"client_events"`     // ClientEventsMembers or ClientEventsNone
	ClientEventRate int           `yaml:"client_event_rate"` // client events a second and connection; 0: no limit
	MaxConnections  int           `yaml:"max_connections"`   // over it: 4004; 0: no limit

	MaxConnectionsPerAddress int           `yaml:"max_connections_per_address"` // open at a time from one network address; over it: 4100; 0: no limit
	ConnectRatePerAddress    int           `yaml:"connect_rate_per_address"`    // new connections a second from one network address; over it: 4100; 0: no limit
	MessageRate              int           `yaml:"message_rate"`                // messages a second and connection, over ten seconds; over it: 4301; 0: no limit
	MessageTimeout           time.Duration `yaml:"message_timeout"`             // from the first byte of a message to its last; whole seconds
	APIRequestRate           int           `yaml:"api_request_rate"`            // HTTP API requests a second; over it: 429; 0: no limit

	MaxMessageBytes          int           `yaml:"max_message_bytes"`           // one message from a client
	MaxEventBytes            int           `yaml:"max_event_bytes"`             // data of one event
	MaxChannelsPerEvent      int           `yaml:"max_channels_per_event"`      // channels that one event names
	MaxBatchEvents           int           `yaml:"max_batch_events"`            // events of one batch request
	MaxChannelName           int           `yaml:"max_channel_name"`            // characters; event names likewise
	MaxChannelsPerConnection int           `yaml:"max_channels_per_connection"` // 0: no limit
	MaxPresenceMembers       int           `yaml:"max_presence_members"`        // distinct users of one presence channel
	MaxPresenceUserBytes     int           `yaml:"max_presence_user_bytes"`     // channel_data of one member
	CacheTTL                 time.Duration `yaml:"cache_ttl"`                   // how long a cache channel keeps its last event

	SubscriptionCount      bool          `yaml:"subscription_count"`       // subscribers are told how many they are
	RequireSignin          time.Duration `yaml:"require_signin"`           // time to sign in or to join an authorized channel before 4009; whole seconds, 0: for ever
	TerminateCode          int           `yaml:"terminate_code"`           // close code of terminate_connections
	TerminatePresenceUsers bool          `yaml:"terminate_presence_users"` // terminate_connections also means members of presence channels
	Webhooks               []Webhook     `yaml:"webhooks"`                 // who is told what happens
}

// Metrics is the Prometheus endpoint.
type Metrics struct {
	Enabled bool   `yaml:"enabled"`
	Path    string `yaml:"path"`
	Listen  string `yaml:"listen"`         // host:port of a listener of its own; empty: server.listen
	Token   string `yaml:"token" json:"-"` // bearer token a scraper has to send; empty: none
}

// Log is what is written to standard error.
type Log struct {
	Level  slog.Level `yaml:"level"`
	Format string     `yaml:"format"` // "text" or "json"
}

// The values of [Log.Format].
const (
	LogText = "text"
	LogJSON = "json"
)

// Credentials are the app's, whether it has one secret or several.
func (a App) Credentials() auth.Credentials {
	c := auth.Credentials{Key: a.Key, Secret: a.Secret}
	if len(a.Secrets) > 0 {
		c.Secret, c.OldSecrets = a.Secrets[0], a.Secrets[1:]
	}
	return c
}

// LogValue gives a logger the app's id and key, and never a secret.
func (a App) LogValue() slog.Value {
	return slog.GroupValue(slog.String("id", a.ID), slog.String("key", a.Key))
}

// String is %+v of the app with its secrets hidden.
func (a App) String() string {
	type plain App // without these methods
	a.hideSecrets()
	return fmt.Sprintf("%+v", plain(a))
}

// GoString is %#v of the app with its secrets hidden.
func (a App) GoString() string {
	type plain App
	a.hideSecrets()
	return fmt.Sprintf("%#v", plain(a))
}

func (a *App) hideSecrets() {
	a.Secret = hide(a.Secret)
	a.Secrets = slices.Clone(a.Secrets)
	for i, s := range a.Secrets {
		a.Secrets[i] = hide(s)
	}
}

// LogValue gives a logger where the metrics are, and never the token.
func (m Metrics) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("enabled", m.Enabled), slog.String("path", m.Path), slog.String("listen", m.Listen))
}

// String is %+v of the metrics settings with the token hidden.
func (m Metrics) String() string {
	type plain Metrics
	m.Token = hide(m.Token)
	return fmt.Sprintf("%+v", plain(m))
}

// GoString is %#v of the metrics settings with the token hidden.
func (m Metrics) GoString() string {
	type plain Metrics
	m.Token = hide(m.Token)
	return fmt.Sprintf("%#v", plain(m))
}

func hide(secret string) string {
	if secret == "" {
		return ""
	}
	return "[hidden]"
}
