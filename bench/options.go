//go:build linux

package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"belfry/auth"
	"belfry/bench/load"
)

type options struct {
	chosen      []workload
	rounds      int
	window      time.Duration // how long each workload is measured
	settle      time.Duration // how long memory may take to become steady
	connections int           // at most
	json        string

	belfry    string
	reference string
	columns   []string
	target    string
	targetTLS string
	pid       int
	app       load.App // of the target
}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("only", "", "`workloads` to run, of "+names()+"; empty: all but cluster")
	columns := flags.String("servers", "", "`servers` to measure, of belfry, bun, target; the first is compared with the others\n(default belfry,bun; with -target belfry,target)")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each server is measured")
	flags.DurationVar(&o.window, "time", 2*time.Second, "how long each workload is measured, at least")
	flags.DurationVar(&o.settle, "settle", 6*time.Second, "how long memory may take to become steady, at most")
	flags.IntVar(&o.connections, "connections", 19000, "connections at most, of any workload; never more than the descriptor limit allows")
	flags.StringVar(&o.json, "json", "", "write every single value to this `file`")
	flags.StringVar(&o.belfry, "belfry", "bin/belfry", "the Belfry `binary`")
	flags.StringVar(&o.reference, "reference", "bench", "the `directory` with reference/ and node_modules/")
	flags.StringVar(&o.target, "target", "", "`host:port` of a running server of the Pusher protocol, on 127.0.0.0/8")
	flags.StringVar(&o.targetTLS, "target-tls", "", "`host:port` where the same server speaks TLS, whoever signed its certificate; without it, tls leaves the target out")
	flags.IntVar(&o.pid, "pid", 0, "process of the target, for its CPU and memory; 0: leave them out")
	id := flags.String("app-id", "app-id", "app id at the target")
	key := flags.String("key", "app-key", "app key at the target")
	secret := flags.String("secret", "app-secret", "app secret at the target")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: workloads are given as -only %s", flags.Arg(0), flags.Arg(0))
	}
	if o.rounds < 1 || o.window <= 0 || o.connections < 1 {
		return nil, fmt.Errorf("-rounds, -time and -connections must be more than 0")
	}
	o.app = load.App{ID: *id, Credentials: auth.Credentials{Key: *key, Secret: *secret}}
	switch {
	case *columns != "":
		o.columns = strings.Split(*columns, ",")
	case o.target != "" || o.targetTLS != "":
		o.columns = []string{belfryName, targetName}
	default:
		o.columns = []string{belfryName, bunName}
	}
	return o, o.choose(*only)
}

// choose finds the workloads by their names.
func (o *options) choose(only string) error {
	if only == "" {
		for _, w := range workloads {
			if !w.cluster {
				o.chosen = append(o.chosen, w)
			}
		}
		return nil
	}
	for name := range strings.SplitSeq(only, ",") {
		known := false
		for _, w := range workloads {
			if w.name == name {
				o.chosen = append(o.chosen, w)
				known = true
			}
		}
		if !known {
			return fmt.Errorf("no workload %q: there are %s", name, names())
		}
	}
	return nil
}
