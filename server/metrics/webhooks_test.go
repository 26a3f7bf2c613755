package metrics

import (
	"strings"
	"testing"
)

// Alerts on an increase need a series that exists before the first event.
func TestWebhooksExistFromTheStart(t *testing.T) {
	m := New("", "", "")
	m.App("1")
	got := scrape(t, m)
	for _, series := range []string{
		`sent_total{app="1"}`,
		`failed_total{app="1",reason="status"}`,
		`failed_total{app="1",reason="redirect"}`,
		`failed_total{app="1",reason="expired"}`,
		`dropped_total{app="1",reason="queue_full"}`,
		`dropped_total{app="1",reason="removed"}`,
		`dropped_total{app="1",reason="shutdown"}`,
		`retried_total{app="1"}`,
		`spool_errors_total{app="1"}`,
		`request_duration_seconds_count{app="1"}`,
	} {
		if !strings.Contains(got, "\nbelfry_webhooks_"+series+" 0\n") {
			t.Errorf("%s does not exist, or is not zero", series)
		}
	}
}
