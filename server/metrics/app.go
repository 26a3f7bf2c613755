package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/protocol"
)

// App counts one application's share. Its counters are looked up once, so that
// the hot path only adds.
type App struct {
	id string
	m  *Metrics

	opened         [protocol.NumTransports]prometheus.Counter
	Received       prometheus.Counter
	ReceivedBytes  prometheus.Counter
	Sent           prometheus.Counter
	SentBytes      prometheus.Counter
	EventsHTTP     prometheus.Counter
	EventsClient   prometheus.Counter
	SlowConsumers  prometheus.Counter
	deliveryDelays prometheus.Observer
}

// Live is read at each scrape: gauges come from what is there, they are not
// counted up and down.
type Live interface {
	Connections(protocol.Transport) int
	OccupiedChannels(protocol.Kind) int
	Subscriptions() int
}

// App returns the counters of an application, and gauges of what is live.
func (m *Metrics) App(id string, now Live) *App {
	m.live.add(id, now)
	a := &App{
		id: id, m: m,
		Received:       m.received.WithLabelValues(id),
		ReceivedBytes:  m.receivedSize.WithLabelValues(id),
		Sent:           m.sent.WithLabelValues(id),
		SentBytes:      m.sentSize.WithLabelValues(id),
		EventsHTTP:     m.events.WithLabelValues(id, "http"),
		EventsClient:   m.events.WithLabelValues(id, "client"),
		SlowConsumers:  m.slow.WithLabelValues(id),
		deliveryDelays: m.delay.WithLabelValues(id),
	}
	for t := range protocol.NumTransports {
		a.opened[t] = m.opened.WithLabelValues(id, t.String())
	}
	return a
}

// Delivered implements channels.Observer.
func (a *App) Delivered(messages, bytes int) {
	a.Sent.Add(float64(messages))
	a.SentBytes.Add(float64(bytes))
}

// Delay implements channels.Observer.
func (a *App) Delay(d time.Duration) { a.deliveryDelays.Observe(d.Seconds()) }

// Opened counts a connection's beginning.
func (a *App) Opened(t protocol.Transport) { a.opened[t].Inc() }

// Closed counts a connection's end.
func (a *App) Closed(t protocol.Transport, reason string) {
	a.m.closed.WithLabelValues(a.id, t.String(), reason).Inc()
}

// Error counts an error event sent to a connected client.
func (a *App) Error(code int) { a.m.errors.WithLabelValues(a.id, codeLabel(code)).Inc() }

// Rejected counts a refused handshake.
func (a *App) Rejected(code int) { a.m.Rejected(a.id, code) }

// live collects the gauges of all applications.
type live struct {
	connections, channels, subscriptions *prometheus.Desc

	mu   sync.Mutex // guards apps
	apps map[string]Live
}

func newLive() *live {
	return &live{
		connections:   prometheus.NewDesc("belfry_connections", "Open connections, subscribed or not, by transport.", []string{"app", "transport"}, nil),
		channels:      prometheus.NewDesc("belfry_channels", "Channels with subscribers, by kind.", []string{"app", "kind"}, nil),
		subscriptions: prometheus.NewDesc("belfry_subscriptions", "Subscriptions of all connections to all channels.", []string{"app"}, nil),
		apps:          make(map[string]Live),
	}
}

func (l *live) add(id string, now Live) {
	l.mu.Lock()
	l.apps[id] = now
	l.mu.Unlock()
}

// Describe implements prometheus.Collector.
func (l *live) Describe(descs chan<- *prometheus.Desc) {
	descs <- l.connections
	descs <- l.channels
	descs <- l.subscriptions
}

// Collect implements prometheus.Collector.
func (l *live) Collect(metrics chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, now := range l.apps {
		gauge := func(desc *prometheus.Desc, n int, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), append([]string{id}, labels...)...)
		}
		for t := range protocol.NumTransports {
			gauge(l.connections, now.Connections(t), t.String())
		}
		gauge(l.subscriptions, now.Subscriptions())
		for _, kind := range protocol.Kinds() {
			gauge(l.channels, now.OccupiedChannels(kind), kind.String())
		}
	}
}
