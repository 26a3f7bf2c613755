package channels

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/local"
	"belfry/protocol"
)

// graced is newWorld in a bubble, with departures that wait for their grace.
func graced(t *testing.T, nodes int, limits Limits, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		limits.CacheTTL, limits.PresenceMembers = time.Minute, 1000
		w := &world{hub: local.NewHub()}
		for range nodes {
			d, b := w.hub.Node(), new(backend)
			broker := NewBroker(2, d)
			w.drivers, w.told = append(w.drivers, d), append(w.told, b)
			w.apps = append(w.apps, broker.NewApp("1", limits, new(counts), b))
		}
		f(t, w)
		for _, a := range w.apps {
			a.broker.Close()
		}
	})
}

// words are what all backends were told, in no order of the nodes.
func (w *world) words() (all []string) {
	for _, b := range w.told {
		all = append(all, b.words()...)
	}
	return all
}

// Who comes back within the grace on any node was never gone, and what lasts is told
// once, by a node that lives.
func TestClusterGrace(t *testing.T) {
	const c = "presence-c"
	start := []string{"channel_occupied:" + c, "member_added:" + c + ":u"}
	end := []string{"member_removed:" + c + ":u", "channel_vacated:" + c}
	for name, test := range map[string]struct {
		meanwhile func(t *testing.T, w *world)
		want      []string
	}{
		"stays away":    {func(*testing.T, *world) {}, end},
		"comes back":    {func(t *testing.T, w *world) { w.join(t, 1, c, "u") }, nil},
		"its node dies": {func(_ *testing.T, w *world) { w.hub.Kill(w.drivers[0]) }, end},
		"its node stops": {func(_ *testing.T, w *world) {
			w.apps[0].broker.Close()
			w.apps = w.apps[1:]
		}, end},
	} {
		t.Run(name, func(t *testing.T) {
			graced(t, 2, Limits{}, func(t *testing.T, w *world) {
				_, s, _ := w.join(t, 0, c, "u")
				pass(time.Second)
				w.apps[0].Unsubscribe(s)
				pass(time.Second)
				test.meanwhile(t, w)
				pass(time.Minute)
				if got := w.words(); !slices.Equal(got, append(slices.Clone(start), test.want...)) {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}

// An application that is closed on one node is still served by the other one, whose backend
// is told who has gone. That of the first node wants to know nothing any more.
func TestClusterClosedOnOneNode(t *testing.T) {
	const c = "presence-c"
	graced(t, 2, Limits{}, func(t *testing.T, w *world) {
		_, s, _ := w.join(t, 0, c, "u")
		pass(time.Minute)
		w.apps[0].Close()
		w.told[0].unwanted = c
		w.apps[0].Unsubscribe(s)
		pass(Grace - time.Second)
		want := []string{"channel_occupied:" + c, "member_added:" + c + ":u"}
		if got := w.words(); !slices.Equal(got, want) {
			t.Errorf("within the grace, told %q", got)
		}
		pass(time.Minute)
		if got := w.told[1].words(); !slices.Equal(got, []string{"member_removed:" + c + ":u", "channel_vacated:" + c}) {
			t.Errorf("told %q", got)
		}
	})
}

// A stop waits until the departures of its clients are final, and no longer.
func TestClusterFlushTellsDepartures(t *testing.T) {
	graced(t, 1, Limits{}, func(t *testing.T, w *world) {
		_, s := w.on(t, 0, "c")
		w.apps[0].Unsubscribe(s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		w.apps[0].broker.Flush(ctx)
		if waited := time.Since(began); waited < Grace || waited > Grace+time.Second {
			t.Errorf("it took %v", waited)
		}
		if got := w.words(); !slices.Equal(got, []string{"channel_occupied:c", "channel_vacated:c"}) {
			t.Errorf("told %q", got)
		}
	})
}

// The ledger loses its data: nobody is told of members who never left, no webhook
// comes again, and what is true is true within seconds.
func TestClusterLoss(t *testing.T) {
	const c = "presence-c"
	graced(t, 3, Limits{SubscriptionCount: true}, func(t *testing.T, w *world) {
		var watchers []*recorder
		for node := range w.apps {
			for i := range 3 {
				r, _, _ := w.join(t, node, c, fmt.Sprint(node, "-", i))
				watchers = append(watchers, r)
				w.on(t, node, "c")
			}
		}
		_, gone, _ := w.join(t, 0, c, "gone")
		pass(time.Minute)
		for _, r := range watchers {
			r.take()
		}
		w.hub.SetDown(true)
		w.apps[0].Unsubscribe(gone)
		w.hub.Flush()
		w.hub.SetDown(false)
		pass(5 * time.Second)
		for i, a := range w.apps {
			states, err := a.States("")
			if err != nil || states["c"].Subscriptions != 9 || states[c].Users != 9 {
				t.Errorf("node %d: %+v, %v", i, states, err)
			}
		}
		pass(time.Minute)
		for i, r := range watchers {
			r.mu.Lock()
			for _, e := range r.got {
				if e.Event == "pusher_internal:member_added" || e.Event == "pusher_internal:member_removed" && e.Data != `{"user_id":"gone"}` {
					t.Errorf("watcher %d was told %v", i, e)
				}
			}
			r.mu.Unlock()
		}
		all := slices.DeleteFunc(w.words(), func(e string) bool { return e == "subscription_count:c" })
		slices.Sort(all)
		if !slices.Contains(all, "member_removed:"+c+":gone") || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("told %q", all)
		}
	})
}

// All subscriptions count, of one node or of many, and large counts are told by and by.
func TestClusterCounts(t *testing.T) {
	graced(t, 2, Limits{SubscriptionCount: true}, func(t *testing.T, w *world) {
		first, _ := w.on(t, 0, "c")
		for i := range 3 * countedAlways {
			w.on(t, i%2, "c")
		}
		pass(2 * countInterval)
		if s, err := w.apps[1].State("c"); err != nil || s.Subscriptions != 3*countedAlways+1 {
			t.Errorf("state %+v, %v", s, err)
		}
		got := first.take()
		if len(got) == 0 || got[len(got)-1] != count(3*countedAlways+1) {
			t.Errorf("told %q", got)
		}
		w.hub.Kill(w.drivers[1])
		pass(2 * countInterval)
		s, err := w.apps[0].State("c")
		if got := first.take(); err != nil || s.Subscriptions > 2*countedAlways || len(got) == 0 || got[len(got)-1] != count(s.Subscriptions) {
			t.Errorf("after a death: told %q of %+v, %v", got, s, err)
		}
	})
}

// holding is a driver that holds back the answer to a load, when it is armed.
type holding struct {
	cluster.Driver
	armed            chan struct{} // has an element when it is
	reached, release chan struct{}
}

func (d *holding) Update(ctx context.Context, t cluster.Topic, s cluster.Share) (cluster.Outcome, error) {
	o, err := d.Driver.Update(ctx, t, s)
	if s.Load {
		select {
		case <-d.armed:
			close(d.reached)
			<-d.release
		default:
		}
	}
	return o, err
}

// An event of a cache channel is delivered once and not lost, whichever comes first: it,
// or the answer to a load that was asked for before or after it.
func TestClusterCacheAndLoads(t *testing.T) {
	const c = "cache-c"
	limits := Limits{CacheTTL: time.Minute}
	begin := func(hub *local.Hub) (*holding, *App) {
		d := &holding{Driver: hub.Node(), armed: make(chan struct{}, 1), reached: make(chan struct{}), release: make(chan struct{})}
		return d, NewBroker(1, d).NewApp("1", limits, new(counts), nil)
	}
	publish := func(t *testing.T, a *App, data string) {
		t.Helper()
		if err := a.Publish(Publication{Event: event(c, data)}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("the event first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hub := local.NewHub()
			d, a := begin(hub)
			other := NewBroker(1, hub.Node()).NewApp("1", limits, new(counts), nil)
			publish(t, other, "1")
			d.armed <- struct{}{}
			r, joined := newRecorder(), make(chan Joined)
			go func() {
				_, j, err := a.Subscribe(r, c, nil)
				if err != nil {
					t.Error(err)
				}
				joined <- j
			}()
			<-d.reached
			publish(t, other, "2") // overtakes the answer
			synctest.Wait()
			close(d.release)
			j := <-joined
			publish(t, other, "3")
			synctest.Wait()
			got, last := r.take(), string(j.Last)
			if first := last == string(event(c, "1").Frame()); first && !slices.Equal(got, []string{"2", "3"}) || !first && !slices.Equal(got, []string{"3"}) {
				t.Errorf("answered with %q, then %q", last, got)
			}
			a.broker.Close()
			other.broker.Close()
		})
	})
	t.Run("the answer first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hub := local.NewHub()
			_, a := begin(hub)
			early, _ := subscribe(t, a, c)
			publish(t, a, "1")
			synctest.Wait()
			hub.SetDown(true) // all that is published now is heard after it is loaded
			hub.SetDown(false)
			publish(t, a, "2")
			synctest.Wait()
			late, j, err := newRecorder(), Joined{}, error(nil)
			if _, j, err = a.Subscribe(late, c, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			data := slices.DeleteFunc(early.take(), func(s string) bool { return s == "{}" }) // that it may have missed some
			if got := late.take(); len(got) > 0 || string(j.Last) != string(event(c, "2").Frame()) || !slices.Equal(data, []string{"1", "2"}) {
				t.Errorf("one got %q; another was answered with %q, then %q", data, j.Last, got)
			}
			a.broker.Close()
		})
	})
	t.Run("after a loss", func(t *testing.T) {
		graced(t, 2, limits, func(t *testing.T, w *world) {
			r, _ := w.on(t, 0, c)
			for i := range 5 {
				w.publish(t, 1, c, fmt.Sprint(i))
			}
			pass(time.Second)
			r.take()
			w.hub.Flush()
			pass(time.Second)
			w.publish(t, 1, c, "new")
			pass(time.Second)
			if got := r.take(); len(got) == 0 || got[len(got)-1] != "new" {
				t.Errorf("got %q", got)
			}
			if _, j, _ := w.apps[0].Subscribe(newRecorder(), c, nil); string(j.Last) != string(event(c, "new").Frame()) {
				t.Errorf("the last event is %q", j.Last)
			}
		})
	})
}

// An application that is removed and added again has its channels when the clients of
// the one before have left.
func TestClusterAppAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker, limits := NewBroker(1, local.NewHub().Node()), Limits{PresenceMembers: 10}
		old := broker.NewApp("1", limits, new(counts), nil)
		const c = "presence-c"
		s, _, err := old.Subscribe(newRecorder(), c, &protocol.Member{UserID: "1"})
		if err != nil {
			t.Fatal(err)
		}
		old.Close()
		a := broker.NewApp("1", limits, new(counts), nil)
		r, done := newRecorder(), make(chan error)
		go func() {
			_, _, err := a.Subscribe(r, c, &protocol.Member{UserID: "2"})
			done <- err
		}()
		pass(time.Second)
		old.Unsubscribe(s)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := a.Publish(Publication{Event: event(c, "x")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		state, err := a.State(c)
		if got := r.take(); !slices.Equal(got, []string{"x"}) || err != nil || state.Users != 1 || state.Subscriptions != 1 {
			t.Errorf("got %q; %+v, %v", got, state, err)
		}
		broker.Close()
	})
}

// asleep is a driver that for a while does not say where anybody is.
type asleep struct {
	cluster.Driver
	refusals atomic.Int32 // that are left
}

func (d *asleep) Occupied(ctx context.Context, app string, channels []string) ([]bool, error) {
	if d.refusals.Add(-1) >= 0 {
		return nil, cluster.ErrUnavailable
	}
	return d.Driver.Occupied(ctx, app, channels)
}

// After a loss of messages it is asked where users are until there is an answer.
func TestClusterUsersAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := local.NewHub()
		d := &asleep{Driver: hub.Node()}
		here, there := NewBroker(1, d), NewBroker(1, hub.Node())
		a, b := here.NewApp("1", Limits{}, new(counts), nil), there.NewApp("1", Limits{}, new(counts), nil)
		watcher := newRecorder()
		watching, _, _, err := a.SignIn(watcher, "ann", []string{"bob"})
		if err != nil {
			t.Fatal(err)
		}
		hub.Cut(d.Driver)
		bob, _, _, err := b.SignIn(newRecorder(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		d.refusals.Store(3)
		hub.Heal(d.Driver)
		pass(time.Minute)
		if got := watcher.take(); !slices.Equal(got, []string{online("bob")}) {
			t.Errorf("the watcher was told %q", got)
		}
		a.SignOut(watching)
		b.SignOut(bob)
		here.Close()
		there.Close()
	})
}

// halved is a driver that publishes nothing on one channel.
type halved struct {
	cluster.Driver
	but string
}

func (d halved) Publish(ctx context.Context, all ...cluster.Publication) error {
	each := make([]error, len(all))
	for i, p := range all {
		if p.Topic.Channel == d.but {
			each[i] = cluster.ErrUnavailable
		} else {
			each[i] = d.Driver.Publish(ctx, p)
		}
	}
	if slices.ContainsFunc(each, func(err error) bool { return err != nil }) {
		return &cluster.PartialError{Each: each}
	}
	return nil
}

// Client events that could not be published are dropped, and no others that were on
// their way with them.
func TestClusterPartOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := local.NewHub()
		b := NewBroker(1, halved{hub.Node(), "bad"})
		a := b.NewApp("1", Limits{}, new(counts), nil)
		r := newRecorder()
		var subscriptions []*Subscription
		for _, c := range []string{"bad", "good", "better"} {
			s, _, err := a.Subscribe(r, c, nil)
			if err != nil {
				t.Fatal(err)
			}
			subscriptions = append(subscriptions, s)
		}
		for range 10 {
			for _, s := range subscriptions {
				if err := a.PublishFrom(s, event(s.channel.name, "x"), ""); err != nil {
					t.Fatal(err)
				}
			}
		}
		pass(time.Second)
		if len(r.dropped) != 10 {
			t.Errorf("%d are dropped", len(r.dropped))
		}
		for _, s := range subscriptions {
			a.Unsubscribe(s)
		}
		b.Close()
	})
}

