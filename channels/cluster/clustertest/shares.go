package clustertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// testConcurrent: of many nodes that do the same at once, one makes the transitions.
func testConcurrent(s *suite) {
	const rounds = 20
	nodes := s.nodes(4)
	t := topic("presence-c")
	var bucket cluster.Bucket
	each := func(share cluster.Share) (highest int) {
		s.Helper()
		share.Record = true
		outcomes := make([]cluster.Outcome, len(nodes))
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
		for _, o := range outcomes {
			highest = max(highest, o.Count)
			if o.Hint != nil {
				bucket = o.Hint.Bucket
			}
			if len(o.Full) > 0 {
				s.Errorf("%q have no place", o.Full)
			}
		}
		return highest
	}
	for range rounds {
		if count := each(cluster.Share{Count: 2, Join: members("a", "b")}); count != 8 {
			s.Fatalf("count %d", count)
		}
		each(cluster.Share{Before: 2, Leave: []string{"a", "b"}})
	}
	for got := range slices.Chunk(nodes[0].delivered(bucket, 6*rounds), 6) {
		slices.SortFunc(got[3:5], func(a, b cluster.Transition) int { return strings.Compare(a.UserID, b.UserID) })
		if !slices.Equal(got, transitions(t, "o", "+a", "+b", "-a", "-b", "v")) {
			s.Errorf("delivered %+v", got)
		}
	}
	if state := nodes[0].state(t); state.Count != 0 || state.Users != 0 {
		s.Errorf("left: %+v", state)
	}
}

// transitions of a channel: a kind and a user each.
func transitions(t cluster.Topic, list ...string) (all []cluster.Transition) {
	for _, what := range list {
		all = append(all, cluster.Transition{Kind: cluster.TransitionKind(what[0]), Channel: t.Channel, UserID: what[1:]})
	}
	return all
}

// testRepeated: an update says what is; saying it again changes nothing.
func testRepeated(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	b.listen(t)
	update := func(n *node, share cluster.Share) cluster.Outcome {
		s.Helper()
		share.Record = true
		return n.update(t, share)
	}
	first := update(a, cluster.Share{Count: 2, Join: members("a")})
	again := update(a, cluster.Share{Count: 2, Before: 2, Join: members("a")})
	if first.Count != 2 || again.Count != 2 || again.Version != first.Version {
		s.Errorf("at first: %+v, again: %+v", first, again)
	}
	if whole := update(a, cluster.Share{Count: 2, Whole: true, Join: members("a")}); whole.Count != 2 || whole.Version != first.Version {
		s.Errorf("as a whole: %+v", whole)
	}
	leave := cluster.Share{Count: 1, Before: 2, Leave: []string{"a", "nobody"}}
	first = update(a, leave)
	leave.Before = 1
	if again = update(a, leave); again.Version != first.Version || again.Count != 1 {
		s.Errorf("leaving: %+v, then %+v", first, again)
	}
	if o := update(b, cluster.Share{Leave: []string{"a"}}); o.Count != 1 {
		s.Errorf("a node without a share took away: %+v", o)
	}
	// A count of nothing has no members.
	update(a, cluster.Share{Count: 2, Before: 1, Join: members("b")})
	if o := update(a, cluster.Share{Count: 0, Before: 2, Join: members("c"), Load: true}); len(o.Snapshot.Members) > 0 || o.Count != 0 {
		s.Errorf("nothing: %+v", o)
	}
	if o := update(a, cluster.Share{Whole: true}); o.Count != 0 {
		s.Errorf("nothing again: %+v", o)
	}
	want := transitions(t, "o", "+a", "-a", "+b", "-b", "v")
	if got := b.delivered(first.Hint.Bucket, len(want)); !slices.Equal(got, want) {
		s.Errorf("delivered %+v", got)
	}
	// The first info stays.
	update(a, cluster.Share{Count: 1, Join: members("d")})
	other := []protocol.Member{{UserID: "d", UserInfo: []byte(`"other"`)}}
	if o := update(b, cluster.Share{Count: 1, Join: other, Load: true}); string(o.Snapshot.Members[0].UserInfo) != string(members("d")[0].UserInfo) {
		s.Errorf("joining with another info: %+v", o.Snapshot)
	}
}

