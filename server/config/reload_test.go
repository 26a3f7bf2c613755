package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestReloadMakesUpNoApp(t *testing.T) {
	generated, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := generated.Reload("", env("BELFRY_LISTEN=:1"))
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(generated.Apps, again.Apps); d != "" || !again.Generated || again.Server.Listen != ":1" {
		t.Errorf("another app was made up (-old +new)\n%s", d)
	}
	vars := env("BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s")
	configured, err := generated.Reload("", vars)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff([]App{app("1", "k", "s")}, configured.Apps); d != "" || configured.Generated {
		t.Errorf("the app of the environment was not taken (-want +got)\n%s", d)
	}
	if c, err := configured.Reload("", nil); !errors.Is(err, errNoAppLeft) || c != nil {
		t.Errorf("without the app: %v, error %v", c, err)
	}
	var problems Errors
	if c, err := configured.Reload("", env("BELFRY_APP_ID=1")); !errors.As(err, &problems) || c != nil {
		t.Errorf("with half an app: %v, error %v", c, err)
	}
}

func TestNeedRestart(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Config)
		want []string
	}{
		{"nothing", func(*Config) {}, nil},
		{"apps", func(c *Config) { c.Apps = []App{app("2", "l", "t")} }, nil},
		{"generated", func(c *Config) { c.Generated = true }, nil},
		{"level", func(c *Config) { c.Log.Level = slog.LevelDebug }, nil},
		{"files of the certificate", func(c *Config) { c.Server.TLS.CertFile, c.Server.TLS.KeyFile = "a.pem", "b.pem" }, nil},
		{"domains", func(c *Config) { c.Server.TLS.ACME.Domains = []string{"ws.example.com"} }, nil},
		{"bytes of histories", func(c *Config) { c.Server.MaxHistoryBytes *= 2 }, nil},
		{"an empty list is none", func(c *Config) { c.Server.TrustedProxies = []netip.Prefix{} }, nil},
		{"all sections", func(c *Config) {
			c.Server.Listen, c.Server.ShutdownGrace = ":1", time.Minute
			c.Server.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			c.Metrics.Token, c.Log.Format = "t", LogJSON
		}, []string{"server.listen", "server.trusted_proxies", "server.shutdown_grace", "metrics.token", "log.format"}},
		{"the console", func(c *Config) {
			c.Console = Console{true, ":1", "/c", "a", "hunter2-hunter2", "b", "hunter2-hunter2"}
		}, []string{"console.enabled", "console.listen", "console.path", "console.user", "console.password", "console.viewer_user", "console.viewer_password"}},
		{"apps_from", func(c *Config) { c.AppsFrom.URL, c.AppsFrom.Token, c.AppsFrom.TTL = "https://a", "t", time.Hour }, []string{"apps_from.url", "apps_from.token", "apps_from.ttl"}},
	}
	for _, tt := range tests {
		a, b := Default(), Default()
		a.Apps, b.Apps = []App{app("1", "k", "s")}, []App{app("1", "k", "s")}
		tt.edit(&b)
		if got := a.NeedRestart(&b); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
