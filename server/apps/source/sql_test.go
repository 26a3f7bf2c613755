//go:build unix

package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"belfry/server/config"
	"belfry/server/internal/dbtest"
)

// each runs a test against every kind of database.
func each(t *testing.T, test func(t *testing.T, k *kind)) {
	for _, k := range kinds(t) {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
}

// find reads the app that there is, or fails.
func find(t *testing.T, s Source, by By, name string) (config.App, string) {
	t.Helper()
	document, err := s.Find(t.Context(), by, name)
	if err != nil {
		t.Fatalf("%s %q: %v", by, name, err)
	}
	a, _, err := config.ParseApp("app", document, config.Default().Server)
	if err != nil {
		t.Fatalf("%s\n%v", document, err)
	}
	return a, string(document)
}

func none(t *testing.T, s Source, by By, names ...string) {
	t.Helper()
	for _, name := range names {
		if document, err := s.Find(t.Context(), by, name); !errors.Is(err, ErrNone) || document != nil {
			t.Errorf("%s %.300q: %s, error %v", by, name, document, err)
		}
	}
}

// refused holds an error to one line with a piece of text, and no secret.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\n") {
		t.Errorf("error %v, want %q", err, want)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%v %+v", e, e), password) {
			t.Errorf("a secret: %v", e)
		}
	}
}

func TestFind(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		table := k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT, max_connections INTEGER, enabled BOOLEAN,
			message_rate NUMERIC(10,2), allowed_origins TEXT, settings JSONB, created_at TIMESTAMPTZ, logo BYTEA, ratio DOUBLE PRECISION, note TEXT`,
			`'1', 'k1', 's1', 100, TRUE, 12, NULL, NULL, '2026-11-27 12:00:00', NULL, 0.5, NULL`,
			`'2', 'k2', 's''2"ü', -1, FALSE, NULL, 'a.example, *.b.example', '{"max_event_bytes": 2000, "webhooks": [{"url": "https://a.example/${HOME}"}]}', NULL, NULL, NULL, NULL`)
		s := k.open(t, config.AppsFrom{Table: table})
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		first := config.DefaultApp()
		first.ID, first.Key, first.Secret, first.MaxConnections, first.MessageRate = "1", "k1", "s1", 100, 12
		second := config.DefaultApp()
		hook := config.DefaultWebhook()
		hook.URL = "https://a.example/${HOME}"
		second.ID, second.Key, second.Secret, second.Enabled, second.MaxEventBytes = "2", "k2", `s'2"ü`, false, 2000
		second.AllowedOrigins, second.Webhooks = []string{"a.example", "*.b.example"}, []config.Webhook{hook}
		for _, want := range []config.App{first, second} {
			byID, document := find(t, s, ByID, want.ID)
			byKey, _ := find(t, s, ByKey, want.Key)
			type plain config.App
			if d := cmp.Diff(plain(want), plain(byID)) + cmp.Diff(plain(byID), plain(byKey)); d != "" {
				t.Errorf("%s\n%s", document, d)
			}
		}
		none(t, s, ByID, "3", "k1")
		none(t, s, ByKey, "k3", "1", `k1' OR '1'='1`, `k1"`, `k1\`, "k1`", "%", "_1", "k1;DROP")
		k.must(t, `UPDATE `+table+` SET secret = 'new' WHERE id = '1'`)
		if a, _ := find(t, s, ByID, "1"); a.Secret != "new" {
			t.Error("a row is remembered")
		}
		k.must(t, `DELETE FROM `+table+` WHERE id = '1'`)
		none(t, s, ByID, "1")
	})
}

