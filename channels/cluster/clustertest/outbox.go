package clustertest

import (
	"context"
	"slices"
	"time"

	"belfry/channels/cluster"
)

// testTransitions: those of a channel are in the order of the updates, whichever nodes
// these are from.
func testTransitions(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	o := a.update(t, cluster.Share{Count: 1, Join: members("1"), Record: true, TellCount: true})
	b.update(t, cluster.Share{Count: 2, Join: members("1", "2"), Record: true})
	a.update(t, cluster.Share{Before: 1, Record: true})
	if o := b.update(t, cluster.Share{Count: 2, Before: 2, Record: true}); o.Hint != nil {
		s.Errorf("no change has the hint %+v", o.Hint)
	}
	b.update(t, cluster.Share{Count: 1, Before: 2, Leave: []string{"1"}}) // nobody wants to know
	b.update(t, cluster.Share{Before: 1, Record: true})
	want := slices.Insert(transitions(t, "o", "+1", "+2", "-2", "v"), 2, cluster.Transition{Kind: cluster.Counted, Channel: t.Channel, Count: 1})
	if got := b.delivered(o.Hint.Bucket, len(want)); !slices.Equal(got, want) {
		s.Errorf("delivered %+v, want %+v", got, want)
	}
}

// testGrace: who comes back within the grace, on any node, was never gone.
func testGrace(s *suite) {
	a, b := s.node(), s.node()
	t := topic("presence-c")
	const grace, long = 500 * time.Millisecond, time.Hour
	on := cluster.Share{Count: 1, Join: members("u"), Record: true}
	off := func(grace time.Duration) cluster.Share {
		return cluster.Share{Before: 1, Record: true, Grace: grace}
	}
	bucket := a.update(t, on).Hint.Bucket
	a.delivered(bucket, 2)
	o := a.update(t, off(long))
	if o.Hint == nil || o.Hint.In <= 0 || o.Hint.In > long {
		s.Errorf("leaving has the hint %+v", o.Hint)
	}
	if taken, err := b.Take(context.Background(), bucket, ""); err != nil || len(taken.Transitions) > 0 || taken.Next <= 0 || taken.Next > long {
		s.Errorf("within the grace: %+v, %v", taken, err)
	}
	b.update(t, on)
	if taken, err := b.Take(context.Background(), bucket, ""); err != nil || len(taken.Transitions) > 0 || taken.Next >= 0 {
		s.Errorf("after coming back: %+v, %v", taken, err)
	}
	// One that lasts is told, whoever asks, and what comes afterwards is new.
	b.update(t, off(grace))
	if got := a.delivered(bucket, 2); !slices.Equal(got, transitions(t, "-u", "v")) {
		s.Errorf("of who stays away: %+v", got)
	}
	a.update(t, on)
	if got := b.delivered(bucket, 2); !slices.Equal(got, transitions(t, "o", "+u")) {
		s.Errorf("of who comes anew: %+v", got)
	}
	// Who comes back too late does so after the departure, though nobody has asked.
	a.update(t, off(time.Millisecond))
	s.until("the end of the grace", func() bool {
		taken, err := b.Take(context.Background(), bucket, "")
		return err == nil && len(taken.Transitions) > 0
	})
	a.update(t, on)
	if got := b.delivered(bucket, 4); !slices.Equal(got, transitions(t, "-u", "v", "o", "+u")) {
		s.Errorf("of who comes too late: %+v", got)
	}
}

// testLending: a bucket is one node's until all is acknowledged.
func testLending(s *suite) {
	a, b := s.node(), s.node()
	ctx, t := context.Background(), topic("c")
	bucket := a.update(t, cluster.Share{Count: 1, Record: true}).Hint.Bucket
	take := func(n *node, receipt string) cluster.Taken {
		s.Helper()
		taken, err := n.Take(ctx, bucket, receipt)
		if err != nil {
			s.Fatal(err)
		}
		return taken
	}
	first := take(a, "")
	again := take(a, "")
	if !slices.Equal(again.Transitions, first.Transitions) || len(first.Transitions) != 1 {
		s.Errorf("took %+v, and again %+v", first, again)
	}
	if other := take(b, ""); len(other.Transitions) > 0 || !other.Lent {
		s.Errorf("another node took %+v", other)
	}
	if again = take(a, first.Receipt); !slices.Equal(again.Transitions, first.Transitions) {
		s.Errorf("with the receipt before the last, took %+v", again)
	}
	a.update(t, cluster.Share{Before: 1, Record: true})
	second, receipt := take(a, again.Receipt), again.Receipt
	if again = take(a, receipt); !slices.Equal(again.Transitions, second.Transitions) || !slices.Equal(second.Transitions, transitions(t, "v")) {
		s.Errorf("then took %+v, and again %+v", second, again)
	}
	if last := take(a, again.Receipt); len(last.Transitions) > 0 {
		s.Errorf("in the end took %+v", last)
	}
	b.update(t, cluster.Share{Count: 1, Record: true})
	if got := b.delivered(bucket, 1); !slices.Equal(got, transitions(t, "o")) {
		s.Errorf("another node delivered %+v", got)
	}
	// A node that returns a bucket leaves what it has not acknowledged to others.
	b.update(t, cluster.Share{Before: 1, Record: true})
	third := take(b, "")
	b.update(t, cluster.Share{Count: 1, Record: true})
	if err := a.Return(ctx, bucket, third.Receipt); err != nil {
		s.Error(err)
	}
	if other := take(a, ""); len(other.Transitions) > 0 || !other.Lent {
		s.Errorf("returned by another node, and taken: %+v", other)
	}
	if err := b.Return(ctx, bucket, third.Receipt); err != nil {
		s.Error(err)
	}
	if got := a.delivered(bucket, 1); !slices.Equal(got, transitions(t, "o")) {
		s.Errorf("after it was returned, another node delivered %+v", got)
	}
}

// testLentToTheDead: what a node has not acknowledged when it dies or closes, another
// one is told of.
func testLentToTheDead(s *suite) {
	t := topic("c")
	for name, end := range map[string]func(*node){"dies": func(n *node) { s.cluster.Kill(n.Driver) }, "closes": func(n *node) { n.Close() }} {
		a, b := s.node(), s.node()
		bucket := a.update(t, cluster.Share{Count: 1, Record: true}).Hint.Bucket
		if taken, err := a.Take(context.Background(), bucket, ""); err != nil || len(taken.Transitions) != 1 {
			s.Fatalf("took %+v, %v", taken, err)
		}
		end(a)
		b.wait(s, "the hint", func(r *recorder) bool { return slices.Contains(r.due, bucket) })
		if got := b.delivered(bucket, 2); !slices.Equal(got, transitions(t, "o", "v")) {
			s.Errorf("%s: delivered %+v", name, got)
		}
		b.Close()
	}
}
