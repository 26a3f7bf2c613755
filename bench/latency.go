//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

// A large channel and a small one at the same time.
const (
	largeChannel = 10000
	largePace    = 4 // broadcasts a second
	smallChannel = 10
	smallPace    = 20
)

// fairness measures how long a small channel waits for a large one. It has a
// stage for each channel, so that the clients of the small one
// do not wait for those of the large one.
func fairness(ctx context.Context, r *run) error {
	crowded, err := newStage(r)
	if err != nil {
		return err
	}
	defer crowded.close()
	quiet, err := newStage(r)
	if err != nil {
		return err
	}
	defer quiet.close()
	size := min(largeChannel, r.connections-smallChannel)
	big, little := crowded.audience("large"), quiet.audience("small")
	if err := crowded.crowd.Open(ctx, repeat(big, size)); err != nil {
		return err
	}
	if err := quiet.crowd.Open(ctx, repeat(little, smallChannel)); err != nil {
		return err
	}
	run := func(long time.Duration) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		publish := func(s *stage, a *load.Audience, pace int) error {
			interval := time.Second / time.Duration(pace)
			err := s.paced(ctx, interval, events(long, interval), []*load.Audience{a}, []*load.Topic{s.topic(a, small)})
			if err != nil {
				cancel()
			}
			return err
		}
		done := make(chan error, 1)
		go func() { done <- publish(crowded, big, largePace) }()
		return errors.Join(publish(quiet, little, smallPace), <-done)
	}
	// Twice as long: the small channel has few events.
	if err := run(r.window / 2); err != nil {
		return err
	}
	if err := run(2 * r.window); err != nil {
		return err
	}
	workload := fmt.Sprintf("%d subscribers %d times a second, beside them %d subscribers %d times a second",
		size, largePace, smallChannel, smallPace)
	r.recordLatency(workload, "large", crowded.tally.Latency, nil)
	r.record(workload, "large, p99.9 ms", nil, milliseconds(crowded.tally.Latency, 99.9))
	r.recordLatency(workload, "small", quiet.tally.Latency, &report.Goal{Limit: 10, Absolute: true})
	r.record(workload, "small, p99.9 ms", nil, milliseconds(quiet.tally.Latency, 99.9))
	return errors.Join(crowded.silence(ctx), quiet.silence(ctx))
}
