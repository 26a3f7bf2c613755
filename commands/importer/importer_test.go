package importer

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"belfry/server/config"
)

var update = flag.Bool("update", false, "write what is wanted in testdata, and the tables of docs/moving, from what there is")

//go:generate go test -run TestTablesAreWritten -update

// TestTablesAreWritten holds the tables of docs/moving to those of this package.
func TestTablesAreWritten(t *testing.T) {
	for _, s := range servers {
		path := "../../docs/moving/" + strings.ToLower(s.name) + ".md"
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		const begin, end = "<!-- settings: written from the table in commands/importer -->\n", "<!-- end of settings -->\n"
		before, rest, found := strings.Cut(string(data), begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no place for the settings", path)
		}
		want := before + begin + "\n" + markdown(s) + "\n" + end + after
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if string(data) != want {
			t.Errorf("%s is not what the tables say: run go generate ./commands/importer", path)
		}
	}
}

// markdown is a server's tables for people.
func markdown(s *server) string {
	var b strings.Builder
	b.WriteString("| setting | variables | becomes |\n|---|---|---|\n")
	line := func(r row, path string) {
		var names []string
		for _, v := range s.variables {
			if v.path == path {
				names = append(names, "`"+v.name+"`")
			}
		}
		becomes := "`" + r.ours + "`"
		switch {
		case r.ours == "":
			becomes = r.why.kind + ": " + r.why.text
		case r.why.kind != "":
			becomes += "; else " + r.why.kind + ": " + r.why.text
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", path, strings.Join(names, ", "), becomes)
	}
	for _, r := range s.rows {
		line(r, r.key)
	}
	for _, r := range s.app {
		line(r, s.apps+".0."+r.key)
	}
	for _, r := range s.webhook {
		line(r, s.apps+".0.webhooks.0."+r.key)
	}
	return b.String()
}

// archive is a file of testdata: what is imported, and what is made of it.
type archive struct {
	*txtar.Archive
	path string
}

func archives(t testing.TB) (all []archive) {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, archive{a, path})
	}
	return all
}

