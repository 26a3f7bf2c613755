package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"belfry/protocol"
)

// Live is read at each scrape: gauges come from what is there, they are not
// counted up and down.
type Live interface {
	Connections(protocol.Transport) int
	OccupiedChannels(protocol.Kind) int
	Subscriptions() int
	WebhooksQueued() int
}

// live is that of one application, or of several.
type live []Live

func (l live) sum(of func(Live) int) (n uint64) {
	for _, one := range l {
		n += uint64(of(one))
	}
	return n
}

// gauges are what is live of applications.
func gauges() []family[live] {
	type read = func(uint64, values)
	return []family[live]{
		describe("connections", "Open connections, subscribed or not, by transport.", func(l live, f read) {
			for t := range protocol.NumTransports {
				f(l.sum(func(one Live) int { return one.Connections(t) }), values{t.String()})
			}
		}, "transport"),
		describe("channels", "Channels with subscribers, by kind.", func(l live, f read) {
			for _, kind := range protocol.Kinds() {
				f(l.sum(func(one Live) int { return one.OccupiedChannels(kind) }), values{kind.String()})
			}
		}, "kind"),
		describe("subscriptions", "Subscriptions of all connections to all channels.",
			func(l live, f read) { f(l.sum(Live.Subscriptions), values{}) }),
		describe("webhooks_queue_length", "Webhook events that wait for an endpoint.",
			func(l live, f read) { f(l.sum(Live.WebhooksQueued), values{}) }),
	}
}

// collector exports what there is of applications.
type collector struct {
	metrics            *Metrics
	counters, refusing []family[*series] // of an application, and of those that are unknown
	gauges             []family[live]
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, f := range c.counters {
		descs <- f.desc
	}
	for _, f := range c.gauges {
		descs <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	l := labels{}
	for app, shown := range c.metrics.shown() {
		send(out, c.counters, l, app, shown.series.began, shown.series)
		if shown.live != nil {
			send(out, c.gauges, l, app, nil, shown.live)
		}
	}
	unknown := c.metrics.unknown
	send(out, c.refusing, l, "", unknown.began, unknown)
}

// send sends what is read from one T. began is when it was begun to count; nil for gauges.
func send[T any](out chan<- prometheus.Metric, families []family[T], l labels, app string, began *timestamppb.Timestamp, from T) {
	for _, f := range families {
		f.each(from, func(n uint64, v values) {
			pairs := make([]*dto.LabelPair, 1, 1+len(f.labels))
			pairs[0] = l.pair("app", app)
			for i, name := range f.labels {
				pairs = append(pairs, l.pair(name, v[i]))
			}
			out <- &sample{f.desc, pairs, float64(n), began}
		})
	}
}

// labels are those of one scrape, each once.
type labels map[[2]string]*dto.LabelPair

func (l labels) pair(name, value string) *dto.LabelPair {
	p := l[[2]string{name, value}]
	if p == nil {
		p = &dto.LabelPair{Name: &name, Value: &value}
		l[[2]string{name, value}] = p
	}
	return p
}

// sample is a value that was read.
type sample struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair // in the order of their names
	value  float64
	began  *timestamppb.Timestamp // nil: it is a gauge
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(m *dto.Metric) error {
	m.Label = s.labels
	if s.began == nil {
		m.Gauge = &dto.Gauge{Value: &s.value}
	} else {
		m.Counter = &dto.Counter{Value: &s.value, CreatedTimestamp: s.began}
	}
	return nil
}
