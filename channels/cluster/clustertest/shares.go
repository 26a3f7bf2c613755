package clustertest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// testTransitions: of many nodes that do the same at once, one is told.
func testTransitions(s *suite) {
	const rounds = 20
	nodes := s.nodes(4)
	t := topic("presence-c")
	each := func(share cluster.Share) (outcomes []cluster.Outcome) {
		s.Helper()
		outcomes = make([]cluster.Outcome, len(nodes))
		var all sync.WaitGroup
		for i, n := range nodes {
			all.Go(func() {
				o, err := n.Update(context.Background(), t, share)
				if err != nil {
					s.Error(err)
				}
				outcomes[i] = o
			})
		}
		all.Wait()
		return outcomes
	}
	for range rounds {
		var occupied, added, highest int
		for _, o := range each(cluster.Share{Count: 2, Join: members("a", "b")}) {
			occupied += len(bools(o.Occupied))
			added += len(o.Added)
			highest = max(highest, o.Count)
			if o.Vacated || len(o.Removed) > 0 || len(o.Full) > 0 {
				s.Errorf("joining came to %+v", o)
			}
		}
		if occupied != 1 || added != 2 || highest != 8 {
			s.Fatalf("%d times occupied, %d added, count %d", occupied, added, highest)
		}
		var vacated, removed int
		for _, o := range each(cluster.Share{Count: 0, Leave: []string{"a", "b"}}) {
			vacated += len(bools(o.Vacated))
			removed += len(o.Removed)
			if o.Occupied || len(o.Added) > 0 {
				s.Errorf("leaving came to %+v", o)
			}
		}
		if vacated != 1 || removed != 2 {
			s.Fatalf("%d times vacated, %d removed", vacated, removed)
		}
	}
	if state := nodes[0].state(t); state.Count != 0 || state.Users != 0 {
		s.Errorf("left: %+v", state)
	}
}

func bools(b bool) []bool {
	if b {
		return []bool{b}
	}
	return nil
}

// testRepeated: an update says what is; saying it again changes nothing.
func testRepeated(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	b.listen(t)
	share := cluster.Share{Count: 2, Join: members("a")}
	first := a.update(t, share)
	again := a.update(t, share)
	if !first.Occupied || !slices.Equal(first.Added, []string{"a"}) || first.Count != 2 || first.Version != 1 {
		s.Errorf("at first: %+v", first)
	}
	if again.Occupied || len(again.Added) > 0 || again.Count != 2 || again.Version != 1 {
		s.Errorf("again: %+v", again)
	}
	leave := cluster.Share{Count: 1, Leave: []string{"a", "nobody"}}
	first, again = a.update(t, leave), a.update(t, leave)
	if !slices.Equal(first.Removed, []string{"a"}) || len(again.Removed) > 0 || first.Vacated {
		s.Errorf("leaving: %+v, then %+v", first, again)
	}
	if o := b.update(t, cluster.Share{Leave: []string{"a"}}); len(o.Removed) > 0 || o.Vacated || o.Count != 1 {
		s.Errorf("a node without a share took away: %+v", o)
	}
	// A count of nothing has no members.
	a.update(t, cluster.Share{Count: 2, Join: members("b")})
	if o := a.update(t, cluster.Share{Count: 0, Join: members("c")}); !o.Vacated || !slices.Equal(o.Removed, []string{"b"}) || len(o.Added) > 0 {
		s.Errorf("nothing: %+v", o)
	}
	if o := a.update(t, cluster.Share{}); o.Vacated || o.Occupied || o.Count != 0 {
		s.Errorf("nothing again: %+v", o)
	}
	// The first info stays.
	a.update(t, cluster.Share{Count: 1, Join: members("d")})
	other := []protocol.Member{{UserID: "d", UserInfo: []byte(`"other"`)}}
	if o := b.update(t, cluster.Share{Count: 1, Join: other, Load: true}); len(o.Added) > 0 || string(o.Roster[0].UserInfo) != string(members("d")[0].UserInfo) {
		s.Errorf("joining with another info: %+v", o)
	}
}

