package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"belfry/server"
	"belfry/server/config"
	"belfry/server/internal/servertest"
)

// Check finds what keeps New from starting, and neither listens nor leaves
// anything.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy := servertest.Start(t)
	for _, tt := range []struct {
		name string
		edit func(*config.Config)
		want string // of the error; empty: none
	}{
		{"nothing wrong", func(*config.Config) {}, ""},
		{"a port that is taken", func(c *config.Config) { c.Server.Listen = busy.Addr().String() }, ""},
		{"a spool to be made", func(c *config.Config) { c.Webhooks.Spool = filepath.Join(dir, "a", "b") }, ""},
		{"a certificate that is missing", func(c *config.Config) {
			c.Server.TLS = config.TLS{CertFile: filepath.Join(dir, "no"), KeyFile: filepath.Join(dir, "no")}
		}, "server.tls"},
		{"a certificate that is none", func(c *config.Config) { c.Server.TLS = config.TLS{CertFile: file, KeyFile: file} }, "server.tls"},
		{"a spool that is a file", func(c *config.Config) { c.Webhooks.Spool = file }, "webhooks.spool"},
		{"a spool below a file", func(c *config.Config) { c.Webhooks.Spool = filepath.Join(file, "a") }, "webhooks.spool"},
		{"a cluster that is away", func(c *config.Config) {
			c.Cluster.Driver = config.ClusterRedis
			c.Cluster.Redis.URL = "redis://127.0.0.1:1/0"
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config.Default()
			c.Server.Listen = "127.0.0.1:0"
			c.Apps = []config.App{servertest.App("1")}
			tt.edit(&c)
			switch err := server.Check(&c); {
			case tt.want == "" && err != nil:
				t.Errorf("found %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("found %v, want %s", err, tt.want)
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("%d files are left", len(entries)-1)
			}
		})
	}
}
