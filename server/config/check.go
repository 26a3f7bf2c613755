package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
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
	maxRedisPrefix = 64   // characters: it is in every key
	maxWebhooks    = 20   // endpoints of one app
	maxHistories   = 50   // entries of one app: each is compared with a channel's name at each publish
	maxHistory     = 1000 // events of one channel: as many as one answer of the HTTP API has
	maxHistoryAge  = 24 * time.Hour
	maxAppsTTL     = 24 * time.Hour

	maxAppsNegativeTTL = time.Hour
	minHistory         = 1 << 20 // bytes of all: a few large events
	maxHeaders         = 50      // extra headers of one endpoint
	maxTable           = 200     // characters: three names of PostgreSQL
	maxQuery           = 4096    // characters
	minPassword        = 8       // characters
	maxPassword        = 200     // characters: more would not go into one request to sign in, escaped
	maxUser            = 100     // characters
	maxDomains         = 50      // each has a certificate of its own, and authorities limit how many one may order
	maxDomain          = 253     // characters of a name: RFC 1035, section 2.3.4
	maxEmail           = 254     // characters
)

// SendBuffer bounds, in bytes, what the kernel keeps for a client that does
// not read, beside the outbox; it would grow to megabytes by itself, uncounted.
// Linux doubles it for its own bookkeeping.
const SendBuffer = 128 << 10

// Validate checks every value, as loading does, and returns [Errors] without
// file and line. It does not ask for an app.
func (c *Config) Validate() error {
	l := newLoader("", nil)
	c.check(l)
	return l.errs.err()
}

// check tells what is wrong with the values, and warns of what is likely not
// meant.
func (c *Config) check(l *loader) {
	c.keys().check(l, "")
	if one := c.Server.MaxOutboxBytes; c.Server.MaxTotalOutboxBytes < one && one <= maxLimit {
		l.refuse("server.max_total_outbox_bytes", fmt.Sprintf("is too small: give at least max_outbox_bytes, %d", one))
	}
	c.AppsFrom.warn(l)
	m := c.Metrics
	listen := m.Listen
	if listen == "" {
		listen = c.Server.Listen
	}
	if m.Enabled && m.Token == "" && !loopback(listen) {
		l.warn(fmt.Sprintf("anybody who reaches %s can read the metrics: set metrics.token, or metrics.listen to an address such as 127.0.0.1:9100", listen))
	}
	c.warnOfPorts(l)
	if k := c.Console; k.Enabled && k.Password == "" && !loopback(c.ConsoleListen()) {
		l.refuse("console.password", fmt.Sprintf("is missing or empty, and %s is no loopback address: give a password of at least %d characters, or set console.listen to an address such as 127.0.0.1:8081",
			c.ConsoleListen(), minPassword))
	}
}

// ConsoleListen is the address that the console is served at.
func (c *Config) ConsoleListen() string { return cmp.Or(c.Console.Listen, c.Server.Listen) }

