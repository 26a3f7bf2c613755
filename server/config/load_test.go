package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"belfry/protocol"
)

const oneApp = "apps: [{id: 1, key: k, secret: s}]\n"

func TestParse(t *testing.T) {
	tests := []struct {
		name, file string
		env        Env
		want       func(*Config)
	}{
		{"only an app", oneApp, nil, func(*Config) {}},
		{"empty sections", "server:\nmetrics:\nlog:\n" + oneApp, nil, func(*Config) {}},
		{"byte order mark and CRLF", "\ufefflog:\r\n  level: debug\r\n" + oneApp, nil, func(c *Config) { c.Log.Level = slog.LevelDebug }},
		{"one marked document", "---\n" + oneApp + "...\n", nil, func(*Config) {}},
		{"strings that may be empty", `
server: {path: , tls: {cert_file: , key_file: ""}}
metrics: {listen: , token: ~}
` + oneApp, nil, func(*Config) {}},
		{"server", `
server:
  listen: "[::1]:0"
  path: ws/
  tls: {cert_file: a.pem, key_file: b.pem}
  trusted_proxies: [10.1.2.3/8, 192.0.2.1, "2001:db8::1"]
  max_request_bytes: 20000
  max_connections: 5
  max_outbox_bytes: 65536
  max_total_outbox_bytes: 131072
  outbox_timeout: 10s
  shutdown_grace: 0s
metrics: {enabled: false, path: /internal/metrics, listen: ":9100", token: t, per_app: 7}
log: {level: error, format: json}
` + oneApp, nil, func(c *Config) {
			c.Server = Server{
				Listen: "[::1]:0", Path: "/ws", TLS: TLS{CertFile: "a.pem", KeyFile: "b.pem", ACME: ACME{Directory: DefaultDirectory}},
				TrustedProxies: []netip.Prefix{
					netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128"),
				},
				MaxRequestBytes: 20000, MaxConnections: 5, MaxOutboxBytes: 65536, MaxTotalOutboxBytes: 131072, MaxHistoryBytes: DefaultMaxHistoryBytes, OutboxTimeout: 10 * time.Second,
			}
			c.Metrics = Metrics{Path: "/internal/metrics", Listen: ":9100", Token: "t", PerApp: 7}
			c.Log = Log{Level: slog.LevelError, Format: LogJSON}
		}},
		{"an authority", `
server:
  listen: ":443"
  tls: {acme: {domains: [WS.Example.com, xn--bcher-kva.example, localhost], email: a@example.com, directory: "https://ca.example/d"}}
  redirect_http: ":80"
` + oneApp, nil, func(c *Config) {
			c.Server.Listen, c.Server.RedirectHTTP = ":443", ":80"
			c.Server.TLS.ACME = ACME{Domains: []string{"ws.example.com", "xn--bcher-kva.example", "localhost"}, Email: "a@example.com",
				Directory: "https://ca.example/d", Storage: "/var/lib/belfry/acme"}
		}},
		{"its storage in the state directory", "server: {tls: {acme: {domains: [a]}}}\n" + oneApp, env("STATE_DIRECTORY=/state/b:/state/c"), func(c *Config) {
			c.Server.TLS.ACME.Domains, c.Server.TLS.ACME.Storage = []string{"a"}, "/state/b/acme"
		}},
		{"its storage of a cluster", "server: {tls: {acme: {domains: [a]}}}\ncluster: {driver: redis}\n" + oneApp, env("STATE_DIRECTORY=/state"), func(c *Config) {
			c.Server.TLS.ACME.Domains, c.Server.TLS.ACME.Storage, c.Cluster.Driver = []string{"a"}, StorageRedis, ClusterRedis
		}},
		{"its storage in a file's directory", "server: {tls: {acme: {domains: [a], storage: /s}}}\ncluster: {driver: redis}\n" + oneApp, env("STATE_DIRECTORY=/state"), func(c *Config) {
			c.Server.TLS.ACME.Domains, c.Server.TLS.ACME.Storage, c.Cluster.Driver = []string{"a"}, "/s", ClusterRedis
		}},
		{"app", `
apps:
  - id: 0012
    key: true
    secret: ~~
    enabled: false
    allowed_origins: ["*", Example.COM, "*.example.com", 192.0.2.1, "::1", localhost]
    activity_timeout: 2m
    pong_timeout: 1s
    client_events: none
    client_event_rate: 0
    cache_ttl: 1500ms
  - {id: 2, key: b, secret: s}
`, nil, func(c *Config) {
			a := app("0012", "true", "~~")
			a.Enabled = false
			a.AllowedOrigins = []string{"*", "example.com", "*.example.com", "192.0.2.1", "::1", "localhost"}
			a.ActivityTimeout, a.PongTimeout = 2*time.Minute, time.Second
			a.ClientEvents, a.ClientEventRate = ClientEventsNone, 0
			a.CacheTTL = 1500 * time.Millisecond
			c.Apps = []App{a, app("2", "b", "s")}
		}},
		{"secrets", `
apps:
- {id: 1, key: k, secrets: ["${NEW}", old, a, b, c]}
- {id: 2, key: l, secret: "", secrets: [s]}
`, env("NEW=new"), func(c *Config) {
			several, one := app("1", "k", ""), app("2", "l", "")
			several.Secrets, one.Secrets = []string{"new", "old", "a", "b", "c"}, []string{"s"}
			c.Apps = []App{several, one}
		}},
		{"history", `
server: {max_history_bytes: 1048576}
apps:
  - {id: 1, key: k, secret: s, history: []}
  - id: 2
    key: l
    secret: s
    history:
      - {channels: private-chat.1, events: 1, age: 1s}
      - channels: "private-chat.*"
      - {channels: "*", events: 1000, age: 24h, rewind: 1m}
`, nil, func(c *Config) {
			c.Server.MaxHistoryBytes = 1 << 20
			b := app("2", "l", "s")
			b.History = []History{{"private-chat.1", 1, time.Second, 0}, {"private-chat.*", 100, 2 * time.Minute, 0}, {"*", 1000, 24 * time.Hour, time.Minute}}
			a := app("1", "k", "s")
			a.History = []History{}
			c.Apps = []App{a, b}
		}},
		{"webhooks", `
webhooks: {spool: /var/spool/belfry}
apps:
  - {id: 1, key: k, secret: s, webhooks: []}
  - id: 2
    key: l
    secret: s
    webhooks:
      - url: https://u:p@app.example:8443/hook?token=${VERSION}
        events: [cache_miss, client_event]
        headers: {Authorization: "Bearer ${VERSION}", X-Version: 2, X-Empty: }
        filter: {channel_prefix: presence-}
      - {url: "http://127.0.0.1", headers: , filter: {channel_suffix: "-x"}}
`, env("VERSION=6001"), func(c *Config) {
			c.Webhooks.Spool = "/var/spool/belfry"
			b := app("2", "l", "s")
			b.Webhooks = []Webhook{{
				URL:     "https://u:p@app.example:8443/hook?token=6001",
				Events:  []string{"cache_miss", "client_event"},
				Headers: map[string]string{"Authorization": "Bearer 6001", "X-Version": "2", "X-Empty": ""},
				Filter:  WebhookFilter{ChannelPrefix: "presence-"},
			}, {
				URL: "http://127.0.0.1", Events: protocol.WebhookEvents(), Filter: WebhookFilter{ChannelSuffix: "-x"},
			}}
			c.Apps = []App{app("1", "k", "s"), b}
		}},
		{"variables", `
server:
  listen: ${HOST:-127.0.0.1}:${PORT}
  max_connections: ${PORT}
  shutdown_grace: "${GRACE:-5s}"
apps:
  - id: "${PORT}"
    key: k$${X}$
    secret: ${SECRET}
    enabled: ${EMPTY:-false}
    allowed_origins: ["${HOST:-a.example}", "b.example"]
`, env("PORT=6001", "SECRET=${PORT}", "EMPTY="), func(c *Config) {
			c.Server.Listen, c.Server.MaxConnections, c.Server.ShutdownGrace = "127.0.0.1:6001", 6001, 5*time.Second
			a := app("6001", "k${X}$", "${PORT}") // what a variable holds is not expanded
			a.Enabled, a.AllowedOrigins = false, []string{"a.example", "b.example"}
			c.Apps = []App{a}
		}},
		{"JSON", "{\n\t\"server\": {\"path\": \"\\/ws\", \"max_connections\":5},\n\t\"apps\": [{\"id\":\"1\",\"key\":\"k\\u002d\\\"\\\\\", \"secret\":\"\\ud83d\\ude00\\\\/\", \"enabled\":false}]\n}\n", nil,
			func(c *Config) {
				c.Server.Path, c.Server.MaxConnections = "/ws", 5
				c.Apps = []App{app("1", `k-"\`, "\U0001F600\\/")}
				c.Apps[0].Enabled = false
			}},
		{"escapes of JSON beside other quotes", `apps: [{id: "1", key: 'a"\b"c', secret: "a\/b"}]`, nil, func(c *Config) { c.Apps = []App{app("1", `a"\b"c`, "a/b")} }},
		{"spaces around a webhook's url", "apps: [{id: 1, key: k, secret: s, webhooks: [{url: ' https://h/x '}]}]", nil, func(c *Config) {
			w := DefaultWebhook()
			w.URL = "https://h/x"
			c.Apps[0].Webhooks = []Webhook{w}
		}},
		{"a variable adds no structure", "apps:\n  - id: ${ID}\n    key: k\n    secret: s\n",
			env("ID={a:,secret:x}#&*!"), func(c *Config) { c.Apps = []App{app("{a:,secret:x}#&*!", "k", "s")} }},
		{"app of the environment", "log: {format: json}", env("BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s"),
			func(c *Config) { c.Log.Format = LogJSON }},
		{"empty file", "", env("BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s"), func(*Config) {}},
		{"empty apps", "apps:\n", env("BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s"), func(*Config) {}},
		{"apps of the file win, bad variables or not", oneApp, env("BELFRY_APP_ID=2"), func(*Config) {}},
		{"the file wins", "server: {listen: ':1', path: a}\n" + oneApp, env("BELFRY_LISTEN=x", "REVERB_SERVER_PORT=x", "REVERB_SERVER_PATH= "),
			func(c *Config) { c.Server.Listen, c.Server.Path = ":1", "/a" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse("config.yaml", []byte(tt.file), tt.env)
			if err != nil {
				t.Fatal(err)
			}
			want := Default()
			want.Apps = []App{app("1", "k", "s")}
			tt.want(&want)
			if d := diff(&want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("validating again: %v", err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "belfry.yaml")
	if _, err := Load(path, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("log: {level: 5}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, nil)
	if err == nil || !strings.HasPrefix(err.Error(), path+":1: log.level") {
		t.Errorf("bad file: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), "more than 16777216 bytes") {
		t.Errorf("large file: %v", err)
	}
}

func TestLoadWithoutFile(t *testing.T) {
	c, err := Load("", env("REVERB_SERVER_PORT=6001"))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Generated || len(c.Apps) != 1 || c.Apps[0].Key == "" || c.Server.Listen != "0.0.0.0:6001" {
		t.Errorf("nothing generated: %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}

	c, err = Load("", env("REVERB_APP_ID=1", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s"))
	if err != nil {
		t.Fatal(err)
	}
	if d := diff([]App{app("1", "k", "s")}, c.Apps); c.Generated || d != "" {
		t.Errorf("generated %v, apps (-want +got)\n%s", c.Generated, d)
	}

	c, err = Load("", env("BELFRY_APPS_FROM_URL=postgres://db/shop"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Generated || len(c.Apps) != 0 || c.Console.Enabled || c.AppsFrom.URL != "postgres://db/shop" {
		t.Errorf("beside apps of a database: %+v", c)
	}
	if next, err := c.Reload("", env("BELFRY_APPS_FROM_URL=postgres://db/shop")); err != nil || len(next.Apps) != 0 {
		t.Errorf("loading again: %v, error %v", next, err)
	}

	_, err = Load("", env("REVERB_APP_ID=1", "BELFRY_LISTEN=x"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want 3 problems, got %v", err)
	}
}
