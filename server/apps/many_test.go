package apps

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"testing"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps/source"
	"belfry/server/bugs"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/metrics"
)

// heap is what lives on it, in bytes.
func heap() int {
	runtime.GC()
	runtime.GC() // frees what the first one has found to be unused
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// use has an application have a connection and some channels.
func use(t *testing.T, a *App) {
	t.Helper()
	if _, e := a.Connect(protocol.WebSocket, "127.0.0.1"); e != nil {
		t.Fatal(e)
	}
	a.Metrics.Opened(protocol.WebSocket)
	for i := range 3 {
		if _, _, err := a.Channels.Subscribe(nobody{}, fmt.Sprint("news-", i), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A server may know of many applications, of which few do something at a time: those that
// do nothing take little memory, and so do those that have no series of their own.
func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		name       string
		perApp     int
		idle, used int // bytes of an application, at most
	}{
		{"sharing series", 0, 2300, 5100},
		{"with series of its own", math.MaxInt, 2300, 8500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const n = 2000
			broker := channels.NewBroker(1, nil)
			t.Cleanup(broker.Close)
			m := metrics.New("", "", "")
			m.Limit(tt.perApp)
			configs := make([]config.App, n)
			for i := range configs {
				configs[i] = configured(fmt.Sprint(i))
			}
			hooks := newSender(t)
			before := heap()
			r := NewRegistry(configs, broker, hooks, m)
			idle := (heap() - before) / n
			r.All(func(a *App) { use(t, a) })
			used := (heap() - before) / n
			t.Logf("%d bytes, %d with a connection and three channels", idle, used)
			if idle > tt.idle || used > tt.used {
				t.Errorf("an application takes %d bytes, and %d with a connection and three channels", idle, used)
			}
			runtime.KeepAlive(configs)
		})
	}
}

// rows are a source with an application of every number, which tells of no changes.
type rows struct{}

func (rows) Find(_ context.Context, by source.By, name string) ([]byte, error) {
	return fmt.Appendf(nil, `{"id":%q,"key":%q,"secret":"secret"}`, name, name), nil
}
func (rows) Watch(context.Context, func(string)) error { return nil }
func (rows) Check(context.Context) error               { return nil }
func (rows) Close() error                              { return nil }

// BenchmarkLookUps looks up 5,000 applications of many more, and what the sweep of these
// takes, which there is every second.
func BenchmarkLookUps(b *testing.B) {
	const n = 5000
	known := func(b *testing.B) *Registry {
		m := metrics.New("", "", "")
		broker := channels.NewBroker(1, nil)
		b.Cleanup(broker.Close)
		r := NewRegistry(nil, broker, newSender(b), m)
		log := slog.New(slog.DiscardHandler)
		r.SetFinder(Finder{
			Source: rows{}, Limits: config.Default().Server, TTL: time.Hour, Log: log, Changes: new(handover.Changes),
			Bugs: bugs.New(log, m.Panics), Evict: func() {},
		})
		b.Cleanup(r.Close)
		for i := range n {
			a, err := r.Find(b.Context(), source.ByKey, fmt.Sprint(i), "")
			if err != nil || a == nil {
				b.Fatal(a, err)
			}
			a.Release()
		}
		return r
	}
	b.Run("first", func(b *testing.B) {
		before := heap()
		r := known(b)
		bytes := float64(heap()-before) / n
		runtime.KeepAlive(r)
		for b.Loop() {
			known(b)
		}
		b.ReportMetric(bytes, "bytes/app")
		b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(b.N)/n, "µs/app")
	})
	b.Run("sweep", func(b *testing.B) {
		r := known(b)
		for b.Loop() {
			if due := r.due(); len(due) > 0 {
				b.Fatal(len(due), "are due")
			}
		}
	})
}
