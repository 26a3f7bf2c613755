//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

const (
	// presenceMembers is how many members there are, and presenceUserBytes how
	// large the user_info of each may be.
	presenceMembers   = 10000
	presenceUserBytes = 64

	// presenceQueue is how many members come at a time. They are many, so that
	// those that are there are told of many at once: all in all, of 50 million.
	presenceQueue = 500

	// joiners are how many connections join and leave at a time.
	joiners = 4
)

// joinCPU is for a join, in microseconds, without sending its answer.
var joinCPU = &report.Goal{Limit: 300, Absolute: true}

// joining measures what it costs to join a presence channel with many members:
// first while they come, and are told of each other; then with further connections
// of members, of which nobody is told.
func joining(ctx context.Context, r *run) error {
	if r.connections < 3*joiners {
		return fmt.Errorf("it takes %d connections, and there may be %d", 3*joiners, r.connections)
	}
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	members := min(presenceMembers, r.connections-2*joiners)
	a := &load.Audience{Channel: "presence-large"}
	told := uint64(members) * uint64(members-1) / 2
	crowd := &load.Crowd{Target: r.target, Loop: loop}
	filling, err := r.measure(func() error {
		if err := crowd.OpenMany(ctx, presenceQueue, repeat(a, members)); err != nil {
			return err
		}
		return loop.Await(ctx, time.Minute, "telling members of each other", func() bool { return a.Added >= told })
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("presence channel, from the first to the %dth member", members)
	r.recordCPU(workload, "CPU µs to tell one of another", nil, filling, told)

	joins := &load.Joins{Target: r.target, Loop: loop}
	once := func(long time.Duration) error {
		joins.Count = 0
		if err := loop.Do(func() error { return joins.Start(a, joiners) }); err != nil {
			return err
		}
		if err := sleep(ctx, long); err != nil {
			return err
		}
		if err := loop.Do(func() error { joins.Stop(); return nil }); err != nil {
			return err
		}
		return loop.Await(ctx, deadline, "joining", joins.Done)
	}
	u, err := r.measureWarm(once)
	if err != nil {
		return err
	}
	err = loop.Do(func() error {
		if r.target.Exact && a.Added != told {
			return fmt.Errorf("%d members were told of each other %d times, and not %d", members, a.Added, told)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return recordJoins(r, members, u, joins)
}

// recordJoins adds rows for joins of a channel with so many members.
func recordJoins(r *run, members int, u usage, joins *load.Joins) error {
	workload := fmt.Sprintf("join and leave a presence channel of %d members, %d at a time", members, joiners)
	r.record(workload, "kB of the answer", nil, float64(joins.Answer)/1000)
	if u.cpu < 0 {
		return nil
	}
	const often = 300
	sending, err := load.SendingCost(joins.Answer, often)
	if err != nil {
		return err
	}
	perJoin := float64(u.cpu.Microseconds()) / float64(joins.Count)
	least := float64(sending.Microseconds())
	r.record(workload, "CPU µs per join", nil, perJoin)
	r.record(workload, "CPU µs of it to send the answer", nil, least)
	r.record(workload, "CPU µs per join, without that", joinCPU, perJoin-least)
	return nil
}
