package console

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"belfry/server/metrics"
)

const (
	// sampleEvery is how often the numbers of /metrics are looked at.
	sampleEvery = 10 * time.Second
	// maxSamples is how many are kept: those of an hour.
	maxSamples = 360
)

// samples are the numbers of the last hour, and the largest since the start. The zero
// value is empty. Its methods may be called concurrently, run once.
type samples struct {
	mu     sync.Mutex // guards the following
	last   reading
	points []point        // oldest first
	peaks  map[string]use // by application, without those that share their series
	now    map[string]use // likewise, in the last sample
}

// reading is what the metrics say at one time.
type reading struct {
	at                                       time.Time
	cpu                                      float64 // seconds
	memory, heap, goroutines, open, maxFiles float64
	delays                                   []bucket                  // of all applications, by ascending bound
	apps                                     map[string]metrics.Counts // by application, those that share their series as one
}

// bucket counts the delays up to a bound, those of smaller bounds among them.
type bucket struct {
	bound float64 // seconds
	count float64
}

// point is a sample. Rates are of the time since the one before.
type point struct {
	at                                     int64 // seconds since 1970
	cpu                                    float64
	memory, heap, goroutines, descriptors  float64
	connections, received, sent, published float64
	p50, p99                               *float64 // milliseconds; nil if nothing was delivered
}

// use is how much an application takes of what may be limited.
type use struct {
	Connections, Subscriptions, Channels float64
	Events, Messages, Requests           float64 // a second
}

// most is the larger of each.
func (u use) most(v use) use {
	return use{
		max(u.Connections, v.Connections), max(u.Subscriptions, v.Subscriptions), max(u.Channels, v.Channels),
		max(u.Events, v.Events), max(u.Messages, v.Messages), max(u.Requests, v.Requests),
	}
}

// run takes samples until ctx ends. Peaks are kept of the applications that are known.
func (s *samples) run(ctx context.Context, m *metrics.Metrics, known func(app string) bool) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		families, _ := m.Process() // an error is about some of them: there are the others
		r := read(families, time.Now())
		r.apps = m.Counts()
		s.add(r, known)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// add adds a reading. The first makes no point, as there is none to compare it with.
func (s *samples) add(r reading, known func(app string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.last
	s.last = r
	seconds := r.at.Sub(before.at).Seconds()
	first := before.at.IsZero()
	p := point{at: r.at.Unix(), memory: r.memory, heap: r.heap, goroutines: r.goroutines, descriptors: r.open}
	s.now = make(map[string]use, len(r.apps))
	for id, a := range r.apps {
		u := use{Connections: float64(a.Connections), Subscriptions: float64(a.Subscriptions), Channels: float64(a.Channels)}
		if !first && seconds > 0 {
			old := before.apps[id] // zero if it has series since then
			u.Events = perSecond(float64(a.Published), float64(old.Published), seconds)
			u.Messages = perSecond(float64(a.Received), float64(old.Received), seconds)
			u.Requests = perSecond(float64(a.Requests), float64(old.Requests), seconds)
			p.sent += perSecond(float64(a.Sent), float64(old.Sent), seconds)
		}
		p.connections += u.Connections
		p.received += u.Messages
		p.published += u.Events
		s.now[id] = u
	}
	if s.peaks == nil {
		s.peaks = make(map[string]use)
	}
	for id, u := range s.now {
		s.peaks[id] = u.most(s.peaks[id])
	}
	maps.DeleteFunc(s.peaks, func(id string, _ use) bool { return !known(id) })
	if first || seconds <= 0 {
		return
	}
	p.cpu = 100 * perSecond(r.cpu, before.cpu, seconds)
	delays := differences(r.delays, before.delays)
	p.p50, p.p99 = quantile(delays, .5), quantile(delays, .99)
	if len(s.points) == maxSamples {
		s.points = slices.Delete(s.points, 0, 1)
	}
	s.points = append(s.points, p)
}

// perSecond is how much a counter grew a second; one that was made anew has begun at 0.
func perSecond(now, before, seconds float64) float64 { return max(now-before, 0) / seconds }

// differences are the counts of what came between two readings.
func differences(now, before []bucket) []bucket {
	if len(now) != len(before) {
		return slices.Clone(now)
	}
	d := slices.Clone(now)
	for i := range d {
		d[i].count = max(d[i].count-before[i].count, 0) // an application that was removed takes its counts away
	}
	return d
}

// quantile is where a share of the counts is below, in milliseconds: within its bucket in
// proportion, and the largest bound for what is over it. It is nil if nothing was counted.
func quantile(buckets []bucket, share float64) *float64 {
	if len(buckets) == 0 {
		return nil
	}
	wanted := share * buckets[len(buckets)-1].count
	if wanted <= 0 {
		return nil
	}
	var lower bucket
	for _, b := range buckets {
		if b.count >= wanted {
			if math.IsInf(b.bound, 1) {
				break
			}
			ms := 1000 * (lower.bound + (b.bound-lower.bound)*(wanted-lower.count)/(b.count-lower.count))
			return &ms
		}
		lower = b
	}
	ms := 1000 * lower.bound
	return &ms
}

// read takes what is shown out of the metrics.
func read(families []*dto.MetricFamily, at time.Time) reading {
	r := reading{at: at}
	for _, f := range families {
		if into := r.field(f.GetName()); into != nil {
			for _, m := range f.GetMetric() {
				*into += valueOf(m)
			}
		} else if f.GetName() == "belfry_delivery_delay_seconds" {
			for _, m := range f.GetMetric() {
				r.delays = sum(r.delays, m.GetHistogram())
			}
		}
	}
	return r
}

// field returns where a metric of the process is added; nil if it is not shown.
func (r *reading) field(name string) *float64 {
	switch name {
	case "process_cpu_seconds_total":
		return &r.cpu
	case "process_resident_memory_bytes":
		return &r.memory
	case "go_memstats_heap_alloc_bytes":
		return &r.heap
	case "go_goroutines":
		return &r.goroutines
	case "process_open_fds":
		return &r.open
	case "process_max_fds":
		return &r.maxFiles
	}
	return nil
}

// valueOf is the value of a counter or a gauge.
func valueOf(m *dto.Metric) float64 {
	if c := m.GetCounter(); c != nil {
		return c.GetValue()
	}
	return m.GetGauge().GetValue()
}

// sum adds a histogram to buckets of the same bounds, and makes them first.
func sum(buckets []bucket, h *dto.Histogram) []bucket {
	if buckets == nil {
		for _, b := range h.GetBucket() {
			buckets = append(buckets, bucket{bound: b.GetUpperBound()})
		}
		buckets = append(buckets, bucket{bound: math.Inf(1)})
	}
	for i, b := range h.GetBucket() {
		buckets[i].count += float64(b.GetCumulativeCount())
	}
	buckets[len(buckets)-1].count += float64(h.GetSampleCount())
	return buckets
}
