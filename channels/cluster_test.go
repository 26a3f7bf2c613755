package channels

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/local"
	"belfry/protocol"
)

// world is a cluster of brokers in one process, each with application "1".
type world struct {
	hub     *local.Hub
	drivers []cluster.Driver
	apps    []*App
	told    []*backend
}

func newWorld(t testing.TB, nodes int, limits Limits) *world {
	t.Helper()
	limits.CacheTTL = time.Minute
	if limits.PresenceMembers == 0 {
		limits.PresenceMembers = 100
	}
	w := &world{hub: local.NewHub()}
	for range nodes {
		d := w.hub.Node()
		broker := NewBroker(2, d)
		t.Cleanup(broker.Close)
		b := new(backend)
		w.drivers = append(w.drivers, d)
		w.told = append(w.told, b)
		w.apps = append(w.apps, broker.NewApp("1", limits, new(counts), b))
		broker.EndGraces() // so that departures are told at once
	}
	return w
}

// on subscribes on one of the nodes.
func (w *world) on(t testing.TB, node int, channel string) (*recorder, *Subscription) {
	t.Helper()
	return subscribe(t, w.apps[node], channel)
}

func (w *world) join(t testing.TB, node int, channel, user string) (*recorder, *Subscription, Joined) {
	t.Helper()
	r := newRecorder()
	s, j, err := w.apps[node].Subscribe(r, channel, &protocol.Member{UserID: user})
	if err != nil {
		t.Fatal(err)
	}
	return r, s, j
}

func (w *world) publish(t testing.TB, node int, channel, data string) {
	t.Helper()
	if err := w.apps[node].Publish(Publication{Event: event(channel, data)}); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("did not come true: %s", what)
		}
	}
}

func TestClusterPublish(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	one, s := w.on(t, 0, "c")
	two, _ := w.on(t, 1, "c")
	other, _ := w.on(t, 2, "d")
	const n = 200
	for i := range n {
		w.publish(t, i%3, "c", fmt.Sprint(i))
	}
	w.publish(t, 2, "d", "end")
	for _, r := range []*recorder{one, two} {
		got := r.wait(t, fmt.Sprint(n-1))
		for i := range n {
			if got[i] != fmt.Sprint(i) {
				t.Fatalf("event %d is %q", i, got[i])
			}
		}
	}
	if got := other.wait(t, "end"); len(got) != 1 {
		t.Errorf("another channel got %q", got)
	}

	// Who is excepted may be on any node.
	err := w.apps[2].Publish(Publication{Event: event("c", "except"), Except: one.id}, Publication{Event: event("c", "all")})
	if err != nil {
		t.Fatal(err)
	}
	if got := two.wait(t, "all"); !slices.Equal(got[n:], []string{"except", "all"}) {
		t.Errorf("got %q", got[n:])
	}
	if got := one.wait(t, "all"); !slices.Equal(got[n:], []string{"all"}) {
		t.Errorf("the excepted got %q", got[n:])
	}

	// Nor does a client event come back.
	if err := w.apps[0].PublishFrom(s, event("c", "mine"), ""); err != nil {
		t.Fatal(err)
	}
	two.wait(t, "mine")
	w.publish(t, 0, "c", "last")
	if got := one.wait(t, "last"); slices.Contains(got, "mine") {
		t.Error("a client event came back")
	}
}

// Interest ends with the last subscriber, and nothing is left of it.
func TestClusterForgets(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	var all []*Subscription
	for i := range 20 {
		_, s := w.on(t, 0, fmt.Sprint("c", i))
		all = append(all, s)
		_, s, _ = w.join(t, 0, fmt.Sprint("presence-c", i), "u")
		all = append(all, s)
	}
	for _, s := range all {
		w.apps[0].Unsubscribe(s)
	}
	eventually(t, "no channel is left but the application's own", func() bool {
		n := 0
		for _, a := range w.apps {
			all := a.all()
			for i := range all {
				all[i].mu.RLock()
				n += len(all[i].channels)
				all[i].mu.RUnlock()
			}
		}
		return n == len(w.apps)
	})
	states, err := w.apps[1].States("")
	if err != nil || len(states) != 0 {
		t.Errorf("the cluster knows of %v, %v", states, err)
	}
}

