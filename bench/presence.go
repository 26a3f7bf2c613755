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

	// joiners are how many connections join and leave at a time.
	joiners = 4

	// fillingWithin is how long all members may take to be told of all others:
	// that is 50 million messages.
	fillingWithin = 3 * time.Minute
)

// joinCPU is for a join, in microseconds, without sending its answer.
var joinCPU = &report.Goal{Limit: 300, Absolute: true}

// joining measures what it costs to join a presence channel with many members.
// They join it one after the other, while all that are there are told; then
// further connections of members come and go.
func joining(ctx context.Context, r *run) error {
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	members := min(presenceMembers, r.connections-joiners)
	a := &load.Audience{Channel: "presence-large"}
	crowd := &load.Crowd{Target: r.target, Loop: loop}
	filling, err := r.measure(func() error {
		if err := crowd.Open(ctx, repeat(a, members)); err != nil {
			return err
		}
		told := uint64(members) * uint64(members-1) / 2
		return loop.Await(ctx, fillingWithin, "telling members of each other", func() bool { return a.Added >= told })
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("presence channel, from the first to the %dth member", members)
	r.recordCPU(workload, "CPU µs per member and join", nil, filling, a.Added)
	joins := &load.Joins{Target: r.target, Loop: loop}
	if err := loop.Do(func() error { return joins.Start(a, joiners) }); err != nil {
		return err
	}
	var count uint64
	counted := func() error { return loop.Do(func() error { count = joins.Count; return nil }) }
	if err := sleep(ctx, r.window/5); err != nil {
		return err
	}
	if err := counted(); err != nil {
		return err
	}
	before := count
	u, err := r.measure(func() error { return sleep(ctx, r.window) })
	if err != nil {
		return err
	}
	if err := counted(); err != nil {
		return err
	}
	if err := loop.Do(func() error { joins.Stop(); return nil }); err != nil {
		return err
	}
	if err := loop.Await(ctx, deadline, "joining", joins.Done); err != nil {
		return err
	}
	return recordJoins(r, members, u, count-before, joins.Answer)
}

// recordJoins adds rows for so many joins with an answer of so many bytes each.
func recordJoins(r *run, members int, u usage, count uint64, answer int) error {
	workload := fmt.Sprintf("join and leave a presence channel of %d members, %d at a time", members, joiners)
	r.record(workload, "kB of the answer", nil, float64(answer)/1000)
	if u.cpu < 0 || count == 0 {
		return nil
	}
	const often = 300
	sending, err := load.SendingCost(answer, often)
	if err != nil {
		return err
	}
	perJoin := float64(u.cpu.Microseconds()) / float64(count)
	least := float64(sending.Microseconds())
	r.record(workload, "CPU µs per join", nil, perJoin)
	r.record(workload, "CPU µs of it to send the answer", nil, least)
	r.record(workload, "CPU µs per join, without that", joinCPU, perJoin-least)
	return nil
}
