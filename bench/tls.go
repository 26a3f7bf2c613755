//go:build linux

package main

import (
	"context"
	"fmt"

	"belfry/bench/report"
)

// Idle connections over TLS are fewer than the others: here too, each has a
// client that needs several times as much for TLS as without.
const (
	fewTLS  = 1000
	manyTLS = 5000
)

// A broadcast over TLS, at the pace that it has without.
const (
	tlsChannel = 1000
	tlsPace    = 20
)

// What TLS should cost.
var (
	tlsOpeningCPU = report.AtMost(2)
	tlsMemory     = report.AtMost(1.3)
)

// idleOverTLS measures what it costs to connect, and what operators see that
// the connections occupy.
func idleOverTLS(ctx context.Context, r *run) error {
	many := min(manyTLS, r.connections)
	return idle{workload: idleWorkload, client: "connection", few: fewTLS, many: many, opening: tlsOpeningCPU}.measure(ctx, r)
}

// collectedOverTLS measures what a connection needs.
func collectedOverTLS(ctx context.Context, r *run) error {
	many := min(manyTLS, r.connections)
	return idle{workload: collectedWorkload, client: "connection", few: fewTLS, many: many, goal: tlsMemory}.measure(ctx, r)
}

// fanoutOverTLS measures what it costs to deliver.
func fanoutOverTLS(ctx context.Context, r *run) error {
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.burst(ctx, warmUpEvents, small); err != nil {
		return err
	}
	a := s.audience("over-tls")
	if err := s.crowd.Open(ctx, repeat(a, min(tlsChannel, r.connections))); err != nil {
		return err
	}
	paced := s.even(a, small, tlsPace)
	if err := paced.publish(ctx, r.window/5); err != nil {
		return err
	}
	workload := fmt.Sprintf("paced fan-out, %s, %d B", subscribers(len(a.Members)), small)
	if err := paced.measure(ctx, workload, nil, nil); err != nil {
		return err
	}
	if err := saturatedFanout(ctx, s, a, nil, nil); err != nil {
		return err
	}
	return s.silence(ctx)
}