func loopback(listen string) bool {
	host, _, _ := net.SplitHostPort(listen)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// checkApps looks at what apps must not share, and at what has to go together
// with the server's limits.
func (c *Config) checkApps(l *loader, path string) {
	ids, keys := make(map[string]int, len(c.Apps)), make(map[string]int, len(c.Apps))
	once := func(of map[string]int, name, at string, i int) {
		if j, taken := of[name]; !taken {
			of[name] = i
		} else if name != "" {
			l.refuse(at, fmt.Sprintf("is also that of apps[%d]: give every app its own", j))
		}
	}
	for i, a := range c.Apps {
		at := fmt.Sprintf("%s[%d].", path, i)
		once(ids, a.ID, at+"id", i)
		once(keys, a.Key, at+"key", i)
		c.Server.checkSizes(l, at, fmt.Sprintf("apps[%d]", i), a)
	}
}

// checkSizes keeps an event that the configuration allows from being refused as a
// request, and a pair of them from making a slow consumer of a client that reads. The
// app's keys are at that path, and name is what stands for the app.
func (s Server) checkSizes(l *loader, at, name string, a App) {
	request, event := s.MaxRequestBytes, int64(a.MaxEventBytes)
	if min(request, event) < 1 || max(request, event) > maxLimit {
		return // told already
	}
	if event > request {
		l.refuse(at+"max_event_bytes", fmt.Sprintf("does not fit a request: give at most server.max_request_bytes, %d", request))
	}
	if int64(s.MaxOutboxBytes) < 2*event {
		l.refuse("server.max_outbox_bytes", fmt.Sprintf("is too small: give at least twice max_event_bytes of %s, %d", name, 2*event))
	}
}

// checkSecrets looks at the list that may stand in the place of a secret.
func (a *App) checkSecrets(l *loader, path string) {
	switch n := len(a.Secrets); {
	case a.Secrets == nil:
		return
	case a.Secret != "":
		l.refuse(path, "is given beside secret: give one of the two")
	case n == 0:
		l.refuse(path, "is an empty list: give the app's secrets, the newest first")
	case n > MaxSecrets:
		l.refuse(path, fmt.Sprintf("is a list of %d: give at most %d, without those that nobody signs with any more", n, MaxSecrets))
	}
	for i, s := range a.Secrets {
		at := fmt.Sprintf("%s[%d]", path, i)
		if first := slices.Index(a.Secrets, s); s == "" {
			l.refuse(at, "is empty: give a secret, or take the entry out")
		} else if first < i {
			l.refuse(at, fmt.Sprintf("is also that of secrets[%d]: give each once", first))
		}
	}
}

func (a *App) checkOrigins(l *loader, path string) {
	if len(a.AllowedOrigins) == 0 {
		l.refuse(path, `is an empty list: give host patterns, or ["*"] for any origin`)
	}
}

func (a *App) checkWebhooks(l *loader, path string) {
	if len(a.Webhooks) > maxWebhooks {
		l.refuse(path, fmt.Sprintf("has more than %d endpoints: give fewer", maxWebhooks))
	}
	for i, w := range a.Webhooks {
		if j := slices.IndexFunc(a.Webhooks, func(o Webhook) bool { return o.URL == w.URL }); j < i && w.URL != "" {
			l.refuse(fmt.Sprintf("%s[%d].url", path, i), fmt.Sprintf("is also that of webhooks[%d]: give each once, or tell them apart by a query such as ?second", j))
		}
	}
}

func (a *App) checkHistory(l *loader, path string) {
	if len(a.History) > maxHistories {
		l.refuse(path, fmt.Sprintf("has more than %d entries: give fewer", maxHistories))
	}
	for i, h := range a.History {
		if h.Rewind > h.Age {
			l.refuse(fmt.Sprintf("%s[%d].rewind", path, i), fmt.Sprintf("is more than age, which is %s: no event is kept for so long", FormatDuration(h.Age)))
		}
		prefix, all := strings.CutSuffix(h.Channels, "*")
		j := slices.IndexFunc(a.History[:i], func(o History) bool {
			before, wide := strings.CutSuffix(o.Channels, "*")
			return o.Channels == h.Channels || wide && strings.HasPrefix(prefix, before)
		})
		if j >= 0 && (prefix != "" || all) {
			l.refuse(fmt.Sprintf("%s[%d].channels", path, i), fmt.Sprintf("has no channel that history[%d] does not have, and the first that matches decides: put it ahead of that, or take it out", j))
		}
	}
}

// patternProblem is about the names of channels, with a * at the end for all that begin so.
func patternProblem(s string) string {
	name := strings.TrimSuffix(s, "*")
	switch {
	case s == "":
		return `is missing or empty: give a channel's name, such as private-chat.1, or how names begin and a *, such as "private-chat.*"`
	case strings.Contains(name, "*"):
		return "has a * that is not at its end: give one there, or none"
	case name != "" && protocol.CheckChannel(name, maxLimit) != nil:
		return "has a character that no channel's name has"
	}
	return ""
}

func (w *Webhook) checkEvents(l *loader, path string) {
	if len(w.Events) == 0 {
		l.refuse(path, "is an empty list: give "+strings.Join(protocol.WebhookEvents(), ", ")+" or some of them, or leave the key out for all")
	}
}

// ownRoutes are the paths that mean something by themselves.
var ownRoutes = []string{"/app", "/apps", "/pusher", "/up", "/ready"}

func under(path, route string) bool { return path == route || strings.HasPrefix(path, route+"/") }

func (c *Config) serverPathProblem(p string) string {
	routes := slices.Clone(ownRoutes)
	if m := c.Metrics; m.Enabled && m.Listen == "" && m.Path != "" {
		routes = append(routes, m.Path)
	}
	if k := c.Console; k.Enabled && k.Listen == "" && k.Path != "" {
		routes = append(routes, k.Path)
	}
	for _, route := range routes {
		if under(p, route) {
			return "is taken by " + route + ": give another prefix such as /ws"
		}
	}
	return pathProblem(p)
}

// metricsPathProblem also keeps the path clear of Belfry's other routes, with
// and without the prefix that they may have.
func (c *Config) metricsPathProblem(p string) string {
	if p == "" {
		return "is empty: give a path such as /metrics"
	}
	if r := c.ownRoute(p); r != "" {
		return "is taken by " + r + ": give another path such as /metrics"
	}
	return pathProblem(p)
}

// ownRoute returns the route that a path is under, with the prefix that it may have, or
// "".
func (c *Config) ownRoute(p string) string {
	for _, route := range ownRoutes {
		for _, r := range []string{route, c.Server.Path + route} {
			if under(p, r) {
				return r
			}
		}
	}
	return ""
}

// consolePathProblem also keeps the console, with and without the prefix, clear of
// Belfry's other routes and of the metrics.
func (c *Config) consolePathProblem(p string) string {
	const give = ": give another path such as /console"
	if p == "" {
		return "is empty: give a path such as /console"
	}
	if r := c.ownRoute(p); r != "" {
		return "is taken by " + r + give
	}
	if m := c.Metrics; c.Console.Enabled && m.Enabled && c.Console.Listen == "" && m.Listen == "" {
		for _, at := range []string{p, c.Server.Path + p} {
			if under(at, m.Path) || under(m.Path, at) {
				return "is taken by metrics.path, " + m.Path + give
			}
		}
	}
	return pathProblem(p)
}

// apartProblem is about the address of a listener beside the main one.
func (c *Config) apartProblem(s string) string {
	if s == "" {
		return ""
	}
	if s == c.Server.Listen && !anyPort(s) {
		return "is the same as server.listen: leave it empty to share that, or give another"
	}
	return listenProblem(s)
}

func (c *Config) consoleListenProblem(s string) string {
	if s != "" && s == c.Metrics.Listen && !anyPort(s) {
		return "is the same as metrics.listen: leave it empty to share server.listen, or give another"
	}
	return c.apartProblem(s)
}

func anyPort(listen string) bool {
	return port(listen) == "0"
}

func userProblem(s string) string {
	switch {
	case s == "":
		return "is empty: give a name such as admin"
	case len(s) > maxUser:
		return fmt.Sprintf("is %d characters long: give at most %d", len(s), maxUser)
	}
	return wordProblem(s, "")
}

func (c *Config) viewerProblem(s string) string {
	if s == c.Console.User {
		return "is the same as console.user: give each their own"
	}
	return userProblem(s)
}

func passwordProblem(s string) string {
	if s != "" && utf8.RuneCountInString(s) < minPassword {
		return fmt.Sprintf("is too short: give at least %d characters", minPassword)
	}
	if utf8.RuneCountInString(s) > maxPassword {
		return fmt.Sprintf("is too long: give at most %d characters", maxPassword)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "has a control character: give it without"
	}
	return ""
}
