package config

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// beyond are the cases of [TestProblems] that the schema accepts, and why it does.
var beyond = map[string]string{
	"no app":                          "the environment may define one",
	"no app, line":                    "likewise",
	"duplicate keys":                  "an object has each key once",
	"tag":                             "JSON has no tags",
	"values that do not go together":  "a schema does not compare values",
	"outboxes without an app":         "likewise",
	"an event over the outbox":        "likewise",
	"repeated credentials":            "likewise",
	"console for everybody":           "likewise: listen, enabled and password",
	"console elsewhere for everybody": "likewise",
	"an authority beside files":       "likewise",
	"an authority for nothing":        "likewise",
	"another authority for nothing":   "likewise",
	"a storage for nothing":           "likewise",
	"a storage in capitals":           "it could be a directory",
	"a domain twice":                  "a schema does not compare values",
	"a redirect without TLS":          "likewise",
	"a redirect to itself":            "likewise",
	"path of a route":                 "likewise: with the routes",
	"path of the metrics":             "likewise",
	"console's path":                  "likewise",
	"console's path is a route":       "likewise",
	"path of the console":             "likewise",
	"one name for both":               "likewise",
	"console on another's address":    "likewise",
	"console on the server's address": "likewise",
}

// editor judges configurations as an editor does that has the schema.
type editor struct{ schema *jsonschema.Schema }

func newEditor(t *testing.T) editor {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.schema.json") // validates it against its dialect, too
	if err != nil {
		t.Fatal(err)
	}
	return editor{schema}
}

// judge returns what the schema says of a file, or false if it is no YAML that JSON can
// express.
func (e editor) judge(file string) (problem error, ok bool) {
	root, ok := newLoader("", nil).document([]byte(file))
	if !ok {
		return nil, false
	}
	if root == nil {
		return e.schema.Validate(nil), true
	}
	v, ok := plain(root)
	if !ok {
		return nil, false
	}
	return e.schema.Validate(v), true
}

// plain is n as JSON has it.
func plain(n *yaml.Node) (any, bool) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, false
	case n.Kind == yaml.SequenceNode:
		items := []any{}
		for _, inner := range n.Content {
			item, ok := plain(inner)
			if !ok {
				return nil, false
			}
			items = append(items, item)
		}
		return items, true
	case n.Kind == yaml.MappingNode:
		keys := map[string]any{}
		for pair := range slices.Chunk(n.Content, 2) {
			value, ok := plain(pair[1])
			if !ok || pair[0].Kind != yaml.ScalarNode {
				return nil, false
			}
			keys[pair[0].Value] = value
		}
		return keys, true
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, false
	}
	switch v.(type) {
	case nil, bool, int, float64:
		return v, true
	}
	return n.Value, true
}

// TestSchemaRefuses holds the schema to what is a mistake.
func TestSchemaRefuses(t *testing.T) {
	e := newEditor(t)
	for _, tt := range problemCases() {
		problem, ok := e.judge(tt.file)
		if why, accepts := beyond[tt.name]; !ok {
			continue
		} else if accepts != (problem == nil) {
			t.Errorf("%s: the schema says %v, and beyond %q", tt.name, problem, why)
		}
	}
}

