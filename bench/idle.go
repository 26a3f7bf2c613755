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

// The workloads, over TCP as over TLS.
const (
	idleWorkload      = "idle connections, each in a private channel"
	collectedWorkload = "idle connections, garbage collected"
)

// idleAsConfigured measures what operators see: garbage collectors leave garbage
// until there is enough of it.
func idleAsConfigured(ctx context.Context, r *run) error {
	return idle{workload: idleWorkload, client: "connection", few: fewIdle, many: r.connections}.measure(ctx, r)
}

// idleCollected measures what a connection needs.
func idleCollected(ctx context.Context, r *run) error {
	return idle{workload: collectedWorkload, client: "connection", few: fewIdle, many: r.connections, goal: report.AtMost(0.6)}.measure(ctx, r)
}

// idle is clients that are subscribed to a private channel of their own and do
// nothing: first a few, then many.
type idle struct {
	workload string
	client   string // what one is called
	few      int    // a quarter of many at most
	many     int
	goal     *report.Goal
	// opening is the goal for the time to connect and subscribe; nil: it is not
	// recorded.
	opening *report.Goal
}

// measure measures what a client occupies, and what it costs to open one.
func (i idle) measure(ctx context.Context, r *run) error {
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	crowd := &load.Crowd{Target: r.target, Loop: loop}
	tally := load.NewTally()
	few := min(i.few, i.many/4)
	open := func(from, to int) (memory report.Point, opening usage, err error) {
		var audiences []*load.Audience
		for n := from; n < to; n++ {
			audiences = append(audiences, &load.Audience{Channel: fmt.Sprintf("private-idle-%d", n), Tally: tally})
		}
		opening, err = r.measure(func() error { return crowd.Open(ctx, audiences) })
		if err != nil {
			return memory, opening, err
		}
		bytes, err := r.steadyMemory(ctx)
		return report.Point{X: float64(to), Y: float64(bytes)}, opening, err
	}
	atFew, _, err := open(0, few)
	if err != nil {
		return err
	}
	atMany, opening, err := open(few, i.many)
	if err != nil || r.pid == 0 {
		return err
	}
	if i.opening != nil {
		r.recordCPU("connect, subscribe", "CPU µs per connection", i.opening, opening, uint64(i.many-few))
	}
	r.record(i.workload, fmt.Sprintf("MB at %d", few), nil, atFew.Y/1e6)
	r.record(i.workload, fmt.Sprintf("MB at %d", i.many), nil, atMany.Y/1e6)
	r.record(i.workload, "bytes per "+i.client, i.goal, report.Slope(atFew, atMany))
	return nil
}
