package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"belfry/protocol"
)

// environment takes from the environment what the file does not set, and warns
// of what it does not take.
func (l *loader) environment(c *Config) {
	if listen := l.env.get("BELFRY_LISTEN"); listen != "" {
		l.apply(c, variable{name: "BELFRY_LISTEN", key: "server.listen"}, listen)
	}
	l.listenFrom(c, "server.listen", "REVERB_SERVER_HOST", "REVERB_SERVER_PORT", "0.0.0.0", "8080")
	l.listenFrom(c, "server.listen", "SOKETI_HOST", "SOKETI_PORT", "0.0.0.0", "6001")
	l.listenFrom(c, "server.listen", "", "PORT", "", "") // a platform's
	l.listenFrom(c, "metrics.listen", "SOKETI_METRICS_HOST", "SOKETI_METRICS_SERVER_PORT", "0.0.0.0", "9601")
	if isOn(l.env.get("SOKETI_METRICS_ENABLED")) && !l.isSet("metrics.listen") {
		l.apply(c, variable{name: "SOKETI_METRICS_ENABLED", key: "metrics.listen"}, "0.0.0.0:9601")
	}
	l.clusterFrom(c)
	l.storageFrom(c)
	var families []string
	if len(c.Apps) == 0 && !l.bad["apps"] {
		families = l.appFrom(c)
	}
	var unused []string
	for _, v := range variables {
		if value := l.env.get(v.name); value == "" {
			continue
		} else if strings.HasPrefix(v.key, "apps[].") && !serves(families, v.name) {
			if !l.read[v.name] { // for another key
				unused = append(unused, v.name)
			}
		} else {
			l.apply(c, v, value)
		}
	}
	for _, v := range composed {
		name, _, _ := strings.Cut(v.names, " ")
		if strings.HasPrefix(v.key, "apps[].") && isOn(l.env.get(name)) && !serves(families, name) {
			unused = append(unused, name)
		}
	}
	if len(families) > 0 {
		l.rateFrom(c, families)
		l.signinFrom(c, families)
		l.webhooksFrom(c, families)
		l.makeRoom(c)
	}
	l.warnOfUnused(c, unused, len(families) > 0)
	l.warnOfUnread()
}

// serves says whether a variable is for an app of these families.
func serves(families []string, name string) bool {
	for _, f := range appFamilies {
		if strings.HasPrefix(name, f) {
			return slices.Contains(families, f)
		}
	}
	return len(families) > 0
}

// apply sets the key of v, unless the file or a variable before has set it.
func (l *loader) apply(c *Config, v variable, value string) {
	l.read[v.name] = true
	problem := ""
	if v.convert != nil {
		value, problem = v.convert(value)
	}
	path, keys, name := v.key, c.keys(), v.key
	if inner, ok := strings.CutPrefix(path, "apps[]."); ok {
		path, keys, name = "apps[0]."+inner, c.Apps[0].keys(), inner
	}
	at := keys.find(name).(settable)
	if now, err := strconv.ParseInt(at.text(), 10, 64); v.raise && err == nil {
		if wish, err := strconv.ParseInt(value, 10, 64); err == nil && wish <= now {
			return
		}
	}
	if src := l.sources[path]; src.line > 0 || src.variable != "" && !v.raise {
		if !at.is(value) {
			l.warn(fmt.Sprintf("%s is not used: %s sets %s", v.name, cmp.Or(src.variable, l.name), path))
		}
		return
	}
	l.sources[path] = source{variable: v.name}
	if problem = cmp.Or(problem, at.set(value)); problem != "" {
		l.refuse(path, problem)
	}
}

