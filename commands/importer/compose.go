package importer

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"belfry/server/config"
)

// What several settings say together.

func composeSoketi(c *conversion) {
	c.listen("host", "port")
	c.metricsAt("metrics.enabled", "metrics.host", "metrics.port")
	switch driver := c.text("adapter.driver"); driver {
	case "local":
	case "redis":
		r := redis{
			endpoint: endpoint{
				host: c.text("database.redis.host"), port: c.text("database.redis.port"), db: c.text("database.redis.db"),
				user: c.text("database.redis.username"), password: c.text("database.redis.password"),
			},
		}
		if isOn(c.text("adapter.redis.clusterMode")) {
			r.db = ""
			c.addNodes(&r, "database.redis.clusterNodes", "6379")
		} else if len(c.list("database.redis.sentinels")) > 0 {
			r.master, r.sentinelPassword = c.text("database.redis.name"), c.text("database.redis.sentinelPassword")
			c.addNodes(&r, "database.redis.sentinels", "26379")
		}
		c.cluster(r.url(), "adapter.redis.prefix")
	default:
		c.say(c.settings["adapter.driver"].name, "not supported", find(c.rows, "adapter.driver").why.text)
	}
	c.appsFrom(databases{
		driver: "appManager.driver", none: "array",
		kinds: map[string]database{
			"mysql":    {"mysql", "database.mysql.", "user", "appManager.mysql.table"},
			"postgres": {"postgres", "database.postgres.", "user", "appManager.postgres.table"},
		},
	})
	if isOn(c.text("appManager.cache.enabled")) && !strings.HasPrefix(c.text("appManager.cache.ttl"), "-") {
		c.appsTTL("appManager.cache.ttl")
	}
	if len(c.sources) == 0 && c.text("appManager.driver") == "array" {
		c.sources = []*source{{name: "the app that Soketi has by default"}}
	}
	for _, src := range c.sources {
		app := c.newApp(src)
		for i, field := range []string{"id", "key", "secret"} {
			initial := []string{"app-id", "app-key", "app-secret"}[i]
			text := src.text(field)
			if text == "" {
				text = initial
				c.say(src.name, "", fmt.Sprintf("has no %s, and Soketi then takes %s, which is in its documentation: change it", field, initial))
			}
			app.set(field, entry{value: text})
		}
		app.limits()
		app.rates("maxBackendEventsPerSecond", "maxReadRequestsPerSecond")
		if isOn(src.text("enableUserAuthentication")) && isOn(c.text("userAuthenticationTimeout")) {
			app.signin("userAuthenticationTimeout", asMilliseconds)
		}
		app.webhooks()
		app.add()
	}
	c.makeRoom("httpApi.requestLimitInMb")
}

// listen sets the address. Soketi and Sockudo listen on every address by default.
func (c *conversion) listen(host, port string) {
	address := joinHostPort(c.text(host), c.text(port))
	if problem := c.out.problem("server.listen", address); problem != "" {
		c.say(cmp.Or(c.nameOf(port), c.nameOf(host), "the address"), "not taken", "the value "+problem+": server.listen stays at its default")
		return
	}
	c.out.set("server.listen", entry{value: address})
}

// joinHostPort leaves the host out where it stands for every address.
func joinHostPort(host, port string) string {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || host == "::" {
		return ":" + port
	}
	return net.JoinHostPort(host, port)
}

func (c *conversion) nameOf(path string) string {
	if s := c.settings[path]; s != nil {
		return s.name
	}
	return ""
}

// metricsAt sets where the metrics are, of which both servers have a port apart.
func (c *conversion) metricsAt(enabled, host, port string) {
	if !isOn(c.text(enabled)) {
		c.out.set("metrics.enabled", entry{value: "false"})
		return
	}
	address := joinHostPort(c.text(host), c.text(port))
	if c.out.problem("metrics.listen", address) != "" {
		c.say(cmp.Or(c.nameOf(port), c.nameOf(host)), "not taken", "is no address: metrics.listen stays at its default")
		return
	}
	c.out.set("metrics.listen", entry{value: address, note: "The metrics have other names: see docs/metrics.md."})
}

