package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis/redistest"
	"belfry/protocol"
)

// TestRestart: Redis dies, and comes back knowing nothing.
func TestRestart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	for round := range 2 {
		server.Kill()
		for _, n := range []*testNode{a, b} {
			if err := n.say("failed"); !errors.Is(err, cluster.ErrUnavailable) {
				t.Errorf("publishing: error %v", err)
			}
			until(t, "the end of being ready", func() bool { return n.Ready() != nil })
		}
		// Calls do not try to connect, and leave nothing behind.
		dials, goroutines := a.network.Dials(), runtime.NumGoroutine()
		began := time.Now()
		for i := range 5000 {
			if a.say("failed") == nil || a.Listen(context.Background(), cluster.Topic{App: "1", Channel: fmt.Sprint(i)}) == nil {
				t.Fatal("a call succeeded without Redis")
			}
		}
		allowed := 10 + int(time.Since(began)/firstRetry)
		if more := a.network.Dials() - dials; more > allowed {
			t.Errorf("%d connections were tried", more)
		}
		if now := runtime.NumGoroutine(); now > goroutines+50 {
			t.Errorf("%d goroutines, were %d", now, goroutines)
		}
		a.listening.mu.Lock()
		if kept := len(a.listening.byName); kept > 1 {
			t.Errorf("%d topics are kept", kept)
		}
		a.listening.mu.Unlock()
		server.Restart()
		for _, n := range []*testNode{a, b} {
			until(t, "the call of Restored", func() bool { return n.timesRestored() == round+1 })
		}
		if o := a.share("a"); o.Count != 1 {
			t.Errorf("round %d: first after the loss: %+v", round, o)
		}
		b.share("b")
		working(t, a, b)
		if got := a.users(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("users %q", got)
		}
	}
	if slices.Contains(b.heard(), "failed") {
		t.Error("a publication that failed was delivered")
	}
	if log := a.logged(); strings.Count(log, "the cluster is not reachable") != 2 || strings.Count(log, "reachable again") != 2 || strings.Count(log, "\n") > 6 {
		t.Errorf("the log of two outages:\n%s", log)
	}
	if strings.Contains(a.logged()+b.logged(), hasDied) {
		t.Error("a node that lives was buried")
	}
}

// hasDied is what the log has of a node that buries another.
const hasDied = "has died"

// TestFlush: Redis loses its data while it goes on (FLUSHDB). What is told before the
// nodes notice makes no share that nobody takes away.
func TestFlush(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	server.CLI("flushdb")
	if o, err := a.Update(context.Background(), presence, shareOf("a", "ghost")); err == nil {
		t.Errorf("an update of a node without a lease came to %+v", o)
	}
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() > 0 })
	}
	a.share("a")
	b.share("b")
	working(t, a, b)
	if got := b.users(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("users %q", got)
	}
	// One bucket alone, as of a server of a Redis Cluster that comes back empty.
	server.CLI(append([]string{"del"}, strings.Fields(server.CLI("keys", a.keys.tag(presence)+"*"))...)...)
	for _, n := range []*testNode{a, b} {
		until(t, "an update", func() bool {
			_, err := n.Update(context.Background(), presence, shareOf("c"))
			return err == nil
		})
	}
	if state, err := a.State(context.Background(), presence); err != nil || state.Count != 2 || state.Users != 1 {
		t.Errorf("then there are %+v, %v", state, err)
	}
}

// TestOlderData: Redis comes back with data from before. Of what this node had then, the
// receiver is told.
func TestOlderData(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startNode(t, Options{URL: "redis://" + server.Addr, Prefix: prefix()})
	a.must(a.Listen(context.Background(), presence))
	a.share("a")
	shares := a.keys.tag(presence) + "n:" + current(a).node
	older := server.CLI("hget", shares, presence.Channel)
	a.share()
	server.CLI("hset", shares, presence.Channel, older)
	a.network.Cut()
	a.network.Mend()
	until(t, "being told", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return slices.Contains(a.shares, presence)
	})
}

