//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"belfry/bench/load"
	"belfry/bench/redis"
)

const (
	// clusterChannel is how many subscribers the large channel has, at the pace
	// that 1,000 have elsewhere.
	clusterChannel = 1000
	clusterPace    = 20

	// fewSubscribers are of a channel that is published to often: what is left
	// is the way through Redis. They divide by any number of nodes there is.
	fewSubscribers = 12
	fewPace        = 500

	// soloChannels have one subscriber each.
	soloChannels = 1000
	soloPace     = 1000

	clusterConnections = clusterChannel + 2*fewSubscribers + soloChannels
)

// spread is a stage whose subscribers are on several nodes. All is published to
// the first one.
type spread struct {
	*stage
	crowds []*load.Crowd // one for each node
}

// clustered measures what a cluster adds to the cost and the time of a delivery,
// and what goes through Redis.
func clustered(ctx context.Context, r *run) error {
	if r.connections < clusterConnections {
		return fmt.Errorf("it takes %d connections, and there may be %d", clusterConnections, r.connections)
	}
	inner, err := newStage(r)
	if err != nil {
		return err
	}
	defer inner.close()
	s := &spread{inner, []*load.Crowd{inner.crowd}}
	for _, p := range r.peers {
		s.crowds = append(s.crowds, &load.Crowd{Target: p.target, Loop: s.receiving})
	}
	if err := s.large(ctx); err != nil {
		return err
	}
	if err := s.few(ctx); err != nil {
		return err
	}
	if err := s.solo(ctx); err != nil {
		return err
	}
	if err := s.silence(ctx); err != nil {
		return err
	}
	return s.rest(ctx)
}

// large has one channel with many subscribers.
func (s *spread) large(ctx context.Context) error {
	a := s.audience("large")
	if err := s.subscribe(ctx, "subscribe, all to one channel", repeat(a, clusterChannel)); err != nil {
		return err
	}
	if err := s.even(a, small, clusterPace).publish(ctx, s.r.window/5); err != nil { // to warm up
		return err
	}
	workload := fmt.Sprintf("1 channel, %d subscribers on all nodes, %d events/s", clusterChannel, clusterPace)
	return s.publish(ctx, workload, clusterPace, s.r.window, a)
}

// few has a channel with few subscribers, on one node that is not published to,
// if there is such, and another one with as many on all.
func (s *spread) few(ctx context.Context) error {
	last, all := s.audience("few-on-one"), s.audience("few-on-all")
	if err := s.open(ctx, s.crowds[len(s.crowds)-1:], repeat(last, fewSubscribers)); err != nil {
		return err
	}
	if err := s.open(ctx, s.crowds, repeat(all, fewSubscribers)); err != nil {
		return err
	}
	const workload = "1 channel, %d subscribers on %s, %d events/s"
	if err := s.publish(ctx, fmt.Sprintf(workload, fewSubscribers, "one node", fewPace), fewPace, s.r.window/2, last); err != nil {
		return err
	}
	if err := s.publish(ctx, fmt.Sprintf(workload, fewSubscribers, "all nodes", fewPace), fewPace, s.r.window/2, all); err != nil {
		return err
	}
	return s.saturate(ctx, all)
}

// saturate publishes as fast as it goes: commands that come together cost Redis
// less.
func (s *spread) saturate(ctx context.Context, a *load.Audience) error {
	const publishers = 16
	topic := s.topic(a, small)
	var u usage
	did, err := s.redisDid(func() (err error) {
		u, err = s.r.measure(func() error { return s.saturated(ctx, s.r.window/4, publishers, a, topic) })
		return err
	})
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("1 channel, %d subscribers on all nodes, %d publishers, as fast as it goes", fewSubscribers, publishers)
	count := float64(s.tally.Deliveries) / fewSubscribers
	s.r.recordCPU(workload, "CPU µs per delivery", nil, u, s.tally.Deliveries)
	s.r.record(workload, "events/s", nil, count/u.wall.Seconds())
	s.recordRedis(workload, "event", did, count)
	return nil
}

