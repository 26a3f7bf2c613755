package config

import (
	"net/netip"
	"strings"
	"time"

	"belfry/protocol"
)

// The functions keys return the table of keys: what there is in a
// configuration, in the order of config.example.yaml. Decoding, validation,
// defaults, what needs a restart, the example, the JSON schema and
// docs/configuration.md all come from it.

func (c *Config) keys() section {
	s, f, m, k := &c.Server, &c.AppsFrom, &c.Metrics, &c.Console
	return section{
		{name: "server", about: "What all apps share.", value: section{
			{name: "listen", about: "Address to listen on; :8080 is port 8080 of every address.",
				value: like(listenPattern, text(&s.Listen, DefaultListen, "host:port", listenProblem))},
			{name: "path", about: "Prefix before /app and /apps, such as /ws. Both work with and without it.",
				value: changed(like(prefixPattern, text(&s.Path, "", "path", c.serverPathProblem)), normalPath)},
			{name: "tls", about: "Certificate for wss and https: give both files, or acme.domains, or nothing for plain HTTP. Belfry reads the files again when they change.", value: section{
				{name: "cert_file", live: true, about: "PEM file of the certificate with its chain.",
					value: text(&s.TLS.CertFile, "", "path of a file", func(cert string) string { return pairProblem(cert, s.TLS.KeyFile) })},
				{name: "key_file", live: true, about: "PEM file of the private key.",
					value: text(&s.TLS.KeyFile, "", "path of a file", func(key string) string { return pairProblem(key, s.TLS.CertFile) })},
				{name: "acme", about: "Certificates from an authority such as Let's Encrypt, which Belfry gets and renews by itself: see docs/security.md. To use it is to agree to the authority's terms.", value: section{
					{name: "domains", live: true, about: "Host names that clients connect to, such as [ws.example.com]; the authority has to reach this server at port 443 of each, or at port 80 with redirect_http.",
						value: list[string]{at: &s.TLS.ACME.Domains, most: maxDomains, whole: c.checkDomains,
							item: func(d *string) value {
								return changed(like(domainPattern, text(d, "", "host name", domainProblem)), strings.ToLower)
							}}},
					{name: "email", about: "Address that the authority may write to; it is told with each order. Empty: none, or the one that it was told before.",
						value: like(emailPattern, text(&s.TLS.ACME.Email, "", "email address", emailProblem))},
					{name: "directory", about: "ACME directory of the authority, https.",
						value: like(httpsPattern+`[^?#@]*$`, text(&s.TLS.ACME.Directory, DefaultDirectory, "URL", directoryProblem))},
					{name: "storage", about: "Directory that keeps keys and certificates, or redis: that of the cluster. Empty: redis in a cluster, else acme in systemd's $STATE_DIRECTORY, or /var/lib/belfry/acme.",
						value: secretText(&s.TLS.ACME.Storage, "", "redis or path of a directory", c.storageProblem)},
				}},
			}},
			{name: "redirect_http", about: "Address such as :80 of a listener that sends browsers from http to https, and answers the authority's challenges; empty: none.",
				value: like(apartPattern, text(&s.RedirectHTTP, "", "host:port", c.redirectProblem))},
			{name: "trusted_proxies", about: "Proxies whose X-Forwarded-For is believed, such as [10.0.0.0/8].",
				value: list[netip.Prefix]{at: &s.TrustedProxies, item: prefix}},
			{name: "max_request_bytes", about: "Largest body of an HTTP API request.",
				value: number(&s.MaxRequestBytes, DefaultMaxRequestBytes, 1)},
			{name: "max_connections", about: "Connections of all apps together; 0 is as many as there are file descriptors.",
				value: number(&s.MaxConnections, DefaultMaxConnections, 0)},
			{name: "max_outbox_bytes", about: "Unsent bytes of one connection; a client over it is closed with 4100. At least twice the largest event.",
				value: number(&s.MaxOutboxBytes, DefaultMaxOutboxBytes, MinOutboxBytes)},
			{name: "max_total_outbox_bytes", about: "Unsent bytes of all connections together; over it, those with most are closed with 4100.",
				value: number(&s.MaxTotalOutboxBytes, DefaultMaxTotalOutboxBytes, MinOutboxBytes)},
			{name: "max_history_bytes", live: true, about: "Histories of all apps together, in memory; over it, the oldest events go. Not for a cluster, where they are in Redis.",
				value: number(&s.MaxHistoryBytes, DefaultMaxHistoryBytes, minHistory)},
			{name: "outbox_timeout", about: "Time in which a client takes nothing of what is unsent before it is closed with 4100.",
				value: seconds(&s.OutboxTimeout, DefaultOutboxTimeout, time.Second, maxTimeout)},
			{name: "drain_delay", about: "Time after SIGTERM in which /ready says 503 and everything else goes on, for load balancers that ask it.",
				value: span(&s.DrainDelay, DefaultDrainDelay, 0, maxGrace)},
			{name: "shutdown_grace", about: "Time to send clients away and to deliver webhooks after SIGTERM.",
				value: span(&s.ShutdownGrace, DefaultShutdownGrace, 0, maxGrace)},
		}},
		{name: "apps", about: "The applications. Without any, the environment has to define one, or apps_from be set.", live: true,
			value: list[App]{at: &c.Apps, empty: true, item: func(a *App) value { return a.keys() }, whole: c.checkApps}},
		{name: "apps_from", about: "Where further apps are looked up, when somebody asks for them: a database, or an HTTP API of yours. See docs/apps-from.md.", value: section{
			{name: "url", about: "postgres://, mysql:// (also MariaDB), sqlite: and a file, https:// or http://; empty: nowhere. It may hold a password: better ${DATABASE_URL}.",
				value: like(appsFromPattern, secretText(&f.URL, "", "URL", appsFromProblem))},
			{name: "table", about: "Table of a database that has an app a row, such as apps or realtime.apps.",
				value: like(tablePattern, text(&f.Table, DefaultAppsTable, "name of a table", tableProblem))},
			{name: "query", about: "A SELECT instead of the table, whose columns have the names of the keys of an app.",
				value: like(queryPattern, text(&f.Query, "", "SELECT without a semicolon", c.queryProblem))},
			{name: "token", about: "Bearer token that is sent to https:// and http://; empty: none.",
				value: like(`^\S*$`, secretText(&f.Token, "", "text without spaces", c.appsTokenProblem))},
			{name: "ttl", about: "How old what is known of an app may get: while the app is in use, Belfry looks it up again before.",
				value: span(&f.TTL, DefaultAppsTTL, time.Second, maxAppsTTL)},
			{name: "negative_ttl", about: "How long it is known of an id or key that there is no such app.",
				value: span(&f.NegativeTTL, DefaultAppsNegativeTTL, 0, maxAppsNegativeTTL)},
		}},
		{name: "webhooks", about: "What the webhooks of all apps share.", value: section{
			{name: "spool", about: "Directory that keeps undelivered webhooks over a crash or a restart; empty: they are only in memory.",
				value: text(&c.Webhooks.Spool, "", "path of a directory", anyText)},
		}},
		{name: "cluster", about: "How several servers act as one.", value: section{
			{name: "driver", about: "local: this is the only server. redis: the servers that share a Redis and a prefix act as one.",
				value: choice(&c.Cluster.Driver, ClusterLocal, ClusterLocal, ClusterRedis)},
			{name: "redis", about: "Only read when the driver is redis.", value: section{
				{name: "url", about: "redis:// or rediss://, also of Sentinel and Redis Cluster: see docs/scaling.md. It may hold a password: better ${REDIS_URL}.",
					value: like(redisPattern, secretText(&c.Cluster.Redis.URL, DefaultRedisURL, "URL", redisProblem))},
				{name: "prefix", about: "Begins all keys and channels in Redis. Deployments that share a Redis need one each.",
					value: like(redisPrefixPattern, text(&c.Cluster.Redis.Prefix, DefaultRedisPrefix, "text without spaces and braces", redisPrefixProblem))},
			}},
		}},
		{name: "metrics", about: "Metrics for Prometheus.", value: section{
			{name: "enabled", about: "Whether there are any.", value: toggle(&m.Enabled, true)},
			{name: "path", about: "Where they are.", value: like(pathPattern, text(&m.Path, DefaultMetricsPath, "path", c.metricsPathProblem))},
			{name: "listen", about: "Address of a listener for metrics alone; empty: they are on server.listen.",
				value: like(apartPattern, text(&m.Listen, "", "host:port", c.apartProblem))},
			{name: "token", about: "Bearer token that a scraper has to send; empty: anybody may read the metrics.",
				value: like(`^\S*$`, secretText(&m.Token, "", "text without spaces", without("")))},
			{name: "per_app", about: "Apps that have series of their own, the busiest; the others share one series, app=\"other apps\". 0: they all do.",
				value: number(&m.PerApp, DefaultMetricsPerApp, 0)},
		}},
		{name: "console", about: "The console, a page that shows what the server is doing: see docs/console.md.", value: section{
			{name: "enabled", about: "Whether to serve the console.", value: toggle(&k.Enabled, false)},
			{name: "listen", about: "Address of a listener for the console alone; empty: the console is on server.listen.",
				value: like(apartPattern, text(&k.Listen, "", "host:port", c.consoleListenProblem))},
			{name: "path", about: "Where the console is.", value: like(pathPattern, text(&k.Path, DefaultConsolePath, "path", c.consolePathProblem))},
			{name: "user", about: "Name of the user who may look and act: send events, disconnect clients, test webhooks.",
				value: like(`^\S{1,100}$`, text(&k.User, DefaultConsoleUser, "text without spaces", userProblem))},
			{name: "password", about: "Password of console.user. Without one, people sign in by a token that the server prints when it starts, and the console needs a loopback address.",
				value: like(passwordPattern, secretText(&k.Password, "", "text of at least 8 characters", passwordProblem))},
			{name: "viewer_user", about: "Name of the user who may only look.",
				value: like(`^\S{1,100}$`, text(&k.ViewerUser, DefaultConsoleViewer, "text without spaces", c.viewerProblem))},
			{name: "viewer_password", about: "Password of console.viewer_user; empty: there is no such user.",
				value: like(passwordPattern, secretText(&k.ViewerPassword, "", "text of at least 8 characters", passwordProblem))},
		}},
		{name: "log", about: "The log on standard error.", value: section{
			{name: "level", about: "Least level that is logged.", live: true, value: level(&c.Log.Level, DefaultLogLevel)},
			{name: "format", about: "text for people, json for programs.", value: choice(&c.Log.Format, DefaultLogFormat, LogText, LogJSON)},
		}},
	}
}