// TestBytes has text and what is none in columns of bytes.
func TestBytes(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		table := k.table(t, `id BYTEA, "key" BYTEA, secret BYTEA, logo BYTEA`)
		values := map[string]string{"pgx": `'\x31', '\x6b', '\x73', '\xff00'`}[k.driver]
		if values == "" {
			values = `X'31', X'6b', X'73', X'ff00'`
		}
		k.must(t, "INSERT INTO "+table+" VALUES ("+values+")")
		s := k.open(t, config.AppsFrom{Query: "SELECT * FROM " + table})
		if k.name == "PostgreSQL" { // compares bytes with text as it is written for bytes
			s = k.open(t, config.AppsFrom{Query: `SELECT convert_from(id, 'UTF8') AS id, convert_from("key", 'UTF8') AS "key", secret, logo FROM ` + table})
		}
		if k.name == "SQLite" { // takes no text for equal to bytes
			s = k.open(t, config.AppsFrom{Query: `SELECT CAST(id AS TEXT) AS id, CAST("key" AS TEXT) AS "key", secret, logo FROM ` + table})
		}
		if a, document := find(t, s, ByKey, "k"); a.ID != "1" || a.Secret != "s" || !strings.Contains(document, `"logo":null`) {
			t.Error(document)
		}
	})
}

func TestPossible(t *testing.T) {
	for _, name := range []string{"", " ", "a b", "a/b", "a:b", "a\x00b", "a\n", "\xff", "a\u200bb", strings.Repeat("a", maxName+1)} {
		if Possible(name) {
			t.Errorf("%.20q is possible", name)
		}
	}
	for _, name := range []string{"a", "1", "é😀", "a.b-c_d", `'"\\`, strings.Repeat("a", maxName)} {
		if !Possible(name) {
			t.Errorf("%.20q is not possible", name)
		}
	}
}

// TestExact has what databases take for equal.
func TestExact(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		table := k.table(t, `id VARCHAR(50), "key" VARCHAR(50), secret TEXT`, `'a', 'Key', 's'`, `'ä', 'e', 's'`, `'b', 'twice', 's'`, `'c', 'twice', 's'`, `'d', 'TWICE', 's'`)
		s := k.open(t, config.AppsFrom{Table: table})
		none(t, s, ByKey, "key", "KEY", "é", "Twice")
		none(t, s, ByID, "A", "Ä")
		if a, _ := find(t, s, ByID, "a"); a.Key != "Key" {
			t.Error(a)
		}
		if a, _ := find(t, s, ByKey, "TWICE"); a.ID != "d" {
			t.Error(a)
		}
		_, err := s.Find(t.Context(), ByKey, "twice")
		refused(t, err, `more than one row has the key "twice"`)
	})
}

func TestNumbersForIDs(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		table := k.table(t, `id INTEGER PRIMARY KEY, "key" BIGINT, secret TEXT`, `7, 9007199254740993, 's'`, `0, 1, 's'`)
		s := k.open(t, config.AppsFrom{Table: table})
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if a, _ := find(t, s, ByID, "7"); a.Key != "9007199254740993" {
			t.Error(a)
		}
		if a, _ := find(t, s, ByKey, "9007199254740993"); a.ID != "7" {
			t.Error(a)
		}
		none(t, s, ByID, "abc", "7abc", "07", "7.0", "+7", "7e0", "0x7", "-7", "", "99999999999999999999", "-0", "٧")
		none(t, s, ByKey, "abc", "9007199254740992", "1e0", "-99999999999999999999")
	})
}

func TestUUIDs(t *testing.T) {
	k := postgres(t)
	const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
	s := k.open(t, config.AppsFrom{Table: k.table(t, `id UUID, "key" TEXT, secret TEXT, allowed_origins TEXT[]`, `'`+id+`', 'k', 's', '{a.example,b.example}'`)})
	if a, _ := find(t, s, ByID, id); a.ID != id || len(a.AllowedOrigins) != 2 {
		t.Errorf("%+v", a)
	}
	none(t, s, ByID, "7", "abc", strings.ToUpper(id))
}