func testReset(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	a.update(t, cluster.Share{Count: 3, Join: members("1", "2", "3")})
	b.update(t, cluster.Share{Count: 1, Join: members("2")})
	o := a.update(t, cluster.Share{Count: 2, Reset: true, Join: members("3", "4")})
	if !slices.Equal(o.Added, []string{"4"}) || !slices.Equal(o.Removed, []string{"1"}) || o.Count != 3 || o.Occupied || o.Vacated {
		s.Errorf("reset: %+v", o)
	}
	if got := a.users(t); !slices.Equal(got, []string{"2", "3", "4"}) {
		s.Errorf("users %q", got)
	}
	if o := a.update(t, cluster.Share{Count: 2, Reset: true, Join: members("3", "4")}); len(o.Added)+len(o.Removed) > 0 {
		s.Errorf("reset again: %+v", o)
	}
	if o := a.update(t, cluster.Share{Reset: true}); !same(o.Removed, []string{"3", "4"}) || o.Vacated {
		s.Errorf("reset to nothing: %+v", o)
	}
}

// testRoster: whoever loads the roster, and follows the messages with later
// versions, has what the cluster has.
func testRoster(s *suite) {
	const joins = 30
	nodes := s.nodes(3)
	t := topic("presence-c")
	watcher := s.node()
	watcher.listen(t)
	late := s.node()
	var loaded cluster.Outcome
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			for j := range joins {
				share := cluster.Share{Count: 1, Join: members(fmt.Sprint("u", i, "-", j), fmt.Sprint("common", j))}
				if j > 5 {
					share.Leave = []string{fmt.Sprint("u", i, "-", j-5), fmt.Sprint("common", j-3)}
				}
				if _, err := n.Update(context.Background(), t, share); err != nil {
					s.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		if err := late.Listen(context.Background(), t); err != nil {
			s.Error(err)
		}
		o, err := late.Update(context.Background(), t, cluster.Share{Count: 1, Join: members("late"), Load: true})
		if err != nil {
			s.Error(err)
		}
		loaded = o
	})
	all.Wait()
	end := late.update(t, cluster.Share{Count: 1, Load: true})
	told := watcher.told(t, int(end.Version))
	roster := map[string]bool{}
	for i, m := range told {
		if m.Version != uint64(i+1) {
			s.Fatalf("message %d has version %d", i, m.Version)
		}
		if roster[m.Member.UserID] == (m.Kind == cluster.MemberAdded) {
			s.Fatalf("%q came or went twice", m.Member.UserID)
		}
		roster[m.Member.UserID] = m.Kind == cluster.MemberAdded
	}
	follow := func(from cluster.Outcome, messages []cluster.Message) (ids []string) {
		for _, m := range from.Roster {
			ids = append(ids, m.UserID)
		}
		for _, m := range messages {
			switch {
			case m.Version <= from.Version:
			case m.Kind == cluster.MemberAdded:
				ids = append(ids, m.Member.UserID)
			case m.Kind == cluster.MemberRemoved:
				ids = slices.DeleteFunc(ids, func(id string) bool { return id == m.Member.UserID })
			}
		}
		return ids
	}
	want := watcher.users(t)
	for name, got := range map[string][]string{"from the beginning": follow(cluster.Outcome{}, told), "from a loaded roster": follow(loaded, told), "loaded": follow(end, nil)} {
		if !slices.Equal(got, want) {
			s.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	late.messages(1, func(m cluster.Message) bool { return m.Version == end.Version })
	late.mu.Lock()
	defer late.mu.Unlock()
	for i, m := range late.received {
		if whole := told[m.Version-1]; m.Kind != whole.Kind || m.Member.UserID != whole.Member.UserID || i > 0 && m.Version != late.received[i-1].Version+1 {
			s.Errorf("two nodes were told different things of version %d", m.Version)
		}
	}
}

func testMaxMembers(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	share := func(count int, ids ...string) cluster.Share {
		return cluster.Share{Count: count, Join: members(ids...), MaxMembers: 3}
	}
	a.update(t, share(2, "1", "2"))
	o := b.update(t, share(3, "2", "3", "4"))
	if !slices.Equal(o.Added, []string{"3"}) || !slices.Equal(o.Full, []string{"4"}) {
		s.Errorf("one too many: %+v", o)
	}
	if got := a.users(t); !slices.Equal(got, []string{"1", "2", "3"}) {
		s.Errorf("users %q", got)
	}
	// Who leaves in the same update makes room.
	leave := share(1, "5")
	leave.Leave = []string{"3"}
	if o := b.update(t, leave); !slices.Equal(o.Added, []string{"5"}) || !slices.Equal(o.Removed, []string{"3"}) || len(o.Full) > 0 {
		s.Errorf("one for another: %+v", o)
	}
	var full, added int
	var mu sync.Mutex
	var all sync.WaitGroup
	a.update(t, cluster.Share{})
	for i, n := range []*node{a, b} {
		all.Go(func() {
			o, err := n.Update(context.Background(), t, share(9, fmt.Sprint(i, "a"), fmt.Sprint(i, "b")))
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			full, added = full+len(o.Full), added+len(o.Added)
		})
	}
	all.Wait()
	if got := a.users(t); len(got) != 3 || added+full != 4 {
		s.Errorf("%d members, %d added and %d without a place", len(got), added, full)
	}
}

func testCounts(s *suite) {
	a, b := s.node(), s.node()
	t := topic("c")
	b.listen(t)
	for i, step := range []struct {
		n     *node
		count int
		quiet bool
		want  int
	}{
		{a, 1, false, 1}, {b, 2, false, 3}, {a, 4, false, 6}, {a, 4, false, 6}, {a, 5, true, 7}, {b, 2, false, 7}, {b, 0, false, 5}, {a, 0, false, 0}, {a, 0, false, 0},
	} {
		o := step.n.update(t, cluster.Share{Count: step.count, TellCount: !step.quiet})
		told := !slices.Contains([]int{3, 4, 5, 8}, i)
		if i == 5 { // the quiet change is told by the next who tells
			told = true
		}
		if o.Count != step.want || o.CountTold != told || o.CountLater {
			s.Errorf("step %d: %+v", i, o)
		}
	}
	var got []int
	for _, m := range b.told(t, 6) {
		got = append(got, m.Count)
	}
	if !slices.Equal(got, []int{1, 3, 6, 7, 5, 0}) {
		s.Errorf("told %d", got)
	}
}

// testManyCounts: of many subscriptions, the count is told now and then.
func testManyCounts(s *suite) {
	a, b := s.node(), s.node()
	t := topic("c")
	b.listen(t)
	at := func(n *node, count int) cluster.Outcome {
		return n.update(t, cluster.Share{Count: count, TellCount: true})
	}
	many := cluster.CountedAlways
	if o := at(a, many); !o.CountTold {
		s.Errorf("%d: %+v", many, o)
	}
	if o := at(b, 1); o.CountTold || !o.CountLater {
		s.Errorf("one more: %+v", o)
	}
	if o := at(b, 0); o.CountTold || o.CountLater {
		s.Errorf("back at what was told: %+v", o)
	}
	at(b, 2)
	// Whoever comes first when the time has passed tells it, and only that one.
	s.until("the late telling", func() bool {
		o := at(a, many)
		if o.CountTold == o.CountLater {
			s.Errorf("meanwhile: %+v", o)
		}
		return o.CountTold
	})
	if o := at(b, 2); o.CountTold || o.CountLater {
		s.Errorf("afterwards: %+v", o)
	}
	var got []int
	for _, m := range b.told(t, 2) {
		got = append(got, m.Count)
	}
	if !slices.Equal(got, []int{many, many + 2}) {
		s.Errorf("told %d", got)
	}
}

func testWatched(s *suite) {
	a, b := s.node(), s.node()
	t := topic("#server-to-user-1")
	b.listen(t.Watch())
	step := func(n *node, count int, watched bool) { n.update(t, cluster.Share{Count: count, Watched: watched}) }
	step(a, 1, true)
	step(b, 1, true)
	step(a, 0, true)
	step(b, 0, true)
	step(a, 1, false) // not told
	step(a, 0, true)
	var got []bool
	for _, m := range b.told(t.Watch(), 3) {
		if m.Kind != cluster.Occupancy {
			s.Errorf("told %+v", m)
		}
		got = append(got, m.Occupied)
	}
	if !slices.Equal(got, []bool{true, false, false}) {
		s.Errorf("told %t", got)
	}
}

func testQueries(s *suite) {
	a, b := s.node(), s.node()
	ctx := context.Background()
	if states, err := a.States(ctx, "1", ""); err != nil || len(states) != 0 {
		s.Errorf("of nothing: %v, %v", states, err)
	}
	if got := a.users(topic("presence-0")); len(got) != 0 {
		s.Errorf("users of nothing: %q", got)
	}
	for i := range 100 {
		a.update(topic(fmt.Sprint("private-", i)), cluster.Share{Count: i + 1})
		b.update(topic(fmt.Sprint("presence-", i)), cluster.Share{Count: 1, Join: members("a", "b")})
	}
	b.update(topic("private-7"), cluster.Share{Count: 10})
	b.update(topic("private-8"), cluster.Share{})
	a.update(topic("private-9"), cluster.Share{})
	b.publish(cluster.Publication{Topic: topic("cache-c"), Payload: []byte("kept"), Keep: 1e12})
	states, err := b.States(ctx, "1", "private-")
	if err != nil || len(states) != 99 {
		s.Fatalf("%d states, error %v", len(states), err)
	}
	if states["private-7"].Count != 18 || states["private-8"].Count != 9 {
		s.Errorf("counts %d and %d", states["private-7"].Count, states["private-8"].Count)
	}
	states, err = a.States(ctx, "1", "")
	if err != nil || len(states) != 199 || states["presence-5"].Users != 2 || states["presence-5"].Count != 1 {
		s.Errorf("%d states, one %+v, error %v", len(states), states["presence-5"], err)
	}
	if got := a.state(topic("presence-5")); got.Users != 2 || got.Count != 1 {
		s.Errorf("state %+v", got)
	}
	if got := a.state(topic("private-9")); got.Count != 0 || got.Users != 0 || got.Last.Payload != nil {
		s.Errorf("state of a vacant channel %+v", got)
	}
	occupied, err := a.Occupied(ctx, "1", []string{"private-9", "private-10", "cache-c", "presence-99", "private-10"})
	if err != nil || !slices.Equal(occupied, []bool{false, true, false, true, true}) {
		s.Errorf("occupied %t, error %v", occupied, err)
	}
	if occupied, err := a.Occupied(ctx, "1", nil); err != nil || len(occupied) != 0 {
		s.Errorf("of none: %t, error %v", occupied, err)
	}
}

func testApps(s *suite) {
	a, b := s.node(), s.node()
	one, two := cluster.Topic{App: "1", Channel: "presence-c"}, cluster.Topic{App: "2", Channel: "presence-c"}
	a.listen(one)
	b.listen(two)
	b.say(two, "of 2")
	b.say(one, "of 1")
	if got := a.heard(one, 1); got[0] != "of 1" {
		s.Errorf("received %q", got)
	}
	if o := a.update(one, cluster.Share{Count: 1, Join: members("u")}); !o.Occupied || len(o.Added) != 1 {
		s.Errorf("in one: %+v", o)
	}
	if o := b.update(two, cluster.Share{Count: 1, Join: members("u")}); !o.Occupied || len(o.Added) != 1 || o.Count != 1 || o.Version != 1 {
		s.Errorf("in the other: %+v", o)
	}
	a.update(one, cluster.Share{})
	if states, err := a.States(context.Background(), "2", ""); err != nil || len(states) != 1 || states["presence-c"].Users != 1 {
		s.Errorf("states of the other: %v, error %v", states, err)
	}
	for _, m := range b.told(two, 1) {
		if m.Topic != two {
			s.Errorf("told of %+v", m.Topic)
		}
	}
}