// listenFrom sets an address of two variables, if either is set.
func (l *loader) listenFrom(c *Config, key, hostName, portName, defaultHost, defaultPort string) {
	host, port := l.hostFrom(hostName), l.portFrom(portName)
	if host == "" && port == "" {
		return
	}
	name, problem := hostName, hostProblem(cmp.Or(host, "localhost"))
	if p := portProblem(cmp.Or(port, defaultPort)); host == "" || p != "" && problem == "" {
		name, problem = portName, p
	}
	check := func(address string) (string, string) { return address, problem }
	l.apply(c, variable{name: name, key: key, convert: check}, net.JoinHostPort(cmp.Or(host, defaultHost), cmp.Or(port, defaultPort)))
}

// hostFrom takes an IPv6 address with and without brackets.
func (l *loader) hostFrom(name string) string {
	host := l.env.get(name)
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	return host
}

// portFrom leaves alone what Kubernetes sets for a service of such a name.
func (l *loader) portFrom(name string) string {
	if port := l.env.get(name); !strings.Contains(port, "://") {
		return port
	}
	return ""
}

// clusterFrom sets up the cluster that Reverb or Soketi is asked for.
func (l *loader) clusterFrom(c *Config) {
	by, redis := "REVERB_SCALING_ENABLED", "REDIS_"
	if !isOn(l.env.get(by)) {
		by, redis = "SOKETI_ADAPTER_DRIVER", "SOKETI_DB_REDIS_"
		if l.env.get(by) != ClusterRedis {
			return
		}
	}
	l.apply(c, variable{name: by, key: "cluster.driver"}, ClusterRedis)
	if at, given := l.redisFrom(redis); given != "" {
		l.apply(c, variable{name: given, key: "cluster.redis.url"}, at)
	}
}

// storageFrom finds where certificates of an authority are kept, unless the file says so.
func (l *loader) storageFrom(c *Config) {
	a := &c.Server.TLS.ACME
	if a.Storage != "" || len(a.Domains) == 0 {
		return
	}
	if c.Cluster.Driver == ClusterRedis {
		a.Storage = StorageRedis
		return
	}
	state, _, _ := strings.Cut(l.env["STATE_DIRECTORY"], ":") // systemd.exec(5)
	a.Storage = path.Join(cmp.Or(state, DefaultStateDirectory), "acme")
}

// redisFrom makes a URL of the variables with this prefix, and returns the one
// to name when it is not usable, or "" if there is none.
func (l *loader) redisFrom(prefix string) (address, name string) {
	if v := l.env.get(prefix + "URL"); v != "" {
		for from, to := range map[string]string{"tcp://": "redis://", "tls://": "rediss://"} {
			if rest, ok := strings.CutPrefix(v, from); ok {
				v = to + rest
			}
		}
		return v, prefix + "URL"
	}
	host, port := l.hostFrom(prefix+"HOST"), l.portFrom(prefix+"PORT")
	user, password, db := l.env.get(prefix+"USERNAME"), l.env.get(prefix+"PASSWORD"), l.env.get(prefix+"DB")
	if host+port+user+password+db == "" {
		return "", ""
	}
	u := url.URL{Scheme: "redis", Path: "/" + cmp.Or(db, "0")}
	if rest, ok := strings.CutPrefix(host, "tls://"); ok {
		host, u.Scheme = rest, "rediss"
	}
	u.Host = net.JoinHostPort(cmp.Or(host, "127.0.0.1"), cmp.Or(port, "6379"))
	if user != "" || password != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String(), prefix + "HOST"
}

// appFamilies begin the variables of an app, with ID, KEY and SECRET behind.
var appFamilies = []string{"BELFRY_APP_", "REVERB_APP_", "PUSHER_APP_", "SOKETI_DEFAULT_APP_"}

