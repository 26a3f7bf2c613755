package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"belfry/protocol"
)

type fixed struct{}

func (fixed) Connections(t protocol.Transport) int { return 3 + int(t) }
func (fixed) OccupiedChannels(k protocol.Kind) int { return int(k) }
func (fixed) Subscriptions() int                   { return 5 }

// touch makes every metric have a value.
func touch(m *Metrics) {
	a := m.App("1", fixed{})
	a.Opened(protocol.WebSocket)
	a.Closed(protocol.XHRPolling, "client")
	a.Received.Inc()
	a.ReceivedBytes.Add(10)
	a.Delivered(2, 20)
	a.EventsHTTP.Inc()
	a.EventsClient.Inc()
	a.Delay(time.Millisecond)
	a.SlowConsumers.Inc()
	a.Rejected(4004)
	m.Rejected("", 4001)
	a.Error(4009)
	a.Error(0)
	m.Request("1", "events", 200, 0.001)
	m.Panics.Inc()
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	return w.Body.String()
}

func TestEverythingIsExported(t *testing.T) {
	m := New("1.2.3", "abc", "go")
	touch(m)
	got := scrape(t, m)
	for _, line := range []string{
		`belfry_connections{app="1",transport="websocket"} 3`,
		`belfry_connections{app="1",transport="xhr_streaming"} 4`,
		`belfry_connections{app="1",transport="xhr_polling"} 5`,
		`belfry_subscriptions{app="1"} 5`,
		`belfry_channels{app="1",kind="presence"} 2`,
		`belfry_channels{app="1",kind="private-encrypted-cache"} 7`,
		`belfry_connections_opened_total{app="1",transport="websocket"} 1`,
		`belfry_connections_closed_total{app="1",reason="client",transport="xhr_polling"} 1`,
		`belfry_messages_received_total{app="1"} 1`,
		`belfry_received_bytes_total{app="1"} 10`,
		`belfry_messages_sent_total{app="1"} 2`,
		`belfry_sent_bytes_total{app="1"} 20`,
		`belfry_events_published_total{app="1",source="http"} 1`,
		`belfry_events_published_total{app="1",source="client"} 1`,
		`belfry_delivery_delay_seconds_count{app="1"} 1`,
		`belfry_slow_consumers_total{app="1"} 1`,
		`belfry_rejected_handshakes_total{app="1",code="4004"} 1`,
		`belfry_rejected_handshakes_total{app="",code="4001"} 1`,
		`belfry_errors_total{app="1",code="4009"} 1`,
		`belfry_errors_total{app="1",code="none"} 1`,
		`belfry_api_requests_total{app="1",route="events",status="200"} 1`,
		`belfry_api_request_duration_seconds_count{route="events"} 1`,
		`belfry_panics_total 1`,
		`belfry_build_info{goversion="go",revision="abc",version="1.2.3"} 1`,
		`go_goroutines `,
		`process_open_fds `,
	} {
		if !strings.Contains(got, "\n"+line) {
			t.Errorf("no line %s", line)
		}
	}
}

// Prometheus' own rules for names, units and help texts.
func TestNamesFollowTheRules(t *testing.T) {
	m := New("", "", "")
	touch(m)
	problems, err := promlint.New(strings.NewReader(scrape(t, m))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "belfry_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func BenchmarkDelivered(b *testing.B) {
	a := New("", "", "").App("1", fixed{})
	b.ReportAllocs()
	for b.Loop() {
		a.Delivered(128, 12800)
	}
}
