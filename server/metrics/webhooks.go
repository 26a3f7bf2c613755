package metrics

import "github.com/prometheus/client_golang/prometheus"

// webhooks are the metrics of all applications' webhooks.
type webhooks struct {
	sent, failed, retried, dropped, unsaved *prometheus.CounterVec
	duration                                *prometheus.HistogramVec
}

// Webhooks counts one application's webhooks, its endpoints together.
type Webhooks struct {
	id  string
	all *webhooks

	Sent        prometheus.Counter
	Retried     prometheus.Counter
	SpoolErrors prometheus.Counter
	Duration    prometheus.Observer // seconds
}

func (w *webhooks) app(id string) Webhooks {
	return Webhooks{
		id: id, all: w,
		Sent:        w.sent.WithLabelValues(id),
		Retried:     w.retried.WithLabelValues(id),
		SpoolErrors: w.unsaved.WithLabelValues(id),
		Duration:    w.duration.WithLabelValues(id),
	}
}

// Failed counts events that were given up.
func (w *Webhooks) Failed(reason string, events int) {
	w.all.failed.WithLabelValues(w.id, reason).Add(float64(events))
}

// Dropped counts events that were not tried, or not to the end.
func (w *Webhooks) Dropped(reason string, events int) {
	w.all.dropped.WithLabelValues(w.id, reason).Add(float64(events))
}