// appFrom makes an app of the first family that has a variable, Belfry's before
// the one that BROADCAST_CONNECTION means. It returns that family and those with
// the same credentials, and none without an app.
func (l *loader) appFrom(c *Config) (families []string) {
	order, connection := l.env.families()
	if len(order) == 0 {
		return nil
	}
	family, own := order[0], l.env.credentials(order[0])
	for _, other := range order {
		if l.env.credentials(other) == own {
			families = append(families, other)
		} else if family != connection && family != appFamilies[0] {
			l.warn(fmt.Sprintf("%s* and %s* are both set and differ: the app is that of %[1]s*; BROADCAST_CONNECTION=reverb or pusher decides", family, other))
		}
	}
	app := DefaultApp()
	app.ID, app.Key, app.Secret = own[0], own[1], own[2]
	for i, name := range []string{"id", "key", "secret"} {
		variable := family + strings.ToUpper(name)
		l.sources["apps[0]."+name] = source{variable: variable}
		if own[i] == "" {
			l.errs = append(l.errs, Problem{Name: variable, Text: "not set, but other " + family + "* variables are: set all of ID, KEY and SECRET"})
			l.bad["apps[0]."+name] = true
		}
	}
	c.Apps = []App{app}
	return families
}

// families are those of appFamilies that have a variable, in the order in which they
// are heeded, and the one that BROADCAST_CONNECTION means, whether it has or not.
func (e Env) families() (order []string, connection string) {
	order = slices.Clone(appFamilies)
	connection = strings.ToUpper(cmp.Or(e.get("BROADCAST_CONNECTION"), e.get("BROADCAST_DRIVER"))) + "_APP_"
	if i := slices.Index(order, connection); i > 1 {
		order = slices.Insert(slices.Delete(order, i, i+1), 1, connection)
	}
	order = slices.DeleteFunc(order, func(f string) bool { return e.credentials(f) == [3]string{} })
	return order, connection
}

func (e Env) credentials(family string) [3]string {
	return [3]string{e.get(family + "ID"), e.get(family + "KEY"), e.get(family + "SECRET")}
}

// rateFrom makes a rate a second of Reverb's attempts in a time. A rate holds
// over ten seconds: as many attempts as there may be in a burst have to fit.
func (l *loader) rateFrom(c *Config, families []string) {
	const attempts, decay = "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS", "REVERB_APP_RATE_LIMIT_DECAY_SECONDS"
	if !serves(families, attempts) || !isOn(l.env.get("REVERB_APP_RATE_LIMITING_ENABLED")) {
		return
	}
	most, err := strconv.Atoi(cmp.Or(l.env.get(attempts), "60"))
	within, problem := strconv.Atoi(cmp.Or(l.env.get(decay), "60"))
	if err != nil || problem != nil || most < 1 || within < 1 {
		l.errs = append(l.errs, Problem{Name: attempts, Text: "the value, or that of " + decay + ", is not a number: give whole numbers from 1"})
		return
	}
	within = min(within, 10)
	l.apply(c, variable{name: attempts, key: "apps[].message_rate"}, strconv.Itoa((most-1)/within+1))
}

// signinFrom asks clients to sign in, in Soketi's time if it says one.
func (l *loader) signinFrom(c *Config, families []string) {
	for _, name := range []string{"SOKETI_DEFAULT_APP_USER_AUTHENTICATION", "SOKETI_DEFAULT_APP_ENABLE_USER_AUTHENTICATION"} {
		if serves(families, name) && isOn(l.env.get(name)) {
			timeout := cmp.Or(l.env.get("SOKETI_USER_AUTHENTICATION_TIMEOUT"), "30000")
			l.apply(c, variable{name: name, key: "apps[].require_signin", convert: secondsFromMilliseconds}, timeout)
		}
	}
}