// TestOlderDataIsPublishedTo: an event that is kept in data from before begins an epoch if the
// node knows of later events, as its number may have been another one's.
func TestOlderDataIsPublishedTo(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a := startNode(t, Options{URL: "redis://" + server.Addr, Prefix: prefix()})
	keep := func(payload string) cluster.History {
		t.Helper()
		a.must(a.Keep(context.Background(), cluster.Kept{Publication: cluster.Publication{Topic: presence, Payload: []byte(payload)}, Events: 10, For: time.Hour}))
		h, err := a.History(context.Background(), presence, 10, time.Hour)
		a.must(err)
		return h
	}
	keep("1")
	bucket := a.keys.tag(presence) + "b"
	older := server.CLI("hget", bucket, "number")
	keep("2")
	before := keep("3")
	if again := keep("4"); again.Version.Epoch != before.Version.Epoch {
		t.Errorf("an epoch began without a reason: %v, then %v", before.Version, again.Version)
	}
	server.CLI("hset", bucket, "number", older)
	after := keep("5")
	if after.Version.Epoch == before.Version.Epoch || after.Version.Number <= before.Version.Number {
		t.Errorf("at %v, before at %v", after.Version, before.Version)
	}
	if later := keep("6"); later.Version.Epoch != after.Version.Epoch {
		t.Errorf("then %v", later.Version)
	}
}

// spread returns topics that are on all servers of a Redis Cluster.
func spread() (topics []cluster.Topic) {
	for i := range 20 {
		topics = append(topics, cluster.Topic{App: "1", Channel: fmt.Sprint("c", i)})
	}
	return topics
}

// TestServerEmptied: of a Redis Cluster, a server without the leases loses its data. The
// receiver is told of a loss there, and of no other one.
func TestServerEmptied(t *testing.T) {
	t.Parallel()
	servers := redistest.Cluster(t)
	a := startNode(t, Options{URL: clusterURL(servers), Prefix: prefix()})
	topics := spread()
	for _, topic := range topics {
		a.must(a.Listen(context.Background(), topic))
		_, err := a.Update(context.Background(), topic, cluster.Share{Count: 1})
		a.must(err)
	}
	before := a.timesRestored()
	s := current(a)
	leases := s.slots.Load().owner(s.slot(a.keys.leases()))
	emptied := slices.IndexFunc(servers, func(s *redistest.Server) bool { return s.Addr != leases })
	servers[emptied].CLI("flushall")
	until(t, "the call of Restored", func() bool { return a.timesRestored() > before })
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, topic := range topics {
		if there := s.slots.Load().owner(s.slot(a.keys.name(topic))) == servers[emptied].Addr; a.lost(topic) != there {
			t.Errorf("lost is %t of a topic of which it is %t", !there, there)
		}
	}
}

// TestRefusedWrite: a Redis that refuses to write tells nobody of what it has not done.
func TestRefusedWrite(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	a.must(a.Listen(context.Background(), presence.Watch()))
	working(t, a, b)
	share := cluster.Share{Count: 2, Whole: true, Join: shareOf("b", "c").Join, TellCount: true, Watched: true, Record: true}
	a.mu.Lock()
	before := a.changes
	a.mu.Unlock()
	server.CLI("config", "set", "maxmemory", "1")
	if _, err := b.Update(context.Background(), presence, share); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	server.CLI("config", "set", "maxmemory", "0")
	working(t, a, b)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changes != before {
		t.Errorf("%d changes are told", a.changes-before)
	}
}

// TestLeasesLost: of a Redis Cluster, the server that has the leases loses its data, and
// the others keep theirs. What a node had there before is not counted beside what it has
// as another one.
func TestLeasesLost(t *testing.T) {
	t.Parallel()
	servers := redistest.Cluster(t)
	a := startNode(t, Options{URL: clusterURL(servers), Prefix: prefix()})
	topics := spread()
	tell := func() {
		for _, topic := range topics {
			until(t, "an update", func() bool {
				_, err := a.Update(context.Background(), topic, cluster.Share{Count: 1, Whole: true})
				return err == nil
			})
		}
	}
	tell()
	before := current(a).node
	for _, s := range servers {
		if s.CLI("exists", a.keys.leases()) == "1" {
			s.CLI("flushall")
		}
	}
	until(t, "the call of Restored", func() bool { return a.timesRestored() > 0 })
	tell()
	if current(a).node == before {
		t.Fatal("the node goes on as the same")
	}
	for _, topic := range topics {
		until(t, "a count of 1", func() bool {
			state, err := a.State(context.Background(), topic)
			return err == nil && state.Count == 1
		})
	}
}

