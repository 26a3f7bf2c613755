package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"belfry/protocol"
)

// Bounds that are not obvious from the key.
const (
	MinOutboxBytes = 64 << 10 // less would make slow consumers of healthy clients
	MaxSecrets     = 5        // each costs a forged signature a digest; two are enough to change one
	maxLimit       = 1 << 30  // of any count or size: fits an int everywhere, sums cannot overflow
	maxTimeout     = 24 * time.Hour
	maxGrace       = time.Hour
	maxCacheTTL    = 30 * 24 * time.Hour
)

// SendBuffer bounds, in bytes, what the kernel keeps for a client that does
// not read, beside the outbox; it would grow to megabytes by itself, uncounted.
// Linux doubles it for its own bookkeeping.
const SendBuffer = 128 << 10

var (
	hostname  = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)
	dotPath   = regexp.MustCompile(`/\.\.?(/|$)`)
)

const hostPortForm = "host:port such as 127.0.0.1:8080, or :8080 for every address"

// Validate checks every value, as loading does, and returns [Errors] without
// file and line. It does not ask for an app.
func (c *Config) Validate() error {
	var errs Errors
	c.validate(func(path, problem string) {
		errs = append(errs, Problem{Key: path, Text: "the value " + problem})
	})
	return errs.err()
}

// validate calls refuse with every key that has an impossible value.
func (c *Config) validate(refuse func(path, problem string)) {
	check := func(path, problem string) {
		if problem != "" {
			refuse(path, problem)
		}
	}
	s, m := c.Server, c.Metrics
	check("server.listen", listenProblem(s.Listen))
	check("server.path", pathProblem(s.Path))
	switch {
	case s.TLS.CertFile == "" && s.TLS.KeyFile != "":
		refuse("server.tls.cert_file", "is missing or empty: give cert_file and key_file, or neither")
	case s.TLS.CertFile != "" && s.TLS.KeyFile == "":
		refuse("server.tls.key_file", "is missing or empty: give cert_file and key_file, or neither")
	}
	check("server.max_request_bytes", rangeProblem(s.MaxRequestBytes, 1))
	check("server.max_connections", rangeProblem(s.MaxConnections, 0))
	check("server.max_outbox_bytes", rangeProblem(s.MaxOutboxBytes, MinOutboxBytes))
	check("server.shutdown_grace", durationProblem(s.ShutdownGrace, 0, maxGrace))

	check("metrics.path", metricsPathProblem(m.Path, s.Path))
	if m.Listen != "" {
		check("metrics.listen", cmp.Or(listenProblem(m.Listen), sameListenProblem(m.Listen, s.Listen)))
	}
	if m.Token != "" {
		check("metrics.token", wordProblem(m.Token, ""))
	}
	c.Cluster.validate(check)
	check("log.format", choiceProblem(c.Log.Format, LogText, LogJSON))

	ids, keys := map[string]int{}, map[string]int{}
	for i, a := range c.Apps {
		at := fmt.Sprintf("apps[%d].", i)
		a.validate(func(key, problem string) { check(at+key, problem) })
		check(at+"id", repeatProblem(ids, a.ID, i))
		check(at+"key", repeatProblem(keys, a.Key, i))
		check(at+"max_event_bytes", requestProblem(a.MaxEventBytes, s.MaxRequestBytes))
		check("server.max_outbox_bytes", outboxProblem(s.MaxOutboxBytes, i, a))
	}
}

