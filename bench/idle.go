//go:build linux

package main

import (
	"context"
	"fmt"

	"belfry/bench/load"
	"belfry/bench/report"
)

// fewIdle is the number of connections from which memory is counted: what the
// server needs for itself, and for having been busy once, is in it.
const fewIdle = 4000

// idleAsConfigured measures what operators see: garbage collectors leave garbage
// until there is enough of it.
func idleAsConfigured(ctx context.Context, r *run) error {
	return idle(ctx, r, "idle connections, each in a private channel", fewIdle, r.connections, nil)
}

// idleCollected measures what a connection needs.
func idleCollected(ctx context.Context, r *run) error {
	return idle(ctx, r, "idle connections, garbage collected", fewIdle, r.connections, report.AtMost(1))
}

// idle measures what a connection occupies that is subscribed to a private
// channel of its own and does nothing: from the first few to many.
func idle(ctx context.Context, r *run, workload string, few, many int, goal *report.Goal) error {
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	crowd := &load.Crowd{Target: r.target, Loop: loop}
	tally := load.NewTally()
	few = min(few, many/4)
	open := func(from, to int) (report.Point, error) {
		var audiences []*load.Audience
		for i := from; i < to; i++ {
			audiences = append(audiences, &load.Audience{Channel: fmt.Sprintf("private-idle-%d", i), Tally: tally})
		}
		if err := crowd.Open(ctx, audiences); err != nil {
			return report.Point{}, err
		}
		memory, err := r.steadyMemory(ctx)
		return report.Point{X: float64(to), Y: float64(memory)}, err
	}
	atFew, err := open(0, few)
	if err != nil {
		return err
	}
	atMany, err := open(few, many)
	if err != nil || r.pid == 0 {
		return err
	}
	r.record(workload, fmt.Sprintf("MB at %d", few), nil, atFew.Y/1e6)
	r.record(workload, fmt.Sprintf("MB at %d", many), nil, atMany.Y/1e6)
	r.record(workload, "bytes per connection", goal, report.Slope(atFew, atMany))
	return nil
}
