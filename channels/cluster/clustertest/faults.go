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
	departed := func() (all []departure) {
		for _, n := range others {
			n.mu.Lock()
			all = append(all, n.departed...)
			n.mu.Unlock()
		}
		return all
	}
	s.until("the departure", func() bool { return len(departed()) >= channels+1 })
	found := make(map[cluster.Topic]cluster.Outcome)
	for _, d := range departed() {
		if _, twice := found[d.topic]; twice {
			s.Errorf("%v departed twice", d.topic)
		}
		found[d.topic] = d.outcome
	}
	for i := range channels {
		o := found[topic(fmt.Sprint("presence-", i))]
		removed := []string{"a", "b"}
		if i%2 == 0 {
			removed = []string{"a"}
		}
		if !same(o.Removed, removed) || o.Vacated != (i%2 == 1) || !o.CountTold || o.Count != (i+1)%2 {
			s.Errorf("channel %d: %+v", i, o)
		}
	}
	if !found[watch].Vacated {
		s.Errorf("the watched channel: %+v", found[watch])
	}
	if told := others[0].told(watch.Watch(), 2); told[1].Occupied {
		s.Error("the watchers were not told")
	}
	others[1].messages(1, func(m cluster.Message) bool {
		return m.Kind == cluster.MemberRemoved && m.Member.UserID == "a" && m.Topic == topic("presence-0")
	})
	states, err := others[2].States(context.Background(), "1", "")
	if err != nil || len(states) != channels/2 || states["presence-0"].Count != 1 || states["presence-0"].Users != 1 {
		s.Errorf("%d channels are left, error %v", len(states), err)
	}
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
	if told[2].Kind != cluster.MemberRemoved || told[3].Kind != cluster.Count || told[3].Count != 0 {
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
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.departed) > 0 {
		s.Error("who closes has not died")
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
			if o := n.update(t, cluster.Share{Count: 1, Reset: true, Join: members(fmt.Sprint(i))}); len(o.Added)+len(o.Removed) > 0 || o.Occupied {
				s.Errorf("what was known is lost: %+v", o)
			}
		}
		nodes[0].say(t, "back %d", round)
		for i, n := range nodes[:2] {
			if got := n.heard(t, round+1); len(got) != round+1 || slices.Contains(got, "failed") {
				s.Errorf("node %d received %q", i, got)
			}
		}
		if o := nodes[0].update(t, cluster.Share{Count: 1, Load: true}); o.Count != 3 || len(o.Roster) != 3 {
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
