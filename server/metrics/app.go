package metrics

import (
	"maps"
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
	Recovered      prometheus.Counter // subscriptions that were given what they had missed
	Missed         prometheus.Counter // those that could not be
	deliveryDelays prometheus.Observer

	Webhooks Webhooks
}

// Live is read at each scrape: gauges come from what is there, they are not
// counted up and down.
type Live interface {
	Connections(protocol.Transport) int
	OccupiedChannels(protocol.Kind) int
	Subscriptions() int
	WebhooksQueued() int
}

// App returns the counters of an application, which are exported until Remove.
func (m *Metrics) App(id string) *App {
	m.live.set(id, nil)
	a := &App{
		id: id, m: m,
		Received:       m.received.WithLabelValues(id),
		ReceivedBytes:  m.receivedSize.WithLabelValues(id),
		Sent:           m.sent.WithLabelValues(id),
		SentBytes:      m.sentSize.WithLabelValues(id),
		EventsHTTP:     m.events.WithLabelValues(id, "http"),
		EventsClient:   m.events.WithLabelValues(id, "client"),
		SlowConsumers:  m.slow.WithLabelValues(id),
		Recovered:      m.recoveries.WithLabelValues(id, "recovered"),
		Missed:         m.recoveries.WithLabelValues(id, "missed"),
		deliveryDelays: m.delay.WithLabelValues(id),
		Webhooks:       m.webhooksOf(id),
	}
	for t := range protocol.NumTransports {
		a.opened[t] = m.opened.WithLabelValues(id, t.String())
	}
	a.fromZero()
	return a
}

// Show begins to export gauges of what is live.
func (a *App) Show(now Live) { a.m.live.set(a.id, now) }

// Remove forgets an application and all its series. What is counted of it
// afterwards, by somebody who still holds its App, is not exported.
func (m *Metrics) Remove(id string) {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	delete(m.live.apps, id)
	for _, metric := range m.perApp {
		metric.DeletePartialMatch(prometheus.Labels{"app": id})
	}
}

func (m *Metrics) inc(c *prometheus.CounterVec, labels ...string) { m.add(c, 1, labels...) }

// add adds to a series whose first label is an application's id, or empty. The
// series of an application that was removed must not come back.
func (m *Metrics) add(c *prometheus.CounterVec, n int, labels ...string) {
	m.live.mu.RLock()
	defer m.live.mu.RUnlock()
	if _, ok := m.live.apps[labels[0]]; ok || labels[0] == "" {
		c.WithLabelValues(labels...).Add(float64(n))
	}
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
func (a *App) Closed(t protocol.Transport, reason CloseReason) {
	a.m.inc(a.m.closed, a.id, t.String(), string(reason))
}

// Error counts an error event sent to a connected client.
func (a *App) Error(code int) { a.m.inc(a.m.errors, a.id, codeLabel(code)) }

// Rejected counts a refused handshake.
func (a *App) Rejected(code int) { a.m.Rejected(a.id, code) }

// live collects the gauges of all applications.
type live struct {
	connections, channels, subscriptions, queued *prometheus.Desc

	mu   sync.RWMutex    // guards apps, and is held while a series of one is made
	apps map[string]Live // by id; nil until there is something to show
}

func newLive() *live {
	return &live{
		connections:   prometheus.NewDesc("belfry_connections", "Open connections, subscribed or not, by transport.", []string{"app", "transport"}, nil),
		channels:      prometheus.NewDesc("belfry_channels", "Channels with subscribers, by kind.", []string{"app", "kind"}, nil),
		subscriptions: prometheus.NewDesc("belfry_subscriptions", "Subscriptions of all connections to all channels.", []string{"app"}, nil),
		queued:        prometheus.NewDesc("belfry_webhooks_queue_length", "Webhook events that wait for an endpoint.", []string{"app"}, nil),
		apps:          make(map[string]Live),
	}
}

func (l *live) set(id string, now Live) {
	l.mu.Lock()
	l.apps[id] = now
	l.mu.Unlock()
}

// Describe implements prometheus.Collector.
func (l *live) Describe(descs chan<- *prometheus.Desc) {
	descs <- l.connections
	descs <- l.channels
	descs <- l.subscriptions
	descs <- l.queued
}

// Collect implements prometheus.Collector.
func (l *live) Collect(metrics chan<- prometheus.Metric) {
	l.mu.RLock()
	apps := maps.Clone(l.apps)
	l.mu.RUnlock()
	for id, now := range apps {
		if now == nil {
			continue
		}
		gauge := func(desc *prometheus.Desc, n int, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), append([]string{id}, labels...)...)
		}
		for t := range protocol.NumTransports {
			gauge(l.connections, now.Connections(t), t.String())
		}
		gauge(l.subscriptions, now.Subscriptions())
		gauge(l.queued, now.WebhooksQueued())
		for _, kind := range protocol.Kinds() {
			gauge(l.channels, now.OccupiedChannels(kind), kind.String())
		}
	}
}
