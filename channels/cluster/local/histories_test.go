package local_test

import (
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/clustertest/histories"
	"belfry/channels/cluster/local"
)

const (
	grace = 3 * time.Second
	lease = 12 * time.Second

	usual = 5 * time.Millisecond   // most of a node's delays
	late  = 400 * time.Millisecond // and of a slow one's
)

func TestHistories(t *testing.T) {
	o := histories.Options{
		Store:    newStore,
		Bubble:   true,
		Parallel: 2,
		Times: histories.Times{
			Grace:    grace,
			Buried:   lease - time.Second,
			InFlight: 10 * time.Second,
			Notice:   time.Second,
			Quiet:    lease + grace + 10*time.Second,
			Pause:    time.Second,
		},
	}
	histories.Run(t, o)
}

// store is a hub.
type store struct{ *local.Hub }

func newStore(_ *testing.T, seed uint64) histories.Store {
	hub := local.NewHub()
	hub.SetLease(lease)
	hub.SetSeed(seed)
	hub.LoseAnswers()
	return store{hub}
}

func (s store) Node() histories.Node {
	n := node{s.Hub, s.Hub.Node()}
	n.Slow(false)
	return n
}

func (s store) Restart() { s.Hub.Restart(300 * time.Millisecond) }

func (s store) Close() {}

func (s store) Flush() { s.Hub.FlushUnnoticed() }

// node is one of a hub's.
type node struct {
	hub    *local.Hub
	driver cluster.Driver
}

func (n node) Driver() histories.Driver { return n.driver }
func (n node) Kill()                    { n.hub.Kill(n.driver) }
func (n node) Cut()                     { n.hub.Cut(n.driver) }
func (n node) Heal()                    { n.hub.Heal(n.driver) }

func (n node) Slow(slow bool) {
	most := usual
	if slow {
		most = late
	}
	n.hub.Slow(n.driver, most)
}
