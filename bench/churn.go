//go:build linux

package main

import (
	"context"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

// churning is how many connections come and go at a time.
const churning = 32

// churn measures what it costs that a client connects, subscribes to a private
// channel and leaves with a close handshake.
func churn(ctx context.Context, r *run) error {
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	var cycles uint64
	once := func(share int) func() error {
		return func() error {
			c := &load.Churn{Target: r.target, Loop: loop}
			if err := loop.Do(func() error { return c.Start(churning) }); err != nil {
				return err
			}
			if err := sleep(ctx, r.window/5*time.Duration(share)); err != nil {
				return err
			}
			if err := loop.Do(func() error { c.Stop(); return nil }); err != nil {
				return err
			}
			if err := loop.Await(ctx, deadline, "closing", c.Done); err != nil {
				return err
			}
			cycles = c.Cycles
			return nil
		}
	}
	if err := once(1)(); err != nil {
		return err
	}
	u, err := r.measure(once(5))
	if err != nil {
		return err
	}
	const workload = "connect, subscribe, close, 32 at a time"
	r.recordCPU(workload, "CPU µs per connection", report.AtMost(1.8), u, cycles)
	r.record(workload, "connections/s", nil, float64(cycles)/u.wall.Seconds())
	return nil
}
