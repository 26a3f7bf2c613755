//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"belfry/bench/redis"
)

// mostNodes is how many nodes the largest cluster has.
const mostNodes = 3

// layout is a cluster of so many nodes, or with none, a single server that knows
// of no cluster.
type layout struct {
	binary, dir string
	nodes       int
}

// layouts are the columns of the cluster's table.
func layouts(binary, dir string) (all []server) {
	for nodes := range mostNodes + 1 {
		all = append(all, &layout{binary, dir, nodes})
	}
	return all
}

func (l *layout) name() string {
	switch l.nodes {
	case 0:
		return "alone"
	case 1:
		return "1 node"
	default:
		return fmt.Sprintf("%d nodes", l.nodes)
	}
}

func (l *layout) can(workload) bool { return true }

func (l *layout) start(w workload) (*instance, error) {
	if l.nodes == 0 {
		return l.startNode(0, "", w)
	}
	r, err := redis.Start(l.dir)
	if err != nil {
		return nil, err
	}
	var nodes []*instance
	stop := func() {
		for _, n := range nodes {
			n.stop()
		}
		r.Stop()
	}
	for number := range l.nodes {
		n, err := l.startNode(number, fmt.Sprintf("cluster:\n  driver: redis\n  redis:\n    url: %s\n", r.URL()), w)
		if err != nil {
			stop()
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return &instance{
		target: nodes[0].target,
		pid:    nodes[0].pid,
		stop:   stop,
		explain: func(err error) error {
			for number, n := range nodes {
				err = n.explain(fmt.Errorf("%w\nnode %d", err, number+1))
			}
			return err
		},
		peers: nodes[1:],
		redis: r,
	}, nil
}

// startNode gives each node a directory, for its configuration and its log.
func (l *layout) startNode(number int, further string, w workload) (*instance, error) {
	dir := filepath.Join(l.dir, fmt.Sprintf("node-%d", number+1))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := newBelfry(l.binary, dir, further)
	if err != nil {
		return nil, err
	}
	return s.start(w)
}
