package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var reverbApp = []string{"REVERB_APP_ID=1", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s"}

// TestVariables is about what variables beside an app's credentials set.
func TestVariables(t *testing.T) {
	soketiApp := []string{"SOKETI_DEFAULT_APP_ID=1", "SOKETI_DEFAULT_APP_KEY=k", "SOKETI_DEFAULT_APP_SECRET=s"}
	tests := []struct {
		name string
		env  []string
		want func(c *Config, a *App)
	}{
		{"nothing set", append(reverbApp, "REVERB_APP_MAX_CONNECTIONS=", "REVERB_APP_PING_INTERVAL=null"), func(*Config, *App) {}},
		{"reverb", append(reverbApp, "REVERB_APP_PING_INTERVAL=25", "REVERB_APP_ACTIVITY_TIMEOUT=\"30\"", "REVERB_APP_MAX_CONNECTIONS=50", "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM=none"),
			func(_ *Config, a *App) {
				a.PingInterval, a.ActivityTimeout, a.MaxConnections, a.ClientEvents = 25*time.Second, 30*time.Second, 50, ClientEventsNone
			}},
		{"fractions of a second", append(reverbApp, "REVERB_APP_PING_INTERVAL=0.5", "REVERB_APP_ACTIVITY_TIMEOUT=30.5"),
			func(_ *Config, a *App) { a.PingInterval, a.ActivityTimeout = time.Second, 31*time.Second }},
		{"soketi's fractions of a second", append(soketiApp, "SOKETI_DEFAULT_APP_USER_AUTHENTICATION=true", "SOKETI_USER_AUTHENTICATION_TIMEOUT=2500", "SOKETI_SHUTDOWN_GRACE_PERIOD=2500"),
			func(c *Config, a *App) {
				a.RequireSignin, c.Server.ShutdownGrace = 3*time.Second, 2500*time.Millisecond
			}},
		{"reverb's defaults change nothing that is larger", append(reverbApp, "REVERB_MAX_REQUEST_SIZE=10000"), func(*Config, *App) {}},
		{"larger requests", append(reverbApp, "REVERB_MAX_REQUEST_SIZE=2000000"), func(c *Config, a *App) {
			a.MaxEventBytes, c.Server.MaxRequestBytes, c.Server.MaxOutboxBytes = 2000000, 4000000, 4000000
		}},
		{"requests larger than all outboxes together", append(reverbApp, "REVERB_MAX_REQUEST_SIZE=150000000"), func(c *Config, a *App) {
			a.MaxEventBytes, c.Server.MaxRequestBytes = 150e6, 300e6
			c.Server.MaxOutboxBytes, c.Server.MaxTotalOutboxBytes = 300e6, 300e6
		}},
		{"larger messages", append(reverbApp, "REVERB_APP_MAX_MESSAGE_SIZE=50000"), func(c *Config, a *App) {
			a.MaxMessageBytes, a.MaxEventBytes = 50000, 50000
		}},
		{"both", append(reverbApp, "REVERB_MAX_REQUEST_SIZE=20000", "REVERB_APP_MAX_MESSAGE_SIZE=50000"), func(c *Config, a *App) {
			a.MaxMessageBytes, a.MaxEventBytes = 50000, 50000
		}},
		{"rate", append(reverbApp, "REVERB_APP_RATE_LIMITING_ENABLED=true"), func(_ *Config, a *App) { a.MessageRate = 6 }},
		{"rate in a short time", append(reverbApp, "REVERB_APP_RATE_LIMITING_ENABLED=1", "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS=9", "REVERB_APP_RATE_LIMIT_DECAY_SECONDS=2"),
			func(_ *Config, a *App) { a.MessageRate = 5 }},
		{"rate that is off", append(reverbApp, "REVERB_APP_RATE_LIMITING_ENABLED=false", "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS=9"), func(*Config, *App) {}},
		{"redis without scaling", append(reverbApp, "REVERB_SCALING_ENABLED=false", "REDIS_URL=x", "REDIS_HOST=redis"), func(*Config, *App) {}},
		{"scaling", append(reverbApp, "REVERB_SCALING_ENABLED=true", "REVERB_SCALING_CHANNEL=shop", "REDIS_HOST=redis", "REDIS_PASSWORD=p@ss/w", "REDIS_DB=2"), func(c *Config, _ *App) {
			c.Cluster = Cluster{Driver: ClusterRedis, Redis: Redis{URL: "redis://:p%40ss%2Fw@redis:6379/2", Prefix: "shop"}}
		}},
		{"scaling by URL", append(reverbApp, "REVERB_SCALING_ENABLED=1", "REDIS_URL=tls://u:p@redis.example:6380", "REDIS_HOST=other", "REDIS_PASSWORD=null"), func(c *Config, _ *App) {
			c.Cluster.Driver, c.Cluster.Redis.URL = ClusterRedis, "rediss://u:p@redis.example:6380"
		}},
		{"scaling with nothing more", append(reverbApp, "REVERB_SCALING_ENABLED=true"), func(c *Config, _ *App) { c.Cluster.Driver = ClusterRedis }},
		{"soketi", append(soketiApp, "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES=false", "SOKETI_DEFAULT_APP_MAX_CONNECTIONS=-1", "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SECOND=7",
			"SOKETI_DEFAULT_APP_ENABLED=true", "SOKETI_CHANNEL_CACHE_TTL=60", "SOKETI_EVENT_MAX_SIZE_IN_KB=100", "SOKETI_EVENT_MAX_BATCH_SIZE=20", "SOKETI_PRESENCE_MAX_MEMBERS=1000",
			"SOKETI_PRESENCE_MAX_MEMBER_SIZE=2", "SOKETI_SHUTDOWN_GRACE_PERIOD=3000", "SOKETI_DEBUG=1", "SOKETI_DEFAULT_APP_USER_AUTHENTICATION=true", "SOKETI_USER_AUTHENTICATION_TIMEOUT=20000",
			"SOKETI_METRICS_ENABLED=1", "SOKETI_METRICS_SERVER_PORT=9601"),
			func(c *Config, a *App) {
				a.ClientEvents, a.MaxConnections, a.ClientEventRate, a.CacheTTL = ClientEventsNone, 0, 7, time.Minute
				a.MaxEventBytes, a.MaxBatchEvents, a.MaxPresenceMembers, a.MaxPresenceUserBytes = 102400, 20, 1000, 2048
				a.RequireSignin = 20 * time.Second
				c.Server.ShutdownGrace, c.Log.Level, c.Metrics.Listen = 3*time.Second, -4, "0.0.0.0:9601"
			}},
		{"soketi's webhooks", append(soketiApp, `SOKETI_DEFAULT_APP_WEBHOOKS='[{"url":"http://api/hook","event_types":["channel_occupied","cache_miss"],"headers":{"X-A":"b"},"filter":{"channel_name_starts_with":"c"}}]'`),
			func(_ *Config, a *App) {
				a.Webhooks = []Webhook{{URL: "http://api/hook", Events: []string{"channel_occupied", "cache_miss"}, Headers: map[string]string{"X-A": "b"}, Filter: WebhookFilter{ChannelPrefix: "c"}}}
			}},
		{"keys of webhooks are exact", append(soketiApp, `SOKETI_DEFAULT_APP_WEBHOOKS=[{"url":"http://api/hook","URL":"http://evil/","event_types":["cache_miss"],"Event_Types":["member_added"],"Headers":{"X-A":"b"}}]`),
			func(_ *Config, a *App) {
				a.Webhooks = []Webhook{{URL: "http://api/hook", Events: []string{"cache_miss"}}}
			}},
		{"soketi's metrics", append(soketiApp, "SOKETI_METRICS_ENABLED=true"), func(c *Config, _ *App) { c.Metrics.Listen = "0.0.0.0:9601" }},
		{"soketi without metrics", append(soketiApp, "SOKETI_METRICS_ENABLED=0"), func(c *Config, _ *App) { c.Metrics.Enabled = false }},
		{"soketi's adapter", append(soketiApp, "SOKETI_ADAPTER_DRIVER=redis", "SOKETI_DB_REDIS_HOST=redis", "SOKETI_DB_REDIS_USERNAME=u", "SOKETI_DB_REDIS_PASSWORD=p", "SOKETI_ADAPTER_REDIS_PREFIX=x"),
			func(c *Config, _ *App) {
				c.Cluster = Cluster{Driver: ClusterRedis, Redis: Redis{URL: "redis://u:p@redis:6379/0", Prefix: "x"}}
			}},
		{"families with the same app", append(reverbApp, "SOKETI_DEFAULT_APP_ID=1", "SOKETI_DEFAULT_APP_KEY=k", "SOKETI_DEFAULT_APP_SECRET='s'", "SOKETI_DEFAULT_APP_MAX_CONNS=9"),
			func(_ *Config, a *App) { a.MaxConnections = 9 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Load("", env(tt.env...))
			if err != nil {
				t.Fatal(err)
			}
			want := Default()
			want.Apps = []App{app("1", "k", "s")}
			tt.want(&want, &want.Apps[0])
			if d := diff(&want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			got.Warnings = slices.DeleteFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "read the metrics") })
			if len(got.Warnings) > 0 {
				t.Errorf("warnings %q", got.Warnings)
			}
		})
	}
}

