package metrics

import "github.com/prometheus/client_golang/prometheus"

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

func (m *Metrics) webhooksOf(id string) Webhooks {
	return Webhooks{
		id: id, m: m,
		Sent:        m.webhooks.sent.WithLabelValues(id),
		Retried:     m.webhooks.retried.WithLabelValues(id),
		SpoolErrors: m.webhooks.unsaved.WithLabelValues(id),
		Duration:    m.webhooks.duration.WithLabelValues(id),
	}
}

// Failed counts events that were given up.
func (w *Webhooks) Failed(reason string, events int) {
	w.m.add(w.m.webhooks.failed, events, w.id, reason)
}

// Dropped counts events that were not tried, or not to the end.
func (w *Webhooks) Dropped(reason string, events int) {
	w.m.add(w.m.webhooks.dropped, events, w.id, reason)
}