func TestQuery(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		table := k.table(t, `app VARCHAR(50), name VARCHAR(50), token TEXT, gone BOOLEAN, many INTEGER`, `'1', 'k1', 's1', FALSE, 5`, `'2', 'k2', 's2', TRUE, 6`)
		query := `SELECT app AS id, name AS "key", token AS secret, many AS max_connections FROM ` + table + ` WHERE NOT gone -- of those that are left`
		if k.driver == "mysql" {
			query = strings.ReplaceAll(query, `"`, "`")
		}
		s := k.open(t, config.AppsFrom{Table: "missing", Query: query})
		if err := s.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if a, _ := find(t, s, ByKey, "k1"); a.ID != "1" || a.Secret != "s1" || a.MaxConnections != 5 {
			t.Errorf("%+v", a)
		}
		none(t, s, ByKey, "k2")
	})
}

func TestTableElsewhere(t *testing.T) {
	for _, k := range []*kind{postgres(t), mariaDB(t)} {
		t.Run(k.name, func(t *testing.T) {
			k.must(t, `CREATE TABLE realtime."my-apps" (id VARCHAR(50), "key" VARCHAR(50), secret TEXT)`, `INSERT INTO realtime."my-apps" VALUES ('1', 'k', 's')`)
			if k.driver == "pgx" {
				k.must(t, `GRANT SELECT ON ALL TABLES IN SCHEMA realtime TO `+reader)
			}
			find(t, k.open(t, config.AppsFrom{Table: "realtime.my-apps"}), ByKey, "k")
		})
	}
}

// TestSoketi has the tables as Soketi's documentation gives them.
func TestSoketi(t *testing.T) {
	columns := map[string]string{
		"pgx": `id varchar(255) PRIMARY KEY, "key" varchar(255) NOT NULL, secret varchar(255) NOT NULL, max_connections integer NOT NULL,
			enable_client_messages smallint NOT NULL, "enabled" smallint NOT NULL, max_backend_events_per_sec integer NOT NULL,
			max_client_events_per_sec integer NOT NULL, max_read_req_per_sec integer NOT NULL, webhooks json`,
		"mysql": `"id" varchar(255) NOT NULL, "key" varchar(255) NOT NULL, "secret" varchar(255) NOT NULL, "max_connections" integer(10) NOT NULL,
			"enable_client_messages" tinyint(1) NOT NULL, "enabled" tinyint(1) NOT NULL, "max_backend_events_per_sec" integer(10) NOT NULL,
			"max_client_events_per_sec" integer(10) NOT NULL, "max_read_req_per_sec" integer(10) NOT NULL, "webhooks" json, PRIMARY KEY ("id")`,
	}
	each(t, func(t *testing.T, k *kind) {
		c := columns[k.driver]
		if c == "" {
			c = columns["pgx"]
		}
		s := k.open(t, config.AppsFrom{Table: k.table(t, c, `'app-id', 'app-key', 'app-secret', -1, 1, 1, -1, -1, -1, '[{"url": "https://a.example", "event_types": ["channel_occupied"]}]'`,
			`'2', 'k2', 's', 200, 0, 0, 10, 20, 30, NULL`)})
		a, _ := find(t, s, ByKey, "app-key")
		if a.ID != "app-id" || a.MaxConnections != 0 || a.ClientEvents != config.ClientEventsMembers || !a.Enabled || a.ClientEventRate != 0 ||
			a.APIRequestRate != 0 || len(a.Webhooks) != 1 || len(a.Webhooks[0].Events) != 1 {
			t.Errorf("%+v", a)
		}
		a, _ = find(t, s, ByID, "2")
		if a.MaxConnections != 200 || a.ClientEvents != config.ClientEventsNone || a.Enabled || a.ClientEventRate != 20 || a.APIRequestRate != 40 || len(a.Webhooks) != 0 {
			t.Errorf("%+v", a)
		}
	})
}

