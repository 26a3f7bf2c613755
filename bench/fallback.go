//go:build linux

package main

import (
	"context"
	"fmt"
	"time"
)

// The HTTP fallback beside WebSocket. A polling session asks for each event anew,
// and at twice this pace it would come too late on a machine of two processors:
// an answer would have several events, and a delivery would cost less the busier
// the machine is.
const (
	fallbackSessions = 1000
	fallbackPace     = 10 // events a second
)

// Enough large events for pusher-js to begin each stream anew: what is lost or
// doubled then is an error.
const (
	restartBytes  = stallBytes
	restartPace   = 60
	restartEvents = 30
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
	sessions := sessions(r)
	if err := s.crowd.Open(ctx, repeat(a, sessions)); err != nil {
		return err
	}
	restarts := s.even(a, restartBytes, restartPace)
	if err := restarts.publish(ctx, restartEvents*restarts.interval); err != nil {
		return err
	}
	workload := fmt.Sprintf("%d sessions, %d B, %d times a second", sessions, small, fallbackPace)
	if err := s.even(a, small, fallbackPace).measure(ctx, workload, nil, nil); err != nil {
		return err
	}
	return s.silence(ctx)
}

// collectedSettle is how long memory takes to become steady where there is no
// garbage.
const collectedSettle = 600 * time.Millisecond

// fallbackIdle measures what a session needs.
func fallbackIdle(ctx context.Context, r *run) error {
	r.settle = min(r.settle, collectedSettle)
	const workload = "idle sessions, each in a private channel, garbage collected"
	return idle{workload: workload, client: "session", few: fallbackSessions / 4, many: sessions(r)}.measure(ctx, r)
}

// sessions is how many there are: over HTTP each has two connections.
func sessions(r *run) int { return min(fallbackSessions, r.connections/2) }