// What the ledger has of a node, which the node has no more, is taken back.
func TestClusterGhosts(t *testing.T) {
	graced(t, 2, Limits{}, func(t *testing.T, w *world) {
		ghost, there := cluster.Topic{App: "1", Channel: "presence-c"}, cluster.Topic{App: "1", Channel: "c"}
		_, err := w.drivers[0].Update(context.Background(), ghost, cluster.Share{Count: 1, Join: []protocol.Member{{UserID: "u"}}})
		if err != nil {
			t.Fatal(err)
		}
		_, s := w.on(t, 0, there.Channel)
		w.apps[0].broker.Shares([]cluster.Topic{ghost, there, {App: "unknown", Channel: "c"}})
		pass(time.Second)
		states, err := w.apps[1].States("")
		if err != nil || len(states) != 1 || states[there.Channel].Subscriptions != 1 {
			t.Errorf("there are %+v, %v", states, err)
		}
		w.apps[0].Unsubscribe(s)
		pass(time.Second)
		if n := w.apps[0].channels.Load(); n > 1 { // that of the application itself
			t.Errorf("%d channels are left", n)
		}
	})
}

// What happens while an application is removed for a moment is told when it is back; what
// happened before one that stays away is dropped in the end, which keeps no bucket lent.
func TestClusterTransitionsOfRemovedApp(t *testing.T) {
	graced(t, 1, Limits{}, func(t *testing.T, w *world) {
		const c = "c"
		broker := w.apps[0].broker
		for away, want := range map[time.Duration][]string{
			30 * time.Second: {"channel_vacated:" + c},
			2 * time.Minute:  nil,
		} {
			_, s := w.on(t, 0, c)
			pass(time.Second)
			before := len(w.words())
			w.apps[0].Close()
			w.apps[0].Unsubscribe(s)
			pass(away)
			w.apps[0] = broker.NewApp("1", Limits{}, new(counts), w.told[0])
			pass(time.Minute)
			if got := w.words()[before:]; !slices.Equal(got, want) {
				t.Errorf("after %s told %q, want %q", away, got, want)
			}
			if broker.node.outboxes.waiting() {
				t.Error("the outbox is not done with")
			}
		}
	})
}