func TestClusterQueries(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	w.on(t, 0, "c")
	w.on(t, 1, "c")
	w.join(t, 0, "presence-c", "1")
	w.join(t, 1, "presence-c", "1")
	w.join(t, 1, "presence-c", "2")
	w.publish(t, 1, "cache-c", "x")
	if _, _, _, err := w.apps[1].SignIn(newRecorder(), "ann", nil); err != nil {
		t.Fatal(err)
	}
	for i, a := range w.apps {
		eventually(t, "the counts are known everywhere", func() bool {
			states, err := a.States("")
			return err == nil && len(states) == 2 && states["c"].Subscriptions == 2 &&
				states["presence-c"].Users == 2 && states["presence-c"].Subscriptions == 3
		})
		users, err := a.Users("presence-c")
		slices.Sort(users)
		if err != nil || !slices.Equal(users, []string{"1", "2"}) {
			t.Errorf("node %d: users are %v, %v", i, users, err)
		}
		s, err := a.State("cache-c")
		if err != nil || string(s.LastData) != `"x"` || s.LastTTL <= 0 || s.Occupied() {
			t.Errorf("node %d: the last event is %s for %s, %v", i, s.LastData, s.LastTTL, err)
		}
	}
}

func TestClusterCache(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	w.publish(t, 0, "cache-c", "1")
	r := newRecorder()
	_, j, err := w.apps[1].Subscribe(r, "cache-c", nil)
	if err != nil || j.Last == nil {
		t.Fatalf("the last event is %s, %v", j.Last, err)
	}
	w.publish(t, 0, "cache-c", "2")
	if got := r.wait(t, "2"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("got %q", got)
	}
	_, j, err = w.apps[1].Subscribe(newRecorder(), "cache-c", nil)
	if want := protocol.Frame(event("cache-c", "2").Frame()); err != nil || string(j.Last) != string(want) {
		t.Errorf("the last event is %s, %v", j.Last, err)
	}
}

func ids(t testing.TB, members []protocol.Members) (ids []string) {
	for _, m := range decode(t, members) {
		ids = append(ids, m.UserID)
	}
	slices.Sort(ids)
	return ids
}

func TestClusterPresence(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	const c = "presence-c"
	ann, annOnOne, j := w.join(t, 0, c, "ann")
	if got := ids(t, j.Members); !slices.Equal(got, []string{"ann"}) {
		t.Errorf("ann sees %v", got)
	}
	bob, _, j := w.join(t, 1, c, "bob")
	if got := ids(t, j.Members); !slices.Equal(got, []string{"ann", "bob"}) {
		t.Errorf("bob sees %v", got)
	}
	ann.wait(t, `{"user_id":"bob"}`)

	// A second connection of a user, on another node, is no news.
	_, annOnTwo, j := w.join(t, 1, c, "ann")
	if got := ids(t, j.Members); !slices.Equal(got, []string{"ann", "bob"}) {
		t.Errorf("ann's second connection sees %v", got)
	}
	w.apps[0].Unsubscribe(annOnOne)
	w.publish(t, 2, c, "marker")
	if got := bob.wait(t, "marker"); !slices.Equal(got, []string{"marker"}) {
		t.Errorf("bob got %q", got)
	}
	w.apps[1].Unsubscribe(annOnTwo)
	bob.wait(t, `{"user_id":"ann"}`)
	eventually(t, "the backend was told each change once, by one node", func() bool {
		counts := map[string]int{}
		for _, b := range w.told {
			b.mu.Lock()
			for _, e := range b.got {
				counts[e]++
			}
			b.mu.Unlock()
		}
		return len(counts) == 4 && counts[happened("channel_occupied", c)] == 1 && counts[happenedTo("member_added", c, "ann")] == 1 &&
			counts[happenedTo("member_added", c, "bob")] == 1 && counts[happenedTo("member_removed", c, "ann")] == 1
	})
}

