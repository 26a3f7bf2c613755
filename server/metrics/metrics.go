// Package metrics counts what an operator asks about, for Prometheus. Every
// name begins with belfry_; the label app is an application's id. No label
// ever holds a channel, a user or a connection.
package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/capacity"
)

// Each histogram is also a native one, which a scraper gets that asks for protobuf. That
// costs 30 ns a value without an allocation, 1 kB a series and 240 bytes a bucket in use.
const (
	// nativeFactor bounds how much wider a bucket is than the one below, and with that the
	// error of a quantile: the factor used is the fourth root of two.
	nativeFactor = 1.2
	// maxNativeBuckets bounds the buckets of a series, at as many as lie between a
	// microsecond and a second.
	maxNativeBuckets = 80
	// nativeReset is the age from which a series that needs more buckets begins anew, the
	// fixed ones as well, which Prometheus takes for a restart. A younger one has wider
	// buckets until then.
	nativeReset = time.Hour
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
	recoveries   *prometheus.CounterVec
	rejected     *prometheus.CounterVec
	errors       *prometheus.CounterVec
	requests     *prometheus.CounterVec
	duration     *prometheus.HistogramVec
	reloads      *prometheus.CounterVec
	reloaded     prometheus.Gauge
	limitsMet    *prometheus.CounterVec
	webhooks     webhooks
	// Panics counts handlers that were stopped by a bug.
	Panics prometheus.Counter
	// AcceptErrors counts attempts to accept connections that failed, mostly for want of
	// a file descriptor.
	AcceptErrors prometheus.Counter
	// CertificateFailures counts orders of certificates that failed.
	CertificateFailures prometheus.Counter

	live   *live
	perApp []deleter // those above with the label app
}

// deleter is the part of a metric with labels that forgets series.
type deleter interface {
	DeletePartialMatch(prometheus.Labels) int
}

// New makes and registers everything. version and revision describe the build.
func New(version, revision, goVersion string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), live: newLive()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "belfry_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		if slices.Contains(labels, "app") {
			m.perApp = append(m.perApp, c)
		}
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(histogramOpts(name, help, buckets), labels)
		m.registry.MustRegister(h)
		if slices.Contains(labels, "app") {
			m.perApp = append(m.perApp, h)
		}
		return h
	}
	m.opened = counter("connections_opened_total", "Connections accepted, by transport.", "app", "transport")
	m.closed = counter("connections_closed_total", "Connections ended, by transport and reason.", "app", "transport", "reason")
	m.received = counter("messages_received_total", "Messages from clients.", "app")
	m.receivedSize = counter("received_bytes_total", "Bytes of messages from clients, without frame headers.", "app")
	m.sent = counter("messages_sent_total", "Messages to clients.", "app")
	m.sentSize = counter("sent_bytes_total", "Bytes of messages to clients, with frame headers.", "app")
	m.events = counter("events_published_total", "Events published, one per event and channel, by source: http or client. One that is repeated with its idempotency key counts again.", "app", "source")
	m.delay = histogram("delivery_delay_seconds", "Seconds from a publish to the write to its last subscriber.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}, "app")
	m.slow = counter("slow_consumers_total", "Connections closed because they did not read.", "app")
	m.recoveries = counter("recoveries_total", "Subscriptions of clients that asked for what they had missed, by result: recovered or missed. 0 in a cluster, where histories are in Redis.", "app", "result")
	m.rejected = counter("rejected_handshakes_total", "Connections refused, by Pusher's code; app is empty if the key is unknown.", "app", "code")
	for _, code := range []int{protocol.CodeAppNotFound, protocol.CodePathNotFound, protocol.CodeNoProtocol, protocol.CodeOverCapacity, protocol.CodeReconnect} {
		m.rejected.WithLabelValues("", codeLabel(code))
	}
	m.errors = counter("errors_total", "Error events sent to connected clients, by Pusher's code; none where Pusher has none.", "app", "code")
	m.requests = counter("api_requests_total", "Answered requests of the HTTP API, by route and status; app is empty if the id is unknown.", "app", "route", "status")
	m.duration = histogram("api_request_duration_seconds", "Seconds to answer a request of the HTTP API.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, "route")
	m.reloads = counter("config_reloads_total", "Configurations read while running, by result: applied, or refused for a mistake.", "result")
	m.reloads.WithLabelValues("applied")
	m.reloads.WithLabelValues("refused")
	m.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "belfry_config_last_reload_successful",
		Help: "Whether the configuration that was read last is in force: 1, or 0 if it was refused."})
	m.reloaded.Set(1)
	m.limitsMet = counter("limits_met_total", "How often a limit of the configuration kept something from happening; limit is its key.", "app", "limit")
	m.webhooks = webhooks{
		sent:     counter("webhooks_sent_total", "Webhook events delivered, one per event and endpoint.", "app"),
		failed:   counter("webhooks_failed_total", "Webhook events given up, by reason: the endpoint refused them (status, redirect), or did not take them in time (expired).", "app", "reason"),
		retried:  counter("webhooks_retried_total", "Webhook requests that repeated one that had failed.", "app"),
		dropped:  counter("webhooks_dropped_total", "Webhook events not tried to the end, by reason: queue_full, removed (the endpoint is not configured any more), shutdown.", "app", "reason"),
		unsaved:  counter("webhooks_spool_errors_total", "Reads, writes and removals in the spool that failed; delivery goes on without.", "app"),
		duration: histogram("webhooks_request_duration_seconds", "Seconds from a webhook request to the end of its answer.", []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "app"),
	}
	m.Panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_panics_total",
		Help: "Bugs that ended a connection or a request."})
	m.AcceptErrors = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_accept_errors_total",
		Help: "Attempts to accept connections that failed, mostly because the limit of file descriptors is reached; connections wait meanwhile."})
	m.CertificateFailures = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_certificate_failures_total",
		Help: "Orders of certificates by server.tls.acme that failed; the log says why."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "belfry_build_info", Help: "The running build; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": goVersion}})
	build.Set(1)
	m.registry.MustRegister(m.reloaded, m.Panics, m.AcceptErrors, m.CertificateFailures, build, m.live,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: "belfry_" + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor:     nativeFactor,
		NativeHistogramMaxBucketNumber:  maxNativeBuckets,
		NativeHistogramMinResetDuration: nativeReset,
	}
}

