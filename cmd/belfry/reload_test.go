package main

import (
	"os"
	"path/filepath"
	"testing"

	"belfry/server/config"
)

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
