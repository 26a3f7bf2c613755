//go:build unix

package source

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"belfry/server/config"
	"belfry/server/internal/dbtest"
)

// A database for all tests of a kind, which make tables of their own in it. reader may only
// read, and nobody may not even do that.
const (
	shared   = "belfry"
	reader   = "reader"
	nobody   = "nobody"
	password = "hunter2"
)

// kind is a kind of database that the tests run against.
type kind struct {
	name   string
	server *dbtest.Server // nil: a file
	driver string
	admin  string // data source of who may do everything
	url    string // of reader
}

// The servers start when the first test needs them, and end with the last.
var (
	onePostgres = sync.OnceValues(startPostgres)
	oneMariaDB  = sync.OnceValues(startMariaDB)
	started     []*dbtest.Server
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range started {
		s.Close()
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func startPostgres() (*kind, error) {
	s, err := dbtest.StartPostgres()
	if err != nil {
		return nil, err
	}
	started = append(started, s)
	k := &kind{"PostgreSQL", s, "pgx", s.URL(dbtest.PostgresAdministrator, "", "postgres"), s.URL(reader, password, shared)}
	if err := k.exec("CREATE DATABASE " + shared); err != nil {
		return nil, err
	}
	k.admin = s.URL(dbtest.PostgresAdministrator, "", shared)
	return k, k.exec("CREATE ROLE "+reader+" LOGIN PASSWORD '"+password+"'", "CREATE ROLE "+nobody+" LOGIN PASSWORD '"+password+"'",
		"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "+reader, "CREATE SCHEMA realtime", "GRANT USAGE ON SCHEMA realtime TO "+reader)
}

func startMariaDB() (*kind, error) {
	s, err := dbtest.StartMariaDB()
	if err != nil {
		return nil, err
	}
	started = append(started, s)
	k := &kind{"MariaDB", s, "mysql", dbtest.MariaDBAdministrator + "@tcp(" + s.Addr + ")/", s.URL(reader, password, shared)}
	if err := k.exec("CREATE DATABASE "+shared, "CREATE DATABASE realtime"); err != nil {
		return nil, err
	}
	k.admin += shared
	return k, k.exec("CREATE USER "+reader+"@'127.0.0.1' IDENTIFIED BY '"+password+"'", "CREATE USER "+nobody+"@'127.0.0.1' IDENTIFIED BY '"+password+"'",
		"GRANT SELECT ON "+shared+".* TO "+reader+"@'127.0.0.1'", "GRANT SELECT ON realtime.* TO "+reader+"@'127.0.0.1'", "GRANT INSERT ON "+shared+".* TO "+nobody+"@'127.0.0.1'")
}

// kinds are all that this build has.
func kinds(t *testing.T) []*kind {
	t.Helper()
	made := []*kind{postgres(t), mariaDB(t)}
	if s, err := Open(config.AppsFrom{URL: "sqlite:x", Table: "apps"}); err == nil {
		s.Close()
		file := t.TempDir() + "/a b%.sqlite"
		k := &kind{"SQLite", nil, "sqlite", file, "sqlite:" + file}
		k.must(t, "CREATE TABLE others (id TEXT)") // makes the file
		made = append(made, k)
	}
	return made
}

func postgres(t *testing.T) *kind { return need(t, onePostgres) }
func mariaDB(t *testing.T) *kind  { return need(t, oneMariaDB) }

func need(t *testing.T, start func() (*kind, error)) *kind {
	t.Helper()
	k, err := start()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// exec runs statements as the administrator. In them, names are quoted as in standard SQL.
func (k *kind) exec(statements ...string) error {
	db, err := sql.Open(k.driver, k.admin)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(k.sql(s)); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (k *kind) must(t *testing.T, statements ...string) {
	t.Helper()
	if err := k.exec(statements...); err != nil {
		t.Fatal(err)
	}
}

// sql is a statement in the words of the database.
func (k *kind) sql(s string) string {
	if k.driver != "mysql" {
		return s
	}
	parts := strings.Split(s, "'")
	for i := 0; i < len(parts); i += 2 { // what is not within '
		parts[i] = strings.NewReplacer(`"`, "`", "JSONB", "JSON", "BYTEA", "BLOB", "TIMESTAMPTZ", "TIMESTAMP").Replace(parts[i])
	}
	return strings.Join(parts, "'")
}

// table makes a table with these columns and rows, of a name of its own, and returns the
// name.
func (k *kind) table(t *testing.T, columns string, rows ...string) string {
	t.Helper()
	name := "t_" + strings.ToLower(strings.NewReplacer("/", "_", "-", "_", ",", "", "'", "").Replace(t.Name()))
	statements := []string{"DROP TABLE IF EXISTS " + name, "CREATE TABLE " + name + " (" + columns + ")"}
	for _, row := range rows {
		statements = append(statements, "INSERT INTO "+name+" VALUES ("+row+")")
	}
	k.must(t, statements...)
	return name
}

// open opens the source of reader.
func (k *kind) open(t *testing.T, c config.AppsFrom) Source {
	t.Helper()
	if c.URL == "" {
		c.URL = k.url
	}
	if c.Table == "" {
		c.Table = config.DefaultAppsTable
	}
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
