// Package metrics counts what an operator asks about, for Prometheus. Every
// name begins with belfry_; the label app is an application's id, or [OtherApps]. No label
// ever holds a channel, a user or a connection.
//
// With more than a few applications, one that does nothing costs nothing here: it gets series
// with the first thing that is counted of it. With more applications than may have series of their own, the
// busiest have them.
package metrics

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"belfry/channels"
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
	process  *prometheus.Registry // what the console shows of it

	delay        *prometheus.HistogramVec
	duration     *prometheus.HistogramVec
	hookDuration *prometheus.HistogramVec
	reloads      *prometheus.CounterVec
	reloaded     prometheus.Gauge
	// Panics counts handlers that were stopped by a bug.
	Panics prometheus.Counter
	// AcceptErrors counts attempts to accept connections that failed, mostly for want of
	// a file descriptor.
	AcceptErrors prometheus.Counter
	// CertificateFailures counts orders of certificates that failed.
	CertificateFailures prometheus.Counter

	perApp  int     // how many applications may have series of their own
	unknown *series // of those that are asked for and that there are not

	mu     sync.RWMutex    // guards the following, and who counts where
	apps   map[string]*App // by id
	own    int             // how many of them have series of their own
	others *series         // of the others; nil until there is one
}

// New makes and registers everything. version and revision describe the build.
func New(version, revision, goVersion string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), process: prometheus.NewRegistry(), perApp: math.MaxInt, unknown: unseen(), apps: make(map[string]*App)}
	histogram := func(name, help string, buckets []float64, label string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(histogramOpts(name, help, buckets), []string{label})
		m.registry.MustRegister(h)
		return h
	}
	m.delay = histogram("delivery_delay_seconds", "Seconds from a publish to the write to its last subscriber.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}, "app")
	m.duration = histogram("api_request_duration_seconds", "Seconds to answer a request of the HTTP API.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}, "route")
	m.hookDuration = histogram("webhooks_request_duration_seconds", "Seconds from a webhook request to the end of its answer.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}, "app")
	m.reloads = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "belfry_config_reloads_total",
		Help: "Configurations read while running, by result: applied, or refused for a mistake."}, []string{"result"})
	m.reloads.WithLabelValues("applied")
	m.reloads.WithLabelValues("refused")
	m.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "belfry_config_last_reload_successful",
		Help: "Whether the configuration that was read last is in force: 1, or 0 if it was refused."})
	m.reloaded.Set(1)
	m.Panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_panics_total",
		Help: "Bugs that ended a connection or a request."})
	m.AcceptErrors = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_accept_errors_total",
		Help: "Attempts to accept connections that failed, mostly because the limit of file descriptors is reached; connections wait meanwhile."})
	m.CertificateFailures = prometheus.NewCounter(prometheus.CounterOpts{Name: "belfry_certificate_failures_total",
		Help: "Orders of certificates by server.tls.acme that failed; the log says why."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "belfry_build_info", Help: "The running build; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": goVersion}})
	build.Set(1)
	process := []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
	m.registry.MustRegister(append(process, m.reloads, m.reloaded, m.Panics, m.AcceptErrors, m.CertificateFailures, build,
		&collector{m, counters(), refusing(unknownCodes()), gauges()})...)
	m.process.MustRegister(append(process, m.delay)...)
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
// missing is how many domains have none.
func (m *Metrics) Certificates(firstEnd func() time.Time, missing func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "belfry_certificates_missing",
		Help: "Domains of server.tls.acme that have no certificate yet: their clients cannot connect."},
		func() float64 { return float64(missing()) }))
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

// Process returns the metrics of the process, of Go's runtime, and belfry_delivery_delay_seconds.
func (m *Metrics) Process() ([]*dto.MetricFamily, error) { return m.process.Gather() }

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