// Nothing is left of channels and watched users when all have gone, whatever was lost
// meanwhile.
func TestClusterLossLeavesNothing(t *testing.T) {
	graced(t, 2, Limits{}, func(t *testing.T, w *world) {
		var all []*Subscription
		var identities []*Identity
		for node, a := range w.apps {
			for i := range 10 {
				_, s := w.on(t, node, fmt.Sprint("c", i))
				all = append(all, s)
				_, s, _ = w.join(t, node, fmt.Sprint("presence-", i), fmt.Sprint(node))
				all = append(all, s)
			}
			identity, _, _, err := a.SignIn(newRecorder(), fmt.Sprint(node), []string{"0", "1", "2"})
			if err != nil {
				t.Fatal(err)
			}
			identities = append(identities, identity)
		}
		w.hub.Flush()
		pass(time.Minute)
		for i, s := range all {
			w.apps[i/20].Unsubscribe(s)
		}
		for node, i := range identities {
			w.apps[node].SignOut(i)
		}
		pass(time.Minute)
		for node, a := range w.apps {
			if n := a.channels.Load(); n != 1 { // the application's own
				t.Errorf("node %d has %d channels", node, n)
			}
			a.Close()
			pass(time.Second)
			select {
			case <-a.gone:
			default:
				t.Errorf("node %d: the application is not gone", node)
			}
		}
	})
}