// TestImport imports configurations as the documentation of the servers has them.
func TestImport(t *testing.T) {
	for _, a := range archives(t) {
		t.Run(filepath.Base(a.path), func(t *testing.T) {
			in := a.Files[0]
			r, err := Import(in.Name, in.Data, "")
			if err != nil {
				t.Fatal(err)
			}
			var notes strings.Builder
			for _, n := range r.Notes {
				fmt.Fprintln(&notes, n)
			}
			for _, warning := range r.Warnings {
				fmt.Fprintln(&notes, "warning:", warning)
			}
			for _, name := range r.Needs {
				fmt.Fprintln(&notes, "needs", name)
			}
			if strings.Contains(notes.String(), "hunter2") {
				t.Errorf("a secret is told:\n%s", &notes)
			}
			got := map[string]string{"want.yaml": string(r.YAML), "want.txt": notes.String()}
			for i, f := range a.Files[1:] {
				if *update {
					a.Files[1+i].Data = []byte(got[f.Name])
				} else if diff := cmp.Diff(string(f.Data), got[f.Name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(a.path, txtar.Format(a.Archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			again, err := Import(in.Name, in.Data, strings.ToLower(r.From))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.YAML, r.YAML) {
				t.Errorf("the second import differs:\n%s", again.YAML)
			}
		})
	}
}

// Nothing is dropped without a word: it is in the configuration, or in a note.
func TestTakenOrTold(t *testing.T) {
	soketi := func(settings, app string) string {
		return `{"port": 6001, ` + settings + `"appManager.array.apps": [{"id": "1", "key": "k", "secret": "hunter2"` + app + `}]}`
	}
	sockudo := func(settings, app string) string {
		return settings + "\n[[app_manager.array.apps]]\nid = '1'\nkey = 'k'\nsecret = 'hunter2'\nenabled = true\n" + app
	}
	variables := "SOKETI_DEFAULT_APP_ID=1\nSOKETI_DEFAULT_APP_KEY=k\nSOKETI_DEFAULT_APP_SECRET=hunter2\n"
	for _, tt := range []struct {
		name, data string
		yaml, not  string // is in the configuration, is not in it
		note       string
	}{
		{"soketi.json", soketi(`"adapter.driver": "redis", "adapter.redis.clusterMode": true, "database.redis.clusterNodes": ["rediss://u:p%2Fw@r1:7000", "r2:7001"], `, ""),
			"url: rediss://u:p%2Fw@r1:7000/0?addr=r2%3A7001", "", ""},
		{"soketi.json", soketi(`"adapter.driver": "redis", "adapter.redis.clusterMode": true, "database.redis.clusterNodes": [{"host": "r1", "password": "a", "tls": {}}, {"host": "r2", "password": "b"}, {}], `, ""),
			"url: rediss://:a@r1:6379/0?addr=r2%3A6379", "",
			"database.redis.clusterNodes: not taken: the users or passwords of the nodes differ"},
		{"soketi.json", soketi(`"adapter.driver": "redis", "database.redis.sentinels": ["redis://:s@s1"], "database.redis.password": "p", `, ""),
			"url: redis://:p@s1:26379/0?master_set=mymaster&sentinel_password=s", "", ""},
		{"soketi.json", soketi(`"adapter.driver": "redis", "database.redis.host": "rediss://:pw@r:6380/2", `, ""),
			"url: rediss://:pw@r:6380/2", "", ""},
		{"soketi.json", soketi(`"adapter.driver": "redis", "database.redis.port": "99999999", "database.redis.db": 3, `, ""), "", "cluster:",
			"database.redis.db, database.redis.port: not taken: cluster.redis.url would be a value that is not usable: redis: the port of the URL is to be a number from 1 to 65535: the server is alone"},
		{"soketi.json", soketi(`"appManager.driver": "mysql", "database.mysql.port": "hunter2", `, ""), "", "apps_from",
			"appManager.driver, database.mysql.port: not taken: apps_from.url would be a value that"},
		{"soketi.json", soketi(`"userAuthenticationTimeout": "30s", `, `, "enableUserAuthentication": true`), "require_signin: 30s", "",
			"userAuthenticationTimeout: not taken: the value is not a number: require_signin is 30s, as by default in Soketi"},
		{"soketi.json", soketi(`"userAuthenticationTimeout": [1], `, `, "enableUserAuthentication": true`), "require_signin: 30s", "",
			"userAuthenticationTimeout: not taken: is a list or an object, where one value was expected"},
		{"soketi.json", soketi("", `, "maxBackendEventsPerSecond": 1000000000, "maxReadRequestsPerSecond": 1000000000`), "", "api_request_rate",
			"appManager.array.apps[0].maxBackendEventsPerSecond, appManager.array.apps[0].maxReadRequestsPerSecond: not taken: the sum is out of range"},
		{"soketi.json", soketi("", `, "maxBackendEventsPerSecond": "many"`), "", "api_request_rate",
			"appManager.array.apps[0].maxBackendEventsPerSecond: not taken: the value is not a number"},
		{"soketi.json", soketi(`"httpApi.requestLimitInMb": "many", `, ""), "", "",
			"httpApi.requestLimitInMb: not taken: the value is not a number"},
		{"soketi.json", soketi(`"appManager": {"array": {"apps": [{"id": "2", "key": "l", "secret": "s"}]}}, `, ""), `id: "1"`, `id: "2"`,
			"appManager.array.apps: not taken: it is set twice, once by a name with dots and once by objects in each other: only the last counts"},
		{"soketi.json", soketi("", `, "max_connections": 1, "MaxConnections": 2`), "max_connections: 2", "",
			"appManager.array.apps[0].MaxConnections: the app has it by two spellings: this one counts"},
		{"soketi.env", variables + "SOKETI_DEFAULT_APP_MAX_CONNS=5\nSOKETI_DEFAULT_APP_MAX_CONNECTIONS=7\n", "max_connections: 5", "",
			"SOKETI_DEFAULT_APP_MAX_CONNECTIONS: not taken: set by SOKETI_DEFAULT_APP_MAX_CONNS as well, which counts"},
		{"soketi.env", variables + "SOKETI_DEFAULT_APP_MAX_CONNS=\nSOKETI_DEFAULT_APP_MAX_CONNECTIONS=7\n", "max_connections: 7", "", ""},
		{"soketi.json", `{"port": 6001, "appManager.array.apps": [{"id": 1e3, "key": 12345678901234567890, "secret": 1.50}]}`,
			"id: \"1000\"\n    key: \"12345678901234567000\"\n    secret: \"1.5\"\n", "", ""},
		{"config.toml", sockudo("[database.redis.cluster]\nnodes = ['rediss://r1:7000']\npassword = 'p'\n[adapter]\ndriver = 'redis-cluster'", ""),
			"url: rediss://:p@r1:7000/0", "", ""},
		{"config.toml", sockudo("user_authentication_timeout = 90000", "[app_manager.array.apps.policy.features]\nenable_user_authentication = true"), "require_signin: 1h", "",
			"user_authentication_timeout: not taken: the value is out of range"},
		{"config.toml", sockudo("", "max_client_events_per_second = 'many'"), "client_event_rate: 0", "",
			"app_manager.array.apps[0].max_client_events_per_second: not taken: the value is not a number: client_event_rate is without a limit"},
		{"config.toml", sockudo("[history]\nenabled = true\nmax_messages_per_channel = 5000\nretention_window_seconds = 'long'", ""), "events: 1000", "",
			"history.max_messages_per_channel: not taken: the value is more than Belfry keeps: apps[].history has 1000"},
		{"config.toml", sockudo("host = '10.0.0.1'\n[ssl]\nenabled = true\ncert_path = '/c'\nkey_path = '/k'\nredirect_http = true\nhttp_port = 8080", ""),
			"  tls:\n    cert_file: /c\n    key_file: /k\n  redirect_http: 10.0.0.1:8080\n", "", ""},
		{"config.toml", sockudo("[ssl]\nredirect_http = true", ""), "", "redirect_http",
			"ssl.redirect_http: not needed: nothing is sent from http to https, as ssl.redirect_http and ssl.enabled are not both on"},
		{"config.toml", sockudo("[ssl]\nenabled = true\ncert_path = '/c'\nkey_path = '/k'\nredirect_http = true\nhttp_port = 80000", ""), "", "redirect_http",
			"ssl.redirect_http, ssl.http_port: not taken: server.redirect_http would be a value that has no valid port"},
		{"config.toml", sockudo("[adapter]\ndriver = 'redis'\n[adapter.redis.redis_pub_options]\nurl = 'redis://a'\n[adapter.redis.redis_sub_options]\nurl = 'redis://:hunter2@b'", ""), "url: redis://a", "",
			"adapter.redis.redis_sub_options.url: not taken: set by adapter.redis.redis_pub_options.url as well, which counts"},
		{"config.toml", sockudo("[websocket]\nmax_bytes = 'all'", ""), "", "max_outbox_bytes",
			"websocket.max_bytes: not taken: the value is not a number"},
	} {
		r, err := Import(tt.name, []byte(tt.data), "")
		if err != nil {
			t.Errorf("%s: %v", tt.data, err)
			continue
		}
		var notes strings.Builder
		for _, n := range r.Notes {
			if n.Kind == "not taken" || tt.note != "" {
				fmt.Fprintln(&notes, n)
			}
		}
		if !strings.Contains(string(r.YAML), tt.yaml) || tt.not != "" && strings.Contains(string(r.YAML), tt.not) {
			t.Errorf("%s becomes\n%swithout %q or with %q", tt.data, r.YAML, tt.yaml, tt.not)
		}
		if !strings.Contains(notes.String(), tt.note) || tt.note == "" && notes.Len() > 0 || strings.Contains(notes.String(), "hunter2") {
			t.Errorf("%s: told\n%swithout %q", tt.data, &notes, tt.note)
		}
	}
}

func TestImportErrors(t *testing.T) {
	for _, tt := range []struct{ name, data, from, want string }{
		{"a.json", `{"port": 6001, "debug": true}`, "", "it could be of soketi or of sockudo, or of neither: say which by --from soketi or --from sockudo"},
		{"a.json", `{"port": 6001}`, "pusher", `no server "pusher"`},
		{"a.json", "{\"port\": 6001,\n\"port\": 6002}", "soketi", "line 2: a key for the second time"},
		{"a.json", "{\n\"port\": hunter2}", "soketi", "line 2: not valid JSON"},
		{"a.json", `[]`, "soketi", "not an object of settings"},
		{"a.json", `{} {}`, "soketi", "something follows"},
		{"a.json", "{\"a\": " + strings.Repeat("[", 50) + strings.Repeat("]", 50) + "}", "soketi", "deep"},
		{"a.toml", "port = 6001\nsecret = hunter2", "", "line 2: not valid TOML"},
		{"a.toml", "port = 6001\n" + strings.Repeat("a.", 10000) + "a = 1", "", "line 2: more than 200 dots and braces"},
		{".env", "SOKETI_PORT=6001\nhun ter2=1", "", "line 2"},
		{"a", "hunter2", "", "neither JSON nor TOML"},
		{".env", "APP_NAME=1\nQUEUE_CONNECTION=redis\nLOG_LEVEL=debug\nREDIS_URL=redis://r", "", "no variable of soketi or sockudo"},
		{".env", "SOKETI_PORT=1\nSOCKUDO_X=1", "", "it could be of"},
		{"a.json", "\xff", "", "not UTF-8"},
		{"a.json", strings.Repeat(" ", MaxBytes+1), "", "more than 1048576 bytes"},
		{"a.json", `{"appManager.array.apps": [{"id": "1", "key": "k", "secret": "hunter2 "}, {"id": "1", "key": "l", "secret": "s"}]}`, "", "apps[0].secret: the value has a space"},
	} {
		r, err := Import(tt.name, []byte(tt.data), tt.from)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.60q: error %v, want %q", tt.data, err, tt.want)
		} else if r != nil {
			t.Errorf("%.60q: a result beside the error", tt.data)
		}
	}
}

// The format is told by the name of a file, or by what is in it.
func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       format
	}{
		{"config/soketi.json", "", formatJSON}, {"c.toml", "", formatTOML}, {".env.production", "", formatEnv}, {"soketi.env", "", formatEnv},
		{"-", "\n {}", formatJSON}, {"-", "# HOST=1\n[adapter]\ndriver = \"redis\"\n", formatTOML}, {"-", "port = 1", formatTOML},
		{"soketi", "# comment\nexport SOKETI_PORT=1\n", formatEnv},
	} {
		if got, err := formatOf(tt.name, []byte(tt.data)); err != nil || got != tt.want {
			t.Errorf("%s %q: %v, %v, want %v", tt.name, tt.data, got, err, tt.want)
		}
	}
}

// TestTablesAreSound holds each row to a key of Belfry or a reason, and each variable to a row.
func TestTablesAreSound(t *testing.T) {
	for _, s := range servers {
		seen := make(map[string]bool)
		for name, rows := range map[string][]row{"": s.rows, "app ": s.app, "webhook ": s.webhook} {
			for _, r := range rows {
				at := s.name + " " + name + r.key
				if seen[at] {
					t.Errorf("%s is there twice", at)
				}
				seen[at] = true
				if r.ours == "" && (r.why.kind == "" || r.why.text == "") {
					t.Errorf("%s has neither an equal nor a reason", at)
				}
				if _, ok := config.LookupKey(r.ours); r.ours != "" && !ok && !r.composed {
					t.Errorf("%s: there is no key %s", at, r.ours)
				}
				if r.as != nil && r.initial != "" {
					if _, problem := r.as(r.initial); problem != "" {
						t.Errorf("%s: its default %s", at, problem)
					}
				}
			}
		}
		for _, v := range s.variables {
			rest, ofApp := strings.CutPrefix(v.path, s.apps+".0.")
			if ofApp && find(s.app, rest) == nil || !ofApp && find(s.rows, v.path) == nil && !strings.HasSuffix(v.path, "*") {
				t.Errorf("%s sets %s, which is in no table", v.name, v.path)
			}
			if begin, wild := strings.CutSuffix(v.path, "*"); wild && find(s.rows, begin+"x") == nil && find(s.rows, begin+"enabled") == nil {
				t.Errorf("%s sets what is in no table", v.name)
			}
			if strings.HasSuffix(v.name, "*") != strings.HasSuffix(v.path, "*") {
				t.Errorf("%s and %s do not go together", v.name, v.path)
			}
		}
	}
}

// Soketi's variables mean the same to import as to belfry serve --env-file, where both
// take them.
func TestLikeServe(t *testing.T) {
	env := config.Env{
		"SOKETI_HOST": "127.0.0.1", "SOKETI_PORT": "6001", "SOKETI_PATH_PREFIX": "/ws", "SOKETI_SSL_CERT": "c.pem", "SOKETI_SSL_KEY": "k.pem",
		"SOKETI_SHUTDOWN_GRACE_PERIOD": "5000", "SOKETI_DEBUG": "1", "SOKETI_METRICS_ENABLED": "1", "SOKETI_METRICS_HOST": "127.0.0.1", "SOKETI_METRICS_SERVER_PORT": "9700",
		"SOKETI_ADAPTER_DRIVER": "redis", "SOKETI_ADAPTER_REDIS_PREFIX": "shop", "SOKETI_DB_REDIS_HOST": "r", "SOKETI_DB_REDIS_PASSWORD": "p@/", "SOKETI_DB_REDIS_DB": "3",
		"SOKETI_DEFAULT_APP_ID": "1", "SOKETI_DEFAULT_APP_KEY": "k", "SOKETI_DEFAULT_APP_SECRET": "s", "SOKETI_DEFAULT_APP_ENABLED": "false",
		"SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES": "1", "SOKETI_DEFAULT_APP_MAX_CONNS": "7", "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC": "8",
		"SOKETI_DEFAULT_APP_USER_AUTHENTICATION": "true", "SOKETI_USER_AUTHENTICATION_TIMEOUT": "12500",
		"SOKETI_DEFAULT_APP_WEBHOOKS":           `[{"url": "https://app.example/", "event_types": ["member_added"], "headers": {"A": "b"}, "filter": {"channel_name_starts_with": "x"}}]`,
		"SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH": "250", "SOKETI_EVENT_MAX_NAME_LENGTH": "100", "SOKETI_CHANNEL_CACHE_TTL": "60", "SOKETI_EVENT_MAX_BATCH_SIZE": "3",
		"SOKETI_EVENT_MAX_CHANNELS_AT_ONCE": "4", "SOKETI_EVENT_MAX_SIZE_IN_KB": "7.5", "SOKETI_PRESENCE_MAX_MEMBERS": "9", "SOKETI_PRESENCE_MAX_MEMBER_SIZE": "1.5",
	}
	var text strings.Builder
	for name, value := range env {
		fmt.Fprintf(&text, "%s='%s'\n", name, value)
	}
	r, err := Import("soketi.env", []byte(text.String()), "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Parse("", r.YAML, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	ignored := cmp.Options{cmpopts.IgnoreUnexported(config.Config{}), cmpopts.IgnoreFields(config.Config{}, "Warnings"), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, got, ignored); diff != "" {
		t.Errorf("imported (-served +imported):\n%s", diff)
	}
}

// An app in the file means the same as in a database, where both take what it says.
func TestLikeRows(t *testing.T) {
	hooks := `[{"url": "https://app.example/", "event_types": ["member_added", "no_such_event"], "headers": {"A": "b"}, "filter": {"%s": "x"}}]`
	for _, tt := range []struct{ file, app string }{
		{`{"appManager.array.apps": [%s]}`, `{"id": "1", "key": "k", "secret": "s", "maxConnections": -1, "enableClientMessages": true, "enabled": 1,
			"maxBackendEventsPerSecond": 5, "maxReadRequestsPerSecond": 6, "maxClientEventsPerSecond": 7, "enableUserAuthentication": true,
			"maxPresenceMembersPerChannel": 8, "maxPresenceMemberSizeInKb": 1.5, "maxChannelNameLength": 100, "maxEventNameLength": 150,
			"maxEventChannelsAtOnce": 9, "maxEventPayloadInKb": 7.5, "maxEventBatchSize": 4, "webhooks": ` + fmt.Sprintf(hooks, "channel_name_starts_with") + `, "cache_ttl": 3600}`},
		{`{"user_authentication_timeout": 30, "app_manager": {"array": {"apps": [%s]}}}`, `{"id": "1", "key": "k", "secret": "s", "enabled": true, "policy": {
			"limits": {"max_connections": "3", "max_client_events_per_second": 70, "decay_seconds": 9, "max_presence_members_per_channel": 8, "max_presence_member_size_in_kb": 1,
				"max_channel_name_length": 100, "max_event_name_length": 250, "max_event_channels_at_once": 9, "max_event_payload_in_kb": 7, "max_event_batch_size": 4},
			"features": {"enable_client_messages": false, "enable_user_authentication": true},
			"channels": {"allowed_origins": ["https://app.example.com", "http://localhost:5173"]},
			"webhooks": ` + fmt.Sprintf(hooks, "channel_suffix") + `}, "cache_ttl": 3600}`},
	} {
		r, err := Import("a.json", fmt.Appendf(nil, tt.file, tt.app), "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Parse("", r.YAML, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := config.ParseApp("", []byte(tt.app), got.Server)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Apps[0], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-row +file):\n%s", r.From, diff)
		}
	}
}

// TestLarge imports as much as there may be, in bounded time: a mistake in it would take
// minutes.
func TestLarge(t *testing.T) {
	apps := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"appManager.array.apps": [`)
		for i := range n {
			fmt.Fprintf(&b, `%s{"id": "%d", "key": "k%[2]d", "secret": "s", "maxBackendEventsPerSecond": 5, "colour": "green"}`, strings.Repeat(",", min(i, 1)), i)
		}
		return b.String() + "]}"
	}
	var odd strings.Builder
	odd.WriteString(`{"appManager.array.apps": []`)
	for i := 0; odd.Len() < MaxBytes-200; i++ {
		fmt.Fprintf(&odd, `, "presence.maxMembersPerChanne%d": %[1]d`, i)
	}
	odd.WriteString("}")
	for _, text := range []string{apps(1000), odd.String()} {
		r, err := Import("soketi.json", []byte(text), "")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Notes) > maxNotes+1 {
			t.Errorf("%d notes", len(r.Notes))
		}
		for _, n := range r.Notes {
			if len(n.Settings) > maxNotes || len(n.String()) > 100<<10 {
				t.Errorf("a note of %d settings", len(n.Settings))
			}
		}
	}
}