// TestListenWhileBehind: messages wait for the receiver. Whoever listens to another topic
// meanwhile waits, too, and nothing is lost.
func TestListenWhileBehind(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := Options{URL: "redis://" + server.Addr, Prefix: prefix()}
	a := startNode(t, o)
	slow := startNode(t, o)
	slow.must(slow.Listen(context.Background(), presence))
	slow.mu.Lock() // Receive waits for it
	const n = 3 * maxQueued
	for i := range n {
		a.must(a.say(fmt.Sprint(i)))
	}
	other := cluster.Topic{App: "1", Channel: "other"}
	if err := slow.Listen(context.Background(), other); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("listening: error %v", err)
	}
	behind := time.Now()
	until(t, "more than a command may take", func() bool { return time.Since(behind) > 3*testTimeout })
	slow.mu.Unlock()
	until(t, "listening after all", func() bool { return slow.Listen(context.Background(), other) == nil })
	a.must(a.Publish(context.Background(), cluster.Publication{Topic: other, Payload: []byte("end")}))
	until(t, "the last message", func() bool { return slices.Contains(slow.heard(), "end") })
	if got := slow.heard(); len(got) != n+1 || slow.timesRestored() > 0 {
		t.Errorf("%d of %d messages, restored %d times", len(got), n+1, slow.timesRestored())
	}
}

// TestListenAgain: what was received before a topic was ignored is not for whoever listens
// to it afterwards.
func TestListenAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n := startNode(t, Options{URL: "redis://" + server.Addr, Prefix: prefix()})
	other := cluster.Topic{App: "1", Channel: "other"}
	for _, topic := range []cluster.Topic{presence, other} {
		n.must(n.Listen(context.Background(), topic))
	}
	n.mu.Lock() // Receive waits for it
	n.must(n.Publish(context.Background(), cluster.Publication{Topic: other, Payload: []byte("first")}))
	n.must(n.say("before"))
	until(t, "the message in the queue", func() bool { return len(n.queue) > 0 })
	n.Ignore(presence)
	n.must(n.Listen(context.Background(), presence))
	n.mu.Unlock()
	n.must(n.say("after"))
	until(t, "the last message", func() bool { return slices.Contains(n.heard(), "after") })
	if got := n.heard(); !slices.Equal(got, []string{"first", "after"}) {
		t.Errorf("received %q", got)
	}
}

// TestCloseWhileConnecting: a node that is closed early leaves no lease.
func TestCloseWhileConnecting(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	name := prefix()
	for i := range 40 {
		d, err := New(Options{URL: "redis://" + server.Addr, Prefix: name, Timeout: testTimeout, Lease: testLease, Renew: testRenew})
		if err != nil {
			t.Fatal(err)
		}
		d.Start(nobody{})
		<-time.After(time.Duration(i) * 50 * time.Microsecond)
		d.Close()
	}
	for _, key := range strings.Fields(server.CLI("keys", "*")) {
		if !lingers(key) {
			t.Errorf("40 closed nodes leave %s", key)
		}
	}
}

// TestStall: Redis stands still for longer than a lease. An update that waited in it
// has no effect, a publication may have, and nobody is taken for dead.
func TestStall(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	paused := time.Now()
	server.Pause()
	defer server.Resume()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := a.say("late"); !errors.Is(err, cluster.ErrUnknown) {
				t.Errorf("publishing: error %v", err)
			}
		})
		all.Go(func() {
			if _, err := a.Update(context.Background(), presence, shareOf("late")); !errors.Is(err, cluster.ErrUnavailable) {
				t.Errorf("updating: error %v", err)
			}
		})
	}
	all.Wait()
	until(t, "the end of all leases", func() bool { return time.Since(paused) > testLease })
	server.Resume()
	working(t, a, b)
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() > 0 })
	}
	if got := b.users(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("users %q", got)
	}
	for _, n := range []*testNode{a, b} {
		until(t, "looking for the dead again", func() bool { return time.Since(current(n).since) > testLease+2*testRenew })
	}
	if strings.Contains(a.logged()+b.logged(), hasDied) {
		t.Error("a node that lives was buried")
	}
	working(t, a, b)
}

