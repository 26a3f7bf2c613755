package server_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"belfry/server"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/webhooks"
)

// A spool that cannot be used stops the start, with the key's name.
func TestUnusableSpool(t *testing.T) {
	dir := t.TempDir()
	servertest.Start(t, func(c *config.Config) { c.Webhooks.Spool = dir })
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, spool := range []string{dir, file} {
		c := config.Default()
		c.Server.Listen = "127.0.0.1:0"
		c.Apps = []config.App{servertest.App("1")}
		c.Webhooks.Spool = spool
		_, err := server.New(&c, slog.New(slog.DiscardHandler), server.Build{})
		if err == nil || !strings.HasPrefix(err.Error(), "webhooks.spool: ") || errors.Is(err, webhooks.ErrSpoolInUse) != (spool == dir) {
			t.Errorf("%s: error %v", spool, err)
		}
	}
}

// Endpoints of the configuration are there, and an endpoint that does not
// answer keeps no server from stopping.
func TestWebhooksAreConfigured(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		w := config.DefaultWebhook()
		w.URL = "http://127.0.0.1:1/hook"
		c.Apps[0].Webhooks = []config.Webhook{w}
	})
	if n := s.Metric(t, `belfry_webhooks_queue_length{app="1"}`); n != 0 {
		t.Errorf("%v events are queued", n)
	}
	c := s.Connect(t, "1")
	s.Stop()
	expectRefusal(t, c.Conn, 4200)
	c.Drop()
}
