//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"belfry/bench/load"
)

// The HTTP fallback, by as many sessions and as many events a second as the
// paced fan-out has to 1,000.
const (
	fallbackSessions = 1000
	fallbackPace     = 20
	fallbackFew      = fallbackSessions / 4
)

// Enough large events for pusher-js to begin each stream anew: what is lost or
// doubled then is an error.
const (
	restartBytes  = stallBytes
	restartEvents = 30
	restartPace   = 60
)

// fallbackDelivery measures what it costs to deliver over the target's
// transport.
func fallbackDelivery(ctx context.Context, r *run) error {
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	a := s.audience("fallback")
	sessions := min(fallbackSessions, r.connections/2) // each has two connections
	if err := s.crowd.Open(ctx, repeat(a, sessions)); err != nil {
		return err
	}
	err = s.paced(ctx, time.Second/restartPace, restartEvents, []*load.Audience{a}, []*load.Topic{s.topic(a, restartBytes)})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("transports, paced fan-out, %d sessions, %d B", sessions, small)
	if err := pacedEvents(ctx, s, workload, fallbackPace, small, a, nil, nil); err != nil {
		return err
	}
	return s.silence(ctx)
}

// fallbackIdle measures what a session needs.
func fallbackIdle(ctx context.Context, r *run) error {
	many := min(fallbackSessions, r.connections/2)
	return idle(ctx, r, "transports, idle sessions, garbage collected", fallbackFew, many, nil)
}