func (a App) validate(check func(key, problem string)) {
	for _, c := range a.credentials() {
		check(c.name, c.problem())
	}
	a.validateSecrets(check)
	if len(a.AllowedOrigins) == 0 {
		check("allowed_origins", `is an empty list: give host patterns, or ["*"] for any origin`)
	}
	for i, origin := range a.AllowedOrigins {
		check(fmt.Sprintf("allowed_origins[%d]", i), originProblem(origin))
	}
	check("activity_timeout", cmp.Or(durationProblem(a.ActivityTimeout, time.Second, maxTimeout), secondsProblem(a.ActivityTimeout)))
	check("ping_interval", cmp.Or(durationProblem(a.PingInterval, time.Second, maxTimeout), secondsProblem(a.PingInterval)))
	check("pong_timeout", cmp.Or(durationProblem(a.PongTimeout, time.Second, maxTimeout), secondsProblem(a.PongTimeout)))
	check("client_events", choiceProblem(a.ClientEvents, ClientEventsMembers, ClientEventsNone))
	check("client_event_rate", rangeProblem(a.ClientEventRate, 0))
	check("max_connections", rangeProblem(a.MaxConnections, 0))
	check("max_connections_per_address", rangeProblem(a.MaxConnectionsPerAddress, 0))
	check("connect_rate_per_address", rangeProblem(a.ConnectRatePerAddress, 0))
	check("message_rate", rangeProblem(a.MessageRate, 0))
	check("message_timeout", cmp.Or(durationProblem(a.MessageTimeout, time.Second, maxTimeout), secondsProblem(a.MessageTimeout)))
	check("api_request_rate", rangeProblem(a.APIRequestRate, 0))
	check("max_message_bytes", rangeProblem(a.MaxMessageBytes, 1))
	check("max_event_bytes", rangeProblem(a.MaxEventBytes, 1))
	check("max_channels_per_event", rangeProblem(a.MaxChannelsPerEvent, 1))
	check("max_batch_events", rangeProblem(a.MaxBatchEvents, 1))
	check("max_channel_name", rangeProblem(a.MaxChannelName, 1))
	check("max_channels_per_connection", rangeProblem(a.MaxChannelsPerConnection, 0))
	check("max_presence_members", rangeProblem(a.MaxPresenceMembers, 1))
	check("max_presence_user_bytes", rangeProblem(a.MaxPresenceUserBytes, 1))
	check("cache_ttl", durationProblem(a.CacheTTL, time.Second, maxCacheTTL))
	check("require_signin", cmp.Or(durationProblem(a.RequireSignin, 0, maxTimeout), secondsProblem(a.RequireSignin)))
	check("terminate_code", closeCodeProblem(a.TerminateCode))
	a.validateWebhooks(check)
}

// validateSecrets looks at the list that may stand in the place of a secret.
func (a App) validateSecrets(check func(key, problem string)) {
	switch n := len(a.Secrets); {
	case a.Secrets == nil:
		return
	case a.Secret != "":
		check("secrets", "is given beside secret: give one of the two")
	case n == 0:
		check("secrets", "is an empty list: give the app's secrets, the newest first")
	case n > MaxSecrets:
		check("secrets", fmt.Sprintf("is a list of %d: give at most %d, without those that nobody signs with any more", n, MaxSecrets))
	}
	for i, s := range a.Secrets {
		at := fmt.Sprintf("secrets[%d]", i)
		if first := slices.Index(a.Secrets, s); s == "" {
			check(at, "is empty: give a secret, or take the entry out")
		} else if first < i {
			check(at, fmt.Sprintf("is also that of secrets[%d]: give each once", first))
		} else {
			check(at, wordProblem(s, ""))
		}
	}
}

// credential is one of id, key and, unless there are several, secret.
type credential struct {
	name, value string
	without     string // characters that would be taken for something else
}

func (a App) credentials() []credential {
	c := []credential{
		{"id", a.ID, "/"},    // a segment of the API's paths
		{"key", a.Key, "/:"}, // likewise of /app/KEY, and ends at the colon in KEY:SIGNATURE
	}
	if a.Secrets == nil {
		c = append(c, credential{"secret", a.Secret, ""})
	}
	return c
}

func (c credential) problem() string {
	if c.value == "" {
		return "is missing or empty: give the app's " + c.name
	}
	return wordProblem(c.value, c.without)
}

// The functions below return what is wrong with a value, in words to follow
// the value, or "".

func wordProblem(s, without string) string {
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, odd):
		return "has a space or a control character: give it without"
	case strings.ContainsAny(s, without):
		return fmt.Sprintf("has a character of %q in it: give it without", without)
	}
	return ""
}

func repeatProblem(first map[string]int, value string, i int) string {
	if j, ok := first[value]; ok && value != "" {
		return fmt.Sprintf("is also that of apps[%d]: give every app its own", j)
	}
	first[value] = i
	return ""
}

func rangeProblem[N int | int64](n, least N) string {
	if n < least || n > maxLimit {
		return fmt.Sprintf("is out of range: give a whole number from %d to %d", least, maxLimit)
	}
	return ""
}

// requestProblem and outboxProblem look at values that are in range each.
func requestProblem(event int, request int64) string {
	if cmp.Or(rangeProblem(event, 1), rangeProblem(request, 1)) == "" && int64(event) > request {
		return fmt.Sprintf("does not fit a request: give at most server.max_request_bytes, %d", request)
	}
	return ""
}

