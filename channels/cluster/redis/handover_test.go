package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis/redistest"
)

// When connections break during a handover, or the lease is lost, the node goes on, and is
// told of what it may have missed.
func TestMoveFails(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	inherit := func(place []byte) *testNode {
		t.Helper()
		next := makeNode(t, Options{URL: a.options.URL, Prefix: a.options.Prefix})
		a.must(next.Inherit(place))
		next.Start(next)
		return next
	}
	behind := func() *testNode {
		t.Helper()
		place, err := a.Place()
		a.must(err)
		next := inherit(place)
		a.must(next.Listen(context.Background(), presence))
		return next
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	// The connections break ahead of the cut, which may fail.
	next := behind()
	restored := a.timesRestored()
	server.CLI("client", "kill", "type", "pubsub")
	until(t, "the loss", func() bool { return a.losses.count() > 0 })
	if err := a.Cut(ctx); err != nil && !errors.Is(err, cluster.ErrUnavailable) {
		t.Error(err)
	}
	a.Resume()
	next.Close()
	until(t, "the call of Restored", func() bool { return a.timesRestored() > restored })
	working(t, a, b)

	// Both break behind it: whoever goes on is told.
	next = behind()
	a.must(a.Cut(ctx))
	a.must(next.AwaitCut(ctx))
	restored = a.timesRestored()
	server.CLI("client", "kill", "type", "pubsub")
	a.Resume()
	until(t, "the call of Restored", func() bool { return a.timesRestored() > restored })
	if next.timesRestored() > 0 || len(next.heard()) > 0 {
		t.Error("the process behind was called ahead of Resume")
	}
	next.Close()
	working(t, a, b)

	// The node has lost its lease since: it is another one.
	place, err := a.Place()
	a.must(err)
	former := current(a).node
	server.CLI("zrem", a.keys.leases(), former)
	until(t, "another name", func() bool { s := current(a); return s != nil && s.node != former })
	if err := a.Cut(ctx); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("the cut of a node that has lost its lease: %v", err)
	}
	a.Resume()
	late := inherit(place)
	if err := late.Listen(ctx, presence); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("a process behind it: %v", err)
	}
	late.Close()
	working(t, a, b)
}
