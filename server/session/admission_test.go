package session_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"belfry/channels"
	"belfry/server/apps"
	"belfry/server/bugs"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
)

// broken is a connection with a bug.
type broken struct{ wire }

func (*broken) Send([]byte) { panic("a bug") }

// A client that meets a bug while it is admitted is refused, and counts no more.
func TestBugInAdmission(t *testing.T) {
	broker := channels.NewBroker(1, nil)
	t.Cleanup(broker.Close)
	var log bytes.Buffer
	m := metrics.New("", "", "")
	registry := apps.NewRegistry([]config.App{servertest.App("1")}, broker, servertest.Webhooks(t), m)
	admission := &session.Admission{Apps: registry, Metrics: m, Log: discard, Refusals: refusals.New(discard),
		Bugs: bugs.New(slog.New(slog.NewTextHandler(&log, nil)), m.Panics)}
	s, e := admission.Admit(session.Handshake{App: admission.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}}, new(broken))
	if s != nil || e == nil || e.Code != 1011 {
		t.Errorf("admitted with %v, %v", s, e)
	}
	if n := registry.ByID("1").Connections(); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
	var panics dto.Metric
	if err := m.Panics.Write(&panics); err != nil {
		t.Fatal(err)
	}
	if n := panics.Counter.GetValue(); n != 1 || !strings.Contains(log.String(), "a bug") {
		t.Errorf("%v panics are counted, the log is %q", n, log.String())
	}
}