// outboxProblem keeps one message that the configuration allows from making a
// slow consumer of a client that reads.
func outboxProblem(outbox, i int, a App) string {
	roster := int64(a.MaxPresenceMembers) * int64(a.MaxPresenceUserBytes)
	switch {
	case cmp.Or(rangeProblem(a.MaxEventBytes, 1), rangeProblem(a.MaxPresenceMembers, 1), rangeProblem(a.MaxPresenceUserBytes, 1)) != "":
		return ""
	case int64(outbox) < 2*int64(a.MaxEventBytes):
		return fmt.Sprintf("is too small: give at least twice max_event_bytes of apps[%d], %d", i, 2*a.MaxEventBytes)
	case int64(outbox)+SendBuffer < roster:
		return fmt.Sprintf("is too small for a list of members: give at least %d, or lower max_presence_members or max_presence_user_bytes of apps[%d]",
			roster-SendBuffer, i)
	}
	return ""
}

func durationProblem(d, least, most time.Duration) string {
	if d < least || d > most {
		return fmt.Sprintf("is out of range: give a duration from %s to %s", short(least), short(most))
	}
	return ""
}

func secondsProblem(d time.Duration) string {
	if d%time.Second != 0 {
		return "has a fraction of a second: give whole seconds"
	}
	return ""
}

// closeCodeProblem is about the codes whose meaning to a client is certain.
func closeCodeProblem(code int) string {
	if code != protocol.CodeUnauthorized && code != protocol.CodeOverCapacity && code != protocol.CodeReconnect {
		return fmt.Sprintf("is not accepted: give %d (the client stays away), %d (it is back after a second) or %d (at once)",
			protocol.CodeUnauthorized, protocol.CodeOverCapacity, protocol.CodeReconnect)
	}
	return ""
}

// short is d without zero minutes and seconds at its end.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func choiceProblem(s string, accepted ...string) string {
	if slices.Contains(accepted, s) {
		return ""
	}
	last := len(accepted) - 1
	give := ": give " + strings.Join(accepted[:last], ", ") + " or " + accepted[last]
	if s == "" {
		return "is empty" + give
	}
	return "is not accepted" + give
}

func listenProblem(s string) string {
	if s == "" {
		return "is empty: give " + hostPortForm
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "is not an address to listen on: give " + hostPortForm
	}
	if host == "" {
		return portProblem(port)
	}
	return cmp.Or(hostProblem(host), portProblem(port))
}

func sameListenProblem(s, server string) string {
	if _, port, _ := net.SplitHostPort(s); s == server && port != "0" {
		return "is the same as server.listen: leave it empty to share that, or give another"
	}
	return ""
}

func hostProblem(host string) string {
	if _, err := netip.ParseAddr(host); err != nil && !hostname.MatchString(host) {
		return "has no valid host: give a host name or an IP address, IPv6 in brackets before a port"
	}
	return ""
}

func portProblem(port string) string {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "has no valid port: give a number from 0 (any free port) to 65535"
	}
	return ""
}

// normalPath returns a prefix with one slash before it and none behind.
func normalPath(p string) string {
	if p = strings.Trim(p, "/"); p == "" {
		return ""
	}
	return "/" + p
}

func pathProblem(p string) string {
	if !plainPath.MatchString(p) || dotPath.MatchString(p) {
		return "is not a plain path: give a slash and a name of letters, digits and -._~ once or more, such as /ws"
	}
	return ""
}

// metricsPathProblem also keeps the path clear of Belfry's other routes, with
// and without the prefix that they may have.
func metricsPathProblem(p, prefix string) string {
	if p == "" {
		return "is empty: give a path such as /metrics"
	}
	if problem := pathProblem(p); problem != "" {
		return problem
	}
	for _, route := range []string{"/app", "/apps", "/up", "/ready", "/pusher"} {
		for _, r := range []string{route, prefix + route} {
			if p == r || strings.HasPrefix(p, r+"/") {
				return "is taken by " + r + ": give another path such as /metrics"
			}
		}
	}
	return ""
}

// originProblem says what is wrong with a pattern for the host of an Origin
// header.
func originProblem(s string) string {
	const give = "give a host such as example.com, *.example.com for its subdomains, or * for any"
	host := strings.TrimPrefix(s, "*.")
	_, notIP := netip.ParseAddr(s)
	switch {
	case s == "*" || notIP == nil:
		return ""
	case s == "":
		return "is empty: " + give
	case strings.Contains(s, "://"):
		return "has a scheme, but only the host is compared: " + give
	case strings.Contains(s, "/"):
		return "has a path, but only the host is compared: " + give
	case strings.Contains(s, ":"):
		return "has a port, but only the host is compared: " + give
	case strings.Contains(host, "*"):
		return "has a * that is not its whole first label: " + give
	case !hostname.MatchString(host):
		return "is not a host name (write an international one in its xn-- form): " + give
	}
	return ""
}
