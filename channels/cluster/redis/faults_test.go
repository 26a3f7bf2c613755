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
		if o := a.share("a"); !o.Occupied || !slices.Equal(o.Added, []string{"a"}) {
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
	if len(a.gone())+len(b.gone()) > 0 {
		t.Error("a node that lives was buried")
	}
}

// TestStall: Redis stands still for longer than a lease. What waited in it has no
// effect, and nobody is taken for dead.
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
			if err := a.say("late"); !errors.Is(err, cluster.ErrUnavailable) {
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
		if slices.Contains(n.heard(), "late") {
			t.Error("a publication that failed was delivered")
		}
	}
	if got := b.users(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("users %q", got)
	}
	for _, n := range []*testNode{a, b} {
		until(t, "looking for the dead again", func() bool { return time.Since(current(n).since) > testLease+2*testRenew })
	}
	if len(a.gone())+len(b.gone()) > 0 {
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
			if len(a.gone())+len(b.gone()) > 0 {
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
	until(t, "the departure", func() bool { return len(b.gone()) == 1 })
	if got := b.users(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("users %q", got)
	}
	// What the dead node had under way counts no more.
	s := current(b)
	c := b.update(s, first.node, presence, shareOf("zombie"), 0, 1, 0)
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
	if o := a.share("a"); !slices.Equal(o.Added, []string{"a"}) {
		t.Errorf("back: %+v", o)
	}
	working(t, a, b)
	if got := b.users(); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("users %q", got)
	}
	if len(b.gone()) != 1 || b.timesRestored() > 0 {
		t.Errorf("%d departures, the other node was restored %d times", len(b.gone()), b.timesRestored())
	}
}

func current(n *testNode) *session {
	n.Driver.mu.Lock()
	defer n.Driver.mu.Unlock()
	return n.session
}

// TestLostAnswers: Redis does what it is asked to, and the connection ends before
// the answer.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	working(t, a, b)
	for round := range 3 {
		text := fmt.Sprint("once ", round)
		a.network.Deafen()
		done := make(chan error, 1)
		go func() { done <- a.say(text) }()
		until(t, "the message", func() bool { return slices.Contains(b.heard(), text) })
		a.network.Mend()
		if err := <-done; err != nil {
			t.Errorf("it was published, and reported as failed: %v", err)
		}
		until(t, "the call of Restored", func() bool { return a.timesRestored() == round+1 })
		working(t, a, b)
	}
	// What an update came to is told with the next one.
	id, told := "", b.toldOfMembers()
	for round := range 2 {
		id = fmt.Sprint("new ", round)
		a.must(a.register(t.Context(), current(a), a.keys.tag(presence)))
		a.network.Deafen()
		done := make(chan error, 1)
		go func() {
			_, err := a.Update(context.Background(), presence, shareOf("a", id))
			done <- err
		}()
		until(t, "the messages", func() bool { return b.toldOfMembers() == told+1+round*2 })
		a.network.Mend()
		if err := <-done; !errors.Is(err, cluster.ErrUnavailable) {
			t.Errorf("updating: error %v", err)
		}
		until(t, "the call of Restored", func() bool { return a.timesRestored() == 4+round })
		working(t, a, b)
	}
	if o := a.share("a", id); !slices.Equal(o.Added, []string{id}) || len(o.Removed) > 0 {
		t.Errorf("afterwards: %+v", o)
	}
	if o := a.share("a", id); len(o.Added) > 0 {
		t.Errorf("and again: %+v", o)
	}
	if got := a.users(); !slices.Equal(got, []string{"a", "b", id}) {
		t.Errorf("users %q", got)
	}
	slices.Sort(b.payloads)
	if len(slices.Compact(b.payloads)) != len(b.payloads) {
		t.Errorf("received twice: %q", b.payloads)
	}
}

// TestGivenUp: a publication that was not executed when its connection ended
// never is.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	s := current(a)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	record := a.keys.whole() + "p:test"
	for range 2 { // and who asks again gets the same answer
		if a.published(ctx, record) {
			t.Error("it was published")
		}
	}
	c := call{publishScript, []string{record}, []string{never, "60000", s.publish, "0", a.keys.name(presence), "given up", "0"}}
	if array, err := s.run(ctx, c)[0].ToArray(); err != nil {
		t.Error(err)
	} else if status, _ := array[0].ToString(); status != "again" {
		t.Errorf("status %q", status)
	}
	working(t, a, b)
	if slices.Contains(b.heard(), "given up") {
		t.Error("it was delivered")
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
	until(t, "the departure", func() bool { return len(b.gone()) == 1 })
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
	servers[owner].Kill()
	until(t, "the end of being ready", func() bool { return a.Ready() != nil })
	servers[owner].Restart()
	for _, n := range []*testNode{a, b} {
		until(t, "the call of Restored", func() bool { return n.timesRestored() > 0 })
	}
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
		a.must(b.Publish(context.Background(), cluster.Publication{Topic: c, Payload: []byte(text)}))
		return slices.Contains(a.heard(), "moved 1") || slices.Contains(a.heard(), text)
	})
}
