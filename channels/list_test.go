package channels

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

func all(string) bool { return true }

func namesOf(page []Overview) (names []string) {
	for _, o := range page {
		names = append(names, o.Name)
	}
	return names
}

func TestActivity(t *testing.T) {
	var a activity
	at := time.Duration(1)
	rate := func(want float64) {
		t.Helper()
		if got := a.rate(at); got < want-0.01 || got > want+0.01 {
			t.Errorf("at %s: %g events a second, want %g", at, got, want)
		}
	}
	rate(0)
	for range 100 {
		a.count(at)
	}
	rate(10)
	at = 15 * time.Second
	rate(5) // half of its window is within the last ten seconds
	for range 20 {
		a.count(at)
	}
	rate(7)
	a.count(9 * time.Second) // of a publisher that has waited for the lock
	rate(7.1)
	at = 25 * time.Second
	rate(1.05)
	at = 35 * time.Second
	rate(0)
	a.count(at)
	rate(0.1)
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := NewBroker(2, nil)
		defer broker.Close()
		a := broker.NewApp("1", Limits{CacheTTL: time.Minute, PresenceMembers: 100, SubscriptionCount: true}, new(counts), nil)
		var ends []func()
		for i := range 6 { // c-5 has the most of everything, and the last event
			name := fmt.Sprintf("presence-c-%d", i)
			for n := range i + 1 {
				s, _, err := a.Subscribe(newRecorder(), name, &protocol.Member{UserID: fmt.Sprint(n / 2)})
				if err != nil {
					t.Fatal(err)
				}
				ends = append(ends, func() { a.Unsubscribe(s) })
			}
			for n := range i {
				time.Sleep(time.Millisecond)
				if err := a.Publish(Publication{Event: protocol.Event{Name: fmt.Sprintf(`App\Events\%d`, n), Channel: name, Data: []byte(`""`)}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		subscribe(t, a, "#server-to-user-1")
		if err := a.Publish(Publication{Event: event("cache-nobody", "x")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()

		up := []string{"presence-c-0", "presence-c-1", "presence-c-2", "presence-c-3", "presence-c-4", "presence-c-5"}
		down := slices.Clone(up)
		slices.Reverse(down)
		byUsers := []string{"presence-c-4", "presence-c-5", "presence-c-2", "presence-c-3", "presence-c-0", "presence-c-1"}
		for by, want := range map[Order][]string{ByName: up, BySubscriptions: down, ByUsers: byUsers, ByRate: down, ByLast: down} {
			for offset := range 8 {
				for limit := 1; limit < 8; limit++ {
					page, total := a.List(all, by, offset, limit)
					from := min(offset, 6)
					if total != 6 || !slices.Equal(namesOf(page), want[from:min(from+limit, 6)]) {
						t.Errorf("order %d, %d from %d: %v of %d, want of %v", by, limit, offset, namesOf(page), total, want)
					}
				}
			}
		}
		page, total := a.List(func(name string) bool { return strings.HasSuffix(name, "5") }, ByName, 0, 10)
		if total != 1 || len(page) != 1 {
			t.Fatalf("found %v of %d", namesOf(page), total)
		}
		got, want := page[0], Overview{"presence-c-5", protocol.Presence, 6, 3, 0.5, `App\Events\4`, time.Now()}
		if !got.LastAt.Equal(want.LastAt) {
			t.Errorf("the last event was at %s, want %s", got.LastAt, want.LastAt)
		}
		got.LastAt = want.LastAt
		if got != want {
			t.Errorf("shown as %+v, want %+v", got, want)
		}
		for _, end := range ends {
			end()
		}
		if page, total := a.List(all, ByName, 0, 10); total != 0 || len(page) != 0 {
			t.Errorf("%v are left", namesOf(page))
		}
	})
}

func TestLook(t *testing.T) {
	broker := NewBroker(3, nil)
	defer broker.Close()
	a := broker.NewApp("1", Limits{PresenceMembers: 100}, new(counts), nil)
	var want []Listed
	for i := range 20 {
		r := newRecorder()
		if i%3 == 0 {
			r.lines = true
		}
		user := fmt.Sprint(i)
		if _, _, err := a.Subscribe(r, "presence-a", &protocol.Member{UserID: user}); err != nil {
			t.Fatal(err)
		}
		want = append(want, Listed{r.id, user})
	}
	for offset := 0; offset < 22; offset += 3 {
		o, got := a.Look("presence-a", offset, 3)
		from := min(offset, 20)
		if o.Subscriptions != 20 || o.Users != 20 || !slices.Equal(got, want[from:min(from+3, 20)]) {
			t.Errorf("from %d: %+v, %v", offset, o, got)
		}
	}
	o, got := a.Look("private-nobody", 0, 10)
	if o != (Overview{Name: "private-nobody", Kind: protocol.Private}) || len(got) > 0 {
		t.Errorf("a channel that is not there: %+v, %v", o, got)
	}
}

// A node counts what reaches it from the cluster, and knows names that JSON escapes.
func TestClusterActivity(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	for _, channel := range []string{"c", "cache-c", "presence-c"} {
		if channel == "presence-c" {
			w.join(t, 0, channel, "1")
			w.join(t, 1, channel, "2")
		} else {
			w.on(t, 0, channel)
		}
		name := `App\Events\"Größe"`
		if err := w.apps[1].Publish(Publication{Event: protocol.Event{Name: name, Channel: channel, Data: []byte(`""`)}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the event is seen on "+channel, func() bool {
			o, _ := w.apps[0].Look(channel, 0, 1)
			return o.LastEvent == name && o.Rate > 0 && o.Rate < 0.11 && !o.LastAt.IsZero()
		})
	}
	if o, _ := w.apps[0].Look("presence-c", 0, 1); o.Users != 1 || o.Subscriptions != 1 {
		t.Errorf("the node has %+v", o)
	}
	for _, hostile := range []string{`{}`, `{"event":1}`, `{"event":"`, `{"event":"\`, `{"event":"\"`} {
		if name := (relayed{json: []byte(hostile)}).name(); name != nil {
			t.Errorf("the name in %s is %q", hostile, name)
		}
	}
}

// Channels come and go while they are listed.
func TestListAmidChanges(t *testing.T) {
	broker := NewBroker(2, nil)
	defer broker.Close()
	a := broker.NewApp("1", Limits{PresenceMembers: 100}, new(counts), nil)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 300 {
				name := fmt.Sprintf("presence-%d", rand.N(20))
				s, _, err := a.Subscribe(newRecorder(), name, &protocol.Member{UserID: fmt.Sprint(rand.N(10))})
				if err != nil {
					t.Error(err)
					return
				}
				a.publish(event(name, "x"), protocol.SocketID{})
				a.Unsubscribe(s)
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		page, _ := a.List(all, ByRate, 0, 5)
		for _, o := range page {
			a.Look(o.Name, 0, 5)
		}
	}
}

func BenchmarkList(b *testing.B) {
	broker := NewBroker(2, nil)
	defer broker.Close()
	a := broker.NewApp("1", Limits{}, new(counts), nil)
	for i := range 100_000 {
		if _, _, err := a.Subscribe(sink{protocol.NewSocketID(uint64(i)<<32 | uint64(i))}, fmt.Sprintf("private-user-%d", i), nil); err != nil {
			b.Fatal(err)
		}
	}
	for _, bb := range []struct {
		name   string
		match  func(string) bool
		by     Order
		offset int
	}{
		{"by name", all, ByName, 0},
		{"by rate", all, ByRate, 0},
		{"search", func(name string) bool { return strings.Contains(name, "-777") }, ByName, 0},
		{"last page", all, ByName, 99_950},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.List(bb.match, bb.by, bb.offset, 50)
			}
		})
	}
}

func BenchmarkLook(b *testing.B) {
	broker := NewBroker(2, nil)
	defer broker.Close()
	a := broker.NewApp("1", Limits{}, new(counts), nil)
	for i := range 100_000 {
		if _, _, err := a.Subscribe(sink{protocol.NewSocketID(rand.Uint64())}, "c", nil); err != nil {
			b.Fatal(i, err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Look("c", 100, 50)
	}
}
