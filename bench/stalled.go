//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

// Subscribers that do not read, among others that do. The events are as large
// as they may be, and enough for a slow consumer's megabyte.
const (
	stallChannel = 1000
	stallers     = 10
	stallBytes   = 10000
	stallPace    = 30
	stallEvents  = 160
)

// stalled measures what others notice of slow consumers, and what becomes of
// those.
func stalled(ctx context.Context, r *run) error {
	if r.connections < stallChannel {
		return nil
	}
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	a := s.audience("stalled")
	if err := s.crowd.Open(ctx, repeat(a, stallChannel)); err != nil {
		return err
	}
	publish := func(count int) error {
		return s.paced(ctx, time.Second/stallPace, count, []*load.Audience{a}, []*load.Topic{s.topic(a, stallBytes)})
	}
	if err := publish(stallPace / 2); err != nil { // to warm up
		return err
	}
	if err := publish(stallEvents / 2); err != nil {
		return err
	}
	before := milliseconds(s.tally.Latency, 99)
	memoryBefore, err := collectedMemory(ctx, s)
	if err != nil {
		return err
	}
	if err := s.crowd.Stall(a, stallers); err != nil {
		return err
	}
	if err := publish(stallPace / 2); err != nil { // to warm up again
		return err
	}
	if err := publish(stallEvents); err != nil {
		return err
	}
	with := milliseconds(s.tally.Latency, 99)
	dropped, err := s.crowd.Resume(ctx, 2*time.Second)
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("%d subscribers, %d B; then %d of them do not read", stallChannel, stallBytes, stallers)
	r.record(workload, "p99 ms, all read", nil, before)
	r.record(workload, "p99 ms, some do not", nil, with)
	r.record(workload, "p99, some do not / all read", &report.Goal{Limit: 1.3, Absolute: true}, with/before)
	r.record(workload, "dropped, of those 10", &report.Goal{Limit: stallers, Absolute: true, AtLeast: true}, float64(dropped))
	if r.pid == 0 {
		return nil
	}
	memoryAfter, err := collectedMemory(ctx, s)
	if err != nil {
		return err
	}
	r.record(workload, "MB before", nil, float64(memoryBefore)/1e6)
	r.record(workload, "MB after", nil, float64(memoryAfter)/1e6)
	return nil
}

// collectedMemory is what the server occupies when it has had work enough to
// collect its garbage.
func collectedMemory(ctx context.Context, s *stage) (int64, error) {
	if err := s.burst(ctx, 4000, stallBytes); err != nil {
		return 0, err
	}
	return s.r.steadyMemory(ctx)
}