// TestFailover: the replica takes over, because the master dies or is told to go.
func TestFailover(t *testing.T) {
	for name, fail := range map[string]func(sentinel, master *redistest.Server){
		"Death": func(_, master *redistest.Server) { master.Kill() },
		"Order": func(sentinel, _ *redistest.Server) {
			until(t, "a replica that Sentinel finds good", func() bool { return sentinel.Ask("sentinel", "failover", redistest.MasterSet) == "OK" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sentinel, master, replica := redistest.Sentinel(t)
			a, b := pair(t, Options{URL: "redis://" + sentinel.Addr + "?master_set=" + redistest.MasterSet})
			until(t, "replication", func() bool { return replica.CLI("dbsize") == master.CLI("dbsize") })
			fail(sentinel, master)
			until(t, "the other master", func() bool { return strings.HasPrefix(replica.Ask("role"), "master") })
			for _, n := range []*testNode{a, b} {
				until(t, "the call of Restored", func() bool { return n.timesRestored() > 0 })
			}
			a.share("a")
			b.share("b")
			working(t, a, b)
			if got := a.users(); !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("users %q", got)
			}
			if strings.Contains(a.logged()+b.logged(), hasDied) {
				t.Error("a node that lives was buried")
			}
		})
	}
}

// TestCutOff: one node loses its way to Redis without noticing at once, and comes
// back as another.
func TestCutOff(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	first := current(a)
	a.network.Silence()
	until(t, "the departure", func() bool { return slices.Equal(b.users(), []string{"b"}) })
	// What the dead node had under way counts no more.
	s := current(b)
	c := b.update(s, first.node, presence, shareOf("zombie"), flagWhole)
	c.args[0] = never
	if array, err := s.run(t.Context(), c)[0].ToArray(); err != nil {
		t.Error(err)
	} else if status, _ := array[0].ToString(); status != "lost" {
		t.Errorf("an update of a dead node: %q", status)
	}
	until(t, "the end of being ready", func() bool { return a.Ready() != nil })
	a.network.Mend()
	until(t, "the call of Restored", func() bool { return a.timesRestored() == 1 })
	if now := current(a).node; now == first.node {
		t.Error("the node came back with its old id")
	}
	a.share("a")
	working(t, a, b)
	if got := b.users(); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("users %q", got)
	}
	if strings.Count(b.logged(), hasDied) != 1 || b.timesRestored() > 0 {
		t.Errorf("the other node was restored %d times; its log:\n%s", b.timesRestored(), b.logged())
	}
}

func current(n *testNode) *session {
	n.Driver.mu.Lock()
	defer n.Driver.mu.Unlock()
	return n.session
}

// TestLostAnswers: Redis does what it is asked to, and the connection ends before
// the answer. The error says that nobody knows.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	working(t, a, b)
	restored := 0
	lose := func(call func() error, happened func() bool) {
		t.Helper()
		a.network.Deafen()
		done := make(chan error, 1)
		go func() { done <- call() }()
		until(t, "what was asked for", happened)
		a.network.Mend()
		if err := <-done; !errors.Is(err, cluster.ErrUnknown) || !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("the answer was lost: error %v", err)
		}
		restored++
		until(t, "the call of Restored", func() bool { return a.timesRestored() == restored })
		working(t, a, b)
	}
	keep := func(payload string) error {
		return a.Keep(context.Background(), cluster.Kept{Publication: cluster.Publication{Topic: presence, Payload: []byte(payload)}, Events: 1, For: time.Hour})
	}
	a.must(keep("first")) // so that Redis knows the script
	for round := range 2 {
		text, kept := fmt.Sprint("once ", round), fmt.Sprint("kept ", round)
		lose(func() error { return a.say(text) }, func() bool { return slices.Contains(b.heard(), text) })
		lose(func() error { return keep(kept) }, func() bool { return slices.Contains(b.heard(), kept) })
	}
	a.must(a.register(t.Context(), current(a), a.keys.tag(presence)))
	share, told := shareOf("a", "new"), b.toldOfMembers()
	share.Record = true
	lose(func() error {
		_, err := a.Update(context.Background(), presence, share)
		return err
	}, func() bool { return b.toldOfMembers() == told+1 })
	// The update has happened, and may be repeated.
	o, err := a.Update(context.Background(), presence, share)
	if a.must(err); o.Hint != nil {
		t.Errorf("said again: %+v", o)
	}
	// What it came to is in the outbox.
	taken, err := b.Take(context.Background(), b.keys.bucketOf(presence), "")
	if b.must(err); len(taken.Transitions) != 1 || taken.Transitions[0].UserID != "new" {
		t.Errorf("the outbox has %+v", taken)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	slices.Sort(b.payloads)
	if len(slices.Compact(b.payloads)) != len(b.payloads) {
		t.Errorf("received twice: %q", b.payloads)
	}
}

