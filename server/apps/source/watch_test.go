//go:build unix

package source

import (
	"context"
	"errors"
	"testing"
	"time"

	"belfry/server/config"
)

// patience is how long anything that must happen may take.
const patience = 30 * time.Second

// watching is a Watch that runs.
type watching struct {
	changed chan string
	ended   chan error
	cancel  context.CancelFunc
}

func watch(t *testing.T, s Source) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{make(chan string, 100), make(chan error, 1), cancel}
	go func() { w.ended <- s.Watch(ctx, func(id string) { w.changed <- id }) }()
	t.Cleanup(cancel)
	return w
}

func (w *watching) next(t *testing.T, want string) {
	t.Helper()
	select {
	case id := <-w.changed:
		if id != want {
			t.Errorf("%q changed, want %q", id, want)
		}
	case err := <-w.ended:
		t.Fatalf("ended: %v", err)
	case <-time.After(patience):
		t.Fatalf("nothing changed, want %q", want)
	}
}

func (w *watching) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-w.ended:
		return err
	case <-time.After(patience):
		t.Fatal("it does not end")
		return nil
	}
}

// TestWatch has the trigger of docs/apps-from.md.
func TestWatch(t *testing.T) {
	k := postgres(t)
	table := k.table(t, `id VARCHAR(255) PRIMARY KEY, "key" VARCHAR(50), secret TEXT`, `'1', 'k', 's'`)
	k.must(t, `CREATE OR REPLACE FUNCTION belfry_apps_changed() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF TG_OP <> 'INSERT' THEN PERFORM pg_notify('belfry_apps', OLD.id::text); END IF;
			IF TG_OP <> 'DELETE' THEN PERFORM pg_notify('belfry_apps', NEW.id::text); END IF;
			RETURN NULL;
		END $$`,
		`CREATE TRIGGER belfry_apps_changed AFTER INSERT OR UPDATE OR DELETE ON `+table+` FOR EACH ROW EXECUTE FUNCTION belfry_apps_changed()`)
	s := k.open(t, config.AppsFrom{Table: table})
	w := watch(t, s)
	w.next(t, "") // it listens
	k.must(t, `UPDATE `+table+` SET secret = 'x' WHERE id = '1'`)
	w.next(t, "1") // PostgreSQL tells once of what is the same in a transaction
	k.must(t, `INSERT INTO `+table+` VALUES ('2', 'l', 's')`)
	w.next(t, "2")
	k.must(t, `UPDATE `+table+` SET id = '3' WHERE id = '2'`)
	w.next(t, "2")
	w.next(t, "3")
	k.must(t, `DELETE FROM `+table+` WHERE id = '3'`)
	w.next(t, "3")
	k.must(t, `NOTIFY belfry_apps`, `NOTIFY belfry_apps, 'a b'`, `NOTIFY others, '4'`, `NOTIFY belfry_apps, '5'`)
	w.next(t, "")
	w.next(t, "") // no app has that id
	w.next(t, "5")

	w.cancel()
	if err := w.end(t); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWatchEndsWithTheServer(t *testing.T) {
	k := postgres(t)
	s := k.open(t, config.AppsFrom{})
	w := watch(t, s)
	w.next(t, "")
	if err := k.server.Stop(); err != nil {
		t.Fatal(err)
	}
	refused(t, w.end(t), "")
	refused(t, watch(t, s).end(t), "connection refused")
	if err := k.server.Start(); err != nil {
		t.Fatal(err)
	}
	watch(t, s).next(t, "")
}

func TestWatchIsOfPostgres(t *testing.T) {
	my := mariaDB(t)
	for _, c := range []config.AppsFrom{{URL: my.url}, {URL: "http://127.0.0.1:1"}} {
		if err := watch(t, my.open(t, c)).end(t); err != nil {
			t.Error(err)
		}
	}
}
