//go:build unix

package source

import (
	"database/sql"
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"gopkg.in/yaml.v3"

	"belfry/server/config"
)

const page = "../../../docs/apps-from.md"

// section is a part of the page, up to the next one.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", page, heading)
	}
	part, _, _ := strings.Cut(after, "\n## ")
	return part
}

// examples are the blocks of a language in a text.
func examples(text, language string) (blocks []string) {
	for {
		_, after, ok := strings.Cut(text, "\n```"+language+"\n")
		if !ok {
			return blocks
		}
		block, rest, _ := strings.Cut(after, "\n```")
		blocks, text = append(blocks, block), rest
	}
}

// configured is the configuration of a section, with the server that the test runs instead
// of the one that the page names.
func configured(t *testing.T, heading, address string) config.AppsFrom {
	t.Helper()
	c, err := config.Parse(page, []byte(examples(section(t, heading), "yaml")[0]), nil)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(c.AppsFrom.URL)
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != "" {
		u.Host, u.RawQuery = address, ""
		c.AppsFrom.URL = u.String()
	}
	return c.AppsFrom
}

// served looks up the app of the page, as the user of the page.
func served(t *testing.T, c config.AppsFrom) Source {
	t.Helper()
	s, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, _ := find(t, s, ByKey, "app-key"); a.ID != "100001" || a.MaxConnections != 500 {
		t.Errorf("%+v", a)
	}
	return s
}

func TestPageOfPostgres(t *testing.T) {
	k := postgres(t)
	k.must(t, "CREATE DATABASE shop")
	conf, err := pgx.ParseConfig(k.server.URL("postgres", "", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, statements := range examples(section(t, "PostgreSQL"), "sql") {
		if _, err := conn.PgConn().Exec(t.Context(), statements).ReadAll(); err != nil {
			t.Fatalf("%s\n%v", statements, err)
		}
	}
	s := served(t, configured(t, "PostgreSQL", k.server.Addr))
	w := watch(t, s)
	w.next(t, "")
	if _, err := conn.Exec(t.Context(), "UPDATE apps SET enabled = false"); err != nil {
		t.Fatal(err)
	}
	w.next(t, "100001")
	if a, _ := find(t, s, ByID, "100001"); a.Enabled {
		t.Errorf("%+v", a)
	}
	w.cancel()
	_ = w.end(t)
}

func TestPageOfMySQL(t *testing.T) {
	k := mariaDB(t)
	k.must(t, "CREATE DATABASE shop")
	runAll(t, k.driver, strings.TrimSuffix(k.admin, shared)+"shop?multiStatements=true", section(t, "MySQL and MariaDB"))
	served(t, configured(t, "MySQL and MariaDB", k.server.Addr))
}

func TestPageOfSQLite(t *testing.T) {
	c := configured(t, "SQLite", "")
	c.URL = "sqlite:" + t.TempDir() + "/database.sqlite"
	if s, err := Open(c); err != nil {
		t.Skip(err)
	} else {
		s.Close()
	}
	runAll(t, "sqlite", strings.TrimPrefix(c.URL, "sqlite:"), section(t, "SQLite"))
	served(t, c)
}

func runAll(t *testing.T, driver, at, text string) {
	t.Helper()
	db, err := sql.Open(driver, at)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statements := range examples(text, "sql") {
		if _, err := db.Exec(statements); err != nil {
			t.Fatalf("%s\n%v", statements, err)
		}
	}
}

// TestPage has every configuration of the page.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	env := config.Env{"DATABASE_URL": "postgres://h/d", "APPS_TOKEN": "t"}
	for _, example := range examples(string(text), "yaml") {
		if c, err := config.Parse("example", []byte(example), env); err != nil || len(c.Warnings) > 0 {
			t.Errorf("%s\n%v %v", example, err, c)
		}
	}
	if !strings.Contains(string(text), noColumn) {
		t.Errorf("the page does not show %q", noColumn)
	}
}

// TestOpenAPI has the example of an answer.
func TestOpenAPI(t *testing.T) {
	text, err := os.ReadFile("../../../docs/apps-from.openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Example any }
			}
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	example, err := json.Marshal(document.Paths["/api/belfry/app"]["get"].Responses["200"].Content["application/json"].Example)
	if err != nil {
		t.Fatal(err)
	}
	a, warnings, err := config.ParseApp("example", example, config.Default().Server)
	if err != nil || len(warnings) > 0 || a.ID != "100001" || a.MaxConnections != 500 || len(a.Webhooks) != 1 {
		t.Errorf("%s: %v %v %+v", example, err, warnings, a)
	}
}
