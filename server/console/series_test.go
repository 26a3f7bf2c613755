package console

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
	"belfry/server/metrics"
)

// idle is an application with one connection.
type idle struct{}

func (idle) Connections(t protocol.Transport) int {
	if t == 0 {
		return 1
	}
	return 0
}
func (idle) OccupiedChannels(protocol.Kind) int { return 0 }
func (idle) Subscriptions() int                 { return 3 }
func (idle) WebhooksQueued() int                { return 0 }

// The samples are those of the metrics, one every ten seconds, for an hour.
func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("test", "", "")
		a, b := m.App("1"), m.App("2")
		a.Show(idle{})
		b.Show(idle{})
		var s samples
		var gone atomic.Value // an application
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.run(ctx, m, func(app string) bool { return app != gone.Load() })
		}()
		synctest.Wait()
		s.mu.Lock()
		pass := func(d time.Duration) {
			s.mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			s.mu.Lock()
		}
		if len(s.points) != 0 || s.last.memory == 0 || s.last.maxFiles == 0 {
			t.Errorf("at the start there are %d points, last %+v", len(s.points), s.last)
		}

		for range 50 {
			a.Received(1)
		}
		for range 10 {
			b.Received(1)
		}
		a.Delivered(200, 1)
		a.Published(20)
		for range 5 {
			a.ClientEvent()
		}
		for range 98 {
			a.Delay(2 * time.Millisecond) // in the bucket from 1 to 2.5 ms
		}
		for range 2 {
			b.Delay(30 * time.Millisecond) // from 25 to 50 ms
		}
		a.LimitMet(metrics.MaxEventBytes)
		pass(sampleEvery)
		if len(s.points) != 1 {
			t.Fatalf("there are %d points", len(s.points))
		}
		p := s.points[0]
		if p.at != time.Now().Unix() || p.connections != 2 || p.received != 6 || p.sent != 20 || p.published != 2.5 || p.goroutines < 1 || p.heap == 0 || p.memory == 0 || p.descriptors == 0 {
			t.Errorf("%+v", p)
		}
		near := func(got *float64, want float64) bool { return got != nil && math.Abs(*got-want) < .01 }
		if !near(p.p50, 1+1.5*50/98) || !near(p.p99, 25+25*.5) {
			t.Errorf("delays %v and %v", *p.p50, *p.p99)
		}
		if now := s.now["1"]; now != (use{Connections: 1, Subscriptions: 3, Events: 2.5, Messages: 5}) || s.last.apps["1"].LimitsMet["max_event_bytes"] != 1 {
			t.Errorf("app 1 has %+v", now)
		}

		pass(sampleEvery)
		if p := s.points[1]; p.received != 0 || p.published != 0 || p.p50 != nil || p.p99 != nil {
			t.Errorf("while nothing happens: %+v", p)
		}
		if s.now["1"].Events != 0 || s.peaks["1"].Events != 2.5 {
			t.Errorf("now %+v, peaks %+v", s.now["1"], s.peaks["1"])
		}

		m.Remove(a)
		gone.Store("1")
		pass(sampleEvery)
		if _, known := s.peaks["1"]; known || s.points[2].connections != 1 || s.points[2].p50 != nil || s.points[2].sent != 0 {
			t.Errorf("without app 1: %+v", s.points[2])
		}
		pass(2 * time.Hour)
		if n := len(s.points); n != maxSamples || s.points[n-1].at-s.points[0].at != int64((maxSamples-1)*sampleEvery/time.Second) {
			t.Errorf("after two hours there are %d points", n)
		}
		s.mu.Unlock()
		cancel()
		<-ended
	})
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		buckets []bucket
		share   float64
		want    float64 // below 0: none
	}{
		{nil, .5, -1},
		{[]bucket{{.001, 0}, {inf, 0}}, .5, -1},
		{[]bucket{{.001, 10}, {inf, 10}}, .5, .5},
		{[]bucket{{.001, 0}, {.002, 10}, {inf, 10}}, 1, 2},
		{[]bucket{{.001, 0}, {.002, 0}, {inf, 10}}, .5, 2}, // at least
	} {
		got := quantile(tt.buckets, tt.share)
		if (got == nil) != (tt.want < 0) || got != nil && math.Abs(*got-tt.want) > 1e-9 {
			t.Errorf("%v of %v: %v, want %v", tt.share, tt.buckets, got, tt.want)
		}
	}
}
