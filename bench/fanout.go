//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"belfry/bench/load"
	"belfry/bench/report"
)

// small and large are how many bytes of data an event has.
const (
	small = 100
	large = 1000
)

// fanSizes are how many subscribers a broadcast has, and how many broadcasts a
// second there are when they are paced. That makes 20,000 deliveries a second,
// which saturates nobody, but for the single subscriber: 20,000 requests would.
var fanSizes = []struct{ subscribers, pace int }{
	{1, 1000},
	{100, 200},
	{1000, 20},
	{10000, 2},
}

// underWay is how many broadcasts may be published and not yet delivered to
// everybody when as many are published as go through. Without a bound, the
// slower server's subscribers would become slow consumers; this one is some
// 10 kB for each of them.
const underWay = 64

// saturatedBy is how many connections publish. It decides how much a server can
// combine that answers after the fan-out: as many events as there are
// connections, where one that answers before it has all that is under way.
var saturatedBy = []int{4, 16}

// What the fan-out should reach, by the number of subscribers.
var (
	pacedCPU     = map[int]*report.Goal{100: report.AtMost(1.1), 1000: report.AtMost(1.05), 10000: report.AtMost(1)}
	pacedP99     = map[int]*report.Goal{10000: report.AtMost(0.8)}
	saturatedCPU = map[int]*report.Goal{100: report.AtMost(0.7), 1000: report.AtMost(0.7), 10000: report.AtMost(0.85)}
	// By the number of publishers, too.
	saturatedRate = map[int]map[int]*report.Goal{
		1000:  {4: report.AtLeast(2.8), 16: report.AtLeast(1.8)},
		10000: {4: report.AtLeast(4.1), 16: report.AtLeast(1.6)},
	}
	manyCPU = report.AtMost(1.15)
)

// warmUpEvents are enough for a just-in-time compiler.
const warmUpEvents = 5000

// Many small channels.
const (
	manyChannels = 1000
	manyPace     = 1000 // events a second, each to the next channel
)

// fanout measures what it costs to deliver.
func fanout(ctx context.Context, r *run) error {
	s, err := newStage(r)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.burst(ctx, warmUpEvents, small); err != nil {
		return err
	}
	var last *load.Audience
	connections := 0
	for _, f := range fanSizes {
		if connections += f.subscribers; connections > r.connections {
			break
		}
		last = s.audience(fmt.Sprintf("fan-%d", f.subscribers))
		if err := s.crowd.Open(ctx, repeat(last, f.subscribers)); err != nil {
			return err
		}
		if err := pacedFanout(ctx, s, f.pace, last); err != nil {
			return err
		}
		if f.subscribers == 1 {
			continue // saturated, it would be the HTTP trigger
		}
		if err := saturatedFanout(ctx, s, last, saturatedCPU[f.subscribers], saturatedRate[f.subscribers]); err != nil {
			return err
		}
	}
	if err := manySmall(ctx, s, last); err != nil {
		return err
	}
	return s.silence(ctx)
}

func pacedFanout(ctx context.Context, s *stage, pace int, a *load.Audience) error {
	members := len(a.Members)
	for _, size := range []int{small, large} {
		workload := fmt.Sprintf("paced fan-out, %s, %d B", subscribers(members), size)
		e := s.even(a, size, pace)
		if err := e.publish(ctx, s.r.window/5); err != nil {
			return err
		}
		if err := e.measure(ctx, workload, pacedCPU[members], pacedP99[members]); err != nil {
			return err
		}
	}
	return nil
}

// even is events of one size to one audience, at an even pace.
type even struct {
	s        *stage
	audience *load.Audience
	topic    *load.Topic
	interval time.Duration
}

// even prepares so many events a second.
func (s *stage) even(a *load.Audience, size, pace int) even {
	return even{s, a, s.topic(a, size), time.Second / time.Duration(pace)}
}

func (e even) publish(ctx context.Context, long time.Duration) error {
	return e.s.paced(ctx, e.interval, events(long, e.interval), []*load.Audience{e.audience}, []*load.Topic{e.topic})
}

func (e even) measure(ctx context.Context, workload string, cpu, p99 *report.Goal) error {
	r, tally := e.s.r, e.s.tally
	u, err := r.measure(func() error { return e.publish(ctx, r.window) })
	if err != nil {
		return err
	}
	r.recordCPU(workload, "CPU µs per delivery", cpu, u, tally.Deliveries)
	r.recordLatency(workload, "", tally.Latency, p99)
	return nil
}

func saturatedFanout(ctx context.Context, s *stage, a *load.Audience, cpu *report.Goal, rates map[int]*report.Goal) error {
	members := len(a.Members)
	topic := s.topic(a, small)
	for _, connections := range saturatedBy {
		publish := func(long time.Duration) error { return s.saturated(ctx, long, connections, a, topic) }
		if err := publish(s.r.window / 5); err != nil {
			return err
		}
		// Saturated, there is plenty to measure in a shorter time.
		u, err := s.r.measure(func() error { return publish(s.r.window * 3 / 5) })
		if err != nil {
			return err
		}
		workload := fmt.Sprintf("saturated fan-out, %s, %d B, %d publishers", subscribers(members), small, connections)
		s.r.recordCPU(workload, "CPU µs per delivery", cpu, u, s.tally.Deliveries)
		s.r.record(workload, "deliveries/s", rates[connections], float64(s.tally.Deliveries)/u.wall.Seconds())
		s.r.recordLatency(workload, "", s.tally.Latency, nil)
	}
	return nil
}

// manySmall gives the subscribers of the last channel to many small ones.
func manySmall(ctx context.Context, s *stage, last *load.Audience) error {
	perChannel := len(last.Members) / manyChannels
	if perChannel == 0 {
		return nil
	}
	audiences := make([]*load.Audience, manyChannels)
	topics := make([]*load.Topic, manyChannels)
	for i := range audiences {
		audiences[i] = s.audience(fmt.Sprintf("small-%d", i))
		topics[i] = s.topic(audiences[i], small)
	}
	if err := s.crowd.Move(ctx, last, func(i int) *load.Audience { return audiences[i%manyChannels] }); err != nil {
		return err
	}
	const interval = time.Second / manyPace
	if err := s.paced(ctx, interval, events(s.r.window/5, interval), audiences, topics); err != nil {
		return err
	}
	u, err := s.r.measure(func() error { return s.paced(ctx, interval, events(s.r.window, interval), audiences, topics) })
	if err != nil {
		return err
	}
	workload := fmt.Sprintf("%d channels of %d subscribers, %d B", manyChannels, perChannel, small)
	s.r.recordCPU(workload, "CPU µs per delivery", manyCPU, u, s.tally.Deliveries)
	s.r.recordLatency(workload, "", s.tally.Latency, nil)
	return nil
}

func subscribers(n int) string {
	if n == 1 {
		return "1 subscriber"
	}
	return strconv.Itoa(n) + " subscribers"
}

func repeat(a *load.Audience, n int) []*load.Audience {
	all := make([]*load.Audience, n)
	for i := range all {
		all[i] = a
	}
	return all
}
