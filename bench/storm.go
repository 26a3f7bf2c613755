//go:build linux

package main

import (
	"context"
	"fmt"

	"belfry/bench/load"
	"belfry/bench/report"
)

// stormClients are cut off at once, as by a proxy that restarts, and come back.
const stormClients = 10000

// stormQueue is how many come at a time so that each finds room in the queue of
// connections to accept, for which Bun asks the kernel for 512. Without such a
// bound, those that find none try again after one second, and after three: the
// time is then that of the kernel's timers.
const stormQueue = 500

// stormTime is what the time to be back should be.
var stormTime = report.AtMost(1.2)

// storm measures how long it takes until all clients are subscribed again, from
// the moment at which the first connection was reset.
func storm(ctx context.Context, r *run) error {
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	crowd := &load.Crowd{Target: r.target, Loop: loop}
	audiences := make([]*load.Audience, min(stormClients, r.connections))
	for i := range audiences {
		audiences[i] = &load.Audience{Channel: fmt.Sprintf("private-storm-%d", i)}
	}
	if err := crowd.Open(ctx, audiences); err != nil {
		return err
	}
	const cut = "%d clients cut off at once, and back "
	workload := fmt.Sprintf(cut+"%d at a time", len(audiences), stormQueue)
	if err := cutOff(ctx, r, crowd, audiences, workload, stormQueue, stormTime); err != nil {
		return err
	}
	workload = fmt.Sprintf(cut+"at once", len(audiences))
	return cutOff(ctx, r, crowd, audiences, workload, len(audiences), nil)
}

// cutOff resets all connections and opens them again, so many at a time.
func cutOff(ctx context.Context, r *run, crowd *load.Crowd, audiences []*load.Audience, workload string, atOnce int, goal *report.Goal) error {
	u, err := r.measure(func() error {
		if err := crowd.Cut(audiences); err != nil {
			return err
		}
		return crowd.OpenMany(ctx, atOnce, audiences)
	})
	if err != nil {
		return err
	}
	r.record(workload, "ms until the last is subscribed", goal, float64(u.wall.Milliseconds()))
	r.recordCPU(workload, "CPU µs per client", nil, u, uint64(len(audiences)))
	return nil
}