// TestUndertakerDies: a third node finishes what another has begun.
func TestUndertakerDies(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	id := current(a).node
	a.network.Cut()
	server.CLI("zadd", a.keys.claims(), "1", id) // a claim that has run out
	server.CLI("zrem", a.keys.leases(), id)
	until(t, "the departure", func() bool { return slices.Equal(b.users(), []string{"b"}) })
	until(t, "the end of the claim", func() bool { return server.CLI("exists", b.keys.claims(), b.keys.bucketsOf(id)) == "0" })
	if got := b.users(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("users %q", got)
	}
}

// TestSubscriberKilled: only the connection for Pub/Sub ends.
func TestSubscriberKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	server.CLI("client", "kill", "type", "pubsub")
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() == 1 })
	}
	working(t, a, b)
}

// TestClusterRestart: one server of a Redis Cluster dies and comes back, another
// gives a slot away.
func TestClusterRestart(t *testing.T) {
	t.Parallel()
	servers := redistest.Cluster(t)
	a, b := pair(t, Options{URL: clusterURL(servers)})
	slot := servers[0].CLI("cluster", "keyslot", a.keys.tag(presence))
	owner := slices.IndexFunc(servers, func(s *redistest.Server) bool { return s.CLI("cluster", "countkeysinslot", slot) != "0" })
	other := cluster.Topic{App: "1"} // on another server
	for i := 0; other.Channel == "" || servers[owner].CLI("cluster", "countkeysinslot", servers[0].CLI("cluster", "keyslot", a.keys.tag(other))) != "0" ||
		current(a).slots.Load().owner(current(a).slot(a.keys.name(other))) == servers[owner].Addr; i++ {
		other.Channel = fmt.Sprint("other", i)
	}
	a.must(a.Listen(context.Background(), other))
	_, err := a.Update(context.Background(), other, cluster.Share{Count: 1})
	a.must(err)
	leases := current(a).slots.Load().owner(current(a).slot(a.keys.leases())) == servers[owner].Addr
	servers[owner].Kill()
	until(t, "noticing that a server is away", func() bool { return a.Reaches(presence) != nil })
	if err := a.say("refused"); !errors.Is(err, cluster.ErrUnavailable) || errors.Is(err, cluster.ErrUnknown) {
		t.Errorf("publishing there: error %v", err)
	}
	for i := range 3 * int(testLease/testRenew) { // longer than a lease, should it be the server that has them
		text := fmt.Sprint("elsewhere ", i)
		a.must(a.Publish(context.Background(), cluster.Publication{Topic: other, Payload: []byte(text)}))
		until(t, "a message of another server", func() bool { return slices.Contains(a.heard(), text) })
		if err := errors.Join(a.Reaches(other), a.Ready()); err != nil {
			t.Fatal(err)
		}
		<-time.After(testRenew / 2)
	}
	servers[owner].Restart()
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() > 0 })
	}
	a.mu.Lock()
	if !a.lost(presence) || a.lost(other) && !leases { // without its lease, the node begins anew
		t.Error("messages of other servers' topics are said to be lost")
	}
	a.mu.Unlock()
	for i, n := range []*testNode{a, b} { // not all servers may know yet that all are there
		until(t, "an update", func() bool {
			_, err := n.Update(context.Background(), presence, shareOf([]string{"a", "b"}[i]))
			return err == nil
		})
	}
	working(t, a, b)

	// A slot in which there is nothing but listeners.
	c := cluster.Topic{App: "1", Channel: "moves"}
	for i := 0; a.keys.tag(c) == a.keys.tag(presence); i++ {
		c.Channel = fmt.Sprint("moves", i)
	}
	for _, n := range []*testNode{a, b} {
		n.must(n.Listen(context.Background(), c))
	}
	slot = servers[0].CLI("cluster", "keyslot", a.keys.tag(c))
	before := a.timesRestored()
	from := slices.IndexFunc(servers, func(s *redistest.Server) bool {
		return s.CLI("pubsub", "shardnumsub", a.keys.name(c)) != a.keys.name(c)+"\n0"
	})
	id := servers[(from+1)%len(servers)].CLI("cluster", "myid")
	for i := range servers {
		servers[(from+1+i)%len(servers)].CLI("cluster", "setslot", slot, "node", id)
	}
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() > before })
	}
	n := 0
	until(t, "a message", func() bool {
		n++
		text := fmt.Sprint("moved ", n)
		if b.Publish(context.Background(), cluster.Publication{Topic: c, Payload: []byte(text)}) != nil {
			return false // not all servers may know yet where the slot is
		}
		return slices.Contains(a.heard(), "moved 1") || slices.Contains(a.heard(), text)
	})
}