// endpoint is where a Redis is, and who signs in.
type endpoint struct {
	host, port, db, user, password string
	tls                            bool
}

// endpointOf reads a URL, or a host with or without a port. The scheme tls is that of PHP.
func endpointOf(text string) (e endpoint) {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		rest = text
	}
	e.tls = isURL && (strings.EqualFold(scheme, "rediss") || strings.EqualFold(scheme, "tls"))
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		user, password, _ := strings.Cut(rest[:i], ":")
		e.user, e.password, rest = unescaped(user), unescaped(password), rest[i+1:]
	}
	rest, _, _ = strings.Cut(rest, "?")
	e.host, e.db, _ = strings.Cut(rest, "/")
	if host, port, err := net.SplitHostPort(e.host); err == nil {
		e.host, e.port = host, port
	}
	e.host = strings.Trim(e.host, "[]")
	return e
}

// unescaped is the text that a part of a URL stands for.
func unescaped(part string) string {
	if text, err := url.PathUnescape(part); err == nil {
		return text
	}
	return part
}

// redis is where a Redis, Sentinels or the nodes of a Redis Cluster are.
type redis struct {
	endpoint
	nodes                          []string // host:port, of Sentinels if there is a master
	master                         string
	sentinelUser, sentinelPassword string
}

// url is what cluster.redis.url has for r. A host that is a URL itself counts before what
// is said beside it.
func (r redis) url() string {
	if strings.Contains(r.host, "://") {
		e := endpointOf(r.host)
		r.host, r.port, r.db, r.tls = e.host, cmp.Or(e.port, r.port), cmp.Or(e.db, r.db), e.tls || r.tls
		r.user, r.password = cmp.Or(e.user, r.user), cmp.Or(e.password, r.password)
	}
	u := url.URL{Scheme: "redis", Path: "/" + cmp.Or(r.db, "0"), Host: net.JoinHostPort(strings.Trim(r.host, "[]"), r.port)}
	if r.tls {
		u.Scheme = "rediss"
	}
	query := make(url.Values)
	if len(r.nodes) > 0 {
		u.Host = r.nodes[0]
		query["addr"] = r.nodes[1:]
	}
	if r.master != "" {
		query.Set("master_set", r.master)
		if r.sentinelUser != "" {
			query.Set("sentinel_username", r.sentinelUser)
		}
		if r.sentinelPassword != "" {
			query.Set("sentinel_password", r.sentinelPassword)
		}
	}
	if r.user != "" || r.password != "" {
		u.User = url.UserPassword(r.user, r.password)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// cluster connects servers by the Redis at a URL, or tells why not. prefix is the path of
// the other server's prefix.
func (c *conversion) cluster(address, prefix string) {
	if e, ok := c.asURL("cluster.redis.url", address, ": the server is alone until that and cluster.driver are set"); ok {
		c.out.set("cluster.driver", entry{value: "redis"})
		c.out.set("cluster.redis.url", e)
		c.redisPrefix(prefix)
	}
}

// asURL makes the entry of a key of a URL that may have variables in it. If the key does
// not take that, it tells so of the settings that make the URL, and what follows.
func (c *conversion) asURL(path, text, consequence string) (e entry, ok bool) {
	e.value = text
	if c.out.expands {
		if plain := variablesInURL(text); plain != text {
			e = entry{plain, "The variables have to be encoded as in a URL: %40 for @, %2F for /."}
		}
	}
	if problem := c.out.problem(path, e.value); problem != "" {
		why := path + " would be a value that " + problem + consequence
		c.say("", "not taken", why)
		for _, s := range inOrder(c.settings) {
			if s.row != nil && s.row.ours == path && !s.isInitial() {
				c.say(s.name, "not taken", why)
			}
		}
		return e, false
	}
	return e, true
}

// variablesInURL undoes the encoding of ${NAME}.
func variablesInURL(text string) string {
	return encodedReference.ReplaceAllStringFunc(text, func(s string) string {
		if plain, err := url.QueryUnescape(s); err == nil && reference.MatchString(plain) {
			return plain
		}
		return s
	})
}

// redisPrefix sets cluster.redis.prefix. A prefix at its default is left: Belfry's keys
// are others in any case.
func (c *conversion) redisPrefix(path string) {
	text, given := c.given(path)
	if s := c.settings[path]; !given || text == "" || s.isInitial() {
		return
	}
	if problem := c.out.problem("cluster.redis.prefix", text); problem != "" {
		c.say(c.nameOf(path), "not taken", "the value "+problem+": cluster.redis.prefix stays at its default")
		return
	}
	c.out.set("cluster.redis.prefix", entry{value: text})
}

// addNodes adds the nodes of a list to r: objects, URLs, or texts as host:port. With a
// master, they are its Sentinels.
func (c *conversion) addNodes(r *redis, path, port string) {
	user, password := &r.user, &r.password
	if r.master != "" {
		user, password = &r.sentinelUser, &r.sentinelPassword
	}
	for _, v := range c.list(path) {
		var e endpoint
		switch v := v.(type) {
		case *object:
			text := func(name string) string { s, _ := v.of[name].(string); return s }
			e = endpointOf(text("host"))
			e.port, e.user, e.password = cmp.Or(text("port"), e.port), cmp.Or(text("username"), e.user), cmp.Or(text("password"), e.password)
			_, options := v.of["tls"].(*object)
			e.tls = e.tls || options || isOn(text("tls"))
		case string:
			e = endpointOf(v)
		}
		if e.host == "" {
			c.say(c.nameOf(path), "not taken", "a node has no host")
			continue
		}
		r.nodes = append(r.nodes, net.JoinHostPort(e.host, cmp.Or(e.port, port)))
		r.tls = r.tls || e.tls
		switch own := e.user + e.password; {
		case own == "" || e.user == *user && e.password == *password:
		case *user+*password == "":
			*user, *password = e.user, e.password
		default:
			c.say(c.nameOf(path), "not taken", "the users or passwords of the nodes differ: cluster.redis.url has one for all")
		}
	}
}

// databases say in which database the apps may be.
type databases struct {
	driver string // path
	none   string // the driver without one
	kinds  map[string]database
}

// database is where apps are, by the paths of the settings.
type database struct{ scheme, prefix, user, table string }

// appsFrom sets apps_from.
func (c *conversion) appsFrom(d databases) {
	driver, _ := c.given(d.driver)
	driver = strings.ToLower(driver)
	if driver == d.none {
		return
	}
	db, ok := d.kinds[driver]
	if !ok {
		c.say(c.nameOf(d.driver), "not supported", "apps are not read from there: copy them to apps, or answer for them by https in apps_from.url")
		return
	}
	u := url.URL{
		Scheme: db.scheme, Path: "/" + c.text(db.prefix+"database"),
		Host: net.JoinHostPort(strings.Trim(c.text(db.prefix+"host"), "[]"), c.text(db.prefix+"port")),
		User: url.UserPassword(c.text(db.prefix+db.user), c.text(db.prefix+"password")),
	}
	if password := c.text(db.prefix + "password"); password == "" {
		u.User = url.User(c.text(db.prefix + db.user))
	}
	e, ok := c.asURL("apps_from.url", u.String(), "")
	if !ok {
		return
	}
	c.out.set("apps_from.url", e)
	c.out.set("apps_from.table", entry{value: c.text(db.table)})
	c.largest, _ = strconv.ParseInt(c.base["apps[].max_event_bytes"].value, 10, 64)
	c.largest = min(max(c.largest, 0), 256<<20)
	c.say("", "", fmt.Sprintf("an app of the database that has no limit of its own has Belfry's, such as max_event_bytes, 10 KiB: %s takes what its file says for all apps, or its own default, such as 100 kB. Add columns, such as max_event_bytes, to the table", c.name))
	if len(c.sources) > 0 {
		c.say(c.sources[0].name, "", fmt.Sprintf("%s does not read the apps of the file, as it has them from the database: they are left out", c.name))
		c.sources = nil
	}
}

// appsTTL sets how long an app of the database is kept.
func (c *conversion) appsTTL(path string) {
	if !c.out.has("apps_from") {
		return
	}
	value, problem := asSeconds(c.text(path))
	if problem = cmp.Or(problem, c.out.problem("apps_from.ttl", value)); problem != "" {
		c.say(c.nameOf(path), "not taken", "the value "+problem+": apps_from.ttl stays at its default")
		return
	}
	c.out.set("apps_from.ttl", entry{value: value})
}

// newApp is an app of the file with what all apps have.
type newApp struct {
	*conversion
	src    *source
	values map[string]entry // by the key's name in an app
	m      mapping
}

func (src *source) text(field string) string {
	if s := src.settings[field]; s != nil {
		text, _ := s.value.(string)
		return text
	}
	return ""
}

func (c *conversion) newApp(src *source) *newApp {
	return &newApp{conversion: c, src: src, values: make(map[string]entry), m: newMapping()}
}

func (a *newApp) set(name string, e entry) { a.values[name] = e }

// limits takes what has an equal of the app's own, and of what is said for all apps.
func (a *newApp) limits() {
	values := make(map[string]entry)
	for ours, e := range a.base {
		values[ours] = e
	}
	own := make(map[string]entry)
	for _, r := range a.app {
		if r.initial != "" && !r.composed && r.ours != "" {
			a.put(values, &r, r.initial)
		}
	}
	for _, s := range inOrder(a.src.settings) {
		switch r := s.row; {
		case r == nil:
			a.unknown(s, a.app)
		case r.composed:
		case r.ours == "":
			if !s.isInitial() {
				a.say(s.name, r.why.kind, r.why.text)
			}
		default:
			a.take(own, s)
		}
	}
	for ours, e := range own {
		values[ours] = e
	}
	names := values["apps[].max_channel_name"]
	if events, ok := values["apps[].max_channel_name"+bothNames]; ok {
		delete(values, "apps[].max_channel_name"+bothNames)
		longest, _ := strconv.Atoi(names.value)
		if n, _ := strconv.Atoi(events.value); n > longest {
			values["apps[].max_channel_name"] = events
		} else if n < longest {
			values["apps[].max_channel_name"] = entry{names.value, bothNames}
		}
	}
	for ours, e := range values {
		a.set(strings.TrimPrefix(ours, "apps[]."), e)
	}
	const most = 256 << 20 // twice as much is still a size
	event := int64(a.number("max_event_bytes"))
	if event > most {
		a.say(a.src.name, "not taken", "events of more than 256 MiB: max_event_bytes stays at its default")
		delete(a.values, "max_event_bytes")
		event = 0
	}
	a.largest, a.batch = max(a.largest, event), max(a.batch, int64(a.number("max_batch_events")))
	if room := 2 * event; room > int64(a.number("max_message_bytes")) {
		a.set("max_message_bytes", entry{strconv.FormatInt(room, 10), "Room for a client event as large as max_event_bytes, escaped."})
	}
}

// number is the value of a key of the app, or its default.
func (a *newApp) number(name string) int {
	e := a.values[name]
	if n, err := strconv.Atoi(e.value); err == nil {
		return n
	}
	app := config.DefaultApp()
	switch name {
	case "max_message_bytes":
		return app.MaxMessageBytes
	case "max_batch_events":
		return app.MaxBatchEvents
	}
	return app.MaxEventBytes
}

// signin sets the time to sign in, which is the other server's default if the one at the
// path cannot be taken.
func (a *newApp) signin(path string, as func(string) (string, string)) {
	value, problem := as(a.text(path))
	if problem = cmp.Or(problem, a.out.problem("apps[].require_signin", value)); problem != "" {
		value, _ = as(find(a.rows, path).initial)
		a.say(a.nameOf(path), "not taken", fmt.Sprintf("the value %s: require_signin is %s, as by default in %s", problem, value, a.name))
	}
	a.set("require_signin", entry{value: value})
}

// rates sets the rate of requests by those of publishing and of reading.
func (a *newApp) rates(publish, read string) {
	var rates []int64
	fields := []string{publish, read}
	tell := func(kind, text string) {
		for _, field := range fields {
			if s := a.src.settings[field]; s != nil && !s.isInitial() && s.value != "0" {
				a.say(s.name, kind, text)
			}
		}
	}
	for _, field := range fields {
		n, problem := wholeNumber(a.src.text(field))
		if s := a.src.settings[field]; s != nil && problem != "" {
			a.say(s.name, "not taken", "the value "+problem+": apps[].api_request_rate stays at its default")
		} else if n > 0 {
			rates = append(rates, n)
		}
	}
	switch len(rates) {
	case 1:
		why := find(a.app, publish).why
		tell(why.kind, why.text)
	case 2:
		value := strconv.FormatInt(rates[0]+rates[1], 10)
		if problem := a.out.problem("apps[].api_request_rate", value); problem != "" {
			tell("not taken", "the sum "+problem+": apps[].api_request_rate stays at its default")
		} else {
			a.set("api_request_rate", entry{value, "For publishing and reading together: the sum of both limits."})
		}
	}
}

// appKeys is the order of an app's keys.
var appKeys = []string{
	"id", "key", "secret", "enabled", "activity_timeout", "client_events", "client_event_rate", "max_connections", "connect_rate_per_address",
	"message_rate", "api_request_rate", "max_message_bytes", "max_event_bytes", "max_channels_per_event", "max_batch_events",
	"max_channel_name", "max_presence_members", "max_presence_user_bytes", "cache_ttl", "require_signin",
}

// add puts the app into the configuration.
func (a *newApp) add() {
	m := newMapping()
	for _, name := range appKeys {
		if e, ok := a.values[name]; ok {
			a.out.setIn(m, "apps[]."+name, name, e)
		}
		if name == "enabled" {
			for pair := range slices.Chunk(a.m.node.Content, 2) {
				if pair[0].Value == "allowed_origins" {
					m.node.Content = append(m.node.Content, pair...)
				}
			}
		}
	}
	for pair := range slices.Chunk(a.m.node.Content, 2) {
		if pair[0].Value != "allowed_origins" {
			m.node.Content = append(m.node.Content, pair...)
		}
	}
	list := a.out.root.get("apps")
	if list == nil {
		list = newList()
		a.out.root.put("apps", list, "")
	}
	list.Content = append(list.Content, m.node)
}

// makeRoom raises the server's limits so that the largest event, and a full batch of
// them, goes through. limit is the path of the other server's, in megabytes.
func (c *conversion) makeRoom(limit string) {
	const most = 1 << 30
	request := min(2*c.largest*max(c.batch, 1), most)
	note := "Room for a full batch of the largest events."
	if text, given := c.given(limit); given {
		if value, problem := asMiB(text); problem == "" {
			n, _ := strconv.ParseInt(value, 10, 64)
			request, note = min(max(n, 2*c.largest), most), ""
		} else {
			c.say(c.nameOf(limit), "not taken", "the value "+problem+": server.max_request_bytes is as large as the largest batch")
		}
	} else {
		request = max(request, config.DefaultMaxRequestBytes)
	}
	c.out.set("server.max_request_bytes", entry{strconv.FormatInt(request, 10), note})
	outbox := int64(config.DefaultMaxOutboxBytes)
	if e := c.outbox; e > 0 {
		outbox = min(e, most)
	}
	if outbox = max(outbox, 2*c.largest, config.MinOutboxBytes); outbox != config.DefaultMaxOutboxBytes {
		c.out.set("server.max_outbox_bytes", entry{strconv.FormatInt(outbox, 10), ""})
	}
	if outbox > config.DefaultMaxTotalOutboxBytes {
		c.out.set("server.max_total_outbox_bytes", entry{strconv.FormatInt(outbox, 10), ""})
	}
}