// solo has many channels with a subscriber each.
func (s *spread) solo(ctx context.Context) error {
	audiences := make([]*load.Audience, soloChannels)
	for i := range audiences {
		audiences[i] = s.audience(fmt.Sprintf("solo-%d", i))
	}
	if err := s.subscribe(ctx, "subscribe, each to a channel of its own", audiences); err != nil {
		return err
	}
	workload := fmt.Sprintf("%d channels, each with 1 subscriber on one node, %d events/s", soloChannels, soloPace)
	return s.publish(ctx, workload, soloPace, s.r.window/2, audiences...)
}

// rest has all subscribers of before, and no events: what is left is leases.
func (s *spread) rest(ctx context.Context) error {
	if s.r.redis == nil {
		return nil
	}
	did, err := s.redisDid(func() error { return sleep(ctx, s.r.window) })
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("idle, %d subscribers in %d channels", clusterConnections, soloChannels+3)
	s.recordRedis(workload, "second", did, s.r.window.Seconds())
	return nil
}

// open subscribes one client for each audience, to one node after the other.
func (s *spread) open(ctx context.Context, crowds []*load.Crowd, audiences []*load.Audience) error {
	for first, c := range crowds {
		var share []*load.Audience
		for i := first; i < len(audiences); i += len(crowds) {
			share = append(share, audiences[i])
		}
		if err := c.Open(ctx, share); err != nil {
			return err
		}
	}
	return nil
}

// subscribe opens clients on all nodes and records what that takes.
func (s *spread) subscribe(ctx context.Context, workload string, audiences []*load.Audience) error {
	var u usage
	did, err := s.redisDid(func() (err error) {
		u, err = s.r.measure(func() error { return s.open(ctx, s.crowds, audiences) })
		return err
	})
	if err != nil {
		return err
	}
	count := len(audiences)
	s.r.recordCPU(workload, "CPU µs per connection", nil, u, uint64(count))
	s.recordRedis(workload, "connection", did, float64(count))
	return nil
}

// publish records what it takes to publish to one audience after the other.
func (s *spread) publish(ctx context.Context, workload string, pace int, long time.Duration, audiences ...*load.Audience) error {
	topics := make([]*load.Topic, len(audiences))
	for i, a := range audiences {
		topics[i] = s.topic(a, small)
	}
	interval := time.Second / time.Duration(pace)
	count := events(long, interval)
	var u usage
	did, err := s.redisDid(func() (err error) {
		u, err = s.r.measure(func() error { return s.paced(ctx, interval, count, audiences, topics) })
		return err
	})
	if err != nil {
		return err
	}
	s.r.recordCPU(workload, "CPU µs per delivery", nil, u, s.tally.Deliveries)
	s.r.recordLatency(workload, "", s.tally.Latency, nil)
	s.recordRedis(workload, "event", did, float64(count))
	return nil
}

// redisDid calls f and tells what Redis did meanwhile: nothing if there is none.
func (s *spread) redisDid(f func() error) (redis.Usage, error) {
	if s.r.redis == nil {
		return redis.Usage{}, f()
	}
	before, err := s.r.redis.Usage()
	if err != nil {
		return redis.Usage{}, err
	}
	if err := f(); err != nil {
		return redis.Usage{}, err
	}
	after, err := s.r.redis.Usage()
	return after.Since(before), err
}

// recordRedis adds rows of what Redis did for each of count things.
func (s *spread) recordRedis(workload, thing string, did redis.Usage, count float64) {
	if s.r.redis == nil {
		return
	}
	workload = "Redis: " + workload
	s.r.record(workload, "bytes in per "+thing, nil, float64(did.In)/count)
	s.r.record(workload, "bytes out per "+thing, nil, float64(did.Out)/count)
	s.r.record(workload, "commands per "+thing, nil, float64(did.Commands)/count)
	s.r.record(workload, "CPU µs per "+thing, nil, float64(did.CPU.Microseconds())/count)
}

const clusterNote = "alone: one server that knows of no cluster. All events are published to the first node. CPU is of all nodes together; " +
	"nodes, Redis and clients compete for the same cores. Redis' figures are its own (INFO); commands that scripts run are counted."
