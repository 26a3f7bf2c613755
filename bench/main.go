//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"belfry/bench/load"
	"belfry/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// workload is measured against a server that was started for it. Those of one
// name are chosen together.
type workload struct {
	name string
	// collect: have the server collect its garbage all the time. What it then
	// occupies is what it needs.
	collect bool
	// tls: have the server speak TLS.
	tls bool
	// presence: leave out servers that have no presence channels.
	presence bool
	// restart: give the server the time to end what it has begun.
	restart bool
	// transports: run it over each transport of the first server, beside one
	// another, instead of over WebSocket on each server.
	transports bool
	// history: run it with and without histories, beside one another.
	history bool
	// console: run it without and with a console, beside one another.
	console bool
	// cluster: run it on one server alone and on clusters, beside one another,
	// and only if it was named.
	cluster bool
	run     func(context.Context, *run) error
}

var workloads = []workload{
	{name: "fanout", run: fanout},
	{name: "idle", run: idleAsConfigured},
	{name: "idle", collect: true, run: idleCollected},
	{name: "http", run: trigger},
	{name: "churn", run: churn},
	{name: "storm", run: storm},
	{name: "tls", tls: true, run: idleOverTLS},
	{name: "tls", tls: true, collect: true, run: collectedOverTLS},
	{name: "tls", tls: true, run: fanoutOverTLS},
	{name: "latency", run: fairness},
	{name: "latency", run: stalled},
	{name: "fallback", transports: true, run: fallbackDelivery},
	{name: "fallback", transports: true, collect: true, run: fallbackIdle},
	{name: "presence", presence: true, run: joining},
	{name: "restart", presence: true, restart: true, run: restart},
	{name: "history", history: true, run: historyCost},
	{name: "console", console: true, run: consoleCost},
	{name: "cluster", cluster: true, run: clustered},
}

// bench runs the chosen workloads and prints the table; after an error, as much
// of it as there is.
func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	files, err := raiseFileLimit()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "belfry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	servers, err := o.servers(dir)
	if err != nil {
		return err
	}
	consoles, err := consoles(o, dir)
	if err != nil {
		return err
	}
	tables := newTables(servers, histories(o, dir), consoles, layouts(o.belfry, dir))
	var others contention
	failure := measureAll(ctx, o, tables, &others, min(o.connections, files-reservedFiles), stderr)
	results := tables.results(append(notes(o, servers), others.note()))
	for _, r := range results {
		if err := r.Print(stdout); err != nil {
			return err
		}
	}
	for _, r := range results {
		if err := r.PrintGoals(stdout); err != nil {
			return err
		}
	}
	if o.json != "" {
		if err := writeJSON(o.json, results); err != nil {
			return err
		}
	}
	return failure
}

// mostLoops is how many loops a workload has at most.
const mostLoops = 4

// measureAll runs every workload in turn, its rounds with the servers
// alternating.
func measureAll(ctx context.Context, o *options, tables *tables,
	others *contention, connections int, progress io.Writer) error {
	// Each loop is a thread. It must not wait for one of Go's processors that
	// another one holds while it sleeps in epoll_wait.
	runtime.GOMAXPROCS(runtime.NumCPU() + mostLoops)
	clock := load.NewClock()
	for _, w := range o.chosen {
		t := tables.of(w)
		for round := range o.rounds {
			for _, s := range t.servers {
				if !s.can(w) {
					continue
				}
				start := time.Now()
				fmt.Fprintf(progress, "%-8s round %d of %d: %-9s", w.name, round+1, o.rounds, s.name())
				err := measureOne(ctx, w, s, others, &run{
					column:      s.name(),
					clock:       clock,
					window:      o.window,
					settle:      o.settle,
					connections: connections,
					add: func(key report.Key, goal *report.Goal, value float64) {
						if w.tls {
							key.Workload = "TLS: " + key.Workload
						}
						t.result.Add(key, goal, s.name(), value)
					},
				})
				if err != nil {
					fmt.Fprintln(progress)
					return fmt.Errorf("%s, %s: %w", w.name, s.name(), err)
				}
				fmt.Fprintf(progress, " %5.1f s\n", time.Since(start).Seconds())
			}
		}
	}
	return nil
}

func measureOne(ctx context.Context, w workload, s server, others *contention, r *run) error {
	i, err := s.start(w)
	if err != nil {
		return err
	}
	defer i.stop()
	r.instance = i
	if err := others.begin(i); err != nil {
		return err
	}
	if err := w.run(ctx, r); ctx.Err() != nil {
		return context.Cause(ctx)
	} else if err != nil {
		return i.explain(err)
	}
	return others.end(i)
}

func notes(o *options, servers []server) []string {
	lines := []string{fmt.Sprintf("Rounds: %d. Values are medians; in parentheses, the lowest and highest ratio of a round. CPU is the server's user and system time.", o.rounds)}
	for _, s := range servers {
		switch s := s.(type) {
		case *running:
			lines = append(lines, s.note())
		case *program:
			if s.title == bunName {
				lines = append(lines, "bun: bench/reference/bun.js, native publish; it checks no signature, applies no limits and counts nothing.")
			}
		}
	}
	for _, w := range o.chosen {
		switch {
		case w.history:
			lines = append(lines, historyNote)
		case w.console:
			lines = append(lines, consoleNote)
		case w.cluster:
			lines = append(lines, clusterNote)
		}
	}
	return lines
}

func writeJSON(name string, results []*report.Report) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteJSON(f, results), f.Close())
}

// reservedFiles are the descriptors that are not for subscribers, here and in
// the server: Belfry keeps 128 for itself.
const reservedFiles = 1000

// raiseFileLimit raises the limit on descriptors, which servers inherit, as far
// as it goes. Some hundred thousand are as many as anybody asks for.
func raiseFileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, os.NewSyscallError("setrlimit", err)
	}
	return int(min(limit.Cur, 1<<20)), nil
}

// names are the choices of -only.
func names() string {
	var all []string
	for _, w := range workloads {
		all = append(all, w.name)
	}
	return strings.Join(slices.Compact(all), ", ")
}