// failing is a driver that cannot say where users are, as often as it is told.
type failing struct {
	cluster.Driver
	times atomic.Int32
	most  atomic.Int32 // users asked for in one call
}

func (d *failing) Occupied(ctx context.Context, app string, channels []string) ([]bool, error) {
	d.most.Store(max(d.most.Load(), int32(len(channels))))
	if d.times.Add(-1) >= 0 {
		return nil, cluster.ErrUnavailable
	}
	return d.Driver.Occupied(ctx, app, channels)
}

// After a loss, watched users are asked for until there is an answer, some at a time.
func TestClusterWatchersAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := local.NewHub()
		d := &failing{Driver: hub.Node()}
		a := NewBroker(1, d).NewApp("1", Limits{}, new(counts), nil)
		other := NewBroker(1, hub.Node()).NewApp("1", Limits{}, new(counts), nil)
		watchlist := []string{"bob"}
		for i := range 2 * maxLocated {
			watchlist = append(watchlist, fmt.Sprint(i))
		}
		ann := newRecorder()
		if _, _, _, err := a.SignIn(ann, "ann", watchlist[:1]); err != nil {
			t.Fatal(err)
		}
		for list := range slices.Chunk(watchlist, 100) {
			if _, _, _, err := a.SignIn(newRecorder(), "eve", list); err != nil {
				t.Fatal(err)
			}
		}
		d.Ignore(cluster.Topic{App: "1", Channel: watchName("bob")}) // the message is lost
		if _, _, _, err := other.SignIn(newRecorder(), "bob", nil); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		ann.take()
		d.times.Store(3)
		a.broker.Restored(func(cluster.Topic) bool { return true })
		pass(time.Minute)
		if got := ann.take(); !slices.Equal(got, []string{online("bob")}) {
			t.Errorf("told %q", got)
		}
		if most := d.most.Load(); most > maxLocated {
			t.Errorf("asked for %d users at once", most)
		}
		a.broker.Close()
		other.broker.Close()
	})
}

// Whoever waits for the cluster to know everything does not mind who comes and goes.
func TestClusterFlushUnderChurn(t *testing.T) {
	w := newWorld(t, 1, Limits{})
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 300 {
				_, s := w.on(t, 0, fmt.Sprint("c", i, n%3))
				w.apps[0].Unsubscribe(s)
			}
		})
	}
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		w.apps[0].broker.Flush(ctx)
		cancel()
	}
	all.Wait()
	w.apps[0].broker.Flush(t.Context())
	if states, err := w.apps[0].States(""); len(states) > 0 || err != nil {
		t.Errorf("the cluster has %v, %v", states, err)
	}
}