// TestSchemaRefusesEach is about single values, so that one mistake does not hide that
// another is not found.
func TestSchemaRefusesEach(t *testing.T) {
	e := newEditor(t)
	for _, file := range []string{
		"server: {max_conections: 1}", "server: {listen: 8080}", "server: {listen: 'localhost'}", "server: {listen: }",
		"server: {path: a b}", "server: {trusted_proxies: 10.0.0.0/8}", "server: {trusted_proxies: [proxy]}",
		"server: {max_request_bytes: 0}", "server: {max_request_bytes: '1'}", "server: {max_connections: 2000000000}",
		"server: {shutdown_grace: 5}", "server: {shutdown_grace: '5'}", "server: {shutdown_grace: 5 s}", "server: {outbox_timeout: 0}",
		"cluster: {driver: nats}", "cluster: {redis: {url: 'http://redis'}}", "cluster: {redis: {prefix: '{a}'}}",
		"apps_from: {url: 'mongodb://db'}", "apps_from: {table: a b}", "apps_from: {url: 'mysql://db', query: DELETE FROM apps}", "apps_from: {ttl: 60}",
		"metrics: {enabled: 'true'}", "metrics: {path: ''}", "metrics: {token: a b}", "console: {password: short}", "console: {user: }",
		"log: {level: INFO}", "log: {format: }", "log: []",
		"apps: [{id: 1, key: k}]", "apps: [{id: 1, secret: s}]", "apps: [{}]", "apps: [~]",
		"apps: [{id: 1, key: k, secret: s, secrets: [t]}]", "apps: [{id: 1, key: k, secrets: []}]", "apps: [{id: 1, key: k, secrets: [~]}]", "apps: [{id: 1, key: k, secrets: [a, b, c, d, e, f]}]",
		"apps: [{id: a/b, key: k, secret: s}]", "apps: [{id: 1, key: 'a:b', secret: s}]", "apps: [{id: 1, key: k, secret: a b}]",
		"apps: [{id: 1, key: k, secret: s, terminate_code: 4000}]", "apps: [{id: 1, key: k, secret: s, allowed_origins: []}]",
		"apps: [{id: 1, key: k, secret: s, allowed_origins: ['https://a']}]", "apps: [{id: 1, key: k, secret: s, client_events: all}]",
		"apps: [{id: 1, key: k, secret: s, history: [{}]}]", "apps: [{id: 1, key: k, secret: s, history: [{channels: a, events: 1001}]}]",
		"apps: [{id: 1, key: k, secret: s, history: [{channels: a*b}]}]", "apps: [{id: 1, key: k, secret: s, webhooks: [{url: 'ftp://a'}]}]",
		"apps: [{id: 1, key: k, secret: s, webhooks: [{url: 'http://a', events: [everything]}]}]", "apps: [{id: 1, key: k, secret: s, webhooks: [{url: 'http://a', filter: {prefix: a}}]}]",
		"apps: [{id: 1, key: k, secret: s, webhooks: [{url: 'http://a', headers: {a b: c}}]}]", "apps: [{id: 1, key: k, secret: s, webhooks: [{url: 'http://a', headers: {a: ' b'}}]}]",
	} {
		withApp := file
		if !strings.HasPrefix(file, "apps") {
			withApp = file + "\n" + oneApp
		}
		if _, err := Parse("", []byte(withApp), nil); err == nil {
			t.Errorf("%s is accepted", file)
		}
		if problem, ok := e.judge(withApp); !ok || problem == nil {
			t.Errorf("the schema accepts %s", file)
		}
	}
}

