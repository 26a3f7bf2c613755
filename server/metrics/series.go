package metrics

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"belfry/protocol"
)

// OtherApps is the label app of the series that those applications share which have none
// of their own. No id has a space.
const OtherApps = "other apps"

// series are what was counted under one value of the label app. All methods may be called
// concurrently.
type series struct {
	received, receivedBytes, sent, sentBytes atomic.Uint64
	publishedHTTP, publishedClient           atomic.Uint64
	opened                                   [protocol.NumTransports]atomic.Uint64
	slow                                     atomic.Uint64
	recovered, missed                        atomic.Uint64
	hooksSent, hooksRetried, hooksUnsaved    atomic.Uint64

	closed, errors, rejected, requests, limits, hooksFailed, hooksDropped tally

	delays, hookDurations prometheus.Observer // seconds

	began *timestamppb.Timestamp
}

// newSeries makes the series of one value of the label app.
func (m *Metrics) newSeries(app string) *series {
	return &series{
		began:         timestamppb.Now(),
		delays:        m.delay.WithLabelValues(app),
		hookDurations: m.hookDuration.WithLabelValues(app),
	}
}

// unseen are series that nobody reads.
func unseen() *series {
	nobody := prometheus.ObserverFunc(func(float64) {})
	return &series{began: timestamppb.Now(), delays: nobody, hookDurations: nobody}
}

// dropSeries forgets what newSeries has made.
func (m *Metrics) dropSeries(app string) {
	m.delay.DeleteLabelValues(app)
	m.hookDuration.DeleteLabelValues(app)
}

// values are those of a family's labels beside app, in the order of the labels' names.
type values [2]string

// tally counts by labels. The zero value is empty. All methods may be called concurrently.
type tally struct {
	mu     sync.RWMutex // guards counts, not their values
	counts map[values]*atomic.Uint64
}

func (t *tally) add(n int, v values) {
	t.mu.RLock()
	c := t.counts[v]
	t.mu.RUnlock()
	if c == nil {
		t.mu.Lock()
		if c = t.counts[v]; c == nil {
			if t.counts == nil {
				t.counts = make(map[values]*atomic.Uint64)
			}
			c = new(atomic.Uint64)
			t.counts[v] = c
		}
		t.mu.Unlock()
	}
	c.Add(uint64(n))
}

// each calls f with every count, those first that are always there.
func (t *tally) each(always []values, f func(n uint64, v values)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, v := range always {
		if t.counts[v] == nil {
			f(0, v)
		}
	}
	for v, c := range t.counts {
		f(c.Load(), v)
	}
}

// family is a metric with the label app, which is read from a T.
type family[T any] struct {
	desc   *prometheus.Desc
	labels []string // beside app, in the order of their names
	each   func(T, func(n uint64, v values))
}

// describe makes a family. labels are those beside app.
func describe[T any](name, help string, each func(T, func(uint64, values)), labels ...string) family[T] {
	return family[T]{prometheus.NewDesc("belfry_"+name, help, append([]string{"app"}, labels...), nil), labels, each}
}

// single reads a metric without labels beside app.
func single(count func(*series) *atomic.Uint64) func(*series, func(uint64, values)) {
	return func(s *series, f func(uint64, values)) { f(count(s).Load(), values{}) }
}

// tallied reads a metric of which some values are always there.
func tallied(counts func(*series) *tally, always ...values) func(*series, func(uint64, values)) {
	return func(s *series, f func(uint64, values)) { counts(s).each(always, f) }
}