// TestSockudo has the table of Sockudo's sql/.
func TestSockudo(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		s := k.open(t, config.AppsFrom{Table: k.table(t, `id VARCHAR(255) NOT NULL PRIMARY KEY, "key" VARCHAR(255) NOT NULL UNIQUE, secret VARCHAR(255) NOT NULL, enabled BOOLEAN NOT NULL DEFAULT TRUE,
			max_connections INTEGER DEFAULT 1000, max_client_events_per_second INTEGER DEFAULT 100, max_read_requests_per_second INTEGER DEFAULT 100, max_backend_events_per_second INTEGER DEFAULT 100,
			max_channel_name_length INTEGER DEFAULT 200, max_event_name_length INTEGER DEFAULT 200, max_event_payload_in_kb INTEGER DEFAULT 100, max_event_channels_at_once INTEGER DEFAULT 100,
			max_event_batch_size INTEGER DEFAULT 10, max_presence_members_per_channel INTEGER DEFAULT 100, max_presence_member_size_in_kb INTEGER DEFAULT 2,
			enable_client_messages BOOLEAN DEFAULT FALSE, enable_user_authentication BOOLEAN DEFAULT FALSE, enable_watchlist_events BOOLEAN DEFAULT FALSE,
			webhooks JSONB DEFAULT NULL, allowed_origins JSONB DEFAULT NULL, channel_delta_compression JSONB DEFAULT NULL, idempotency JSONB DEFAULT NULL, connection_recovery JSONB DEFAULT NULL,
			created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP`)})
		table := s.(*database).from
		k.must(t, `INSERT INTO `+strings.ReplaceAll(table, "`", `"`)+` (id, "key", secret, enable_client_messages, webhooks, allowed_origins, idempotency) VALUES ('test-app-1', 'test-app-key', 'test-app-secret', TRUE,
			'null', '["https://a.example"]', '{"enabled": true, "ttl_seconds": 60}')`)
		a, document := find(t, s, ByKey, "test-app-key")
		if a.ID != "test-app-1" || a.MaxConnections != 1000 || a.ClientEvents != config.ClientEventsMembers || a.ClientEventRate != 100 || a.APIRequestRate != 200 ||
			a.MaxEventBytes != 100<<10 || a.MaxPresenceUserBytes != 2<<10 || a.RequireSignin != 0 || len(a.Webhooks) != 0 || a.AllowedOrigins[0] != "a.example" {
			t.Errorf("%s\n%+v", document, a)
		}
	})
}

func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		check := func(t *testing.T, c config.AppsFrom, want ...string) {
			t.Helper()
			s := k.open(t, c)
			err := s.Check(t.Context())
			for _, w := range want {
				refused(t, err, w)
			}
		}
		t.Run("table", func(t *testing.T) { check(t, config.AppsFrom{Table: "missing"}, "missing", noTable) })
		t.Run("key", func(t *testing.T) {
			table := k.table(t, "id VARCHAR(50), secret TEXT", "'1', 's'")
			check(t, config.AppsFrom{Table: table}, "key", noColumn)
			_, err := k.open(t, config.AppsFrom{Table: table}).Find(t.Context(), ByKey, "key")
			refused(t, err, noColumn)
		})
		t.Run("id", func(t *testing.T) {
			check(t, config.AppsFrom{Table: k.table(t, `"key" VARCHAR(50), secret TEXT`)}, "id", noColumn)
		})
		t.Run("secret", func(t *testing.T) {
			check(t, config.AppsFrom{Table: k.table(t, `id VARCHAR(50), "key" VARCHAR(50)`)}, "there is no column secret")
		})
		t.Run("query", func(t *testing.T) { check(t, config.AppsFrom{Query: "SELECT FROM WHERE"}, "syntax") })
		if k.server == nil {
			t.Run("file", func(t *testing.T) {
				check(t, config.AppsFrom{URL: "sqlite:" + t.TempDir() + "/none.sqlite"}, "unable to open")
			})
			return
		}
		table := k.table(t, `id VARCHAR(50), "key" VARCHAR(50), secret TEXT`)
		t.Run("right", func(t *testing.T) {
			check(t, config.AppsFrom{URL: k.server.URL(nobody, password, shared), Table: table}, "denied", noRight)
		})
		t.Run("password", func(t *testing.T) {
			check(t, config.AppsFrom{URL: k.server.URL(reader, "wrong-"+password, shared), Table: table}, noPassword)
		})
		t.Run("database", func(t *testing.T) {
			check(t, config.AppsFrom{URL: k.server.URL(dbtest.PostgresAdministrator, "", "missing"), Table: table}, "missing")
		})
		t.Run("port", func(t *testing.T) {
			at := url.URL{Scheme: strings.Split(k.url, ":")[0], User: url.UserPassword(reader, password), Host: "127.0.0.1:1", Path: "/" + shared}
			check(t, config.AppsFrom{URL: at.String(), Table: table}, "connection refused")
		})
	})
}

