package websocket_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"belfry/channels"
	"belfry/server/apps"
	"belfry/server/capacity"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/outbox"
	"belfry/server/poller"
	"belfry/server/refusals"
	"belfry/server/session"
	"belfry/server/websocket"
)

// onOpened is a log that does something when a connection was admitted, which
// is before it can be found.
type onOpened struct {
	slog.Handler
	do func()
}

func (h onOpened) Enabled(context.Context, slog.Level) bool { return true }

func (h onOpened) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "connection opened" {
		h.do()
	}
	return nil
}

// An app is removed, or disabled, just when a client has been admitted: whoever
// looks for its connections does not see that one yet.
func TestEvictAmidAdmission(t *testing.T) {
	off := servertest.App("1")
	off.Enabled = false
	for name, tt := range map[string]struct {
		after []config.App
		code  int
	}{
		"removed":  {nil, 4009},
		"disabled": {[]config.App{off}, 4003},
	} {
		t.Run(name, func(t *testing.T) {
			broker, watch, m := channels.NewBroker(1, nil), keepalive.New(), metrics.New("", "", "")
			defer broker.Close()
			defer watch.Close()
			registry := apps.NewRegistry([]config.App{servertest.App("1")}, broker, servertest.Webhooks(t), m)
			app := registry.ByID("1")
			budget := outbox.NewBudget(outbox.Limits{Client: config.MinOutboxBytes, Total: 1 << 30, Timeout: time.Minute})
			defer budget.Close()
			h := &websocket.Handler{Watch: watch, Budget: budget, Capacity: capacity.New(capacity.Limits{})}
			var once sync.Once
			h.Log = slog.New(onOpened{slog.DiscardHandler, func() {
				once.Do(func() {
					registry.Update(tt.after)
					h.Evict()
				})
			}})
			h.Admission = &session.Admission{Apps: registry, Metrics: m, Log: h.Log, Refusals: refusals.New(h.Log)}
			var err error
			if h.Pollers, err = poller.Start(); err != nil {
				t.Fatal(err)
			}
			defer h.Pollers.Close()
			mux := http.NewServeMux()
			mux.Handle("/app/{key}", h)
			server := httptest.NewServer(mux)
			defer server.Close()
			defer func() {
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				h.End(ended)
			}()

			c := wstest.Dial(t, server.Listener.Addr().String(), servertest.Path("1"))
			if e := c.ReadEvent(); e.Event != "pusher:connection_established" {
				t.Fatalf("greeted with %+v", e)
			}
			if code, _ := c.ReadError(); code != tt.code {
				t.Errorf("told %d, want %d", code, tt.code)
			}
			c.ExpectClose(tt.code)
			if n := app.Connections(); n != 0 {
				t.Errorf("%d connections are counted", n)
			}
		})
	}
}
