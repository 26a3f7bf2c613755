package metrics

import "github.com/prometheus/client_golang/prometheus"

// The values of the label reason of belfry_webhooks_failed_total: why an event
// was given up after it was tried.
const (
	FailedStatus   = "status"   // the endpoint refused it
	FailedRedirect = "redirect" // the endpoint answered with a redirect that is not followed
	FailedExpired  = "expired"  // the endpoint did not take it in time
)

// The values of the label reason of belfry_webhooks_dropped_total: why an event
// was not tried, or not to the end.
const (
	DroppedQueueFull = "queue_full"
	DroppedRemoved   = "removed" // its endpoint is not configured any more
	DroppedShutdown  = "shutdown"
)

// webhooks are the metrics of all applications' webhooks.
type webhooks struct {
	sent, failed, retried, dropped, unsaved *prometheus.CounterVec
	duration                                *prometheus.HistogramVec
}

// Webhooks counts one application's webhooks, its endpoints together.
type Webhooks struct {
	id string
	m  *Metrics

	Sent        prometheus.Counter
	Retried     prometheus.Counter
	SpoolErrors prometheus.Counter
	Duration    prometheus.Observer // seconds
}

// webhooksOf makes all series of an application, so that each exists from the
// start: an alert on an increase misses a counter that begins above zero.
func (m *Metrics) webhooksOf(id string) Webhooks {
	for _, reason := range []string{FailedStatus, FailedRedirect, FailedExpired} {
		m.webhooks.failed.WithLabelValues(id, reason)
	}
	for _, reason := range []string{DroppedQueueFull, DroppedRemoved, DroppedShutdown} {
		m.webhooks.dropped.WithLabelValues(id, reason)
	}
	return Webhooks{
		id: id, m: m,
		Sent:        m.webhooks.sent.WithLabelValues(id),
		Retried:     m.webhooks.retried.WithLabelValues(id),
		SpoolErrors: m.webhooks.unsaved.WithLabelValues(id),
		Duration:    m.webhooks.duration.WithLabelValues(id),
	}
}

// Failed counts events that were given up. The reason is one of the Failed
// constants.
func (w *Webhooks) Failed(reason string, events int) {
	w.m.add(w.m.webhooks.failed, events, w.id, reason)
}

// Dropped counts events that were not tried, or not to the end. The reason is
// one of the Dropped constants.
func (w *Webhooks) Dropped(reason string, events int) {
	w.m.add(w.m.webhooks.dropped, events, w.id, reason)
}
