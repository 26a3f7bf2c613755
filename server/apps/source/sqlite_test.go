//go:build sqlite && unix

package source

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"belfry/server/config"
)

// TestSQLiteOfAnother reads a file while another program writes to it, in both of SQLite's
// ways to do so, and by a path that is relative.
func TestSQLiteOfAnother(t *testing.T) {
	for _, mode := range []string{"delete", "wal"} {
		t.Run(mode, func(t *testing.T) {
			t.Chdir(t.TempDir())
			writer, err := sql.Open("sqlite", "shop 1.sqlite")
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			write := func(statement string) {
				t.Helper()
				if _, err := writer.Exec(statement); err != nil {
					t.Fatal(err)
				}
			}
			write("PRAGMA journal_mode = " + mode)
			write("CREATE TABLE apps (id TEXT, key TEXT, secret TEXT)")
			s, err := Open(config.AppsFrom{URL: "sqlite:shop 1.sqlite", Table: "apps"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			none(t, s, ByKey, "k")
			write("INSERT INTO apps VALUES ('1', 'k', 's')")
			find(t, s, ByKey, "k")
			write("DELETE FROM apps")
			none(t, s, ByKey, "k")
		})
	}
}

// TestSQLiteIsOnlyRead has a file that nobody may write to, and one that is not there.
func TestSQLiteIsOnlyRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "shop.sqlite")
	k := &kind{"SQLite", nil, "sqlite", file, "sqlite:" + file}
	k.must(t, "CREATE TABLE apps (id TEXT, key TEXT, secret TEXT)", "INSERT INTO apps VALUES ('1', 'k', 's')")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	s := k.open(t, config.AppsFrom{})
	find(t, s, ByID, "1")
	if _, err := s.(*database).db.Exec("DELETE FROM apps"); err == nil {
		t.Error("it may be written to")
	}
	if after, err := os.Stat(file); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Error(err)
	}
	missing := filepath.Join(dir, "missing.sqlite")
	refused(t, k.open(t, config.AppsFrom{URL: "sqlite:" + missing}).Check(t.Context()), "unable to open")
	if _, err := os.Stat(missing); err == nil {
		t.Error("it is made")
	}
}