func TestClusterPresenceIsFull(t *testing.T) {
	w := newWorld(t, 2, Limits{PresenceMembers: 2})
	w.join(t, 0, "presence-c", "1")
	_, second, _ := w.join(t, 1, "presence-c", "2")
	for _, a := range w.apps {
		if _, _, err := a.Subscribe(newRecorder(), "presence-c", &protocol.Member{UserID: "3"}); err != ErrFull {
			t.Errorf("the third is answered with %v", err)
		}
		if _, _, err := a.Subscribe(newRecorder(), "presence-c", &protocol.Member{UserID: "1"}); err != nil {
			t.Errorf("another connection of the first is answered with %v", err)
		}
	}
	w.apps[1].Unsubscribe(second)
	eventually(t, "there is room again", func() bool {
		_, _, err := w.apps[0].Subscribe(newRecorder(), "presence-c", &protocol.Member{UserID: "3"})
		return err == nil
	})
}

// replay makes a roster of what one subscriber was told.
func replay(t *testing.T, r *recorder, j Joined) map[string]bool {
	t.Helper()
	roster := map[string]bool{}
	for _, m := range decode(t, j.Members) {
		roster[m.UserID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		id := m.Data[len(`{"user_id":"`) : len(m.Data)-2]
		switch {
		case m.Event == "pusher_internal:member_added" && roster[id]:
			t.Fatalf("%s came twice", id)
		case m.Event == "pusher_internal:member_removed" && !roster[id]:
			t.Fatalf("%s went without having come", id)
		}
		roster[id] = m.Event == "pusher_internal:member_added"
	}
	for id, there := range roster {
		if !there {
			delete(roster, id)
		}
	}
	return roster
}

// Whoever watches from when it joins knows who is there, whatever happens on
// all nodes at once.
func TestClusterPresenceUnderChurn(t *testing.T) {
	w := newWorld(t, 3, Limits{})
	const c = "presence-c"
	type seat struct {
		*recorder
		Joined
	}
	var watchers []seat
	var mu sync.Mutex
	var busy sync.WaitGroup
	for i := range 12 {
		busy.Go(func() {
			a := w.apps[i%3]
			for round := range 40 {
				r := newRecorder()
				s, _, err := a.Subscribe(r, c, &protocol.Member{UserID: fmt.Sprint(i / 2)})
				if err != nil {
					t.Error(err)
					return
				}
				if round%10 == 9 {
					// One that stays, as another user.
					k := newRecorder()
					_, j, err := a.Subscribe(k, c, &protocol.Member{UserID: fmt.Sprintf("w%d-%d", i, round)})
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					watchers = append(watchers, seat{k, j})
					mu.Unlock()
				}
				a.Unsubscribe(s)
			}
		})
	}
	busy.Wait()
	for i, seat := range watchers {
		eventually(t, fmt.Sprintf("watcher %d knows who is there", i), func() bool {
			roster := replay(t, seat.recorder, seat.Joined)
			for id := range roster {
				if id[0] != 'w' {
					return false
				}
			}
			return len(roster) == len(watchers)
		})
	}
}

func TestClusterUsers(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	signIn := func(node int, user string, watchlist ...string) (*recorder, *Identity, []string, []string) {
		t.Helper()
		r := newRecorder()
		i, online, offline, err := w.apps[node].SignIn(r, user, watchlist)
		if err != nil {
			t.Fatal(err)
		}
		return r, i, online, offline
	}
	bob, _, _, _ := signIn(0, "bob")
	ann, _, on, off := signIn(1, "ann", "bob", "cem")
	if !slices.Equal(on, []string{"bob"}) || !slices.Equal(off, []string{"cem"}) {
		t.Errorf("online are %v, offline %v", on, off)
	}
	_, cem, _, _ := signIn(0, "cem")
	ann.wait(t, online("cem"))
	_, again, _, _ := signIn(1, "cem")
	w.apps[0].SignOut(cem)
	w.publish(t, 0, "#server-to-user-bob", "hello")
	bob.wait(t, "hello")
	w.apps[1].SignOut(again)
	if got := ann.wait(t, offline("cem")); len(got) != 2 {
		t.Errorf("ann was told %q", got)
	}

	member, _, _ := w.join(t, 1, "presence-c", "bob")
	if err := w.apps[1].Terminate("bob", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "bob's connection is closed", bob.terminated.Load)
	if member.terminated.Load() || ann.terminated.Load() {
		t.Error("others are closed too")
	}
	if err := w.apps[0].Terminate("bob", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the member is closed", member.terminated.Load)
}

func TestClusterSubscriptionCount(t *testing.T) {
	w := newWorld(t, 2, Limits{SubscriptionCount: true})
	one := newRecorder()
	_, j, err := w.apps[0].Subscribe(one, "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	if j.Count == 0 { // it is on its way
		one.wait(t, count(1))
	}
	_, s := w.on(t, 1, "c")
	one.wait(t, count(2))
	w.apps[1].Unsubscribe(s)
	one.wait(t, count(1))
}

// While the cluster is away, who is here stays and everything else is refused;
// afterwards all is as it should be.
func TestClusterOutage(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	const c = "presence-c"
	ann, _, _ := w.join(t, 0, c, "ann")
	_, gone, _ := w.join(t, 1, c, "bob")
	ann.wait(t, `{"user_id":"bob"}`)
	_, plain := w.on(t, 0, "c")
	w.hub.SetDown(true)
	for what, err := range map[string]error{
		"ready":     w.apps[0].broker.Ready(),
		"publish":   w.apps[0].Publish(Publication{Event: event("c", "lost")}),
		"terminate": w.apps[0].Terminate("ann", true),
		"client":    w.apps[0].PublishFrom(plain, event("c", "lost"), ""),
	} {
		if !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("%s is answered with %v", what, err)
		}
	}
	if _, _, err := w.apps[0].Subscribe(newRecorder(), "new", nil); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("a subscription is answered with %v", err)
	}
	if _, _, _, err := w.apps[0].SignIn(newRecorder(), "u", []string{"v"}); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("a sign-in is answered with %v", err)
	}
	// One goes, and another comes on a channel that the node is on already.
	w.apps[1].Unsubscribe(gone)
	late, _ := w.on(t, 0, "c")

	w.hub.SetDown(false)
	ann.wait(t, `{"user_id":"bob"}`) // went
	w.publish(t, 1, "c", "back")
	// Messages may have been lost, so pages are asked to fetch what they show.
	late.wait(t, "back")
	late.mu.Lock()
	if len(late.got) != 2 || late.got[0].Event != "pusher_internal:subscription_succeeded" {
		t.Errorf("got %v", late.got)
	}
	late.mu.Unlock()
	eventually(t, "the counts are right", func() bool {
		states, err := w.apps[1].States("")
		return err == nil && len(states) == 2 && states["c"].Subscriptions == 2 && states[c].Users == 1 && states[c].Subscriptions == 1
	})
	w.on(t, 0, "new")
}

