// Package metrics counts what an operator asks about, for Prometheus. Every
// name begins with belfry_; the label app is an application's id. No label
// ever holds a channel, a user or a connection.
package metrics

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are all of one server's.
type Metrics struct {
	registry *prometheus.Registry

	opened       *prometheus.CounterVec
	closed       *prometheus.CounterVec
	received     *prometheus.CounterVec
	receivedSize *prometheus.CounterVec
	sent         *prometheus.CounterVec
	sentSize     *prometheus.CounterVec
	events       *prometheus.CounterVec
	delay        *prometheus.HistogramVec
	slow         *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	errors       *prometheus.CounterVec
	requests     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	// Panics counts handlers that were stopped by a bug.
	Panics prometheus.Counter

	live *live
}

// New makes and registers everything. version and revision describe the build.
func New(version, revision, goVersion string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), live: newLive()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "belfry_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "belfry_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	m.opened = counter("connections_opened_total", "Connections accepted, by transport.", "app", "transport")
	m.closed = counter("connections_closed_total", "Connections ended, by transport and reason.", "app", "transport", "reason")
	m.received = counter("messages_received_total", "Messages received from clients.", "app")
	m.receivedSize = counter("received_bytes_total", "Bytes of messages received from clients.", "app")
	m.sent = counter("messages_sent_total", "Messages sent to clients.", "app")
	m.sentSize = counter("sent_bytes_total", "Bytes of messages sent to clients, frame headers included.", "app")
	m.events = counter("events_published_total", "Events published, one per event and channel, by source: http or client.", "app", "source")
	m.delay = histogram("delivery_delay_seconds", "Time from a publish to the write to its last subscriber.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}, "app")
	m.slow = counter("slow_consumers_total", "Connections dropped because they did not read.", "app")
	m.rejected = counter("rejected_handshakes_total", "Connections refused, by code; app is empty for an unknown key.", "app", "code")
	m.errors = counter("errors_total", "Error events sent to connected clients, by code (none where Pusher has no code).", "app", "code")
	m.requests = counter("api_requests_total", "HTTP API requests, by route and status; app is empty for an unknown id.", "app", "route", "status")
	m.duration = histogram("api_request_duration_seconds", "Time to answer an HTTP API request.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, "route")
	m.Panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_panics_total",
		Help: "Handlers stopped by a bug; each ended one connection or request."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "belfry_build_info", Help: "The running build; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": goVersion}})
	build.Set(1)
	m.registry.MustRegister(m.Panics, build, m.live,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in the text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts an answered HTTP API request.
func (m *Metrics) Request(app, route string, status int, seconds float64) {
	m.requests.WithLabelValues(app, route, strconv.Itoa(status)).Inc()
	m.duration.WithLabelValues(route).Observe(seconds)
}

// Rejected counts a refused handshake. app is empty for an unknown key.
func (m *Metrics) Rejected(app string, code int) {
	m.rejected.WithLabelValues(app, codeLabel(code)).Inc()
}

func codeLabel(code int) string {
	if code == 0 {
		return "none"
	}
	return strconv.Itoa(code)
}