func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		s := k.open(t, config.AppsFrom{Table: k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`, `'1', 'k', 's'`)})
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				if _, err := s.Find(t.Context(), ByKey, "k"); err != nil {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		if open := s.(*database).db.Stats().MaxOpenConnections; open != MaxOpen {
			t.Errorf("at most %d connections", open)
		}
	})
}

// TestAway stops a server and starts it again.
func TestAway(t *testing.T) {
	for _, k := range []*kind{postgres(t), mariaDB(t)} {
		t.Run(k.name, func(t *testing.T) {
			s := k.open(t, config.AppsFrom{Table: k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`, `'1', 'k', 's'`)})
			find(t, s, ByKey, "k")
			if err := k.server.Stop(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				_, err := s.Find(t.Context(), ByKey, "k")
				refused(t, err, "")
			}
			if err := k.server.Start(); err != nil {
				t.Fatal(err)
			}
			find(t, s, ByKey, "k")
		})
	}
}

// TestStalled has a server that accepts and says nothing, before and after the first answer.
func TestStalled(t *testing.T) {
	for _, k := range []*kind{postgres(t), mariaDB(t)} {
		table := k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`, `'1', 'k', 's'`)
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprint(k.name, later), func(t *testing.T) {
				t.Parallel()
				stalled(t, k, table, later)
			})
		}
	}
}

func stalled(t *testing.T, k *kind, table string, later bool) {
	p, err := dbtest.StartProxy(k.server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	s := k.open(t, config.AppsFrom{URL: strings.Replace(k.url, k.server.Addr, p.Addr, 1), Table: table})
	if later {
		find(t, s, ByKey, "k")
	}
	p.Stall(true)
	_, err = s.Find(t.Context(), ByKey, "k")
	refused(t, err, "no answer in 5s")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%#v", err)
	}
	p.Stall(false)
	find(t, s, ByKey, "k")
}

func TestCancelled(t *testing.T) {
	each(t, func(t *testing.T, k *kind) {
		s := k.open(t, config.AppsFrom{Table: k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`)})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Find(ctx, ByKey, "k"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTLS(t *testing.T) {
	pg, my := postgres(t), mariaDB(t)
	tests := []struct {
		name, url string
		k         *kind
		want      string // an error; empty: none
	}{
		{"PostgreSQL, verified", "?sslmode=verify-full&sslrootcert=" + pg.server.CA, pg, ""},
		{"PostgreSQL, of another", "?sslmode=verify-full&sslrootcert=" + my.server.CA, pg, "certificate"},
		{"MariaDB, verified", "?tls=true&ca=" + my.server.CA, my, ""},
		{"MariaDB, of another", "?tls=true&ca=" + pg.server.CA, my, "certificate"},
		{"MariaDB, of nobody known", "?tls=true", my, "certificate"},
		{"MariaDB, unverified", "?tls=skip-verify", my, ""},
		{"MariaDB, preferred", "?tls=preferred", my, ""},
		{"MariaDB, plain", "?tls=false", my, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := tt.k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`)
			err := tt.k.open(t, config.AppsFrom{URL: tt.k.url + tt.url, Table: table}).Check(t.Context())
			if tt.want != "" {
				refused(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadURLs(t *testing.T) {
	dir := t.TempDir()
	for url, want := range map[string]string{
		"postgres://u:hunter2@h/d?sslmode=maybe":                "sslmode",
		"postgres://u:hunter2@h/d?sslrootcert=" + dir + "/none": "no such file",
		"postgres://u:hunter2@h/d?connect_timeout=x":            "connect_timeout",
		"mysql://u:hunter2@h/d?tls=maybe":                       `tls is "maybe": give true`,
		"mysql://u:hunter2@h/d?sslmode=require":                 `there is no parameter "sslmode": give tls, ca or socket`,
		"mysql://u:hunter2@h/d?ca=" + dir + "/none":             "add tls=true",
		"mysql://u:hunter2@h/d?tls=true&ca=" + dir + "/none":    "no such file",
		"mysql://u:hunter2@h/d?tls=true&ca=source.go":           "no certificate in PEM",
		"mysql://u:hunter2@h":                                   "names no database",
		"mysql://u:hunter2@/d":                                  "no host",
		"ftp://u:hunter2@h/d":                                   "not a scheme",
	} {
		s, err := Open(config.AppsFrom{URL: url, Table: "apps"})
		if s != nil {
			t.Errorf("%s is accepted", url)
		}
		refused(t, err, want)
		if err != nil && !strings.HasPrefix(err.Error(), "apps_from.url: ") {
			t.Error(err)
		}
	}
}

// TestPgBouncer asks through a pool whose connections change from one transaction to the
// next.
func TestPgBouncer(t *testing.T) {
	k := postgres(t)
	k.must(t, "ALTER ROLE "+nobody+" PASSWORD '"+password+"'")
	pool, err := dbtest.StartPgBouncer(k.server, reader, password, shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	table := k.table(t, `id VARCHAR(50) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`, `'1', 'k', 's'`)
	s := k.open(t, config.AppsFrom{URL: pool.URL(reader, password, shared), Table: table})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			for range 5 {
				if _, err := s.Find(t.Context(), ByKey, "k"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	asking.Wait()
}

// TestStrangersNames has names that a stranger may ask for and a column cannot hold: for all
// that the source is not away.
func TestStrangersNames(t *testing.T) {
	names := []string{"😀", "ä", "é", "a\\", "\\x", "\\777", "'", "''", `"`, "`", "%", "?", "$1", "--", "{}", "[1", "null", "NaN", "-Infinity", "1e999", "true", "\u0301", "\ufffd", strings.Repeat("😀", 60), strings.Repeat("9", 255)}
	columns := map[string][]string{
		"pgx":    {"TEXT", "CHAR(5)", "SMALLINT", "BIGINT", "NUMERIC(5,2)", "REAL", "BYTEA", "UUID", "BOOLEAN", "DATE", "TIMESTAMPTZ", "INET", "TEXT[]", "VARCHAR(5)"},
		"mysql":  {"TEXT", "CHAR(5)", "SMALLINT", "BIGINT UNSIGNED", "DECIMAL(5,2)", "DOUBLE", "VARBINARY(20)", "BOOLEAN", "DATE", "TIMESTAMP", "BIT(8)", "VARCHAR(50) CHARACTER SET latin1", "VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin", "VARCHAR(50) COLLATE utf8mb4_bin", "INET6", "UUID", "ENUM('a', 'b')"},
		"sqlite": {"TEXT", "INTEGER", "NUMERIC", "BLOB", "REAL"},
	}
	each(t, func(t *testing.T, k *kind) {
		for _, column := range columns[k.driver] {
			table := k.table(t, `id `+column+`, "key" TEXT, secret TEXT`)
			s := k.open(t, config.AppsFrom{Table: table})
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			k.must(t, `INSERT INTO `+table+` ("key", secret) VALUES ('k', 's')`)
			for _, name := range names {
				_, err := s.Find(t.Context(), ByID, name)
				if odd := new(AppError); column == "BYTEA" && errors.As(err, &odd) && strings.Contains(odd.Problem, "SQLSTATE 22P02") {
					continue // it does not say that this is about the name
				}
				if !errors.Is(err, ErrNone) {
					t.Errorf("%s, %.20q: %v", column, name, err)
				}
			}
		}
	})
}
