package metrics

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

// connected has connections, until it has none.
type connected struct{ none atomic.Bool }

func (c *connected) Connections(protocol.Transport) int {
	if c.none.Load() {
		return 0
	}
	return 1
}
func (c *connected) OccupiedChannels(protocol.Kind) int { return 0 }
func (c *connected) Subscriptions() int                 { return 7 }
func (c *connected) WebhooksQueued() int                { return 0 }

// received returns what was received, by the value of the label app, of all that is exported.
func received(t *testing.T, m *Metrics) map[string]int {
	t.Helper()
	all := make(map[string]int)
	for line := range strings.Lines(scrape(t, m)) {
		if labels, ok := strings.CutPrefix(line, "belfry_messages_received_total{app=\""); ok {
			app, value, _ := strings.Cut(labels, `"} `)
			all[app], _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return all
}

func expectReceived(t *testing.T, m *Metrics, want map[string]int) {
	t.Helper()
	if got := received(t, m); !maps.Equal(got, want) {
		t.Errorf("received is %v, want %v", got, want)
	}
}

func (a *App) receive(times int) {
	for range times {
		a.Received(1)
	}
}

// With more than a few applications, one that has done nothing is not exported, nor one that
// is quiet for long.
func TestQuietApps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New("", "", "")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go m.Run(ctx)
		var first []*App
		for i := range few {
			first = append(first, m.App(fmt.Sprint("first", i)))
		}
		minute := func(n int) {
			time.Sleep(time.Duration(n) * rankInterval)
			synctest.Wait()
		}
		minute(2 * quietMinutes)
		if got := received(t, m); len(got) != few {
			t.Errorf("of the first %d apps, there are %v", few, got)
		}
		a, b := m.App("1"), m.App("2")
		live := new(connected)
		b.Show(live)
		minute(1)
		expectReceived(t, m, map[string]int{})
		a.receive(1)
		b.receive(2)
		minute(quietMinutes)
		expectReceived(t, m, map[string]int{"1": 1, "2": 2})
		a.receive(1)
		minute(quietMinutes)
		expectReceived(t, m, map[string]int{"1": 2, "2": 2})
		minute(1)
		expectReceived(t, m, map[string]int{"2": 2}) // which has connections
		live.none.Store(true)
		minute(1)
		expectReceived(t, m, map[string]int{})
		a.receive(3)
		a.Delay(time.Second)
		expectReceived(t, m, map[string]int{"1": 3})
		if got := scrape(t, m); !strings.Contains(got, "\nbelfry_delivery_delay_seconds_count{app=\"1\"} 1\n") {
			t.Errorf("exported is\n%s", got)
		}

		// Few are left.
		for _, one := range first {
			m.Remove(one)
		}
		minute(2 * quietMinutes)
		expectReceived(t, m, map[string]int{"1": 3})
		m.Remove(a)
		m.App("1")
		expectReceived(t, m, map[string]int{"1": 0})
	})
}

// With more applications than may have series of their own, the busiest have them.
func TestOtherApps(t *testing.T) {
	m := New("", "", "")
	m.Limit(2)
	apps := make([]*App, 5)
	for i := range apps {
		apps[i] = m.App(fmt.Sprint(i))
		apps[i].Show(new(connected))
	}
	for i, a := range apps[:4] {
		a.receive(i + 1)
		a.Delay(time.Second)
	}
	expectReceived(t, m, map[string]int{"0": 1, "1": 2, OtherApps: 7})
	for _, line := range []string{
		`belfry_subscriptions{app="0"} 7`,
		`belfry_subscriptions{app="other apps"} 21`,
		`belfry_connections{app="other apps",transport="websocket"} 3`,
		`belfry_delivery_delay_seconds_count{app="other apps"} 2`,
	} {
		if got := scrape(t, m); !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if apps[1].Shares() || !apps[2].Shares() || !apps[4].Shares() {
		t.Error("others share")
	}
	if c := m.Counts(); c[OtherApps].Received != 7 || c[OtherApps].Connections != 3*uint64(protocol.NumTransports) || c["0"].Received != 1 || len(c) != 3 {
		t.Errorf("counts are %+v", c)
	}

	// 0 has done 2 things, 1 3, 2 4 and 3 5: one more than twice as busy as the least.
	m.rank()
	expectReceived(t, m, map[string]int{"1": 2, "3": 0, OtherApps: 7})
	apps[0].receive(1)
	apps[3].receive(1)
	expectReceived(t, m, map[string]int{"1": 2, "3": 1, OtherApps: 8})

	// Those that are alike do not take turns.
	for range 10 {
		for _, a := range apps[:4] {
			a.receive(100)
		}
		m.rank()
		if got := received(t, m); len(got) != 3 || got["1"] == 0 || got["3"] == 0 {
			t.Fatalf("received is %v", got)
		}
	}

	// A place that is left is the busiest one's.
	apps[2].receive(50)
	m.Remove(apps[1])
	m.rank()
	apps[2].receive(1)
	if got := received(t, m); got["2"] != 1 || len(got) != 3 {
		t.Errorf("received is %v", got)
	}
	m.Remove(apps[0]) // whose share was counted with the others'
	before := received(t, m)[OtherApps]
	apps[0].receive(1)
	m.rank()
	if got := received(t, m)[OtherApps]; got != before {
		t.Errorf("others received %d, and %d before", got, before)
	}
}

// Without any series of their own, all share one.
func TestNoSeriesPerApp(t *testing.T) {
	m := New("", "", "")
	m.Limit(0)
	m.App("1").receive(1)
	m.App("2").receive(2)
	m.rank()
	expectReceived(t, m, map[string]int{OtherApps: 3})
}

// Nothing is lost where it is counted while series change hands, but what went to series
// that have gone.
func TestShareAmidCounting(t *testing.T) {
	m := New("", "", "")
	m.Limit(3)
	var counting, ranking sync.WaitGroup
	for i := range 8 {
		counting.Go(func() {
			a := m.App(fmt.Sprint(i))
			a.Show(new(connected))
			for n := range 2000 {
				a.Received(1)
				a.Delay(time.Millisecond)
				a.Closed(protocol.WebSocket, ByClient)
				a.Webhooks.Failed(FailedStatus, 1)
				m.Request(a.id, "events", 200, .001)
				if n%500 == i {
					m.Remove(a)
					a = m.App(a.id)
				}
			}
		})
	}
	done := make(chan struct{})
	ranking.Go(func() {
		others := 0
		for {
			m.rank()
			m.Counts()
			got := received(t, m)
			if got[OtherApps] < others {
				t.Errorf("others received %d, and %d before", got[OtherApps], others)
			}
			others = got[OtherApps]
			if own := slices.Collect(maps.Keys(got)); len(own) > 4 {
				t.Errorf("there are series of %v", own)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	counting.Wait()
	close(done)
	ranking.Wait()
}

// Scraping and ranking many applications.
func BenchmarkMany(b *testing.B) {
	m := New("", "", "")
	m.Limit(1000)
	for i := range 5000 {
		a := m.App(fmt.Sprint(i))
		a.Show(new(connected))
		a.Received(1)
	}
	b.Run("rank", func(b *testing.B) {
		for b.Loop() {
			m.rank()
		}
	})
	b.Run("scrape", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.registry.Gather(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			m.Counts()
		}
	})
}