// counters are what is counted of an application.
func counters() []family[*series] {
	type read = func(uint64, values)
	var closed []values
	for _, r := range closeReasons() {
		for t := range protocol.NumTransports {
			closed = append(closed, values{string(r), t.String()})
		}
	}
	return append(refusing(refusalCodes()),
		describe("connections_opened_total", "Connections accepted, by transport.", func(s *series, f read) {
			for t := range protocol.NumTransports {
				f(s.opened[t].Load(), values{t.String()})
			}
		}, "transport"),
		describe("connections_closed_total", "Connections ended, by transport and reason.",
			tallied(func(s *series) *tally { return &s.closed }, closed...), "reason", "transport"),
		describe("messages_received_total", "Messages from clients.",
			single(func(s *series) *atomic.Uint64 { return &s.received })),
		describe("received_bytes_total", "Bytes of messages from clients, without frame headers.",
			single(func(s *series) *atomic.Uint64 { return &s.receivedBytes })),
		describe("messages_sent_total", "Messages to clients.",
			single(func(s *series) *atomic.Uint64 { return &s.sent })),
		describe("sent_bytes_total", "Bytes of messages to clients, with frame headers.",
			single(func(s *series) *atomic.Uint64 { return &s.sentBytes })),
		describe("events_published_total", "Events published, one per event and channel, by source: http or client. One that is repeated with its idempotency key counts again.", func(s *series, f read) {
			f(s.publishedHTTP.Load(), values{"http"})
			f(s.publishedClient.Load(), values{"client"})
		}, "source"),
		describe("slow_consumers_total", "Connections closed because they did not read.",
			single(func(s *series) *atomic.Uint64 { return &s.slow })),
		describe("recoveries_total", "Subscriptions of clients that asked for what they had missed, by result: recovered or missed. 0 in a cluster, where histories are in Redis.", func(s *series, f read) {
			f(s.recovered.Load(), values{"recovered"})
			f(s.missed.Load(), values{"missed"})
		}, "result"),
		describe("errors_total", "Error events sent to connected clients, by Pusher's code; none where Pusher has none.",
			tallied(func(s *series) *tally { return &s.errors }, codes(errorCodes())...), "code"),
		describe("limits_met_total", "How often a limit of the configuration kept something from happening; limit is its key.",
			tallied(func(s *series) *tally { return &s.limits }, texts(Limits())...), "limit"),
		describe("webhooks_sent_total", "Webhook events delivered, one per event and endpoint.",
			single(func(s *series) *atomic.Uint64 { return &s.hooksSent })),
		describe("webhooks_failed_total", "Webhook events given up, by reason: the endpoint refused them (status, redirect), or did not take them in time (expired).",
			tallied(func(s *series) *tally { return &s.hooksFailed }, texts([]string{FailedStatus, FailedRedirect, FailedExpired})...), "reason"),
		describe("webhooks_retried_total", "Webhook requests that repeated one that had failed.",
			single(func(s *series) *atomic.Uint64 { return &s.hooksRetried })),
		describe("webhooks_dropped_total", "Webhook events not tried to the end, by reason: queue_full, removed (the endpoint is not configured any more), shutdown.",
			tallied(func(s *series) *tally { return &s.hooksDropped }, texts([]string{DroppedQueueFull, DroppedRemoved, DroppedShutdown})...), "reason"),
		describe("webhooks_spool_errors_total", "Reads, writes and removals in the spool that failed; delivery goes on without.",
			single(func(s *series) *atomic.Uint64 { return &s.hooksUnsaved })),
	)
}

// refusing are the counters that there also are of unknown applications. always are the
// codes of refused connections that are there from the start.
func refusing(always []int) []family[*series] {
	return []family[*series]{
		describe("rejected_handshakes_total", "Connections refused, by Pusher's code; app is empty if the key is unknown.",
			tallied(func(s *series) *tally { return &s.rejected }, codes(always)...), "code"),
		describe("api_requests_total", "Answered requests of the HTTP API, by route and status; app is empty if the id is unknown.",
			tallied(func(s *series) *tally { return &s.requests }), "route", "status"),
	}
}

// texts are the values of a label.
func texts[S ~string](labels []S) (all []values) {
	for _, l := range labels {
		all = append(all, values{string(l)})
	}
	return all
}

// codes are those of a label.
func codes(numbers []int) (all []values) {
	for _, n := range numbers {
		all = append(all, values{codeLabel(n)})
	}
	return all
}
