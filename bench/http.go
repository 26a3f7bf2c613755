//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

// The HTTP trigger: one connection at a pace, and several without one, which are
// kept alive, or, as with PHP, used once.
const (
	triggerPace        = 1000
	triggerConnections = 16
)

// What a request should cost.
var (
	triggerCPU      = report.AtMost(1.3)
	freshCPU        = report.AtMost(1.4)
	triggerPacedCPU = report.AtMost(1.3)
)

// trigger measures what it costs to publish an event that nobody has subscribed
// to.
func trigger(ctx context.Context, r *run) error {
	loop, err := load.NewLoop(r.clock)
	if err != nil {
		return err
	}
	defer loop.Close()
	request := load.Trigger(r.target.App, r.target.Host, "nobody", small)
	// In this order, so that a just-in-time compiler has seen enough.
	if err := triggerSaturated(ctx, r, loop, request, false, triggerCPU); err != nil {
		return err
	}
	if err := triggerSaturated(ctx, r, loop, request, true, freshCPU); err != nil {
		return err
	}
	return triggerPaced(ctx, r, loop, request)
}

func triggerPaced(ctx context.Context, r *run, loop *load.Loop, request []byte) error {
	waiting := 0
	p := &load.Publishers{Target: r.target, Loop: loop}
	p.Next = func(time.Duration) []byte {
		if waiting == 0 {
			return nil
		}
		waiting--
		return request
	}
	if err := loop.Do(func() error { return p.Connect(1) }); err != nil {
		return err
	}
	once := func(long time.Duration) error {
		var timer *load.Timer
		count := events(long, time.Second/triggerPace)
		err := loop.Do(func() (err error) {
			p.Reset()
			timer, err = loop.Every(time.Second/triggerPace, count, func(time.Duration) error {
				waiting++
				return p.Pump()
			})
			return err
		})
		if err != nil {
			return err
		}
		return loop.Await(ctx, long+deadline, "publishing", func() bool { return timer.Done() && waiting == 0 && p.Idle() })
	}
	u, err := r.measureWarm(once)
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("HTTP trigger without subscribers, 1 connection, %d requests/s", triggerPace)
	r.recordCPU(workload, "CPU µs per request", triggerPacedCPU, u, p.Answered)
	r.recordLatency(workload, "answer", p.Latency, nil)
	return loop.Do(func() error { p.Close(); return nil })
}

// triggerSaturated publishes as fast as it goes, over connections that are kept
// alive, or with fresh over a new one for each request.
func triggerSaturated(ctx context.Context, r *run, loop *load.Loop, request []byte, fresh bool, cpu *report.Goal) error {
	workload := fmt.Sprintf("HTTP trigger without subscribers, %d connections", triggerConnections)
	if fresh {
		workload = fmt.Sprintf("HTTP trigger without subscribers, a new connection each, %d at a time", triggerConnections)
	}
	stopped := false
	p := &load.Publishers{Target: r.target, Loop: loop, Fresh: fresh}
	p.Next = func(time.Duration) []byte {
		if stopped {
			return nil
		}
		return request
	}
	if err := loop.Do(func() error { return p.Connect(triggerConnections) }); err != nil {
		return err
	}
	once := func(long time.Duration) error {
		if err := loop.Do(func() error { stopped = false; p.Reset(); return p.Pump() }); err != nil {
			return err
		}
		if err := sleep(ctx, long); err != nil {
			return err
		}
		if err := loop.Do(func() error { stopped = true; return nil }); err != nil {
			return err
		}
		return loop.Await(ctx, deadline, "publishing", p.Idle)
	}
	u, err := r.measureWarm(once)
	if err != nil {
		return err
	}
	r.recordCPU(workload, "CPU µs per request", cpu, u, p.Answered)
	r.record(workload, "requests/s", nil, float64(p.Answered)/u.wall.Seconds())
	r.recordLatency(workload, "answer", p.Latency, nil)
	return loop.Do(func() error { p.Close(); return nil })
}