// LogLinesDropped exports how many lines of the log nobody has taken.
func (m *Metrics) LogLinesDropped(count func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "belfry_log_lines_dropped_total",
		Help: "Log lines that were dropped because nobody read the log."}, func() float64 { return float64(count()) }))
}

// Cluster exports whether the cluster can be reached.
func (m *Metrics) Cluster(ready func() error) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_cluster_up",
		Help: "Whether the cluster can be reached: 1 or 0; always 1 on a single server."}, func() float64 {
		if ready() != nil {
			return 0
		}
		return 1
	}))
}

// Certificates exports when the first of the certificates in use ends; zero: there is none.
func (m *Metrics) Certificates(firstEnd func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_certificate_expiry_timestamp_seconds",
		Help: "When the first of the certificates in use ends, in seconds since 1970; 0: there is none."}, func() float64 {
		if end := firstEnd(); !end.IsZero() {
			return float64(end.Unix())
		}
		return 0
	}))
}

// Histories exports what the histories of all applications take in memory.
func (m *Metrics) Histories(use func() channels.HistoryUse) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_history_events",
			Help: "Events in the histories of all apps; 0 in a cluster, where they are in Redis."},
			func() float64 { return float64(use().Events) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_history_bytes",
			Help: "Bytes that the histories of all apps take; 0 in a cluster."},
			func() float64 { return float64(use().Bytes) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "belfry_history_events_dropped_total",
			Help: "Events dropped before their time because the histories of all apps took more than server.max_history_bytes; 0 in a cluster."},
			func() float64 { return float64(use().Dropped) }))
}

// Sockets exports what the connections are that were accepted and not closed yet.
func (m *Metrics) Sockets(c *capacity.Capacity) {
	for _, kind := range capacity.Kinds {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_sockets",
			Help:        "Connections accepted and not closed, by kind: visitor (at the door, between requests or before the first), http (served by net/http), client (a WebSocket), refused (a WebSocket whose client is being told why).",
			ConstLabels: prometheus.Labels{"kind": kind.String()}}, func() float64 { return float64(c.Count(kind)) }))
	}
}

// Handler serves the metrics in the format that the request asks for, by default as text.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Gather returns what Handler serves.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.registry.Gather() }

// Request counts an answered HTTP API request.
func (m *Metrics) Request(app, route string, status int, seconds float64) {
	m.inc(m.requests, app, route, strconv.Itoa(status))
	m.duration.WithLabelValues(route).Observe(seconds)
}

// Rejected counts a refused handshake. app is empty for an unknown key.
func (m *Metrics) Rejected(app string, code int) {
	m.inc(m.rejected, app, codeLabel(code))
}

// Reloaded counts a configuration that was read while running.
func (m *Metrics) Reloaded(applied bool) {
	result, value := "refused", 0.
	if applied {
		result, value = "applied", 1
	}
	m.reloads.WithLabelValues(result).Inc()
	m.reloaded.Set(value)
}

func codeLabel(code int) string {
	if code == 0 {
		return "none"
	}
	return strconv.Itoa(code)
}
