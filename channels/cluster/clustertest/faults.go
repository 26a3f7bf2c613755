package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"belfry/channels/cluster"
)

func testDeath(s *suite) {
	const channels = 30
	dead, others := s.node(), s.nodes(3)
	watch := topic("#server-to-user-u")
	others[0].listen(watch.Watch())
	others[1].listen(topic("presence-0"))
	for i := range channels {
		t := topic(fmt.Sprint("presence-", i))
		dead.update(t, cluster.Share{Count: 2, Join: members("a", "b"), TellCount: true})
		if i%2 == 0 {
			others[0].update(t, cluster.Share{Count: 1, Join: members("b")})
		}
	}
	dead.update(watch, cluster.Share{Count: 1, Watched: true})
	s.cluster.Kill(dead.Driver)
	if told := others[0].told(watch.Watch(), 2); told[1].Occupied {
		s.Error("the watchers were not told")
	}
	others[1].messages(1, func(m cluster.Message) bool {
		return m.Kind == cluster.Members && slices.Equal(m.Left, []string{"a"}) && m.Topic == topic("presence-0")
	})
	others[1].messages(1, func(m cluster.Message) bool { return m.Kind == cluster.Count && m.Count == 1 })
	s.until("the end of the share", func() bool {
		states, err := others[2].States(context.Background(), "1", "")
		if err != nil {
			s.Fatal(err)
		}
		return len(states) == channels/2 && states["presence-0"].Count == 1 && states["presence-0"].Users == 1
	})
	// All the others live on.
	for _, n := range others {
		if n.restored > 0 {
			s.Error("a node that lives was cut off")
		}
		n.update(topic("c"), cluster.Share{Count: 1})
	}
}

func testClose(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	b.listen(t)
	a.update(t, cluster.Share{Count: 2, Join: members("a"), TellCount: true})
	b.update(topic("other"), cluster.Share{Count: 1})
	a.Close()
	if state := b.state(t); state.Count != 0 || state.Users != 0 {
		s.Errorf("left: %+v", state)
	}
	told := b.told(t, 4)
	if told[2].Kind != cluster.Members || len(told[2].Left) != 1 || told[3].Kind != cluster.Count || told[3].Count != 0 {
		s.Errorf("told %+v", told)
	}
	if err := a.Publish(context.Background(), cluster.Publication{Topic: t}); !errors.Is(err, cluster.ErrUnavailable) {
		s.Errorf("publishing afterwards: error %v", err)
	}
	if err := a.Ready(); err == nil {
		s.Error("it is ready afterwards")
	}
	if state := b.state(topic("other")); state.Count != 1 {
		s.Errorf("of another node: %+v", state)
	}
}

func testInterruption(s *suite) {
	nodes := s.nodes(3)
	t := topic("presence-c")
	ctx := context.Background()
	for i, n := range nodes {
		n.listen(t)
		n.update(t, cluster.Share{Count: 1, Join: members(fmt.Sprint(i))})
	}
	for round := range 2 {
		s.cluster.Interrupt()
		for _, n := range nodes {
			if err := n.Publish(ctx, cluster.Publication{Topic: t, Payload: []byte("failed")}); !errors.Is(err, cluster.ErrUnavailable) {
				s.Fatalf("publishing: error %v", err)
			}
			if _, err := n.Update(ctx, t, cluster.Share{Count: 5}); !errors.Is(err, cluster.ErrUnavailable) {
				s.Errorf("updating: error %v", err)
			}
			if _, err := n.State(ctx, t); !errors.Is(err, cluster.ErrUnavailable) {
				s.Errorf("asking: error %v", err)
			}
			if err := n.Listen(ctx, topic("new")); !errors.Is(err, cluster.ErrUnavailable) {
				s.Errorf("listening: error %v", err)
			}
			s.until("the end of being ready", func() bool { return n.Ready() != nil })
		}
		nodes[2].Ignore(t)
		s.cluster.Restore()
		for _, n := range nodes {
			n.wait(s, "the call of Restored", func(r *recorder) bool { return r.restored > round })
			s.until("being ready", func() bool { return n.Ready() == nil })
		}
		for i, n := range nodes {
			if o := n.update(t, cluster.Share{Count: 1, Whole: true, Join: members(fmt.Sprint(i)), Record: true}); o.Hint != nil || o.Count != 3 {
				s.Errorf("what was known is lost: %+v", o)
			}
		}
		nodes[0].say(t, "back %d", round)
		for i, n := range nodes[:2] {
			if got := n.heard(t, round+1); len(got) != round+1 || slices.Contains(got, "failed") {
				s.Errorf("node %d received %q", i, got)
			}
		}
		if o := nodes[0].update(t, cluster.Share{Count: 1, Whole: true, Join: members("0"), Load: true}); o.Count != 3 || len(o.Snapshot.Members) != 3 {
			s.Errorf("afterwards: %+v", o)
		}
	}
	nodes[2].mu.Lock()
	defer nodes[2].mu.Unlock()
	for _, m := range nodes[2].received {
		if m.Kind == cluster.Published {
			s.Errorf("received %q, which is ignored", m.Payload)
		}
	}
}