// TestComesBackOlder: Redis restarts with what it had saved before. That begins an epoch,
// members who never left make no transition, receipts of afterwards acknowledge nothing,
// and what a node had that has left since is taken away.
func TestComesBackOlder(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	gone := startNode(t, Options{URL: "redis://" + server.Addr, Prefix: a.options.Prefix})
	gone.share("gone")
	bucket := a.keys.bucketOf(presence)
	tell := func(n *testNode, s cluster.Share) cluster.Outcome {
		t.Helper()
		s.Record = true
		o, err := n.Update(context.Background(), presence, s)
		n.must(err)
		return o
	}
	take := func(receipt string) cluster.Taken {
		t.Helper()
		taken, err := a.Take(context.Background(), bucket, receipt)
		a.must(err)
		return taken
	}
	server.CLI("save")
	gone.Close()
	before := tell(a, shareOf("a", "new"))
	first := take("")
	if len(first.Transitions) != 1 {
		t.Fatalf("took %+v", first)
	}
	server.Kill()
	server.Restart()
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() == 1 })
	}
	part := cluster.Share{Count: 3, Before: 2, Epoch: before.Version.Epoch, Join: []protocol.Member{{UserID: "part"}}}
	if _, err := a.Update(context.Background(), presence, part); !errors.Is(err, cluster.ErrForgotten) {
		t.Errorf("a share that says what has changed: %v", err)
	}
	whole := shareOf("a", "new")
	whole.Before, whole.Known, whole.Epoch = 2, 2, before.Version.Epoch
	after := tell(a, whole)
	if after.Version.Epoch == before.Version.Epoch {
		t.Error("the epoch goes on")
	}
	if again := tell(a, shareOf("a", "new")); again.Version.Epoch != after.Version.Epoch {
		t.Error("another epoch begins")
	}
	b.share("b")
	late := shareOf("a", "new", "late")
	late.Before, late.Epoch = 2, after.Version.Epoch
	tell(a, late)
	var taken cluster.Taken
	until(t, "the transition of who came afterwards", func() bool {
		taken = take(first.Receipt)
		return len(taken.Transitions) > 0
	})
	if want := (cluster.Transition{Kind: cluster.Added, Channel: presence.Channel, UserID: "late"}); !slices.Equal(taken.Transitions, []cluster.Transition{want}) {
		t.Errorf("took %+v", taken.Transitions)
	}
	until(t, "the end of who has left", func() bool {
		return slices.Equal(slices.Sorted(slices.Values(a.users())), []string{"a", "b", "late", "new"})
	})
}
