package config

import (
	"errors"
	"strings"
	"testing"
)

// problemCase is a configuration that is refused.
type problemCase struct {
	name, file string
	want       []string // a piece of each line of the error
}

func problemCases() []problemCase {
	const noApp = "config.yaml:1: there is no app: add one under apps"
	return []problemCase{
		{"no app", "", []string{noApp}},
		{"no app, line", "\n\napps: []\n", []string{"config.yaml:3: there is no app"}},

		{"block syntax", oneApp + "server:\n  listen: a\n bad: b\n", []string{"config.yaml:4: not valid YAML: did not find expected key"}},
		{"flow syntax", oneApp + "server: {x\n", []string{"config.yaml:2: not valid YAML"}},
		{"quote", oneApp + "server: 'a\n\n\n", []string{"config.yaml:2: not valid YAML: found unexpected end"}},
		{"tab", oneApp + "server:\n\tlisten: a\n", []string{"config.yaml:3: not valid YAML"}},
		{"first line", "a: b: c", []string{"config.yaml:1: not valid YAML: mapping values"}},
		{"not UTF-8", oneApp + "log: \xff\n", []string{"config.yaml:2: not UTF-8"}},
		{"control characters", "a\x00\nb\x1b\n", []string{"config.yaml:1: a control character", "config.yaml:2: a control character"}},
		{"too large", strings.Repeat("# 15 characters\n", maxFileBytes/16) + "#", []string{"config.yaml:1: the file has more than 16777216 bytes"}},
		{"two documents", oneApp + "---\n" + oneApp, []string{"config.yaml:3: a second YAML document"}},
		{"document after its end", oneApp + "...\n" + oneApp, []string{"config.yaml:3: not valid YAML"}},
		{"list", "- a", []string{"config.yaml:1: the value is a list: give a mapping, the keys here are server, apps"}},
		{"alias", oneApp + "server: &a {max_connections: 1}\nlog: *a\n", []string{"config.yaml:2: server: the value has an anchor", "config.yaml:3: log: the value has an anchor or alias"}},
		{"alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\napps: *c\n", []string{
			`config.yaml:1: unknown key "a"`, `:2: unknown key "b"`, `:3: unknown key "c"`, "config.yaml:4: apps: the value has an anchor or alias"}},
		{"merge key", oneApp + "<<: {log: }\n", []string{`config.yaml:2: unknown key "<<"`}},
		{"tag", oneApp + "log: {level: !!str info}\n", []string{"config.yaml:2: log.level: the value has a tag"}},
		{"complex key", oneApp + "? [a]\n: b\n", []string{"config.yaml:2: a key is not plain text"}},

		{"unknown keys", oneApp + "server:\n  max_conections: 1\n  elephants: 2\ntls: {}\n", []string{
			`config.yaml:3: server: unknown key "max_conections", did you mean max_connections? the keys here are listen, path,`,
			`config.yaml:4: server: unknown key "elephants": the keys here are listen,`,
			`config.yaml:5: unknown key "tls"`}},
		{"duplicate keys", oneApp + "log:\n  level: info\n  level: debug\n" + oneApp, []string{
			"config.yaml:4: log.level: set twice, first on line 3", "config.yaml:5: apps: set twice, first on line 1"}},
		{"no space", "apps:\n- {id: 1, key: k, secret:hunter2}\n", []string{
			`config.yaml:2: apps[0]: no space after the colon of "secret"`, "config.yaml:2: apps[0].secret: the value is missing or empty"}},

		{"cluster", oneApp + `
cluster:
  driver: nats
  redis:
    url: http://:hunter2@redis.example
    prefix: "{a}"
`, []string{
			`config.yaml:4: cluster.driver: "nats" is not accepted: give local or redis`,
			"config.yaml:6: cluster.redis.url: the value is not usable: redis: the URL is to begin with redis://",
			`config.yaml:7: cluster.redis.prefix: "{a}" has a brace`,
		}},
		{"cluster, empty", oneApp + "cluster: {redis: {url: , prefix: ''}}", []string{
			"cluster.redis.url: the value is not usable", "cluster.redis.prefix: the value is empty",
		}},
		{"types", oneApp + `
server:
  listen: [a]
  path: {a: b}
  trusted_proxies: 10.0.0.0/8
  max_connections: 1.5
  max_request_bytes: "7"
  max_outbox_bytes: 99999999999999999999
metrics: {enabled: yes}
log: text
`, []string{
			"config.yaml:4: server.listen: the value is a list: give text",
			"config.yaml:5: server.path: the value is a mapping: give text",
			"config.yaml:6: server.trusted_proxies: the value is just text: give a list",
			`config.yaml:7: server.max_connections: "1.5" is not a whole number`,
			`config.yaml:8: server.max_request_bytes: "7" is text: give a whole number, without quotes`,
			`config.yaml:9: server.max_outbox_bytes: "99999999999999999999" is out of range`,
			`config.yaml:10: metrics.enabled: "yes" is neither true nor false`,
			"config.yaml:11: log: the value is just text: give a mapping"}},
		{"values that do not go together", `
apps:
  - {id: 1, key: k, secret: s, max_event_bytes: 20000}
  - {id: 2, key: l, secret: s, max_presence_members: 1000}
server: {max_request_bytes: 10000, max_outbox_bytes: 70000, max_total_outbox_bytes: 65536}
`, []string{
			"config.yaml:3: apps[0].max_event_bytes: \"20000\" does not fit a request: give at most server.max_request_bytes, 10000",
			"config.yaml:4: apps[1].max_event_bytes: the value does not fit",
			"config.yaml:5: server.max_total_outbox_bytes: \"65536\" is too small: give at least max_outbox_bytes, 70000"}},
		{"outboxes without an app", "server: {max_outbox_bytes: 70000, max_total_outbox_bytes: 65536}\n", []string{
			"config.yaml:1: there is no app",
			"config.yaml:1: server.max_total_outbox_bytes: \"65536\" is too small: give at least max_outbox_bytes, 70000"}},
		{"an outbox that is impossible", "server: {max_outbox_bytes: 2000000000}\n" + oneApp, []string{
			"config.yaml:1: server.max_outbox_bytes: \"2000000000\" is out of range: give a whole number from 65536 to 1073741824"}},
		{"an event over the outbox", "apps:\n- {id: 1, key: k, secret: s, max_event_bytes: 600000}\n", []string{
			"server.max_outbox_bytes: the value is too small: give at least twice max_event_bytes of apps[0], 1200000"}},
		{"empty values", `
server: {listen: , trusted_proxies: , max_connections: , shutdown_grace: ~}
metrics: {enabled: , path: }
log: {level: , format: ""}
apps:
-
- {id: 1, key: k, secret: s, client_events: , allowed_origins: []}
`, []string{
			":2: server.listen: the value is empty: give host:port",
			":2: server.trusted_proxies: the value is empty: give a list",
			":2: server.max_connections: the value is empty: give a whole number",
			":2: server.shutdown_grace: the value is empty: give a duration such as 30s or 2m",
			":3: metrics.enabled: the value is empty: give true or false",
			":3: metrics.path: the value is empty: give a path",
			":4: log.level: the value is empty: give debug, info, warn or error",
			":4: log.format: the value is empty: give text or json",
			":6: apps[0].id: the value is missing or empty: give the app's id",
			":6: apps[0].key: the value is missing",
			":6: apps[0].secret: the value is missing",
			":7: apps[1].client_events: the value is empty: give members or none",
			":7: apps[1].allowed_origins: the value is an empty list"}},
		{"server values", oneApp + `
server:
  listen: 127.0.0.1
  path: /a/../b
  tls: {cert_file: a.pem}
  trusted_proxies: ["*", 10.0.0.0/33, "::ffff:10.0.0.1", "fe80::1%eth0"]
  max_request_bytes: 0
  max_connections: -1
  max_outbox_bytes: 65535
  shutdown_grace: 5
`, []string{
			`:4: server.listen: "127.0.0.1" is not an address to listen on: give host:port`,
			`:5: server.path: "/a/../b" is not a plain path`,
			":6: server.tls.key_file: the value is missing or empty: give cert_file and key_file, or neither",
			`:7: server.trusted_proxies[0]: "*" is not an address: give an IP address or a CIDR prefix`,
			`:7: server.trusted_proxies[1]: "10.0.0.0/33" is not an address`,
			`:7: server.trusted_proxies[2]: "::ffff:10.0.0.1" is an IPv4 address in IPv6 form`,
			`:7: server.trusted_proxies[3]: "fe80::1%eth0" is not an address`,
			`:8: server.max_request_bytes: "0" is out of range: give a whole number from 1 to`,
			`:9: server.max_connections: "-1" is out of range: give a whole number from 0 to`,
			`:10: server.max_outbox_bytes: "65535" is out of range: give a whole number from 65536 to`,
			`:11: server.shutdown_grace: "5" has no unit: give a duration such as 30s or 2m`}},
		{"key without certificate", oneApp + "server:\n  listen: h:65536\n  tls: {key_file: a.pem}\n  path: 'a b'\n", []string{
			`:3: server.listen: "h:65536" has no valid port`, ":4: server.tls.cert_file: the value is missing", `:5: server.path: "a b"`}},
		{"an authority", oneApp + `
server:
  redirect_http: nowhere
  tls:
    acme:
      domains:
        - "*.example.com"
        - 192.0.2.1
        - ws.example.com:443
        - https://ws.example.com
        - büch.example
        - ""
        - a_b.example
        - "-a.example"
        - Example.com
        - ` + strings.Repeat("abc.", 80) + `example
      email: nobody
      directory: http://ca.example
      storage: redis
`, []string{
			`:4: server.redirect_http: "nowhere" is not an address`,
			`:8: server.tls.acme.domains[0]: "*.example.com" is a wildcard, which an authority gives by DNS only: give each host name`,
			`:9: server.tls.acme.domains[1]: "192.0.2.1" is an IP address: give a host name such as ws.example.com`,
			`:10: server.tls.acme.domains[2]: "ws.example.com:443" has a port`,
			`:11: server.tls.acme.domains[3]: "https://ws.example.com" has a slash`,
			`:12: server.tls.acme.domains[4]: "büch.example" is not a host name (write an international one in its xn-- form)`,
			`:13: server.tls.acme.domains[5]: the value is empty`,
			`:14: server.tls.acme.domains[6]: "a_b.example" is not a host name`,
			`:15: server.tls.acme.domains[7]: "-a.example" is not a host name`,
			`:17: server.tls.acme.domains[9]: "abc.abc`,
			`:18: server.tls.acme.email: "nobody" is not an email address`,
			`:19: server.tls.acme.directory: "http://ca.example" is not an https URL: give one such as https://acme-v02.api.letsencrypt.org/directory`,
			`:20: server.tls.acme.storage: the value is for a cluster: set cluster.driver: redis, or give a directory`}},
		{"an authority's email and storage", oneApp + "server: {tls: {acme: {domains: [a.example],\n  email: 'mailto:a@b.example',\n  storage: 'redis://:hunter2@127.0.0.1/0'}}}", []string{
			`:3: server.tls.acme.email: "mailto:a@b.example" is not an email address: give one such as admin@example.com`,
			":4: server.tls.acme.storage: the value is a URL: give redis, which is that of cluster.redis.url, or a directory"}},
		{"a storage in capitals", oneApp + "server: {tls: {acme: {domains: [a.example], storage: Redis}}}\ncluster: {driver: redis}", []string{
			":2: server.tls.acme.storage: the value is not in lower case: give redis, or ./ before the name of a directory"}},
		{"an authority beside files", oneApp + "server: {tls: {cert_file: a, key_file: b, acme: {domains: [a.example]}}}", []string{
			":2: server.tls.acme.domains: the value is given beside cert_file and key_file: give these or acme, not both"}},
		{"an authority for nothing", oneApp + "server: {tls: {acme: {email: a@b.example}}}", []string{
			":2: server.tls.acme.domains: the value is missing or empty: give the host names that need a certificate"}},
		{"an authority with a query", oneApp + "server: {tls: {acme: {domains: [a.example], directory: 'https://ca.example/d?key=1'}}}", []string{
			":2: server.tls.acme.directory: \"https://ca.example/d?key=1\" has more than host, port and path: give one such as"}},
		{"another authority for nothing", oneApp + "server: {tls: {acme: {directory: 'https://ca.example/d'}}}", []string{
			":2: server.tls.acme.domains: the value is missing or empty: give the host names that need a certificate"}},
		{"a storage for nothing", oneApp + "server: {tls: {acme: {storage: /s}}}", []string{
			":2: server.tls.acme.domains: the value is missing or empty: give the host names that need a certificate"}},
		{"a domain twice", oneApp + "server: {tls: {acme: {domains: [a.example, A.example]}}}", []string{
			`:2: server.tls.acme.domains[1]: "A.example" is also that of domains[0]: give each once`}},
		{"a redirect without TLS", oneApp + "server: {redirect_http: ':80'}", []string{
			`:2: server.redirect_http: ":80" needs https to send to: give server.tls, or leave it empty`}},
		{"a redirect to itself", oneApp + "server: {listen: ':80', redirect_http: ':80', tls: {acme: {domains: [a.example]}}}", []string{
			`:2: server.redirect_http: ":80" is the same as server.listen, where https is: give another port, such as :80`}},
		{"host", oneApp + "server: {listen: 'a b:1'}\n", []string{`server.listen: "a b:1" has no valid host`}},
		{"metrics", oneApp + "server: {path: /x}\nmetrics:\n  path: /x/app/m\n  listen: localhost\n  token: hunter2 hunter2\n", []string{
			`:4: metrics.path: "/x/app/m" is taken by /x/app: give another`, `:5: metrics.listen: "localhost" is not`, ":6: metrics.token: the value has a space"}},
		{"path of a route", oneApp + "server: {path: /pusher/app}", []string{`:2: server.path: "/pusher/app" is taken by /pusher: give another prefix such as /ws`}},
		{"path of the metrics", oneApp + "server: {path: metrics}", []string{`:2: server.path: "metrics" is taken by /metrics`}},
		{"lone surrogate", oneApp + "log: {level: \"\\ud83d\"}", []string{"config.yaml:2: not valid YAML: found invalid Unicode"}},
		{"unknown escape", oneApp + "server: {path: \"\\/a\"}\nlog: {level: \"\\q\"}", []string{"config.yaml:3: not valid YAML: found unknown escape"}},
		{"metrics on the server's address", oneApp + "metrics:\n  path: metrics\n  listen: 127.0.0.1:8080\n", []string{
			`:3: metrics.path: "metrics" is not a plain path`, `:4: metrics.listen: "127.0.0.1:8080" is the same as server.listen`}},
		{"console for everybody", oneApp + "server: {listen: ':1'}\nconsole:\n  enabled: true\n", []string{
			":3: console.password: the value is missing or empty, and :1 is no loopback address: give a password of at least 8 characters, or set console.listen to an address such as"}},
		{"console elsewhere for everybody", oneApp + "console:\n  listen: '0.0.0.0:1'\n  enabled: true\n  password: ''\n  viewer_password: hunter2-hunter2\n", []string{
			":5: console.password: the value is missing or empty, and 0.0.0.0:1 is no loopback address"}},
		{"console", oneApp + "console:\n  enabled: yes\n  listen: localhost\n  path: ''\n  user: a b\n  password: hunter2\n  viewer_user: ''\n  viewer_password: \"hunter2\\thunter2\"\n", []string{
			`:3: console.enabled: "yes" is neither true nor false`, `:4: console.listen: "localhost" is not`, ":5: console.path: the value is empty: give a path such as /console",
			`:6: console.user: "a b" has a space`, ":7: console.password: the value is too short: give at least 8 characters",
			":8: console.viewer_user: the value is empty", ":9: console.viewer_password: the value has a control character"}},
		{"console's path", oneApp + "server: {path: /x}\nmetrics: {path: /x/console/metrics}\nconsole: {enabled: true}\n", []string{
			":4: console.path: the value is taken by metrics.path, /x/console/metrics: give another path such as /console"}},
		{"console's path is a route", oneApp + "console:\n  path: /app/x\n", []string{`:3: console.path: "/app/x" is taken by /app: give another path such as /console`}},
		{"path of the console", oneApp + "server: {path: console}\nconsole: {enabled: true}\n", []string{`:2: server.path: "console" is taken by /console: give another prefix such as /ws`}},
		{"one name for both", oneApp + "console: {enabled: true,\n viewer_user: admin}\n", []string{`:3: console.viewer_user: "admin" is the same as console.user`}},
		{"console on another's address", oneApp + "metrics: {listen: '127.0.0.1:1'}\nconsole: {listen: '127.0.0.1:1'}\n", []string{
			`:3: console.listen: "127.0.0.1:1" is the same as metrics.listen`}},
		{"console on the server's address", oneApp + "console: {listen: '127.0.0.1:8080'}\n", []string{
			`:2: console.listen: "127.0.0.1:8080" is the same as server.listen`}},
		{"apps_from", oneApp + `
apps_from:
  url: mongodb://u:hunter2@db
  table: a b
  query: DELETE FROM apps
  token: hunter2
  ttl: 0s
  negative_ttl: 2h
`, []string{
			":4: apps_from.url: the value begins with no scheme that is known: give one such as postgres://",
			`:5: apps_from.table: "a b" is not the name of a table`, `:6: apps_from.query: "DELETE FROM apps" does not begin with SELECT or WITH`,
			":7: apps_from.token: the value is sent to https:// and http:// only", `:8: apps_from.ttl: "0s" is out of range`, `:9: apps_from.negative_ttl: "2h" is out of range`}},
		{"apps_from, PostgreSQL", "apps_from: {url: 'postgres://u:hunter2%@db/x', table: , query: 'SELECT $1'}", []string{
			"apps_from.url: the value is not a URL (write a special", "apps_from.table: the value is not the name", `apps_from.query: "SELECT $1" has a placeholder`}},
		{"apps_from, MySQL", "apps_from: {url: 'mysql:hunter2', query: 'SELECT ?;'}", []string{
			"apps_from.url: the value has no // after its scheme", `apps_from.query: "SELECT ?;" ends in a semicolon`}},
		{"apps_from, SQLite", "apps_from: {url: 'sqlite://hunter2'}", []string{"apps_from.url: the value has no plain path after sqlite"}},
		{"apps_from, HTTP", "apps_from: {url: 'https://', query: SELECT 1, token: hunter2 hunter2}", []string{
			"apps_from.url: the value has no host", `apps_from.query: "SELECT 1" is for a database`, "apps_from.token: the value has a character that no header may have"}},
		{"apps_from, fragment", "apps_from: {url: 'mysql://u:hunter2#3@db:1/x'}", []string{"apps_from.url: the value"}},
		{"log", oneApp + "log:\n  level: INFO\n  format: xml\n", []string{
			`:3: log.level: "INFO" is not accepted: give debug, info, warn or error`, `:4: log.format: "xml" is not accepted: give text or json`}},
		{"app values", `
apps:
  - id: a/b
    key: a:b
    secret: "hunter2\t"
    activity_timeout: 1500ms
    pong_timeout: 0s
    client_events: all
    client_event_rate: -1
    max_event_bytes: 2000000000
    cache_ttl: 30 minutes
`, []string{
			`:3: apps[0].id: "a/b" has a character of "/"`, `:4: apps[0].key: "a:b" has a character of "/:"`,
			":5: apps[0].secret: the value has a space or a control character",
			`:6: apps[0].activity_timeout: "1500ms" has a fraction of a second`,
			`:7: apps[0].pong_timeout: "0s" is out of range: give a duration from 1s to 24h`,
			`:8: apps[0].client_events: "all" is not accepted: give members or none`,
			`:9: apps[0].client_event_rate: "-1" is out of range`, `:10: apps[0].max_event_bytes: "2000000000" is out of range`,
			`:11: apps[0].cache_ttl: "30 minutes" is not a duration`}},
		{"origins", `
apps:
  - id: 1
    key: k
    secret: s
    allowed_origins:
      - https://example.com
      - example.com:8080
      - example.com/a
      - a*.example.com
      - bücher.example
      - "*.*"
      - exa mple
      -
`, []string{
			`:7: apps[0].allowed_origins[0]: "https://example.com" has a scheme, but only the host is compared: give a host such as`,
			`:8: apps[0].allowed_origins[1]: "example.com:8080" has a port`,
			`:9: apps[0].allowed_origins[2]: "example.com/a" has a path`,
			`:10: apps[0].allowed_origins[3]: "a*.example.com" has a * that is not its whole first label`,
			`:11: apps[0].allowed_origins[4]: "bücher.example" is not a host name (write an international one in its xn-- form)`,
			`:12: apps[0].allowed_origins[5]: "*.*" has a *`, `:13: apps[0].allowed_origins[6]: "exa mple" is not a host name`,
			`:14: apps[0].allowed_origins[7]: the value is empty`}},
		{"webhooks", `
apps:
- id: 1
  key: k
  secret: s
  webhooks:
  - events: []
  - url: hunter2.example/hook
    events: [channel_ocupied, everything]
  - {url: "ftp://hunter2.example"}
  - {url: "http://:80"}
  - {url: "http://h:0x50"}
  - {url: "https://user:hunter2@h/?hunter2"}
  - {url: "https://user:hunter2@h/?hunter2", filter: {prefix: a}}
  - {url: "https://h/#hunter2"}
  - {url: "https://h/%hunter2"}
  - url: https://h/${HUNTER}
    headers: {Authorization:hunter2}
  - url: https://h
    headers:
      content-type: hunter2
      X-Pusher-Key: hunter2
      a b: hunter2
      "a\nb": hunter2
      X-A: "hunter2\n"
      X-B: hunter2
      x-b: hunter2
      X-C: [hunter2]
      X-D: hunter2
      X-D: hunter2
`, []string{
			":7: apps[0].webhooks[0].url: the value is missing or empty: give one such as https://app.example/pusher/webhook",
			":7: apps[0].webhooks[0].events: the value is an empty list: give channel_occupied, channel_vacated,",
			":8: apps[0].webhooks[1].url: the value is not an absolute http or https URL",
			`:9: apps[0].webhooks[1].events[0]: "channel_ocupied" is not a webhook event, did you mean channel_occupied? there are`,
			`:9: apps[0].webhooks[1].events[1]: "everything" is not a webhook event: there are channel_occupied`,
			":10: apps[0].webhooks[2].url: the value is not an absolute http or https URL",
			":11: apps[0].webhooks[3].url: the value has no host",
			":12: apps[0].webhooks[4].url: the value is not a URL",
			":14: apps[0].webhooks[6].url: the value is also that of webhooks[5]: give each once, or tell",
			`:14: apps[0].webhooks[6].filter: unknown key "prefix"`,
			":15: apps[0].webhooks[7].url: the value has a fragment",
			":16: apps[0].webhooks[8].url: the value is not a URL",
			`:18: apps[0].webhooks[9].headers: no space after the colon of "Authorization"`,
			`:21: apps[0].webhooks[10].headers: the value has "content-type", which Belfry sets itself: leave it out`,
			`:22: apps[0].webhooks[10].headers: the value has "X-Pusher-Key", which Belfry`,
			`:23: apps[0].webhooks[10].headers: the value has "a b", which is not a header's name`,
			`:24: apps[0].webhooks[10].headers: the value has "a\nb", which is not a header's name`,
			":25: apps[0].webhooks[10].headers.X-A: the value has a control character",
			`:27: apps[0].webhooks[10].headers.x-b: the value is set as "X-B" too: give each header once`,
			":28: apps[0].webhooks[10].headers.X-C: the value is a list: give text",
			":30: apps[0].webhooks[10].headers.X-D: set twice, first on line 29"}},
		{"history", `
server: {max_history_bytes: 1000}
apps:
- id: 1
  key: k
  secret: s
  history:
  - events: 0
  - {channels: "a*b", age: 0s}
  - {channels: "private chat", events: 1001, age: 25h}
  - {channels: "x.*", rewind: 3m, replay: 1}
  - {channels: "x.1"}
  - {channels: "x.y*"}
  - {channels: "*"}
  - {channels: "z", events: all}
`, []string{
			`:2: server.max_history_bytes: "1000" is out of range: give a whole number from 1048576 to`,
			":8: apps[0].history[0].channels: the value is missing or empty: give a channel's name, such as",
			`:8: apps[0].history[0].events: "0" is out of range: give a whole number from 1 to 1000`,
			`:9: apps[0].history[1].channels: "a*b" has a * that is not at its end`,
			`:9: apps[0].history[1].age: "0s" is out of range: give a duration from 1s to 24h`,
			`:10: apps[0].history[2].channels: "private chat" has a character that no channel's name has`,
			`:10: apps[0].history[2].events: "1001" is out of range`,
			`:10: apps[0].history[2].age: "25h" is out of range`,
			`:11: apps[0].history[3]: unknown key "replay": the keys here are channels, events, age, rewind`,
			`:11: apps[0].history[3].rewind: "3m" is more than age, which is 2m: no event is kept for so long`,
			`:12: apps[0].history[4].channels: "x.1" has no channel that history[3] does not have, and the first that matches decides`,
			`:13: apps[0].history[5].channels: "x.y*" has no channel that history[3] does not have`,
			`:15: apps[0].history[7].channels: "z" has no channel that history[6] does not have`,
			`:15: apps[0].history[7].events: "all" is not a whole number`}},
		{"too many histories", "apps:\n- {id: 1, key: k, secret: s, history: [" + strings.Repeat("{channels: a}, ", 51) + "]}\n", []string{
			"config.yaml:2: apps[0].history: the value has more than 50 entries: give fewer"}},
		{"too many webhooks", "apps:\n- {id: 1, key: k, secret: s, webhooks: [" + strings.Repeat("{url: https://h}, ", 21) + "]}\n", []string{
			"config.yaml:2: apps[0].webhooks: the value has more than 20 endpoints"}},
		{"repeated credentials", "apps:\n- {id: 1, key: k, secret: s}\n- {id: 1, key: l, secret: s}\n- {id: 2, key: k, secret: s}\n", []string{
			`:3: apps[1].id: "1" is also that of apps[0]`, `:4: apps[2].key: "k" is also that of apps[0]`}},

		{"variables", oneApp + `
server:
  listen: ${NOT_SET}
  path: ${HUNTER}
  max_connections: ${HUNTER}
  max_request_bytes: "${NUMBER}"
  shutdown_grace: ${NUMBER}
  trusted_proxies: ["${HUNTER:-x}"]
log:
  level: ${a b}
  format: ${A:-${B}}
metrics:
  path: ${
`, []string{
			`:4: server.listen: "${NOT_SET}" needs the environment variable NOT_SET, which is not set: set it, or write ${NOT_SET:-default}`,
			`:5: server.path: "${HUNTER}" (filled in) is not a plain path`,
			`:6: server.max_connections: "${HUNTER}" (filled in) is not a whole number`,
			`:7: server.max_request_bytes: "${NUMBER}" (filled in) is text: give a whole number, without quotes`,
			`:8: server.shutdown_grace: "${NUMBER}" (filled in) has no unit`,
			`:9: server.trusted_proxies[0]: "${HUNTER:-x}" (filled in) is not an address`,
			`:11: log.level: "${a b}" has a ${ that is not a variable`, `:12: log.format: "${A:-${B}}" has a ${ that is not a variable`,
			`:14: metrics.path: "${" has a ${ that is not a variable`}},
		{"secrets", `
metrics:
  token: ${HUNTER}
apps:
- id: ${HUNTER}
  key: ${HUNTER}
  secret: ${HUNTER}
- {id: 1, key: k, secret: [hunter2]}
- {id: 2, key: l, secret: "${hunter2 x}"}
- {id: 3, key: m, secret: "hunter2 $"}
- hunter2
`, []string{":3: metrics.token: the value has a space", `:5: apps[0].id: "${HUNTER}" (filled in) has`, `:6: apps[0].key: "${HUNTER}" (filled in) has`,
			":7: apps[0].secret: the value has a space", ":8: apps[1].secret: the value is a list", ":9: apps[2].secret: the value has a ${",
			":10: apps[3].secret: the value has a space", ":11: apps[4]: the value is just text"}},
		{"lists of secrets", `
apps:
- {id: 1, key: a, secrets: }
- {id: 2, key: b, secrets: hunter2}
- {id: 3, key: c, secrets: []}
- {id: 4, key: d, secrets: [hunter2], secret: hunter2}
- {id: 5, key: e, secrets: [hunter2-1, hunter2-2, hunter2-3, hunter2-4, hunter2-5, hunter2-6]}
- {id: 6, key: f, secrets: [hunter2, "", "${HUNTER}", hunter2]}
- {id: 7, key: g, secrets: [[hunter2], {hunter2: hunter2}, "${hunter2", a hunter2]}
- {id: 8, key: h, secrets: {hunter2: hunter2}}
`, []string{
			":3: apps[0].secrets: the value is empty: give a list", ":4: apps[1].secrets: the value is just text: give a list",
			":5: apps[2].secrets: the value is an empty list: give the app's secrets", ":6: apps[3].secrets: the value is given beside secret",
			":7: apps[4].secrets: the value is a list of 6: give at most 5",
			":8: apps[5].secrets[1]: the value is empty", ":8: apps[5].secrets[2]: the value has a space", ":8: apps[5].secrets[3]: the value is also that of secrets[0]",
			":9: apps[6].secrets[0]: the value is a list: give text", ":9: apps[6].secrets[1]: the value is a mapping: give text",
			":9: apps[6].secrets[2]: the value has a ${", ":9: apps[6].secrets[3]: the value has a space",
			":10: apps[7].secrets: the value is a mapping: give a list"}},
		{"a secret taken for an alias", "log:\napps:\n- id: 1\n  key: k\n  secret: *hunter2\n", []string{
			"config.yaml:5: anchors and aliases are not accepted"}},
	}
}