// webhooksFrom reads Soketi's list of webhooks.
func (l *loader) webhooksFrom(c *Config, families []string) {
	const name = "SOKETI_DEFAULT_APP_WEBHOOKS"
	value := l.env.get(name)
	if value == "" || !serves(families, name) {
		return
	}
	l.sources["apps[0].webhooks"] = source{variable: name}
	var hooks []struct {
		URL     string            `json:"url"`
		Events  []string          `json:"event_types"`
		Headers map[string]string `json:"headers"`
		Filter  struct {
			Prefix string `json:"channel_name_starts_with"`
			Suffix string `json:"channel_name_ends_with"`
		} `json:"filter"`
	}
	if err := protocol.ReadJSON([]byte(value), &hooks); err != nil {
		l.refuse("apps[0].webhooks", `is not a list of webhooks: give JSON such as [{"url": "https://app.example/pusher/webhook", "event_types": ["channel_occupied"]}]`)
	}
	for _, h := range hooks {
		filter := WebhookFilter{ChannelPrefix: h.Filter.Prefix, ChannelSuffix: h.Filter.Suffix}
		c.Apps[0].Webhooks = append(c.Apps[0].Webhooks, Webhook{URL: strings.TrimSpace(h.URL), Events: h.Events, Headers: h.Headers, Filter: filter})
	}
}

// makeRoom raises the server's limits that are at their default so that what
// variables allow the app goes through.
func (l *loader) makeRoom(c *Config) {
	event := int64(c.Apps[0].MaxEventBytes)
	inFile := func(path string) bool { return l.sources[path].line > 0 }
	if !inFile("server.max_request_bytes") && event <= maxLimit/2 {
		c.Server.MaxRequestBytes = max(c.Server.MaxRequestBytes, 2*event) // escaped in JSON, most is shorter than that
	}
	if room := 2 * event; !inFile("server.max_outbox_bytes") && room <= maxLimit {
		c.Server.MaxOutboxBytes = max(c.Server.MaxOutboxBytes, int(room))
		if !inFile("server.max_total_outbox_bytes") {
			c.Server.MaxTotalOutboxBytes = max(c.Server.MaxTotalOutboxBytes, c.Server.MaxOutboxBytes)
		}
	}
}

func (l *loader) warnOfUnused(c *Config, names []string, fromEnv bool) {
	names = slices.Compact(names)
	for _, name := range names {
		l.read[name] = true
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !watched.MatchString(name) })
	switch {
	case len(names) == 0:
	case fromEnv:
		l.warn(strings.Join(names, ", ") + ": not used, as these are settings of another app than the one in use, see BROADCAST_CONNECTION")
	case len(c.Apps) > 0:
		l.warn(fmt.Sprintf("%s: not used, as %s has the apps: set the keys there", strings.Join(names, ", "), l.name))
	default:
		l.warn(strings.Join(names, ", ") + ": not used, as no app is set: set its ID, KEY and SECRET too")
	}
}

var (
	watched    = regexp.MustCompile(`^(BELFRY|REVERB|SOKETI|PUSHER)_`)
	kubernetes = regexp.MustCompile(`_SERVICE_(HOST|PORT)|_PORT_[0-9]+_(TCP|UDP)`)
)

// warnOfUnread names the variables that look as if they were for a server like
// this one, and say nothing to it.
func (l *loader) warnOfUnread() {
	known := slices.Clone(others)
	for _, c := range composed {
		known = append(known, strings.Fields(c.names)...)
	}
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		value := l.env.get(name)
		if !watched.MatchString(name) || value == "" || kubernetes.MatchString(name) || strings.Contains(value, "://") && strings.HasSuffix(name, "_PORT") {
			continue
		}
		heeded := l.read[name] || slices.Contains(known, name)
		if advice, found := adviceOn(name, value, heeded); found && advice != "" {
			l.warn(name + ": " + advice)
		} else if !found && !heeded {
			l.warn(name + " is not a variable that Belfry reads: see the table in docs/configuration.md, or set the key in a configuration file")
		}
	}
}

// adviceOn says what to do instead of setting a variable. One that is heeded is
// in no group of names that are not.
func adviceOn(name, value string, heeded bool) (advice string, found bool) {
	for _, v := range unequal {
		begin, wild := strings.CutSuffix(v.name, "*")
		if name == v.name || wild && !heeded && strings.HasPrefix(name, begin) {
			if v.when != nil && !v.when(value) {
				return "", true
			}
			return v.advice, true
		}
	}
	return "", false
}