func testWhole(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	b.listen(t)
	a.update(t, cluster.Share{Count: 3, Join: members("1", "2", "3")})
	b.update(t, cluster.Share{Count: 1, Join: members("2")})
	whole := cluster.Share{Count: 2, Whole: true, Join: members("3", "4")}
	o := a.update(t, whole)
	if m := b.told(t, 2)[1]; !slices.Equal(m.Left, []string{"1"}) || len(m.Joined) != 1 || m.Joined[0].UserID != "4" || m.Version != o.Version || o.Count != 3 {
		s.Errorf("%+v came to %+v", o, m)
	}
	if got := a.users(t); !slices.Equal(got, []string{"2", "3", "4"}) {
		s.Errorf("users %q", got)
	}
	if again := a.update(t, whole); again.Version != o.Version {
		s.Errorf("again: %+v", again)
	}
	a.update(t, cluster.Share{Whole: true})
	if m := b.told(t, 3)[2]; !same(m.Left, []string{"3", "4"}) {
		s.Errorf("nothing came to %+v", m)
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
				share := cluster.Share{Count: 1, Before: min(j, 1), Join: members(fmt.Sprint("u", i, "-", j), fmt.Sprint("common", j))}
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
	end := late.update(t, cluster.Share{Count: 1, Before: 1, Load: true})
	told := func(n *node) []cluster.Message {
		n.messages(1, func(m cluster.Message) bool { return m.Version == end.Version })
		return n.told(t, 1)
	}
	follow := func(from cluster.Outcome, messages []cluster.Message) (ids []string) {
		if from.Snapshot != nil {
			for _, m := range from.Snapshot.Members {
				ids = append(ids, m.UserID)
			}
		}
		number := from.Version.Number
		for _, m := range messages {
			if m.Version.Epoch != end.Version.Epoch {
				s.Fatalf("message of another epoch: %+v", m)
			}
			if m.Version.Number <= number {
				continue
			}
			if m.After != number && number > 0 {
				s.Fatalf("message %v comes after %d, not %d", m.Version, m.After, number)
			}
			number = m.Version.Number
			ids = slices.DeleteFunc(ids, func(id string) bool { return slices.Contains(m.Left, id) })
			for _, one := range m.Joined {
				if slices.Contains(ids, one.UserID) {
					s.Fatalf("%q came twice", one.UserID)
				}
				ids = append(ids, one.UserID)
			}
		}
		return ids
	}
	want := watcher.users(t)
	for name, got := range map[string][]string{
		"from the beginning":   follow(cluster.Outcome{}, told(watcher)),
		"from a loaded roster": follow(loaded, told(late)),
		"loaded":               follow(end, nil),
	} {
		if !slices.Equal(got, want) {
			s.Errorf("%s: %q, want %q", name, got, want)
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
	if o := b.update(t, share(3, "2", "3", "4")); !slices.Equal(o.Full, []string{"4"}) {
		s.Errorf("one too many: %+v", o)
	}
	if got := a.users(t); !slices.Equal(got, []string{"1", "2", "3"}) {
		s.Errorf("users %q", got)
	}
	// Who leaves in the same update makes room.
	leave := share(1, "5")
	leave.Before, leave.Leave = 3, []string{"3"}
	if o := b.update(t, leave); len(o.Full) > 0 {
		s.Errorf("one for another: %+v", o)
	}
	// Whoever was there stays.
	if o := a.update(t, cluster.Share{Count: 4, Whole: true, Join: members("1", "2", "6", "7"), Known: 3, MaxMembers: 3}); !slices.Equal(o.Full, []string{"7"}) {
		s.Errorf("known ones: %+v", o)
	}
	var full int
	var mu sync.Mutex
	var all sync.WaitGroup
	a.update(t, cluster.Share{Before: 4})
	for i, n := range []*node{a, b} {
		all.Go(func() {
			next := share(9, fmt.Sprint(i, "a"), fmt.Sprint(i, "b"))
			next.Before = i
			o, err := n.Update(context.Background(), t, next)
			if err != nil {
				s.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			full += len(o.Full)
		})
	}
	all.Wait()
	if got := a.users(t); len(got) > 3 || len(got)+full != 6 { // 2 and 5 were there
		s.Errorf("%d members, and %d without a place", len(got), full)
	}
}

func testCounts(s *suite) {
	a, b := s.node(), s.node()
	t := topic("c")
	b.listen(t)
	before := map[*node]int{}
	for i, step := range []struct {
		n     *node
		count int
		quiet bool
		want  int
	}{
		{a, 1, false, 1}, {b, 2, false, 3}, {a, 4, false, 6}, {a, 4, false, 6}, {a, 5, true, 7}, {b, 200, false, 205}, {b, 0, false, 5}, {a, 0, false, 0}, {a, 0, false, 0},
	} {
		if o := step.n.update(t, cluster.Share{Count: step.count, Before: before[step.n], TellCount: !step.quiet}); o.Count != step.want {
			s.Errorf("step %d: %+v", i, o)
		}
		before[step.n] = step.count
	}
	var got []int
	for _, m := range b.told(t, 6) {
		got = append(got, m.Count)
	}
	if !slices.Equal(got, []int{1, 3, 6, 205, 5, 0}) {
		s.Errorf("told %d", got)
	}
}

func testWatched(s *suite) {
	a, b := s.node(), s.node()
	t := topic("#server-to-user-1")
	b.listen(t.Watch())
	step := func(n *node, count int, watched bool) {
		n.update(t, cluster.Share{Count: count, Before: 1 - count, Watched: watched})
	}
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
	a.update(topic("private-9"), cluster.Share{Before: 10})
	if err := b.Keep(ctx, cluster.Kept{Publication: cluster.Publication{Topic: topic("cache-c"), Payload: []byte("kept")}, Last: time.Hour}); err != nil {
		s.Fatal(err)
	}
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
	if got := a.state(topic("private-9")); got.Count != 0 || got.Users != 0 || got.Last != nil {
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
	for n, t := range map[*node]cluster.Topic{a: one, b: two} {
		o := n.update(t, cluster.Share{Count: 1, Join: members("u"), Record: true})
		if got := n.delivered(o.Hint.Bucket, 2); o.Count != 1 || o.Hint.Bucket.App != t.App || !slices.Equal(got, transitions(t, "o", "+u")) {
			s.Errorf("in app %s: %+v, %+v", t.App, o, got)
		}
	}
	a.update(one, cluster.Share{Before: 1})
	if states, err := a.States(context.Background(), "2", ""); err != nil || len(states) != 1 || states["presence-c"].Users != 1 {
		s.Errorf("states of the other: %v, error %v", states, err)
	}
	for _, m := range b.told(two, 1) {
		if m.Topic != two {
			s.Errorf("told of %+v", m.Topic)
		}
	}
}

func testNodes(s *suite) {
	a, b, silent := s.node(), s.node(), s.node()
	ctx := context.Background()
	for n, about := range map[*node]string{a: "a", b: "b"} {
		if err := n.Introduce(ctx, about, time.Minute); err != nil {
			s.Fatal(err)
		}
	}
	told := func(n *node) (about []string, self int) {
		nodes, err := n.Nodes(ctx)
		if err != nil {
			s.Fatal(err)
		}
		if !slices.IsSortedFunc(nodes, func(a, b cluster.Node) int { return strings.Compare(a.ID, b.ID) }) {
			s.Errorf("not in the order of ids: %+v", nodes)
		}
		for _, one := range nodes {
			about = append(about, one.About)
			if one.Self {
				self++
			}
		}
		slices.Sort(about)
		return about, self
	}
	for _, n := range []*node{a, b, silent} {
		s.until("all are there", func() bool {
			about, self := told(n)
			return slices.Equal(about, []string{"", "a", "b"}) && self == 1
		})
	}
	a.Close()
	s.cluster.Kill(silent.Driver)
	s.until("the others are gone", func() bool {
		about, _ := told(b)
		return slices.Equal(about, []string{"b"})
	})
}
