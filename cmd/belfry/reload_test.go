package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"belfry/server/config"
)

// What hangs, such as a network file system, does not keep the process alive.
func TestStopWaitsForNoStuckReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if !untilStuck(ctx, func(ctx context.Context) { <-ctx.Done() }) {
			t.Error("what returns is stuck")
		}
		hung := make(chan struct{})
		if untilStuck(ctx, func(context.Context) { <-hung }) {
			t.Error("what hangs is not stuck")
		}
		close(hung)
	})
}

// The certificate is watched as the configuration names it, from then on.
func TestFilesOfTheConfigurationAreWatched(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	r := newReloader(files{config: write("config.yaml", "0"), env: write(".env", "0")})
	defer r.close()
	changed := func() bool {
		r.watched.Changed() // the next look settles what this one finds
		return r.watched.Changed()
	}

	cfg := config.Default()
	cfg.Server.TLS = config.TLS{CertFile: write("cert.pem", "0"), KeyFile: write("key.pem", "0")}
	r.watch(&cfg)
	for _, name := range []string{"config.yaml", ".env", "cert.pem", "key.pem"} {
		if write(name, "1"); !changed() {
			t.Errorf("a change of %s was missed", name)
		}
	}
	cfg.Server.TLS.CertFile = write("other.pem", "0")
	r.watch(&cfg)
	if write("cert.pem", "2"); changed() {
		t.Error("a change of a file that is not named any more")
	}
	if write("other.pem", "1"); !changed() {
		t.Error("a change of the file that is named now was missed")
	}
}
