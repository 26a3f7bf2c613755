package local

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"slices"
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

// LoseAnswers has the answers get lost that are on their way when a node is cut off.
func (h *Hub) LoseAnswers() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lossy = true
}

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
		time.AfterFunc(h.lease, func() { h.takeShareAway(n, cuts) })
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

// takeShareAway takes the share of a node away that is dead, or still cut off as it was
// when it had been so as often. If no other node is there to see it, one is
// waited for.
func (h *Hub) takeShareAway(n *node, cuts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !n.dead && (!n.cut || n.cuts != cuts) {
		return
	}
	if h.reaching() != nil {
		h.takeShare(n)
	} else if h.lease > 0 {
		time.AfterFunc(time.Second, func() { h.takeShareAway(n, cuts) })
	}
}

// FlushUnnoticed is Flush of which the nodes hear a while later.
func (h *Hub) FlushUnnoticed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear()
	time.AfterFunc(flushNoticed, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.down {
			h.restored()
		}
	})
}

// Restart loses all data, all connections, and what is on its way to the nodes.
// It takes as long as down says.
func (h *Hub) Restart(down time.Duration) {
	h.mu.Lock()
	h.clear()
	h.down = true
	for _, n := range h.nodes {
		n.lose()
	}
	h.mu.Unlock()
	<-time.After(down)
	h.SetDown(false)
}

// lose loses what is on its way to the node. mu is held.
func (n *node) lose() {
	n.queue = nil
	n.lost++
}

// Left is what there is still: nodes, channels that somebody is subscribed to, and
// outboxes that are lent or have something in them.
func (h *Hub) Left() (left []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.nodes) > 0 {
		left = append(left, fmt.Sprint(len(h.nodes), " nodes"))
	}
	for t, c := range h.channels {
		if c.count > 0 || len(c.shares) > 0 || len(c.members) > 0 {
			left = append(left, "channel "+t.Channel)
		}
	}
	for app, o := range h.outboxes {
		if o.owner != nil || len(o.ready)+len(o.waiting) > 0 {
			left = append(left, fmt.Sprintf("outbox of application %s: %v and %v", app, o.ready, o.waiting))
		}
	}
	slices.Sort(left)
	return left
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