// However often clients try while the cluster is away, nothing is kept of it.
func TestClusterOutageLeavesNothing(t *testing.T) {
	w := newWorld(t, 1, Limits{})
	a := w.apps[0]
	_, s := w.on(t, 0, "here")
	w.hub.SetDown(true)
	for i := range 200 {
		if _, _, err := a.Subscribe(newRecorder(), fmt.Sprint("c", i), nil); err == nil {
			t.Fatal("a subscription was answered")
		}
		if _, _, err := a.Subscribe(newRecorder(), fmt.Sprint("presence-c", i), &protocol.Member{UserID: "1"}); err == nil {
			t.Fatal("a subscription was answered")
		}
	}
	kept := func() (channels, unfinished int) {
		a.each("", func(*channel) { channels++ })
		n := &a.broker.node
		n.mu.Lock()
		defer n.mu.Unlock()
		return channels, len(n.unfinished)
	}
	if channels, unfinished := kept(); channels != 2 || unfinished > 2 { // this one, and the application's
		t.Errorf("%d channels are kept, %d are to be told again", channels, unfinished)
	}
	// One that the cluster knows of is kept until it can be told otherwise.
	a.Unsubscribe(s)
	w.hub.SetDown(false)
	eventually(t, "all is told", func() bool {
		channels, unfinished := kept()
		return channels == 1 && unfinished == 0
	})
}

