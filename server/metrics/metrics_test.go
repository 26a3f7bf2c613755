package metrics

import (
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"belfry/channels"
	"belfry/protocol"
)

type fixed struct{}

func (fixed) Connections(t protocol.Transport) int { return 3 + int(t) }
func (fixed) OccupiedChannels(k protocol.Kind) int { return int(k) }
func (fixed) Subscriptions() int                   { return 5 }
func (fixed) WebhooksQueued() int                  { return 6 }

// touch makes every metric have a value.
func touch(m *Metrics) *App {
	a := m.App("1")
	a.Show(fixed{})
	a.Opened(protocol.WebSocket)
	a.Closed(protocol.XHRPolling, "client")
	a.Received(10)
	a.Delivered(2, 20)
	a.Published(1)
	a.ClientEvent()
	a.Delay(time.Millisecond)
	a.SlowConsumer()
	a.Rejected(4004)
	m.Rejected("", 4001)
	a.Error(4009)
	a.Error(0)
	m.Request("1", "events", 200, 0.001)
	m.Cluster(func() error { return nil })
	m.Histories(func() channels.HistoryUse { return channels.HistoryUse{Events: 7, Bytes: 8, Dropped: 9} })
	m.Reloaded(true)
	m.Reloaded(false)
	m.Reloaded(false)
	a.Webhooks.Sent(2)
	a.Webhooks.Failed("status", 3)
	a.Webhooks.Retried()
	a.Webhooks.Dropped("queue_full", 4)
	a.Webhooks.SpoolError()
	a.Webhooks.Took(10 * time.Millisecond)
	m.Panics.Inc()
	return a
}

func scrape(t *testing.T, m *Metrics) string { return scrapeAs(t, m, "") }

// scrapeAs returns the metrics in a format, as the header Accept says it.
func scrapeAs(t *testing.T, m *Metrics, format expfmt.Format) string {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", string(format))
	m.Handler().ServeHTTP(w, r)
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
		`belfry_history_events 7`,
		`belfry_history_bytes 8`,
		`belfry_history_events_dropped_total 9`,
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
		`belfry_config_reloads_total{result="applied"} 1`,
		`belfry_config_reloads_total{result="refused"} 2`,
		`belfry_config_last_reload_successful 0`,
		`belfry_cluster_up 1`,
		`belfry_webhooks_sent_total{app="1"} 2`,
		`belfry_webhooks_failed_total{app="1",reason="status"} 3`,
		`belfry_webhooks_retried_total{app="1"} 1`,
		`belfry_webhooks_dropped_total{app="1",reason="queue_full"} 4`,
		`belfry_webhooks_spool_errors_total{app="1"} 1`,
		`belfry_webhooks_request_duration_seconds_count{app="1"} 1`,
		`belfry_webhooks_queue_length{app="1"} 6`,
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

func TestRemove(t *testing.T) {
	m := New("", "", "")
	removed := touch(m)
	other := m.App("10")
	other.Show(fixed{})
	other.Opened(protocol.WebSocket)
	m.Remove(removed)
	// Those who still hold it count on.
	removed.Opened(protocol.WebSocket)
	removed.Delivered(1, 1)
	removed.Delay(time.Millisecond)
	removed.Closed(protocol.WebSocket, "client")
	removed.Error(4009)
	removed.Rejected(4004)
	m.Request("1", "events", 200, 0.001)
	got := scrape(t, m)
	for line := range strings.Lines(got) {
		if strings.Contains(line, `app="1"`) {
			t.Errorf("is left: %s", line)
		}
	}
	for _, line := range []string{
		`belfry_connections{app="10",transport="websocket"} 3`,
		`belfry_connections_opened_total{app="10",transport="websocket"} 1`,
		`belfry_rejected_handshakes_total{app="",code="4001"} 1`,
		`belfry_api_request_duration_seconds_count{route="events"} 2`,
	} {
		if !strings.Contains(got, "\n"+line) {
			t.Errorf("no line %s", line)
		}
	}

	// The id is free for another.
	again := m.App("1")
	if got := scrape(t, m); strings.Contains(got, `belfry_connections{app="1"`) || !strings.Contains(got, `belfry_connections_opened_total{app="1",transport="websocket"} 0`) {
		t.Errorf("added again, before there is anything to show:\n%s", got)
	}
	again.Show(fixed{})
	again.Closed(protocol.WebSocket, "client")
	got = scrape(t, m)
	for _, line := range []string{`belfry_connections{app="1",transport="websocket"} 3`, `belfry_connections_closed_total{app="1",reason="client",transport="websocket"} 1`} {
		if !strings.Contains(got, "\n"+line) {
			t.Errorf("added again: no line %s", line)
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

// A scraper that asks for protobuf gets native histograms, whose number of buckets is
// bounded, beside those with fixed buckets.
func TestNativeHistograms(t *testing.T) {
	m := New("", "", "")
	a := m.App("1")
	for d := time.Duration(1); d < time.Hour; d += d/20 + 1 {
		a.Delay(d)
	}
	m.Request("1", "events", 200, 0.001)
	a.Webhooks.Took(10 * time.Millisecond)
	m.Lookups(func() int { return 1 }, func() bool { return true }).Answered(true, time.Millisecond)
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	decoder := expfmt.NewDecoder(strings.NewReader(scrapeAs(t, m, format)), format)
	var found []string
	for {
		f := new(dto.MetricFamily)
		if err := decoder.Decode(f); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if f.GetType() != dto.MetricType_HISTOGRAM || !strings.HasPrefix(f.GetName(), "belfry_") {
			continue
		}
		found = append(found, f.GetName())
		for _, metric := range f.Metric {
			h := metric.Histogram
			if n := len(h.PositiveDelta); h.Schema == nil || n == 0 || n > maxNativeBuckets || len(h.Bucket) < 10 {
				t.Errorf("%s has %d native and %d fixed buckets", f.GetName(), n, len(h.Bucket))
			}
		}
	}
	want := []string{
		"belfry_api_request_duration_seconds", "belfry_app_lookup_duration_seconds", "belfry_delivery_delay_seconds",
		"belfry_webhooks_request_duration_seconds",
	}
	if !slices.Equal(found, want) {
		t.Errorf("histograms: %v", found)
	}
}

func BenchmarkDelay(b *testing.B) {
	a := New("", "", "").App("1")
	b.ReportAllocs()
	var d time.Duration
	for b.Loop() {
		d = (d + 7919*time.Nanosecond) % (10 * time.Millisecond)
		a.Delay(d)
	}
}

func BenchmarkDelivered(b *testing.B) {
	a := New("", "", "").App("1")
	b.ReportAllocs()
	for b.Loop() {
		a.Delivered(128, 12800)
	}
}
