package session_test

import (
	"testing"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
)

// Who connects again has the same source, and shares it with nobody elsewhere.
func TestSource(t *testing.T) {
	broker := channels.NewBroker(1, nil)
	t.Cleanup(broker.Close)
	m := metrics.New("", "", "")
	admission := &session.Admission{Apps: apps.NewRegistry([]config.App{servertest.App("1")}, broker, servertest.Webhooks(t), m),
		Metrics: m, Log: discard, Refusals: refusals.New(discard)}
	tests := []struct {
		name    string
		remotes []string // of one source
	}{
		{"IPv4", []string{"192.0.2.1:1000", "192.0.2.1:1001", "192.0.2.1", "[::ffff:192.0.2.1]:1002"}},
		{"the next IPv4", []string{"192.0.2.2:1000"}},
		{"an IPv6 network", []string{"[2001:db8::1]:1000", "2001:db8::ffff:2"}},
		{"the next IPv6 network", []string{"[2001:db8:0:1::1]:1000"}},
		{"no address", []string{"", "@", "a proxy"}},
	}
	seen := make(map[protocol.Source]string)
	for _, tt := range tests {
		var source protocol.Source
		for i, remote := range tt.remotes {
			s, e := admission.Admit(session.Handshake{App: admission.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}, Remote: remote}, new(wire))
			if e != nil {
				t.Fatal(e)
			}
			defer s.End(session.ByClient)
			if i == 0 {
				source = s.Source()
			}
			if s.Source() == 0 || s.Source() != source {
				t.Errorf("%s: %q has the source %d, %q has %d", tt.name, remote, s.Source(), tt.remotes[0], source)
			}
		}
		if other, ok := seen[source]; ok {
			t.Errorf("%s has the source of %s", tt.name, other)
		}
		seen[source] = tt.name
	}
}
