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
// Where the file does not say otherwise, variables do: Belfry's own, and those
// that Laravel Reverb and Soketi read, see [docs/configuration.md]. They set the
// address, the cluster and, without apps in the file, one app; with neither apps
// nor a file, [GeneratedApp] makes one up. A variable set to nothing or to null
// counts as unset. What is set and not heeded is in [Config.Warnings].
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
	Server   Server
	Apps     []App
	AppsFrom AppsFrom
	Webhooks Webhooks
	Cluster  Cluster
	Metrics  Metrics
	Console  Console
	Log      Log

	// Generated says that the only app has credentials made up for this run.
	Generated bool

	// Warnings are what loading found that works, but maybe not as it was meant,
	// one sentence each and never with a secret.
	Warnings []string

	origin origin
}

// Server is what concerns every app.
type Server struct {
	Listen              string         // host:port; no host: all addresses; port 0: any free one
	Path                string         // prefix before /app and /apps: "" or "/x", no trailing slash
	TLS                 TLS            // none: plain HTTP
	RedirectHTTP        string         // host:port of a listener that sends http to https; empty: none
	TrustedProxies      []netip.Prefix // whose X-Forwarded-For is believed; masked, never IPv4-mapped
	MaxRequestBytes     int64          // body of one HTTP API request
	MaxConnections      int            // of all apps; 0: no limit but the file descriptors
	MaxOutboxBytes      int            // unsent bytes of one connection before it is closed with 4100
	MaxTotalOutboxBytes int            // of all connections together; over it, those with most are closed with 4100
	MaxHistoryBytes     int64          // of the histories of all apps on a single node; over it, the oldest events go
	OutboxTimeout       time.Duration  // without progress of unsent bytes, before 4100; whole seconds
	DrainDelay          time.Duration  // between SIGTERM and the drain
	ShutdownGrace       time.Duration  // time to drain after SIGTERM
}

// TLS says where certificates come from: from the files, or from an authority.
type TLS struct {
	CertFile string // both files or neither
	KeyFile  string
	ACME     ACME
}

// TLSMode is where certificates come from.
type TLSMode uint8

// The modes of [TLS].
const (
	TLSOff   TLSMode = iota // plain HTTP
	TLSFiles                // from cert_file and key_file
	TLSACME                 // from an authority
)

// Mode is what is configured.
func (t TLS) Mode() TLSMode {
	switch {
	case t.CertFile != "":
		return TLSFiles
	case len(t.ACME.Domains) > 0:
		return TLSACME
	}
	return TLSOff
}

// ACME is how to get certificates from an authority (RFC 8555).
type ACME struct {
	Domains   []string // host names in lower case, with a certificate each; none: ACME is off
	Email     string   // that the authority may write to; empty: none
	Directory string   // URL of the authority
	Storage   string   // StorageRedis, or the directory that keeps keys and certificates
}

// StorageRedis is the value of [ACME.Storage] for the cluster's Redis.
const StorageRedis = "redis"

// App is one application: its credentials and limits.
type App struct {
	ID      string
	Key     string
	Secret  string   `json:"-"`
	Secrets []string `json:"-"` // instead of Secret: all verify, the first signs; at most MaxSecrets

	Enabled         bool          // false: clients are refused with 4003
	AllowedOrigins  []string      // host patterns in lower case: "*", a host, "*.example.com"
	ActivityTimeout time.Duration // silence before a ping; whole seconds, told to the client
	PingInterval    time.Duration // silence before a ping if activity_timeout is longer; whole seconds
	PongTimeout     time.Duration // silence after that ping before 4201; whole seconds
	ClientEvents    string        // ClientEventsMembers or ClientEventsNone
	ClientEventRate int           // client events a second and connection; 0: no limit
	MaxConnections  int           // over it: 4004; 0: no limit

	MaxConnectionsPerAddress int           // open at a time from one network address; over it: 4100; 0: no limit
	ConnectRatePerAddress    int           // new connections a second from one network address; over it: 4100; 0: no limit
	MessageRate              int           // messages a second and connection, over ten seconds; over it: 4301; 0: no limit
	MessageTimeout           time.Duration // from the first byte of a message to its last; whole seconds
	APIRequestRate           int           // HTTP API requests a second; over it: 429; 0: no limit

	MaxMessageBytes          int           // one message from a client
	MaxEventBytes            int           // data of one event
	MaxChannelsPerEvent      int           // channels that one event names
	MaxBatchEvents           int           // events of one batch request
	MaxChannelName           int           // characters; event names likewise
	MaxChannelsPerConnection int           // 0: no limit
	MaxPresenceMembers       int           // distinct users of one presence channel
	MaxPresenceUserBytes     int           // user_info of one member, in bytes
	CacheTTL                 time.Duration // how long a cache channel keeps its last event
	History                  []History     // which channels keep their last events; the first that matches decides

	SubscriptionCount      bool          // subscribers are told how many they are
	RequireSignin          time.Duration // time to sign in or to join an authorized channel before 4009; whole seconds, 0: for ever
	TerminateCode          int           // close code of terminate_connections
	TerminatePresenceUsers bool          // terminate_connections also means members of presence channels
	Webhooks               []Webhook     // who is told what happens
}

// History gives some channels a history.
type History struct {
	Channels string        // a name or, with a * at its end, how names begin
	Events   int           // how many a channel keeps
	Age      time.Duration // how long it keeps one
	Rewind   time.Duration // new subscribers are given the events that are younger; 0: none
}

// Metrics is the Prometheus endpoint.
type Metrics struct {
	Enabled bool
	Path    string
	Listen  string // host:port of a listener of its own; empty: server.listen
	Token   string `json:"-"` // bearer token a scraper has to send; empty: none
	PerApp  int    // apps that have series of their own, the busiest; the others share one
}

// Console is the page that shows what the server is doing.
type Console struct {
	Enabled        bool
	Listen         string // host:port of a listener of its own; empty: server.listen
	Path           string
	User           string // who may look and act
	Password       string `json:"-"` // empty: sign-in is by a token of the run, at a loopback address only
	ViewerUser     string // who may only look
	ViewerPassword string `json:"-"` // empty: nobody
}

// Log is what is written to standard error.
type Log struct {
	Level  slog.Level
	Format string // "text" or "json"
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

// Format prints the app as fmt does, with its secrets hidden.
func (a App) Format(f fmt.State, verb rune) {
	type plain App // without this method
	a.hideSecrets()
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(a))
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

// Format prints the metrics settings as fmt does, with the token hidden.
func (m Metrics) Format(f fmt.State, verb rune) {
	type plain Metrics
	m.Token = hide(m.Token)
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(m))
}

// LogValue gives a logger where the console is, and never a password.
func (k Console) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("enabled", k.Enabled), slog.String("path", k.Path), slog.String("listen", k.Listen))
}

// Format prints the console's settings as fmt does, with the passwords hidden.
func (k Console) Format(f fmt.State, verb rune) {
	type plain Console
	k.Password, k.ViewerPassword = hide(k.Password), hide(k.ViewerPassword)
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(k))
}

func hide(secret string) string {
	if secret == "" {
		return ""
	}
	return "[hidden]"
}
