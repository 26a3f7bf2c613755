//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
	"belfry/server/handover"
)

const (
	// restartChannels have restartMembers each, and get events. All other clients hear
	// nothing, and must stay.
	restartChannels = 100
	restartMembers  = 10

	handovers      = 10   // one after the other
	restartPublish = 1000 // events a second
	aroundHandover = 1500 // events, of which a third is ahead of the handover
)

// restartSizes are how many clients there are.
var restartSizes = []int{1000, 10000, 19000}

// restartPause is the goal of the longest pause.
var restartPause = &report.Goal{Limit: 1000, Absolute: true}

// restart measures what clients notice when the server is replaced by a new process: how
// long the longest delay of an event is. Each event comes once, in order, and no client
// is disconnected, or the benchmark fails.
func restart(ctx context.Context, r *run) error {
	if r.pid == 0 {
		return errors.New("whose process is not known")
	}
	first := r.pid
	defer func() {
		if r.pid != first {
			_ = syscall.Kill(r.pid, syscall.SIGTERM) // nobody else ends it
			r.pid = 0                                // what it has used is not known
		}
	}()
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	var audiences []*load.Audience
	var topics []*load.Topic
	for i := range restartChannels {
		a := s.audience(fmt.Sprintf("presence-restart-%d", i))
		if err := s.crowd.Open(ctx, repeat(a, restartMembers)); err != nil {
			return err
		}
		audiences = append(audiences, a)
		topics = append(topics, s.topic(a, small))
	}
	others, clients := s.audience("others"), restartChannels*restartMembers
	for _, size := range restartSizes {
		if size > r.connections {
			break
		}
		if err := s.crowd.Open(ctx, repeat(others, size-clients)); err != nil {
			return err
		}
		clients = size
		if err := handOver(ctx, s, clients, audiences, topics); err != nil {
			return err
		}
	}
	return nil
}

// handOver replaces the server again and again.
func handOver(ctx context.Context, s *stage, clients int, audiences []*load.Audience, topics []*load.Topic) error {
	var pauses []float64
	for range handovers {
		failed := make(chan error, 1)
		go func() {
			err := sleep(ctx, aroundHandover/3*time.Second/restartPublish)
			if err == nil {
				s.r.pid, err = handover.Upgrade(ctx, s.r.pid)
			}
			failed <- err
		}()
		err := s.paced(ctx, time.Second/restartPublish, aroundHandover, audiences, topics)
		if err = errors.Join(<-failed, err); err != nil {
			return err
		}
		pauses = append(pauses, float64(s.tally.Latency.Max())/1000)
	}
	slices.Sort(pauses)
	workload := fmt.Sprintf("%d handovers, %d clients, %d events a second to %d of them", handovers, clients, restartPublish, restartChannels*restartMembers)
	s.r.record(workload, "longest delay ms, median", nil, pauses[len(pauses)/2])
	s.r.record(workload, "longest delay ms of all", restartPause, pauses[len(pauses)-1])
	return nil
}
