package clustertest

import (
	"context"
	"slices"
	"time"

	"belfry/channels/cluster"
)

// settle settles departures, which must work.
func (n *node) settle(departures ...cluster.Departure) []bool {
	n.s.Helper()
	lasted, err := n.Settle(context.Background(), departures...)
	if err != nil || len(lasted) != len(departures) {
		n.s.Fatalf("settled %v as %v, %v", departures, lasted, err)
	}
	return lasted
}

// What comes back within the grace, on any node, was never gone.
func testSettle(s *suite) {
	nodes := s.nodes(2)
	one, two := nodes[0], nodes[1]
	t := topic("presence-settle")
	const grace = time.Minute // longer than any test
	channel, user := cluster.Departure{Topic: t}, cluster.Departure{Topic: t, UserID: "u"}
	on := cluster.Share{Count: 1, Join: members("u"), Grace: grace}
	off := cluster.Share{Grace: grace}

	if o := one.update(t, on); !o.Occupied || !slices.Equal(o.Added, []string{"u"}) {
		s.Errorf("the first is answered with %+v", o)
	}
	if o := one.update(t, off); !o.Vacated || !slices.Equal(o.Removed, []string{"u"}) {
		s.Errorf("leaving is answered with %+v", o)
	}
	if o := two.update(t, on); o.Occupied || len(o.Added) != 0 {
		s.Errorf("coming back is answered with %+v", o)
	}
	if got := one.settle(channel, user); got[0] || got[1] {
		s.Errorf("what was taken back has lasted: %v", got)
	}

	// One that lasts is final: what comes afterwards is new.
	two.update(t, off)
	if got := two.settle(user, channel); !got[0] || !got[1] {
		s.Errorf("what was not taken back has not lasted: %v", got)
	}
	if got := two.settle(user, channel); got[0] || got[1] {
		s.Errorf("it has lasted twice: %v", got)
	}
	if o := one.update(t, on); !o.Occupied || !slices.Equal(o.Added, []string{"u"}) {
		s.Errorf("coming anew is answered with %+v", o)
	}

	// The grace of a node that dies is another's to settle.
	one.update(topic("settle-2"), cluster.Share{Count: 1, Grace: grace})
	s.cluster.Kill(one.Driver)
	two.wait(s, "the channel's departure", func(r *recorder) bool { return len(r.departed) == 2 })
	if got := two.settle(channel, user, cluster.Departure{Topic: topic("settle-2")}); slices.Contains(got, false) {
		s.Errorf("of a dead node's, has lasted: %v", got)
	}

	// Without a grace, nothing can be taken back.
	two.update(t, cluster.Share{Count: 1})
	two.update(t, cluster.Share{})
	if o := two.update(t, cluster.Share{Count: 1}); !o.Occupied {
		s.Errorf("without a grace, coming back is answered with %+v", o)
	}
	// Nor after it.
	two.update(t, cluster.Share{Grace: time.Nanosecond})
	if o := two.update(t, cluster.Share{Count: 1}); !o.Occupied {
		s.Errorf("after the grace, coming back is answered with %+v", o)
	}
}
