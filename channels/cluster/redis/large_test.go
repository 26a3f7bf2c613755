package redis

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis/redistest"
	"belfry/protocol"
)

// TestLargeRosters: as many members as a channel may have are told, loaded and told again.
func TestLargeRosters(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	const n = 10_000
	all := cluster.Share{Count: n, Record: true, Grace: time.Minute}
	for i := range n {
		all.Join = append(all.Join, protocol.Member{UserID: fmt.Sprint("user", i), UserInfo: []byte(`{"name":"A name"}`)})
	}
	topic := cluster.Topic{App: "1", Channel: "presence-large"}
	b.must(b.Listen(context.Background(), topic))
	update := func(n *testNode, s cluster.Share) cluster.Outcome {
		t.Helper()
		began := time.Now()
		o, err := n.Update(context.Background(), topic, s)
		n.must(err)
		t.Logf("%d join, %d leave, %d known, whole %v, load %v: %s", len(s.Join), len(s.Leave), s.Known, s.Whole, s.Load, time.Since(began))
		return o
	}
	before := b.toldOfMembers()
	first := update(a, all)
	until(t, "all messages", func() bool { return b.toldOfMembers() == before+n })
	o := update(b, cluster.Share{Count: 1, Load: true})
	if got := o.Snapshot.Members; !slices.EqualFunc(got, all.Join, func(a, b protocol.Member) bool { return a.UserID == b.UserID }) {
		t.Errorf("%d members are loaded", len(got))
	}
	whole := all
	whole.Whole, whole.Epoch, whole.Before, whole.Known = true, first.Version.Epoch, n, n
	if o := update(a, whole); o.Version != first.Version {
		t.Errorf("told again: %v, before %v", o.Version, first.Version)
	}
	whole.Epoch = "another" // as after a loss
	update(a, whole)
	one := all
	one.Before, one.Join = n, []protocol.Member{{UserID: "one more"}}
	update(a, one)
	update(a, cluster.Share{Before: n, Record: true, Grace: time.Minute})
	if users, err := a.Users(context.Background(), topic); err != nil || len(users) > 0 {
		t.Errorf("%d users are left, %v", len(users), err)
	}
}