func (a *App) keys() section {
	secret := func(s string) string {
		if a.Secrets != nil {
			return ""
		}
		return missing("secret", without(""))(s)
	}
	return section{
		{name: "id", about: "Names the app in the HTTP API. Use digits: some backend libraries accept nothing else.", example: `"100001"`,
			value: like(`^[^\s/]+$`, text(&a.ID, "", "text without spaces and /", missing("id", without("/"))))}, // a segment of the API's paths
		{name: "key", about: "Names the app to clients. It is public.", example: "app-key",
			value: like(`^[^\s/:]+$`, text(&a.Key, "", "text without spaces, / and :", missing("key", without("/:"))))}, // likewise of /app/KEY, and ends at the colon in KEY:SIGNATURE
		{name: "secret", about: "Signs requests and subscriptions; only for your backend. Better not in this file: ${APP_SECRET}.", example: "app-secret",
			value: like(`^\S+$`, secretText(&a.Secret, "", "text without spaces", secret))},
		{name: "secrets", about: "Instead of secret while you change it, at most 5: all of them verify, the first signs.", example: "[new-secret, app-secret]", instead: true,
			value: list[string]{at: &a.Secrets, least: 1, most: MaxSecrets, whole: a.checkSecrets, item: func(s *string) value { return like(`^\S+$`, secretText(s, "", "text without spaces", without(""))) }}},
		{name: "enabled", about: "false: clients are refused with 4003 and API requests with 403.", value: toggle(&a.Enabled, true)},
		{name: "allowed_origins", about: `Hosts of the pages that may connect: example.com, "*.example.com" for its subdomains, "*" for any.`,
			value: list[string]{at: &a.AllowedOrigins, least: 1, initial: []string{"*"}, whole: a.checkOrigins,
				item: func(s *string) value {
					return changed(like(originPattern, text(s, "", "host pattern", originProblem)), strings.ToLower)
				}}},

		{name: "activity_timeout", about: "Silence after which a client pings; the client is told.",
			value: seconds(&a.ActivityTimeout, DefaultActivityTimeout, time.Second, maxTimeout)},
		{name: "ping_interval", about: "Silence after which the server pings, where activity_timeout is longer. Proxies cut idle connections after 60 s.",
			value: seconds(&a.PingInterval, DefaultPingInterval, time.Second, maxTimeout)},
		{name: "pong_timeout", about: "Silence after that ping before the connection is closed with 4201.",
			value: seconds(&a.PongTimeout, DefaultPongTimeout, time.Second, maxTimeout)},
		{name: "client_events", about: "Who may send client events: the members of the channel, or nobody.",
			value: choice(&a.ClientEvents, DefaultClientEvents, ClientEventsMembers, ClientEventsNone)},
		{name: "client_event_rate", about: "Client events a second and connection; over it 4301, and the event is dropped. 0: no limit.",
			value: number(&a.ClientEventRate, DefaultClientEventRate, 0)},

		{name: "max_connections", about: "Connections at a time; over it 4004. 0: no limit.",
			value: number(&a.MaxConnections, DefaultMaxAppConnections, 0)},
		{name: "max_connections_per_address", about: "Connections at a time from one address (IPv4) or network (IPv6, /64); over it 4100. 0: no limit.",
			value: number(&a.MaxConnectionsPerAddress, 0, 0)},
		{name: "connect_rate_per_address", about: "New connections a second from one address or network; over it 4100. 0: no limit.",
			value: number(&a.ConnectRatePerAddress, 0, 0)},
		{name: "message_rate", about: "Messages a second and connection, as the mean of ten seconds; over it 4301, and the message is dropped. 0: no limit.",
			value: number(&a.MessageRate, DefaultMessageRate, 0)},
		{name: "message_timeout", about: "Time from the first byte of a message to its last; over it 4202.",
			value: seconds(&a.MessageTimeout, DefaultMessageTimeout, time.Second, maxTimeout)},
		{name: "api_request_rate", about: "HTTP API requests a second; over it 429. 0: no limit.",
			value: number(&a.APIRequestRate, 0, 0)},

		{name: "max_message_bytes", about: "Largest message from a client.", value: number(&a.MaxMessageBytes, DefaultMaxMessageBytes, 1)},
		{name: "max_event_bytes", about: "Largest data of an event.", value: number(&a.MaxEventBytes, DefaultMaxEventBytes, 1)},
		{name: "max_channels_per_event", about: "Channels that one event may name.", value: number(&a.MaxChannelsPerEvent, DefaultMaxChannelsPerEvent, 1)},
		{name: "max_batch_events", about: "Events of one batch request.", value: number(&a.MaxBatchEvents, DefaultMaxBatchEvents, 1)},
		{name: "max_channel_name", about: "Characters of a channel's name, and of an event's.", value: number(&a.MaxChannelName, DefaultMaxChannelName, 1)},
		{name: "max_channels_per_connection", about: "Channels that one connection may subscribe to. 0: no limit.",
			value: number(&a.MaxChannelsPerConnection, DefaultMaxChannelsPerConnection, 0)},
		{name: "max_presence_members", about: "Users of one presence channel.", value: number(&a.MaxPresenceMembers, DefaultMaxPresenceMembers, 1)},
		{name: "max_presence_user_bytes", about: "Largest user_info of a member.", value: number(&a.MaxPresenceUserBytes, DefaultMaxPresenceUserBytes, 1)},
		{name: "cache_ttl", about: "How long a cache channel keeps its last event.", value: span(&a.CacheTTL, DefaultCacheTTL, time.Second, maxCacheTTL)},
		{name: "history", about: "Channels that keep their last events, for clients that come back and for the HTTP API, at most 50 entries: see docs/history.md. The first that matches a channel decides.",
			value: list[History]{at: &a.History, most: maxHistories, item: func(h *History) value { return h.keys() }, whole: a.checkHistory}},

		{name: "subscription_count", about: "Whether subscribers are told how many they are.", value: toggle(&a.SubscriptionCount, false)},
		{name: "require_signin", about: "Time to sign in, or to join a private or presence channel, before 4009. 0s: nobody has to.",
			value: seconds(&a.RequireSignin, DefaultRequireSignin, 0, maxTimeout)},
		{name: "terminate_code", about: "Close code when the backend terminates a user's connections: with 4009 the client stays away, with 4100 and 4200 it is back.",
			value: closeCode(&a.TerminateCode, DefaultTerminateCode)},
		{name: "terminate_presence_users", about: "Whether terminating a user also closes the connections that are members of presence channels with that id.",
			value: toggle(&a.TerminatePresenceUsers, false)},
		{name: "webhooks", about: "Endpoints that are told what happens, at most 20: see docs/webhooks.md.",
			value: list[Webhook]{at: &a.Webhooks, most: maxWebhooks, item: func(w *Webhook) value { return w.keys() }, whole: a.checkWebhooks}},
	}
}