// testLoss: the ledger loses its data. What all nodes still have is no news to the
// backend, and what has changed meanwhile is.
func testLoss(s *suite) {
	a, b := s.node(), s.node()
	t, gone := topic("presence-c"), topic("gone")
	share := func(n *node, s cluster.Share) cluster.Outcome {
		n.s.Helper()
		s.Record = true
		return n.update(t, s)
	}
	one := share(a, cluster.Share{Count: 2, Join: members("1", "2")})
	two := share(b, cluster.Share{Count: 2, Join: members("2", "3")})
	left := a.update(gone, cluster.Share{Count: 1, Record: true})
	if left.Hint.Bucket == one.Hint.Bucket {
		a.delivered(one.Hint.Bucket, 5)
	} else {
		a.delivered(one.Hint.Bucket, 4)
		a.delivered(left.Hint.Bucket, 1)
	}
	s.cluster.Forget()
	for _, n := range []*node{a, b} {
		n.wait(s, "the call of Restored", func(r *recorder) bool { return r.restored > 0 })
		s.until("being ready", func() bool { return n.Ready() == nil })
	}
	if _, err := a.Update(context.Background(), t, cluster.Share{Count: 2, Before: 2, Epoch: one.Version.Epoch}); !errors.Is(err, cluster.ErrForgotten) {
		s.Errorf("what has changed: error %v", err)
	}
	// 3 has left, and is on no other node; 4 has come; 1 is said to have left before its
	// node says that it is there.
	o := share(b, cluster.Share{Count: 2, Whole: true, Epoch: two.Version.Epoch, Before: 2, Known: 1, Join: members("2", "4"), Leave: []string{"1", "3"}})
	if o.Version.Epoch == two.Version.Epoch {
		s.Error("it is the same epoch")
	}
	o = share(a, cluster.Share{Count: 2, Whole: true, Epoch: one.Version.Epoch, Before: 2, Known: 2, Join: members("1", "2"), Load: true})
	if o.Count != 4 || len(o.Snapshot.Members) != 3 {
		s.Errorf("told anew: %+v", o)
	}
	a.update(gone, cluster.Share{Whole: true, Epoch: left.Version.Epoch, Before: 1, Record: true})
	want := []cluster.Transition{{Kind: cluster.Removed, Channel: t.Channel, UserID: "3"}, {Kind: cluster.Added, Channel: t.Channel, UserID: "4"}}
	var got []cluster.Transition
	if left.Hint.Bucket == one.Hint.Bucket {
		got = b.delivered(one.Hint.Bucket, 3)
	} else {
		got = append(b.delivered(one.Hint.Bucket, 2), b.delivered(left.Hint.Bucket, 1)...)
	}
	for _, w := range append(want, cluster.Transition{Kind: cluster.Vacated, Channel: gone.Channel}) {
		if !slices.Contains(got, w) {
			s.Errorf("delivered %+v, without %+v", got, w)
		}
	}
}
