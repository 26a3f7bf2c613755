package local

import (
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"

	"belfry/channels/cluster"
)

// Faults, for tests. Each is over at once where it says nothing else.

// flushNoticed is how long after the loss of all data the nodes are told.
const flushNoticed = time.Second

// SetLease has a node that is cut off, or killed, keep its share for as long.
// Without, it is killed at once and keeps it while it is cut off.
func (h *Hub) SetLease(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lease = d
}

// SetSeed makes the delays of calls and messages repeatable.
func (h *Hub) SetSeed(seed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seed = seed
}

// LoseAnswers has the answers to updates get lost that are on their way when a
// node is cut off.
func (h *Hub) LoseAnswers() { h.lossy.Store(true) }

// Slow has each call of a node wait up to as long before the hub has it, and up
// to as long again before the answer is there; messages wait as long.
func (h *Hub) Slow(d cluster.Driver, most time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d.(*node).slow = most
}

// Cut cuts a node off, until Heal. What is on its way to it is lost.
func (h *Hub) Cut(d cluster.Driver) {
	n := d.(*node)
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.cut || n.dead {
		return
	}
	n.cut = true
	n.cuts++
	n.lose()
	if h.lease > 0 {
		cuts := n.cuts
		time.AfterFunc(h.lease, func() { h.bury(n, cuts) })
	}
}

// Heal ends that.
func (h *Hub) Heal(d cluster.Driver) {
	n := d.(*node)
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.cut {
		n.cut = false
		n.push(item{kind: restored})
	}
}

// bury takes the share of a node away that is dead, or still cut off as it was
// when it had been so as often. If no other node is there to see it, one is
// waited for.
func (h *Hub) bury(n *node, cuts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !n.dead && (!n.cut || n.cuts != cuts) {
		return
	}
	for _, other := range h.nodes {
		if other != n && !other.cut && !h.down {
			h.takeShare(n, func(t cluster.Topic, o cluster.Outcome) {
				other.push(item{kind: departed, topic: t, outcome: o})
			})
			return
		}
	}
	if h.lease > 0 {
		time.AfterFunc(time.Second, func() { h.bury(n, cuts) })
	}
}

// Flush loses all data. The nodes hear of it a while later.
func (h *Hub) Flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lose()
	time.AfterFunc(flushNoticed, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, n := range h.nodes {
			if !n.cut && !h.down {
				n.push(item{kind: restored})
			}
		}
	})
}

// Restart loses all data, all connections, and what is on its way to the nodes.
// It takes as long as down says.
func (h *Hub) Restart(down time.Duration) {
	h.mu.Lock()
	h.lose()
	h.down = true
	for _, n := range h.nodes {
		n.lose()
	}
	h.mu.Unlock()
	<-time.After(down)
	h.SetDown(false)
}

// lose loses all data. mu is held.
func (h *Hub) lose() {
	clear(h.channels)
	clear(h.departed)
}

// lose loses what is on its way to the node. mu is held.
func (n *node) lose() {
	n.queue = nil
	n.lost++
}

// Left is how many nodes there are, and channels that somebody is subscribed to.
func (h *Hub) Left() (nodes, channels int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.channels {
		if c.count > 0 || len(c.shares) > 0 || len(c.members) > 0 {
			channels++
		}
	}
	return len(h.nodes), channels
}

// delay waits for a part of slow, which follows from the seed, the node, what is
// delayed, and how often that was.
func (n *node) delay(what string) {
	n.hub.mu.Lock()
	most := n.slow
	if most == 0 {
		n.hub.mu.Unlock()
		return
	}
	if n.delays == nil {
		n.delays = make(map[string]uint64)
	}
	n.delays[what]++
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, what)
	random := rand.New(rand.NewPCG(n.hub.seed^uint64(n.number)<<56, hash.Sum64()+n.delays[what]))
	n.hub.mu.Unlock()
	<-time.After(time.Duration(random.Int64N(int64(most))) + 1)
}