func (h *History) keys() section {
	return section{
		{name: "channels", about: "Name of a channel or, with a * at its end, the beginning of names.", example: `"private-chat.*"`,
			value: like(channelPattern, text(&h.Channels, "", "channel's name, or beginning and *", patternProblem))},
		{name: "events", about: "How many of its last events each channel keeps.",
			value: bounded(&h.Events, DefaultHistoryEvents, 1, maxHistory)},
		{name: "age", about: "How long it keeps an event.", value: span(&h.Age, DefaultHistoryAge, time.Second, maxHistoryAge)},
		{name: "rewind", about: "New subscribers are given the events that are younger; 0s: none. They may have some of them already.",
			value: span(&h.Rewind, 0, 0, maxHistoryAge)},
	}
}

func (w *Webhook) keys() section {
	return section{
		{name: "url", about: "http or https, each once in an app.", example: "https://app.example/pusher/webhook",
			value: changed(like(urlPattern, secretText(&w.URL, "", "URL", urlProblem)), strings.TrimSpace)},
		{name: "events", about: "What it is told; all of these when left out.",
			value: list[string]{at: &w.Events, least: 1, initial: protocol.WebhookEvents(), whole: w.checkEvents,
				item: func(s *string) value { return webhookEvent(s) }}},
		{name: "headers", about: "Sent in addition.", example: `{Authorization: "Bearer ${HOOK_TOKEN}"}`, value: headers{&w.Headers}},
		{name: "filter", about: "Only channels that have both.", value: section{
			{name: "channel_prefix", about: "Beginning of the channel's name; empty: any.", value: text(&w.Filter.ChannelPrefix, "", "text", anyText)},
			{name: "channel_suffix", about: "End of the channel's name; empty: any.", value: text(&w.Filter.ChannelSuffix, "", "text", anyText)},
		}},
	}
}

// NeedRestart returns the keys, such as server.listen, that differ in next and
// are read at the start only: all but apps, log.level, files and domains of server.tls
// and server.max_history_bytes.
func (c *Config) NeedRestart(next *Config) (names []string) {
	after := next.keys().leaves("", false)
	for i, before := range c.keys().leaves("", false) {
		if !before.live && before.value.text() != after[i].value.text() {
			names = append(names, before.name)
		}
	}
	return names
}
