package channels

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

// backend is a Listener that keeps what it is told.
type backend struct {
	unwanted string // a channel of which it wants to know nothing

	mu     sync.Mutex
	got    []string
	events []protocol.WebhookEvent
	by     []protocol.Source // who caused each of all
}

func (b *backend) Happened(e protocol.WebhookEvent, d *Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, string(e.Append(nil)))
	b.by = append(b.by, e.Source)
	b.events = append(b.events, e)
}

func (b *backend) Lost(string, int) {}

func (b *backend) Wants(channel string) bool { return channel != b.unwanted }

func (b *backend) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *backend) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = nil
	return got
}

func (b *backend) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	if got := b.take(); !slices.Equal(got, want) {
		t.Errorf("%s: the backend is told\n%q, want\n%q", what, got, want)
	}
}

func newListened(t testing.TB, limits Limits) (*App, *backend) {
	broker := NewBroker(2, nil)
	t.Cleanup(broker.Close)
	b := new(backend)
	limits.PresenceMembers, limits.CacheTTL = 100, time.Minute
	a := broker.NewApp("1", limits, new(counts), b)
	broker.EndGraces() // so that departures are told at once
	return a, b
}

func happened(name, channel string) string {
	return fmt.Sprintf(`{"name":%q,"channel":%q}`, name, channel)
}

func happenedTo(name, channel, user string) string {
	return fmt.Sprintf(`{"name":%q,"channel":%q,"user_id":%q}`, name, channel, user)
}

func happenedCount(channel string, n int) string {
	return fmt.Sprintf(`{"name":"subscription_count","channel":%q,"subscription_count":%d}`, channel, n)
}

func TestListenerIsToldInOrder(t *testing.T) {
	a, b := newListened(t, Limits{SubscriptionCount: true})
	_, one := subscribe(t, a, "c")
	_, two := subscribe(t, a, "c")
	a.Unsubscribe(one)
	a.Unsubscribe(two)
	b.expect(t, "a channel", happened("channel_occupied", "c"), happenedCount("c", 1), happenedCount("c", 2),
		happenedCount("c", 1), happenedCount("c", 0), happened("channel_vacated", "c"))

	join := func(user string) *Subscription {
		s, _, err := a.Subscribe(newRecorder(), "presence-c", &protocol.Member{UserID: user})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two = join("1"), join("1")
	three := join("2")
	for _, s := range []*Subscription{one, two, three} {
		a.Unsubscribe(s)
	}
	const p = "presence-c"
	b.expect(t, "a presence channel", happened("channel_occupied", p), happenedTo("member_added", p, "1"), happenedTo("member_added", p, "2"),
		happenedTo("member_removed", p, "1"), happenedTo("member_removed", p, "2"), happened("channel_vacated", p))

	_, i := signIn(a, "1")
	a.SignOut(i)
	b.expect(t, "a user's channel")

	sub, _, err := a.Subscribe(newRecorder(), p, &protocol.Member{UserID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	b.take()
	if err := a.PublishFrom(sub, protocol.Event{Name: "client-e", Channel: p, Data: []byte(`"{}"`), UserID: "1"}, ""); err != nil {
		t.Fatal(err)
	}
	b.expect(t, "a client event",
		fmt.Sprintf(`{"name":"client_event","channel":%q,"event":"client-e","data":"{}","socket_id":%q,"user_id":"1"}`, p, sub.id))
	a.publish(event(p, "x"), protocol.SocketID{})
	b.expect(t, "an event of the backend itself")
}

func TestRefusedMemberIsNotTold(t *testing.T) {
	a, b := newListened(t, Limits{})
	a.limits.Store(&Limits{PresenceMembers: 0})
	if _, _, err := a.Subscribe(newRecorder(), "presence-c", &protocol.Member{UserID: "1"}); err != ErrFull {
		t.Fatal(err)
	}
	b.expect(t, "a full channel")
}

func TestCacheMissSpeaksForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newListened(t, Limits{})
		const c = "cache-c"
		for range 10 {
			subscribe(t, a, c)
		}
		b.expect(t, "ten at once", happened("channel_occupied", c), happened("cache_miss", c))
		time.Sleep(missInterval)
		subscribe(t, a, c)
		b.expect(t, "one later", happened("cache_miss", c))
		a.publish(event(c, "x"), protocol.SocketID{})
		time.Sleep(missInterval)
		subscribe(t, a, c)
		b.expect(t, "a hit")
		a.broker.Close()
	})
}

