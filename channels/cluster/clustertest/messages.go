package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

func testOrder(s *suite) {
	const topics, publishers, each = 3, 4, 100
	nodes := s.nodes(3)
	for i := range topics {
		for _, n := range nodes {
			n.listen(topic(fmt.Sprint("c", i)))
		}
	}
	var all sync.WaitGroup
	for p := range publishers {
		n := nodes[p%len(nodes)]
		all.Go(func() {
			for i := range each {
				for c := range topics {
					if err := n.Publish(context.Background(), cluster.Publication{Topic: topic(fmt.Sprint("c", c)), Payload: fmt.Appendf(nil, "%d %d", p, i)}); err != nil {
						s.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	for c := range topics {
		t := topic(fmt.Sprint("c", c))
		first := nodes[0].heard(t, publishers*each)
		next := make([]int, publishers)
		for _, text := range first {
			var p, i int
			if _, err := fmt.Sscan(text, &p, &i); err != nil || i != next[p] {
				s.Fatalf("publisher %d: message %d came, want %d", p, i, next[p])
			}
			next[p]++
		}
		for _, n := range nodes[1:] {
			if !slices.Equal(n.heard(t, publishers*each), first) {
				s.Error("two nodes received in different orders")
			}
		}
	}
}

func testListen(s *suite) {
	a, b := s.node(), s.node()
	for i := range 50 {
		t := topic(fmt.Sprint("c", i))
		a.listen(t)
		b.say(t, "after")
		a.say(t, "own")
		if got := a.heard(t, 2); !slices.Equal(got, []string{"after", "own"}) {
			s.Fatalf("received %q", got)
		}
		a.listen(t) // again, which changes nothing
	}
	if len(b.received) > 0 {
		s.Error("a node received what it does not listen to")
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if err := b.Listen(context.Background(), topic("many")); err != nil {
				s.Error(err)
			}
		})
	}
	all.Wait()
	a.say(topic("many"), "once")
	a.say(topic("many"), "end")
	if got := b.heard(topic("many"), 2); !slices.Equal(got, []string{"once", "end"}) {
		s.Errorf("received %q", got)
	}
}

func testIgnore(s *suite) {
	a, b := s.node(), s.node()
	a.listen(topic("end"))
	for i := range 20 {
		a.listen(topic("c"))
		b.say(topic("c"), "heard %d", i)
		a.heard(topic("c"), i+1)
		a.Ignore(topic("c"))
		b.say(topic("c"), "not heard")
		b.say(topic("end"), "end")
		a.heard(topic("end"), i+1)
		for _, text := range a.heard(topic("c"), i+1) {
			if text == "not heard" {
				s.Fatal("received what is ignored")
			}
		}
	}
	a.Ignore(topic("never listened to"))
}

func testSlowReceiver(s *suite) {
	slow, fast := s.cluster.Node(), s.node()
	r := &recorder{block: make(chan struct{}), changed: make(chan struct{})}
	slow.Start(r)
	s.Cleanup(slow.Close)
	n := &node{slow, r, s}
	n.listen(topic("c"))
	fast.listen(topic("c"))
	for i := range 200 {
		fast.say(topic("c"), "%d", i)
	}
	fast.heard(topic("c"), 200)
	r.mu.Lock()
	if len(r.received) > 1 {
		s.Error("a message came while the one before was being received")
	}
	r.mu.Unlock()
	close(r.block)
	for i, text := range n.heard(topic("c"), 200) {
		if text != fmt.Sprint(i) {
			s.Fatalf("message %d is %q", i, text)
		}
	}
}

func testBatch(s *suite) {
	a, b := s.node(), s.node()
	var batch []cluster.Publication
	for i := range 100 {
		t := topic(fmt.Sprint("c", i/2))
		if i%2 == 0 {
			a.listen(t)
		}
		batch = append(batch, cluster.Publication{Topic: t, Payload: fmt.Append(nil, i)})
	}
	b.publish(batch...)
	for i := range 50 {
		if got := a.heard(topic(fmt.Sprint("c", i)), 2); !slices.Equal(got, []string{fmt.Sprint(2 * i), fmt.Sprint(2*i + 1)}) {
			s.Errorf("received %q", got)
		}
	}
	b.publish()
}

// Of publications with the same key and topic, one is done, whoever repeats it, kept or not.
func testOnce(s *suite) {
	a, b := s.node(), s.node()
	publish := func(n *node, channel, key, payload string) {
		s.Helper()
		p := cluster.Publication{Topic: topic(channel), Payload: []byte(payload), Key: key}
		other := cluster.Publication{Topic: topic(channel), Payload: []byte(payload + " without")}
		if err := n.Publish(context.Background(), p, other); err != nil {
			s.Error(err)
		}
	}
	keep := func(n *node, channel, key, payload string) {
		s.Helper()
		p := cluster.Publication{Topic: topic(channel), Payload: []byte(payload), Key: key}
		if err := n.Keep(context.Background(), cluster.Kept{Publication: p, Events: 5, For: time.Minute}); err != nil {
			s.Error(err)
		}
	}
	for _, channel := range []string{"c", "c:k", "cache-c"} {
		a.listen(topic(channel))
	}
	publish(a, "c", "k", "first")
	publish(b, "c", "k", "again")
	publish(b, "c", "l", "another key")
	if got := a.heard(topic("c"), 5); !slices.Equal(got, []string{"first", "first without", "again without", "another key", "another key without"}) {
		s.Errorf("received %q", got)
	}
	publish(b, "c:k", "k", "another channel")
	if got := a.heard(topic("c:k"), 2); !slices.Equal(got, []string{"another channel", "another channel without"}) {
		s.Errorf("received %q", got)
	}
	keep(a, "cache-c", "k", "one")
	keep(b, "cache-c", "k", "again")
	keep(b, "cache-c", "", "two")
	keep(b, "cache-c", "", "three")
	if got := a.heard(topic("cache-c"), 3); !slices.Equal(got, []string{"one", "two", "three"}) {
		s.Errorf("received %q", got)
	}
	if _, events := a.history(topic("cache-c"), 10, time.Hour); !slices.Equal(events, []string{"one", "two", "three"}) {
		s.Errorf("kept %q", events)
	}
	a.listen(topic("order"))
	var mixed []cluster.Publication
	var want []string
	for i := range 20 {
		p := cluster.Publication{Topic: topic("order"), Payload: fmt.Append(nil, i)}
		if i%3 == 1 {
			p.Key = fmt.Sprint("k", i)
		}
		mixed, want = append(mixed, p), append(want, fmt.Sprint(i))
	}
	if err := b.Publish(context.Background(), mixed...); err != nil {
		s.Error(err)
	}
	if got := a.heard(topic("order"), 20); !slices.Equal(got, want) {
		s.Errorf("received %q", got)
	}
	var all sync.WaitGroup
	a.listen(topic("race"))
	for range 20 {
		for _, n := range []*node{a, b} {
			all.Go(func() {
				if err := n.Publish(context.Background(), cluster.Publication{Topic: topic("race"), Payload: []byte("x"), Key: "k"}); err != nil {
					s.Error(err)
				}
			})
		}
	}
	all.Wait()
	b.say(topic("race"), "end")
	if got := a.heard(topic("race"), 2); !slices.Equal(got, []string{"x", "end"}) {
		s.Errorf("received %q", got)
	}
}

func testKept(s *suite) {
	a, b := s.node(), s.node()
	t := topic("cache-c")
	a.listen(t)
	a.update(t, cluster.Share{Count: 1})
	if state := b.state(t); state.Last != nil {
		s.Errorf("before: %+v", state.Last)
	}
	keep := func(payload string, events int, life time.Duration) {
		s.Helper()
		if err := b.Keep(context.Background(), cluster.Kept{Publication: cluster.Publication{Topic: t, Payload: []byte(payload)}, Last: life, Events: events, For: life}); err != nil {
			s.Fatal(err)
		}
	}
	load := func() (payloads []string) {
		_, payloads = a.history(t, 10, 2*time.Hour)
		return payloads
	}
	before := a.update(t, cluster.Share{Count: 1, Before: 1}).Version
	keep("one", 1, time.Hour)
	keep("two", 1, time.Hour)
	b.say(t, "three")
	for i, m := range a.messages(3, func(m cluster.Message) bool { return m.Kind == cluster.Published }) {
		if i == 2 {
			before = cluster.Version{}
		}
		if kept := i < 2; kept && (m.Version.Epoch != before.Epoch || m.After != before.Number || m.Version.Number <= m.After) || !kept && m.Version != before {
			s.Errorf("message %d has version %v after %d, the one before %v", i, m.Version, m.After, before)
		}
		before = m.Version
	}
	last := b.state(t).Last
	if string(last.Payload) != "two" || last.TTL <= 0 || last.TTL > time.Hour {
		s.Errorf("last event: %+v", last)
	}
	all := cluster.Version{Epoch: before.Epoch}
	if all.Epoch == "" {
		all.Epoch = a.update(t, cluster.Share{Count: 1, Before: 1}).Version.Epoch
	}
	o := a.update(t, cluster.Share{Count: 1, Before: 1, Load: true, Since: all})
	if e := o.Snapshot.Events; len(e) != 1 || string(e[0].Payload) != "two" || e[0].Number != o.Version.Number {
		s.Errorf("loaded: %+v", e)
	}
	if last := o.Snapshot.Last; last == nil || string(last.Payload) != "two" || last.Number != o.Version.Number {
		s.Errorf("loaded as the last event: %+v", last)
	}
	if o := a.update(t, cluster.Share{Count: 1, Before: 1}); o.Snapshot != nil {
		s.Error("it was loaded without being asked for")
	}
	keep("three", 3, time.Hour)
	keep("four", 3, time.Hour)
	keep("five", 3, time.Hour)
	if got := load(); !slices.Equal(got, []string{"three", "four", "five"}) {
		s.Errorf("of three, %q are kept", got)
	}
	a.update(t, cluster.Share{Before: 1})
	if last := a.state(t).Last; string(last.Payload) != "five" {
		s.Error("it is gone with the last subscriber")
	}
	o = a.update(t, cluster.Share{Count: 1, Load: true, Since: all})
	if e := o.Snapshot.Events; len(e) != 3 || e[2].Number > o.Version.Number {
		s.Errorf("coming back: %+v at %v", e, o.Version)
	}
	keep("", 1, time.Hour)
	if last := b.state(t).Last; last == nil || len(last.Payload) > 0 {
		s.Errorf("an empty one: %+v", last)
	}
	keep("short", 1, time.Nanosecond)
	s.until("the end of a last event", func() bool { return b.state(t).Last == nil })
	if got := load(); len(got) > 0 {
		s.Errorf("after its end: %q", got)
	}
}

// testAnyText: nothing in a name or a payload is special.
func testAnyText(s *suite) {
	a, b := s.node(), s.node()
	payload := "\x00\r\n \xff{}" + strings.Repeat("x", 100_000)
	for _, app := range []string{"1", "a/b}{c", "%7D é", strings.Repeat("a", 200)} {
		for _, channel := range []string{"c", "presence-x@y=,.;_-", "#server-to-user-{x} \n%s", "", strings.Repeat("c", 300)} {
			t := cluster.Topic{App: app, Channel: channel}
			a.listen(t)
			b.say(t, "%s", payload)
			if got := a.heard(t, 1); got[0] != payload {
				s.Errorf("%+v: the payload has changed", t)
			}
		}
		t := cluster.Topic{App: app, Channel: "presence-c 1"}
		a.listen(t)
		join := members("1 2", ":", "a\nb", "é", `"`, "{}", "=", "1:2", " ", "+1 ")
		join[1].UserInfo = nil
		o := b.update(t, cluster.Share{Count: 9, Join: join, Load: true, Record: true})
		if len(o.Snapshot.Members) != len(join) {
			s.Fatalf("roster of %d", len(o.Snapshot.Members))
		}
		for i, m := range a.told(t, 1)[0].Joined {
			for _, got := range []protocol.Member{m, o.Snapshot.Members[i]} {
				if got.UserID != join[i].UserID || string(got.UserInfo) != string(join[i].UserInfo) {
					s.Errorf("member %q %q, want %q %q", got.UserID, got.UserInfo, join[i].UserID, join[i].UserInfo)
				}
			}
		}
		if got := b.users(t); len(got) != len(join) {
			s.Errorf("users %q", got)
		}
		transitions := b.delivered(o.Hint.Bucket, len(join)+1)
		for i, got := range transitions {
			want := cluster.Transition{Kind: cluster.Occupied, Channel: t.Channel}
			if i > 0 {
				want = cluster.Transition{Kind: cluster.Added, Channel: t.Channel, UserID: join[i-1].UserID}
			}
			if got != want {
				s.Errorf("transition %+v, want %+v", got, want)
			}
		}
	}
}

func testContexts(s *suite) {
	n := s.node()
	n.listen(topic("c"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, updated := n.Update(ctx, topic("c"), cluster.Share{Count: 1})
	_, state := n.State(ctx, topic("c"))
	_, history := n.History(ctx, topic("c"), 1, time.Hour)
	_, states := n.States(ctx, "1", "")
	_, users := n.Users(ctx, topic("c"))
	_, occupied := n.Occupied(ctx, "1", []string{"c"})
	for i, err := range []error{n.Listen(ctx, topic("d")), n.Publish(ctx, cluster.Publication{Topic: topic("c")}), n.Keep(ctx, cluster.Kept{Events: 1, For: time.Hour}), updated, state, history, states, users, occupied} {
		if !errors.Is(err, cluster.ErrUnavailable) {
			s.Errorf("call %d: error %v", i, err)
		}
	}
	n.say(topic("c"), "end")
	if got := n.heard(topic("c"), 1); got[0] != "end" {
		s.Errorf("received %q", got)
	}
	if got := n.state(topic("c")); got.Count != 0 {
		s.Errorf("a failed update made %+v", got)
	}
}
