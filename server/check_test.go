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

// Check finds what keeps New from starting, whoever has its ports, and leaves
// nothing.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	noHost := strings.Repeat("a", 64) + ".invalid" // too long to be looked up
	addresses := func(server, metrics string) func(*config.Config) {
		return func(c *config.Config) { c.Server.Listen, c.Metrics.Listen = server, metrics }
	}
	busy := servertest.Start(t)
	for _, tt := range []struct {
		name string
		edit func(*config.Config)
		want string // of the error; empty: none
	}{
		{"nothing wrong", func(*config.Config) {}, ""},
		{"a port that is taken", func(c *config.Config) { c.Server.Listen = busy.Addr().String() }, ""},
		{"a host that is not there", addresses(noHost+":18999", ""), "server.listen"},
		{"a host for metrics that is not there", addresses("127.0.0.1:18999", noHost+":18998"), "metrics.listen"},
		{"an address of another machine", addresses("192.0.2.1:18999", ""), "server.listen: listen tcp 192.0.2.1:18999"},
		{"an address of another machine for metrics", addresses("127.0.0.1:18999", "192.0.2.1:18999"), "metrics.listen"},
		{"one address by two names", addresses("127.0.0.1:18999", "localhost:18999"), "metrics.listen"},
		{"one address in two forms", addresses("127.0.0.1:18999", "[::ffff:127.0.0.1]:18999"), "metrics.listen"},
		{"metrics on all addresses", addresses("127.0.0.1:18999", "0.0.0.0:18999"), "metrics.listen"},
		{"metrics on one of all addresses", addresses(":18999", "127.0.0.1:18999"), "metrics.listen"},
		{"both on all addresses", addresses("0.0.0.0:18999", "[::]:18999"), "metrics.listen"},
		{"another port", addresses(":18999", ":18998"), ""},
		{"another address", addresses("127.0.0.1:18999", "127.0.0.2:18999"), ""},
		{"any port for both", addresses(":0", ":0"), ""},
		{"metrics that are off", func(c *config.Config) {
			addresses(":18999", ":18999")(c)
			c.Metrics.Enabled = false
		}, ""},
		{"an address of another machine for the console", func(c *config.Config) {
			withConsole(c)
			c.Console.Listen = "192.0.2.1:18999"
		}, "console.listen"},
		{"the console on the server's port", func(c *config.Config) {
			withConsole(c)
			c.Server.Listen, c.Console.Listen = "127.0.0.1:18999", "localhost:18999"
		}, "console.listen: localhost:18999 has the port of server.listen"},
		{"the console on the metrics' port", func(c *config.Config) {
			withConsole(c)
			c.Metrics.Listen, c.Console.Listen = "127.0.0.1:18999", ":18999"
		}, "console.listen: :18999 has the port of metrics.listen"},
		{"a console that is off", func(c *config.Config) { c.Server.Listen, c.Console.Listen = ":18999", ":18999" }, ""},
		{"a spool to be made", func(c *config.Config) { c.Webhooks.Spool = filepath.Join(dir, "a", "b") }, ""},
		{"a certificate that is missing", func(c *config.Config) {
			c.Server.TLS = config.TLS{CertFile: filepath.Join(dir, "no"), KeyFile: filepath.Join(dir, "no")}
		}, "server.tls"},
		{"a certificate that is none", func(c *config.Config) { c.Server.TLS = config.TLS{CertFile: file, KeyFile: file} }, "server.tls"},
		{"a certificate that is no regular file", func(c *config.Config) { c.Server.TLS = config.TLS{CertFile: os.DevNull, KeyFile: file} }, "server.tls: " + os.DevNull + " is no regular file"},
		{"a key that is too large", func(c *config.Config) { c.Server.TLS = config.TLS{CertFile: file, KeyFile: large} }, "large has more than 1048576 bytes"},
		{"a redirect on the server's port", func(c *config.Config) {
			c.Server.Listen, c.Server.RedirectHTTP = "127.0.0.1:18999", ":18999"
		}, "server.redirect_http: :18999 has the port of server.listen"},
		{"a redirect on the metrics' port", func(c *config.Config) {
			c.Server.RedirectHTTP, c.Metrics.Listen = ":18999", "127.0.0.1:18999"
		}, "metrics.listen: 127.0.0.1:18999 has the port of server.redirect_http"},
		{"a storage to be made", func(c *config.Config) { authority(c, filepath.Join(dir, "a", "b")) }, ""},
		{"a storage that is a file", func(c *config.Config) { authority(c, file) }, "server.tls.acme.storage"},
		{"no storage", func(c *config.Config) { authority(c, "") }, "server.tls.acme.storage"},
		{"a storage that is away", func(c *config.Config) {
			authority(c, config.StorageRedis)
			c.Cluster.Driver = config.ClusterRedis
			c.Cluster.Redis.URL = "redis://127.0.0.1:1/0"
		}, ""},
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