// TestSchemaAccepts holds the schema to what is right, however it is written.
func TestSchemaAccepts(t *testing.T) {
	files := map[string]string{
		"odd but right": `
server: {listen: "[::1]:0", path: ws/, tls: {acme: {domains: [A.example], directory: "HTTPS://ca.example/d"}}, drain_delay: 0, outbox_timeout: +1.5m, trusted_proxies: ["::1", 10.0.0.0/8]}
apps:
- {id: 1, key: 2.5, secret: true, require_signin: 0s, allowed_origins: [Example.com, "*.example.com", "*", "::1", 1.2.3.4], terminate_code: 4200}
- id: two
  key: l
  secrets: [a, 1]
  max_event_bytes: 1
  history: [{channels: "#server-to-user-a b", rewind: 1m0s}, {channels: "a*", age: 1h30m}]
  webhooks: [{url: " HTTPS://h/?a#", headers: {X-A: 1, X-B: , X-C: "a b"}, filter: {channel_prefix: 1, channel_suffix: }}, {url: "http://[::1]:1", headers: }]
apps_from: {url: "PostgreSQL:///shop?host=/run/postgresql", table: a.b-1.c$, query: "with a as (select 1) select * from a", ttl: 1s, negative_ttl: 0}
webhooks: {spool: }
cluster: {redis: {url: "rediss://:p@h:1,h:2/1", prefix: 1}}
metrics: {listen: , token: }
console: {password: 12345678, viewer_user: 1}
log: {level: warn}
`,
		"variables": `
server: {listen: "127.0.0.1:${A}", path: "${P:-}", max_connections: 7, trusted_proxies: ["${IP}"], shutdown_grace: "${A}s"}
apps:
- id: ${A}
  key: k$${x}
  secret: ${NONE:-a}
  enabled: ${B}
  max_connections: ${A}
  terminate_code: ${C}
  client_events: ${D:-none}
  allowed_origins: ["${NONE:-*}"]
  webhooks: [{url: "${U}", events: ["${E}"], headers: {X-A: "Bearer ${A}"}}]
cluster: {driver: "${D2:-local}"}
log:
  level: ${L}
`,
		"empty": "apps:\nserver:\n",
	}
	for _, path := range []string{"../../config.example.yaml", "../../deploy/compose/belfry.yaml", "../../examples/chat/belfry.yaml"} {
		files[path] = written(t, path)
	}
	fence := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```")
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatal(docs, err)
	}
	moving, err := filepath.Glob("../../docs/moving/*.md")
	if err != nil || len(moving) == 0 {
		t.Fatal(moving, err)
	}
	for _, path := range slices.Concat(docs, moving, []string{"../../README.md"}) {
		for _, m := range fence.FindAllStringSubmatch(written(t, path), -1) {
			if file := strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"); isConfiguration(file) {
				files[path+": "+file] = file
			}
		}
	}
	scripts, err := filepath.Glob("../../cmd/belfry/testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal(scripts, err)
	}
	archived := regexp.MustCompile(`(?ms)^-- \S+\.yaml --\n(.*?)(?:\z|^-- )`)
	for _, path := range scripts {
		for _, m := range archived.FindAllStringSubmatch(written(t, path), -1) {
			files[path+": "+m[1]] = m[1]
		}
	}

	vars := env("BELFRY_APP_ID=9", "BELFRY_APP_KEY=k9", "BELFRY_APP_SECRET=s9", "A=7", "B=true", "C=4100", "E=member_added", "IP=10.0.0.1", "L=debug", "U=http://h",
		"CONSOLE_PASSWORD=password", "METRICS_TOKEN=t", "REDIS_URL=redis://h", "APP_SECRET=s", "HOOK_TOKEN=t",
		"APP_SECRET_NEW=n", "STATS_TOKEN=t", "DATABASE_URL=postgres://h/d", "APPS_TOKEN=t", "SHOP_SECRET=s", "CONSOLE_VIEWER_PASSWORD=password")
	e := newEditor(t)
	for name, file := range files {
		_, err := Parse("", []byte(file), vars)
		problem, ok := e.judge(file)
		if ok && (err == nil) != (problem == nil) {
			t.Errorf("%s: Belfry says %v, the schema %v", name, err, problem)
		}
		if err != nil && !strings.Contains(name, "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("%d configurations", len(files))
}

// isConfiguration says whether all keys of a snippet are those of a configuration.
func isConfiguration(file string) bool {
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal([]byte(file), &keys); err != nil {
		return false
	}
	c := Default()
	for name := range keys {
		if c.keys().lookup(name) == nil {
			return false
		}
	}
	return len(keys) > 0
}

// The head of the example leads editors to the schema.
func TestExampleNamesTheSchema(t *testing.T) {
	name, _, _ := strings.Cut(strings.TrimPrefix(written(t, examplePath), "# yaml-language-server: $schema="), "\n")
	if _, err := os.Stat(filepath.Join(filepath.Dir(examplePath), name)); err != nil {
		t.Error(err)
	}
}
