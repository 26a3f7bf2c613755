//go:build linux

package main

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"belfry/bench/load"
	"belfry/bench/process"
	"belfry/bench/report"
)

// run is one workload against one server.
type run struct {
	*instance
	column      string // of the table: the server's name
	clock       load.Clock
	window      time.Duration // how long to measure
	settle      time.Duration // how long memory may take to become steady
	connections int           // at most
	add         func(key report.Key, goal *report.Goal, value float64)
}

// deadline is how long anything may take that should be done by now.
const deadline = 20 * time.Second

// record adds a row to the table, or a value to the row.
func (r *run) record(workload, metric string, goal *report.Goal, value float64) {
	r.add(report.Key{Workload: workload, Metric: metric}, goal, value)
}

// usage is what a measured stretch took.
type usage struct {
	cpu  time.Duration // of the server; less than 0: unknown
	wall time.Duration
}

// measureWarm calls f for a fifth of the window, so that all is warm, and then tells
// what the server used while f was called for the whole of it.
func (r *run) measureWarm(f func(time.Duration) error) (usage, error) {
	if err := f(r.window / 5); err != nil {
		return usage{}, err
	}
	return r.measure(func() error { return f(r.window) })
}

// measure calls f and tells what the server used meanwhile.
func (r *run) measure(f func() error) (usage, error) {
	before, err := r.cpu()
	if err != nil {
		return usage{}, err
	}
	start := time.Now()
	if err := f(); err != nil {
		return usage{}, err
	}
	wall := time.Since(start)
	after, err := r.cpu()
	if r.pid == 0 {
		return usage{-1, wall}, nil
	}
	return usage{after - before, wall}, err
}

// recordCPU adds a row of the server's time for each of count things.
func (r *run) recordCPU(workload, metric string, goal *report.Goal, u usage, count uint64) {
	if u.cpu >= 0 && count > 0 {
		r.record(workload, metric, goal, float64(u.cpu.Microseconds())/float64(count))
	}
}

// recordLatency adds rows of a histogram in microseconds. name goes ahead of
// what the rows are called; the goal is for the 99th percentile.
func (r *run) recordLatency(workload, name string, h *hdrhistogram.Histogram, p99 *report.Goal) {
	if name != "" {
		name += ", "
	}
	r.record(workload, name+"p50 ms", nil, milliseconds(h, 50))
	r.record(workload, name+"p99 ms", p99, milliseconds(h, 99))
}

func milliseconds(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(h.ValueAtQuantile(percentile)) / 1000
}

// steadyMemory waits until the server's memory has become steady, or r.settle
// is over, and returns it in bytes; 0 if it cannot be known.
func (r *run) steadyMemory(ctx context.Context) (int64, error) {
	const every, same = 200 * time.Millisecond, 8
	if r.pid == 0 {
		return 0, nil
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	steady, last := 0, int64(0)
	for end := time.Now().Add(r.settle); ; {
		now, err := process.Memory(r.pid)
		if err != nil {
			return 0, err
		}
		if steady++; now-last > now/500 || last-now > now/500 {
			steady, last = 0, now
		}
		if steady == same || time.Now().After(end) {
			return now, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// sleep waits, and returns early with an error when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