func TestClusterNodeDies(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	const c = "presence-c"
	ann, _, _ := w.join(t, 0, c, "ann")
	w.join(t, 1, c, "bob")
	w.on(t, 1, "alone")
	ann.wait(t, `{"user_id":"bob"}`)
	w.told[0].take()
	w.hub.Kill(w.drivers[1])
	if got := ann.wait(t, `{"user_id":"bob"}`); len(got) != 2 {
		eventually(t, "bob has gone", func() bool { return len(ann.data()) == 2 })
	}
	eventually(t, "the backend was told", func() bool {
		w.told[0].mu.Lock()
		defer w.told[0].mu.Unlock()
		return slices.Contains(w.told[0].got, happenedTo("member_removed", c, "bob")) &&
			slices.Contains(w.told[0].got, happened("channel_vacated", "alone"))
	})
}

// What has happened to an application of a node that has died is told by another one, which
// is asked to serve it.
func TestClusterUnserved(t *testing.T) {
	w := newWorld(t, 2, Limits{})
	gone := w.apps[1].broker.NewApp("2", Limits{}, new(counts), new(backend))
	told := new(backend)
	var serve sync.Once
	w.apps[0].broker.OnUnserved(func(app string) {
		serve.Do(func() {
			a := w.apps[0].broker.NewApp(app, Limits{}, new(counts), told)
			if !a.Idle() {
				t.Error("an application without anything is not idle")
			}
		})
	})
	if _, _, err := gone.Subscribe(newRecorder(), "alone", nil); err != nil {
		t.Fatal(err)
	}
	if gone.Idle() {
		t.Error("an application with a channel is idle")
	}
	w.hub.Kill(w.drivers[1])
	eventually(t, "the backend was told", func() bool {
		told.mu.Lock()
		defer told.mu.Unlock()
		return slices.Contains(told.got, happened("channel_vacated", "alone"))
	})
}

// Whatever comes from the cluster does no harm.
func FuzzReceive(f *testing.F) {
	f.Add("c", []byte(`e1.2 {"event":"e","channel":"c","data":"x"}`))
	f.Add("cache-c", []byte(`e {"event":"e"}`))
	f.Add("", []byte("t1"))
	f.Add("#server-to-user-1", []byte("t"))
	f.Add("c", []byte("e1.2"))
	f.Add("c", []byte("e99999999999.1 {"))
	broker := NewBroker(1, local.NewHub().Node())
	f.Cleanup(broker.Close)
	a := broker.NewApp("1", Limits{CacheTTL: time.Minute}, new(counts), nil)
	r := sink{}
	for _, name := range []string{"c", "cache-c"} {
		if _, _, err := a.Subscribe(r, name, nil); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, channel string, payload []byte) {
		broker.Receive(cluster.Message{Topic: cluster.Topic{App: "1", Channel: channel}, Payload: payload, Version: cluster.Version{Epoch: "1", Number: 1}})
	})
}