func count(n int) string { return fmt.Sprintf(`{"subscription_count":%d}`, n) }

func TestSubscriptionCount(t *testing.T) {
	a, _ := newApp(t, Limits{SubscriptionCount: true})
	for _, name := range []string{"c", "private-c", "cache-c", "private-encrypted-c"} {
		one, _ := subscribe(t, a, name)
		one.wait(t, count(1))
		two, s := subscribe(t, a, name)
		one.wait(t, count(2))
		two.wait(t, count(2))
		a.Unsubscribe(s)
		one.wait(t, count(1))
	}
	off, _ := newApp(t, Limits{})
	r, _ := subscribe(t, off, "c")
	subscribe(t, off, "c")
	off.publish(event("c", "x"), protocol.SocketID{})
	if got := r.wait(t, "x"); len(got) != 1 {
		t.Errorf("got %q from an app without counts", got)
	}
}

func TestSubscriptionCountOfALargeChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newApp(t, Limits{SubscriptionCount: true})
		one, _ := subscribe(t, a, "c")
		synctest.Wait()
		one.take()
		var others []*Subscription
		join := func() {
			_, s := subscribe(t, a, "c")
			others = append(others, s)
		}
		leave := func() {
			a.Unsubscribe(others[len(others)-1])
			others = others[:len(others)-1]
		}
		for len(others) < countedAlways-1 {
			join()
		}
		synctest.Wait()
		if got := one.take(); len(got) != countedAlways-1 {
			t.Errorf("up to %d subscribers, got %d counts", countedAlways, len(got))
		}
		for range 50 {
			join()
		}
		synctest.Wait()
		expect(t, "one of many, at first,", one)
		time.Sleep(countInterval)
		synctest.Wait()
		expect(t, "one of many, later,", one, count(countedAlways+50))
		time.Sleep(2 * countInterval)
		synctest.Wait()
		expect(t, "one of many, while nothing changes,", one)

		// The next change is told at once, a further one after the interval.
		join()
		synctest.Wait()
		expect(t, "one of many", one, count(countedAlways+51))
		join()
		leave()
		time.Sleep(countInterval)
		synctest.Wait()
		expect(t, "one of many, when as many are back,", one)

		// Fewer for a moment, and more again while a look is due.
		for len(others) > countedAlways {
			leave()
		}
		leave()
		synctest.Wait()
		if got := one.take(); len(got) == 0 || got[len(got)-1] != count(countedAlways) {
			t.Errorf("told %q when there were %d", got, countedAlways)
		}
		join()
		time.Sleep(countInterval)
		synctest.Wait()
		expect(t, "one of many", one, count(countedAlways+1))
		a.broker.Close()
	})
}

// Each event has the source of the connection that caused it.
func TestListenerIsToldWhoCausedAnEvent(t *testing.T) {
	a, b := newListened(t, Limits{SubscriptionCount: true})
	subscribe := func(source protocol.Source, channel string, m *protocol.Member) *Subscription {
		r := newRecorder()
		r.source = source
		s, _, err := a.Subscribe(r, channel, m)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := subscribe(1, "cache-c", nil) // occupied, counted, missed
	two := subscribe(2, "cache-c", nil) // counted
	a.Unsubscribe(one)                  // counted
	a.Unsubscribe(two)                  // counted, vacated
	if want := []protocol.Source{1, 1, 1, 2, 1, 2, 2}; !slices.Equal(b.by, want) {
		t.Errorf("a channel: %q were caused by %v, want %v", b.take(), b.by, want)
	}
	b.by = nil
	one = subscribe(1, "presence-c", &protocol.Member{UserID: "1"}) // occupied, added
	two = subscribe(2, "presence-c", &protocol.Member{UserID: "2"}) // added
	if err := a.PublishFrom(two, protocol.Event{Name: "client-e", Channel: "presence-c", Data: []byte(`"{}"`)}, ""); err != nil {
		t.Fatal(err)
	}
	a.Unsubscribe(one) // removed
	a.Unsubscribe(two) // removed, vacated
	if want := []protocol.Source{1, 1, 2, 2, 1, 2, 2}; !slices.Equal(b.by, want) {
		t.Errorf("a presence channel: %q were caused by %v, want %v", b.take(), b.by, want)
	}
}
