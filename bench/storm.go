//go:build linux

package main

import (
	"context"
	"fmt"

	"belfry/bench/load"
	"belfry/bench/report"
)

// stormClients are cut off at once, as by a proxy that restarts, and are back at
// once.
const stormClients = 10000

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
	u, err := r.measure(func() error {
		if err := crowd.Cut(audiences); err != nil {
			return err
		}
		return crowd.OpenAll(ctx, audiences)
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("%d clients cut off at once and back at once", len(audiences))
	r.record(workload, "ms until the last is subscribed", report.AtMost(1.2), float64(u.wall.Milliseconds()))
	r.recordCPU(workload, "CPU µs per client", nil, u, uint64(len(audiences)))
	return nil
}
