package channels

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// behind is a process behind that of one of the nodes.
type behind struct {
	driver cluster.Driver
	broker *Broker
	app    *App
	told   *backend
}

// travel is a value as it comes out of the other process.
func travel[T any](t *testing.T, v T) (come T) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &come)
	}
	if err != nil {
		t.Fatal(err)
	}
	return come
}

// move has a node go on in another process, or fail to after everything was restored.
func (w *world) move(t *testing.T, node int, clients []*client, fails bool) *behind {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	old := w.apps[node].broker
	place, err := old.Place()
	must(err)
	next := &behind{driver: w.hub.Node(), told: new(backend)}
	must(next.driver.(cluster.Movable).Inherit(place))
	next.broker = NewBroker(2, next.driver)
	t.Cleanup(next.broker.Close)
	next.app = next.broker.NewApp("1", *w.apps[node].limits.Load(), new(counts), next.told)
	next.broker.EndGraces()
	topics, err := old.Topics()
	must(err)
	must(next.broker.Listen(ctx, topics))

	old.FreezeCalls()
	defer old.ThawCalls()
	defer old.Resume()
	topics, err = old.Topics()
	must(err)
	must(next.broker.Listen(ctx, topics))
	must(old.Cut(ctx))
	old.Freeze()
	defer old.Thaw()
	next.broker.FreezeCalls()
	defer next.broker.ThawCalls()
	next.broker.Freeze()
	defer next.broker.Thaw()

	from, to := w.apps[node], next.app
	to.RestoreWhereabouts(travel(t, from.ExportWhereabouts()))
	must(from.ExportChannels(func(e ExportedChannel) error { return to.RestoreChannel(travel(t, e)) }))
	must(next.broker.RestoreOutboxes(travel(t, old.ExportOutboxes())))
	restored := make([]client, len(clients))
	for i, c := range clients {
		for _, sub := range c.subs {
			one, err := to.RestoreSubscription(c.recorder, sub.Channel(), sub.UserID())
			must(err)
			restored[i].subs = append(restored[i].subs, one)
		}
		if c.identity != nil {
			watchlist, online := from.Watchlist(c.identity)
			restored[i].identity, err = to.RestoreSignIn(c.recorder, c.identity.UserID(), watchlist, online)
			must(err)
		}
	}
	must(to.Restored())
	must(next.broker.AwaitCut(ctx))
	if fails {
		w.hub.Kill(next.driver)
		return next
	}
	for i, c := range clients {
		c.subs, c.identity = restored[i].subs, restored[i].identity
	}
	old.HandedOver()
	next.broker.ReleaseDeliveries(false)
	next.broker.Resume()
	w.apps[node], w.drivers[node], w.told[node] = next.app, next.driver, next.told
	return next
}

// A node goes on in another process, under load: every event reaches its clients once and
// in order, and the other node and the backend notice nothing.
func TestMove(t *testing.T) {
	w := newWorld(t, 2, Limits{SubscriptionCount: true})
	signIn := func(c *client, node int, user string, watchlist ...string) {
		t.Helper()
		i, _, _, err := w.apps[node].SignIn(c.recorder, user, watchlist)
		if err != nil {
			t.Fatal(err)
		}
		c.identity = i
	}
	a, b := &client{recorder: newRecorder()}, &client{recorder: newRecorder()}
	here := []*client{a, b}
	names := []string{"presence-x", "presence-cache-x", "cache-y", "private-z"}
	for i, c := range here {
		for _, name := range names {
			var m *protocol.Member
			if protocol.KindOf(name).IsPresence() {
				m = &protocol.Member{UserID: fmt.Sprint("u", i), UserInfo: []byte(`{"a":1}`)}
			}
			c.subscribe(t, w.apps[0], name, m)
		}
	}
	signIn(a, 0, "ann", "bob", "cy")
	far := &client{recorder: newRecorder()}
	far.subscribe(t, w.apps[1], "presence-x", &protocol.Member{UserID: "far"})
	far.subscribe(t, w.apps[1], "private-far", nil)
	signIn(far, 1, "bob", "ann")
	eventually(t, "all is told", func() bool {
		s, err := w.apps[1].State("presence-x")
		return err == nil && s.Users == 3 && w.apps[0].broker.node.busy.Load() == 0 && len(w.told[0].all())+len(w.told[1].all()) >= 10
	})
	eventually(t, "the watcher is told", func() bool { return slices.Contains(a.data(), `{"events":[{"name":"online","user_ids":["bob"]}]}`) })
	told := func() (all []string) { return append(w.told[0].take(), w.told[1].take()...) }
	told()

	end, ended := make(chan struct{}), make(chan int)
	go func() {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for n := 0; ; n++ {
			select {
			case <-pace.C:
			case <-end:
				ended <- n
				return
			}
			for _, name := range names {
				if err := w.apps[1].Publish(Publication{Event: event(name, strconv.Itoa(n))}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	before := len(far.data())
	for i := range 6 {
		w.move(t, 0, here, i%2 == 1)
		heard := len(a.data())
		eventually(t, "more events", func() bool { return len(a.data()) > heard+100 })
	}
	close(end)
	n := <-ended
	for i, c := range here {
		eventually(t, "the last events", func() bool {
			data := c.data()
			return slices.Contains(data[max(len(data)-10, 0):], strconv.Itoa(n-1)) && times(data, strconv.Itoa(n-1)) == len(names)
		})
		for _, name := range names {
			got := c.events(name)
			if len(got) != n {
				t.Errorf("client %d has %d events of %s, of %d", i, len(got), name, n)
			}
			for k, data := range got {
				if data != strconv.Itoa(k) {
					t.Fatalf("event %d of %s is %s for client %d", k, name, data, i)
				}
			}
		}
	}
	if now := far.data()[before:]; len(now) != n {
		t.Errorf("on the other node, a client got %d messages, want %d", len(now), n)
	}
	if got := told(); len(got) > 0 {
		t.Errorf("the backend is told %q", got)
	}
	for _, name := range names[:2] {
		s, err := w.apps[1].State(name)
		if want := map[string]int{"presence-x": 3, "presence-cache-x": 2}[name]; err != nil || s.Subscriptions != want || s.Users != want {
			t.Errorf("of %s, the state is %+v, %v", name, s, err)
		}
	}

	// The node still knows who is where, and goes on telling what changes.
	w.apps[1].SignOut(far.identity)
	eventually(t, "the watcher is told", func() bool {
		data := a.data()
		return slices.Contains(data, `{"events":[{"name":"offline","user_ids":["bob"]}]}`)
	})
	w.apps[0].Unsubscribe(b.subs[0])
	eventually(t, "the other node is told", func() bool { return slices.Contains(far.data(), `{"user_id":"u1"}`) })
	want := []string{happenedTo("member_removed", "presence-x", "u1")}
	eventually(t, "the backend is told", func() bool { return len(w.told[0].all())+len(w.told[1].all()) > 0 })
	if got := told(); !slices.Equal(got, want) {
		t.Errorf("then the backend is told %q, want %q", got, want)
	}
}

// events are the data of the events published on a channel.
func (r *recorder) events(channel string) (data []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		if m.Channel == channel && m.Event == event("", "").Name {
			data = append(data, m.Data)
		}
	}
	return data
}

func times(list []string, one string) (n int) {
	for _, s := range list {
		if s == one {
			n++
		}
	}
	return n
}