func TestBadVariables(t *testing.T) {
	for value, want := range map[string]string{
		"REVERB_APP_PING_INTERVAL=hunter2":             "is not a number: give a number of seconds such as 60",
		"REVERB_APP_PING_INTERVAL=-1":                  "is not a number",
		"REVERB_APP_PING_INTERVAL=0":                   "is out of range: give a duration from 1s to 24h",
		"REVERB_APP_PING_INTERVAL=.":                   "is not a number: give a number of seconds such as 60",
		"REVERB_APP_PING_INTERVAL=1.5.0":               "is not a number",
		"REVERB_APP_PING_INTERVAL=86400.5":             "is out of range",
		"REVERB_APP_MAX_CONNECTIONS=hunter2":           "is not a whole number",
		"REVERB_APP_MAX_MESSAGE_SIZE=0":                "is out of range: give a whole number from 1",
		"REVERB_MAX_REQUEST_SIZE=10K":                  "is not a whole number",
		"REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM=hunter2": "is not accepted: give members or none",
	} {
		_, err := Load("", env(append(reverbApp, value)...))
		name, _, _ := strings.Cut(value, "=")
		if err == nil || !strings.HasPrefix(err.Error(), name+": the value "+want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
	for value, want := range map[string]string{
		"REDIS_URL=http://hunter2":                   "REDIS_URL: the value is not usable",
		"REDIS_PORT=hunter2":                         "REDIS_HOST: the value is not usable",
		"REVERB_SCALING_CHANNEL={hunter2}":           "REVERB_SCALING_CHANNEL: the value has a brace",
		"REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS=hunter2": "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS: the value, or that of",
		"SOKETI_DEFAULT_APP_WEBHOOKS=[{\"url\":\"hunter2\",\"event_types\":[\"cache_miss\"]}]": "SOKETI_DEFAULT_APP_WEBHOOKS: the value is not an absolute http or https URL",
		"SOKETI_DEFAULT_APP_WEBHOOKS={\"url\":\"hunter2\"}":                                    "SOKETI_DEFAULT_APP_WEBHOOKS: the value is not a list of webhooks: give JSON",
		"SOKETI_DEFAULT_APP_WEBHOOKS=hunter2":                                                  "SOKETI_DEFAULT_APP_WEBHOOKS: the value is not a list of webhooks: give JSON",
		"REVERB_APP_RATE_LIMIT_DECAY_SECONDS=0":                                                "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS: the value, or that of",
	} {
		_, err := Load("", env(append(reverbApp, "SOKETI_DEFAULT_APP_ID=1", "SOKETI_DEFAULT_APP_KEY=k", "SOKETI_DEFAULT_APP_SECRET=s", "REVERB_SCALING_ENABLED=true", "REVERB_APP_RATE_LIMITING_ENABLED=true", value)...))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	pusherApp := []string{"PUSHER_APP_ID=2", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"}
	tests := []struct {
		name, file string // without a file, only the environment
		env        []string
		want       []string // beginnings, one for each warning
	}{
		{"nothing to say", oneApp, []string{"PATH=/bin", "VITE_REVERB_HOST=x", "APP_KEY=x", "REDIS_HOST=x"}, nil},
		{"Laravel's side", "", append(reverbApp, "REVERB_HOST=localhost", "REVERB_PORT=8080", "REVERB_SCHEME=http", "PUSHER_HOST=", "PUSHER_APP_CLUSTER=mt1", "PUSHER_PORT=443", "PUSHER_SCHEME=https"), nil},
		{"two families", "", append(reverbApp, pusherApp...), []string{"REVERB_APP_* and PUSHER_APP_* are both set and differ: the app is that of REVERB_APP_*; BROADCAST_CONNECTION="}},
		{"two families, decided", "", append(append(reverbApp, pusherApp...), "BROADCAST_CONNECTION=pusher"), nil},
		{"two families, Belfry's among them", "", append(pusherApp, "BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s"), nil},
		{"two families that agree", "", append(reverbApp, "PUSHER_APP_ID=1", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"), nil},
		{"settings of another app", "", append(append(reverbApp, pusherApp...), "BROADCAST_CONNECTION=pusher", "REVERB_APP_MAX_CONNECTIONS=1", "REVERB_APP_PING_INTERVAL=1"),
			[]string{"REVERB_APP_PING_INTERVAL, REVERB_APP_MAX_CONNECTIONS: not used, as these are settings of another app"}},
		{"settings beside apps of the file", oneApp, append(reverbApp, "REVERB_APP_MAX_CONNECTIONS=1"), []string{"REVERB_APP_MAX_CONNECTIONS: not used, as config.yaml has the apps"}},
		{"several settings beside apps of the file", oneApp, []string{"REVERB_APP_RATE_LIMITING_ENABLED=true", "SOKETI_DEFAULT_APP_WEBHOOKS=[]", "SOKETI_PRESENCE_MAX_MEMBERS=9"},
			[]string{"SOKETI_PRESENCE_MAX_MEMBERS, REVERB_APP_RATE_LIMITING_ENABLED, SOKETI_DEFAULT_APP_WEBHOOKS: not used, as config.yaml has the apps"}},
		{"settings without an app", "", []string{"REVERB_APP_MAX_MESSAGE_SIZE=1"}, []string{"REVERB_APP_MAX_MESSAGE_SIZE: not used, as no app is set"}},
		{"a variable that the file uses", "apps: [{id: 1, key: k, secret: '${BELFRY_SECRET}'}]", []string{"BELFRY_SECRET=s"}, nil},
		{"unknown ones", "", append(reverbApp, "REVERB_FOO=hunter2", "BELFRY_APP_NAME=hunter2", "SOKETI_FOO=hunter2", "PUSHER_FOO=hunter2", "REVERB_EMPTY="),
			[]string{"BELFRY_APP_NAME is not a variable that Belfry reads: see", "PUSHER_FOO is not", "REVERB_FOO is not", "SOKETI_FOO is not"}},
		{"not offered", "", append(reverbApp, "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM=all", "REVERB_APP_RATE_LIMIT_TERMINATE=true", "SOKETI_ADAPTER_DRIVER=nats", "SOKETI_DB_MYSQL_HOST=x"),
			[]string{"REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM: all is not offered", "REVERB_APP_RATE_LIMIT_TERMINATE: a client", "SOKETI_ADAPTER_DRIVER: only local", "SOKETI_DB_MYSQL_HOST: set apps"}},
		{"the file beats", oneApp + "server: {listen: '127.0.0.1:1', path: /a, max_request_bytes: 20000}\n", []string{"BELFRY_LISTEN=:2", "REVERB_SERVER_PATH=b", "REVERB_MAX_REQUEST_SIZE=30000"},
			[]string{"BELFRY_LISTEN is not used: config.yaml sets server.listen", "REVERB_SERVER_PATH is not used: config.yaml sets server.path", "REVERB_MAX_REQUEST_SIZE is not used: config.yaml sets server.max_request_bytes"}},
		{"the file agrees", oneApp + "server: {listen: '127.0.0.1:1', path: /a, max_request_bytes: 20000}\n", []string{"BELFRY_LISTEN=127.0.0.1:1", "REVERB_SERVER_PATH=a", "REVERB_MAX_REQUEST_SIZE=10000"}, nil},
		{"one variable beats another", oneApp, []string{"BELFRY_LISTEN=127.0.0.1:1", "PORT=2", "SOKETI_PORT=tcp://x"}, []string{"PORT is not used: BELFRY_LISTEN sets server.listen"}},
		{"two that set the same", "", append(reverbApp, "SOKETI_PATH_PREFIX=/b", "REVERB_SERVER_PATH=/a"), []string{"SOKETI_PATH_PREFIX is not used: REVERB_SERVER_PATH sets server.path"}},
		{"metrics for everybody", oneApp + "server: {listen: ':1'}", nil, []string{"anybody who reaches :1 can read the metrics: set metrics.token, or"}},
		{"apps in the clear", "apps_from: {url: 'http://shop.example/app'}", nil, []string{"apps_from.url is http://, so the secrets of apps cross the network"}},
		{"apps of this machine", "apps_from: {url: 'http://[::1]:8000/app?a=b', token: a.b}", nil, nil},
		{"metrics for some", oneApp + "server: {listen: ':1'}\nmetrics: {token: t}", nil, nil},
		{"metrics apart", oneApp + "server: {listen: ':1'}\nmetrics: {listen: 'localhost:2'}", nil, nil},
		{"ports that no authority connects to", oneApp + "server: {listen: '127.0.0.1:8443', tls: {acme: {domains: [a]}}}", nil, []string{"the authority of server.tls.acme connects to port 443"}},
		{"a port that one does", oneApp + "server: {listen: '127.0.0.1:8443', redirect_http: ':80', tls: {acme: {domains: [a]}}}", nil, nil},
		{"no metrics", oneApp + "server: {listen: ':1'}\nmetrics: {enabled: false}", nil, nil},
		{"secrets that nobody filled in", `metrics: {token: $TOKEN}
apps:
- id: 1
  key: k
  secret: $hunter2
  webhooks: [{url: "https://h/?t=$HOOK_TOKEN", headers: {Authorization: Bearer $HOOK_TOKEN}}]
- {id: 2, key: l, secrets: [s, "$${NAME}", "a$b", "$ABCdef-g", "$ab-c"]}
- {id: 3, key: $APP_KEY, secret: s}
webhooks: {spool: $STATE/hooks}
`, nil, []string{
			"config.yaml:5: apps[0].secret has what looks like a variable, and is taken as it is: in the configuration file a variable is ${NAME}",
			"config.yaml:6: apps[0].webhooks[0].url has what looks", "config.yaml:6: apps[0].webhooks[0].headers.Authorization has what looks", "config.yaml:7: apps[1].secrets[1] has what looks", "config.yaml:8: apps[2].key has", "config.yaml:9: webhooks.spool has", "config.yaml:1: metrics.token has what looks"}},
		{"a variable that nobody filled in", "", []string{"REVERB_APP_ID=1", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=${HUNTER}"}, []string{"REVERB_APP_SECRET has what looks like a variable, and is taken as it is: set that variable before"}},
		{"quotes that docker leaves", "apps: [{id: 1, key: k, secret: '${QUOTED}'}]", []string{`QUOTED="hunter2"`}, []string{"config.yaml:1: apps[0].secret has quotes around it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load("", env(tt.env...))
			if tt.file != "" {
				c, err = Parse("config.yaml", []byte(tt.file), env(tt.env...))
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range c.Warnings {
				if i >= len(tt.want) || !strings.HasPrefix(w, tt.want[i]) || strings.Contains(w, "hunter2") {
					t.Errorf("warning %q", w)
				}
			}
			if len(c.Warnings) < len(tt.want) {
				t.Errorf("%d warnings, want %q", len(c.Warnings), tt.want)
			}
		})
	}
}