// TestProblems looks for each problem and for as many lines as there are problems.
func TestProblems(t *testing.T) {
	vars := env("HUNTER=hunter2 hunter2", "NUMBER=424242")
	for _, tt := range problemCases() {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse("config.yaml", []byte(tt.file), vars)
			if err == nil {
				t.Fatalf("no error, want %q", tt.want)
			}
			if c != nil {
				t.Error("a configuration beside the error")
			}
			var problems Errors
			if !errors.As(err, &problems) {
				t.Errorf("error is a %T", err)
			}
			got := err.Error()
			if n := strings.Count(got, "\n") + 1; n != len(tt.want) {
				t.Errorf("%d problems, want %d", n, len(tt.want))
			}
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("no %s", w)
				}
			}
			for _, never := range []string{"hunter2", "424242", "yaml: ", "yaml.", "config.", "reflect"} {
				if strings.Contains(strings.ReplaceAll(got, "config.yaml", ""), never) {
					t.Errorf("%q is in it", never)
				}
			}
			if t.Failed() {
				t.Log(got)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := Parse("config.yaml", []byte(strings.Repeat("k: v\n", 50_000)), nil)
	var problems Errors
	if !errors.As(err, &problems) || len(problems) != maxProblems {
		t.Fatalf("%d problems, want %d", len(problems), maxProblems)
	}
	if last := problems[maxProblems-1].Error(); !strings.HasSuffix(last, "more problems from here on are not listed") {
		t.Error(last)
	}
}
