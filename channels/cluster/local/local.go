// Package local is a cluster inside one process: the reference of what a
// driver does, and what tests of several nodes run on.
package local

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// maxQueued is how many messages wait for a node at most. One that lags behind
// further loses messages, as if the connection to it were lost.
const maxQueued = 4096

// Hub is what the nodes have together.
type Hub struct {
	mu       sync.Mutex // guards the following, and what belongs to the nodes
	down     bool
	nodes    []*node
	channels map[cluster.Topic]*channel
	departed map[cluster.Departure]time.Time // and until when they can be taken back
	swept    int                             // channels that were left by the last sweep
	made     int                             // nodes that ever were
	lease    time.Duration                   // see SetLease
	seed     uint64                          // see SetSeed

	lossy atomic.Bool // see LoseAnswers
}

// NewHub returns a cluster without nodes.
func NewHub() *Hub {
	return &Hub{channels: make(map[cluster.Topic]*channel), departed: make(map[cluster.Departure]time.Time)}
}

// Node returns a new node.
func (h *Hub) Node() cluster.Driver {
	n := &node{hub: h, topics: make(map[cluster.Topic]struct{}), wake: make(chan struct{}, 1)}
	h.mu.Lock()
	h.made++
	n.number = h.made
	h.nodes = append(h.nodes, n)
	h.mu.Unlock()
	return n
}

// SetDown makes the cluster unreachable to all nodes, or reachable again.
func (h *Hub) SetDown(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down && !down {
		for _, n := range h.nodes {
			if !n.cut {
				n.push(item{kind: restored})
			}
		}
	}
	h.down = down
}

// Kill lets a node die: it is cut off for good, and the longest living of the
// others takes its share away once its lease has ended.
func (h *Hub) Kill(d cluster.Driver) {
	n := d.(*node)
	h.mu.Lock()
	n.dead = true
	n.lose()
	n.signal()
	h.remove(n)
	lease := h.lease
	h.mu.Unlock()
	if lease == 0 {
		h.bury(n, 0)
	} else {
		time.AfterFunc(lease, func() { h.bury(n, 0) })
	}
}

// remove forgets a node, but not its share. mu is held.
func (h *Hub) remove(n *node) {
	clear(n.topics)
	if i := slices.Index(h.nodes, n); i >= 0 {
		h.nodes = slices.Delete(h.nodes, i, i+1)
	}
}

// takeShare takes a node's share away. mu is held.
func (h *Hub) takeShare(n *node, tell func(cluster.Topic, cluster.Outcome)) {
	for t, c := range h.channels {
		if s := c.shares[n]; s != nil {
			tell(t, h.update(n, t, cluster.Share{TellCount: s.tellCount, Watched: s.watched, Grace: s.grace}))
		}
	}
}

// send queues a message for all that listen to its topic. mu is held.
func (h *Hub) send(m cluster.Message) {
	for _, n := range h.nodes {
		if _, ok := n.topics[m.Topic]; ok && !n.cut {
			n.push(item{message: m})
		}
	}
}

// channel returns one, made if need be. mu is held.
func (h *Hub) channel(t cluster.Topic) *channel {
	c := h.channels[t]
	if c == nil {
		h.sweep()
		c = &channel{shares: make(map[*node]*share), members: make(map[string]*member)}
		h.channels[t] = c
	}
	return c
}

// sweep forgets channels that nobody can have anything to do with any more,
// whenever their number has doubled. mu is held.
func (h *Hub) sweep() {
	if len(h.channels) < 2*h.swept+64 {
		return
	}
	listened := make(map[cluster.Topic]struct{})
	for _, n := range h.nodes {
		maps.Copy(listened, n.topics)
	}
	maps.DeleteFunc(h.channels, func(t cluster.Topic, c *channel) bool {
		_, kept := listened[t]
		return !kept && len(c.shares) == 0 && c.lastEvent().Payload == nil
	})
	h.swept = len(h.channels)
}

func (n *node) Listen(ctx context.Context, t cluster.Topic) error {
	return n.do(ctx, t.Channel, func(*Hub) { n.topics[t] = struct{}{} })
}

func (n *node) Ignore(t cluster.Topic) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	delete(n.topics, t)
}

func (n *node) Ready() error { return n.reach(context.Background(), func(*Hub) {}) }

func (n *node) Publish(ctx context.Context, publications ...cluster.Publication) error {
	if len(publications) == 0 {
		return nil
	}
	return n.do(ctx, publications[0].Topic.Channel, func(h *Hub) {
		for _, p := range publications {
			m := cluster.Message{Topic: p.Topic, Kind: cluster.Published, Payload: slices.Clone(p.Payload)}
			if p.Keep > 0 {
				m.Version = h.channel(p.Topic).keep(m.Payload, p.Keep)
			}
			h.send(m)
		}
	})
}

func (n *node) Update(ctx context.Context, t cluster.Topic, s cluster.Share) (o cluster.Outcome, err error) {
	before := 0
	err = n.do(ctx, t.Channel, func(h *Hub) { o, before = h.update(n, t, s), n.lost })
	if err == nil && n.hub.lossy.Load() && n.isLost(before) {
		return cluster.Outcome{}, fmt.Errorf("local: the answer is lost: %w", cluster.ErrUnavailable)
	}
	return o, err
}

func (n *node) Settle(ctx context.Context, departures ...cluster.Departure) ([]bool, error) {
	lasted := make([]bool, len(departures))
	err := n.do(ctx, "", func(h *Hub) {
		for i, d := range departures {
			_, lasted[i] = h.departed[d]
			delete(h.departed, d)
		}
	})
	return lasted, err
}

func (n *node) State(ctx context.Context, t cluster.Topic) (s cluster.State, err error) {
	err = n.do(ctx, "", func(h *Hub) {
		if c := h.channels[t]; c != nil {
			s = cluster.State{Count: c.count, Users: len(c.members), Last: c.lastEvent()}
		}
	})
	return s, err
}

func (n *node) States(ctx context.Context, app, prefix string) (map[string]cluster.State, error) {
	states := make(map[string]cluster.State)
	err := n.do(ctx, "", func(h *Hub) {
		for t, c := range h.channels {
			if t.App == app && c.count > 0 && strings.HasPrefix(t.Channel, prefix) {
				states[t.Channel] = cluster.State{Count: c.count, Users: len(c.members)}
			}
		}
	})
	return states, err
}

func (n *node) Users(ctx context.Context, t cluster.Topic) (ids []string, err error) {
	err = n.do(ctx, "", func(h *Hub) {
		if c := h.channels[t]; c != nil {
			for _, m := range c.roster() {
				ids = append(ids, m.UserID)
			}
		}
	})
	return ids, err
}

func (n *node) Occupied(ctx context.Context, app string, channels []string) ([]bool, error) {
	occupied := make([]bool, len(channels))
	err := n.do(ctx, "", func(h *Hub) {
		for i, name := range channels {
			c := h.channels[cluster.Topic{App: app, Channel: name}]
			occupied[i] = c != nil && c.count > 0
		}
	})
	return occupied, err
}

// channel is what all nodes have of one. The hub's lock guards it.
type channel struct {
	shares  map[*node]*share
	count   int // of all shares
	members map[string]*member
	joined  uint64 // members that ever were
	version uint64 // of the roster

	told   *int // the count that was, nil for none
	toldAt time.Time

	last        []byte
	lastVersion uint64
	expires     time.Time
}

// share is what one node has of a channel.
type share struct {
	count              int
	users              map[string]struct{}
	tellCount, watched bool
	grace              time.Duration
}

// member is a user through one node or several.
type member struct {
	protocol.Member
	nodes  int
	number uint64 // in the order of joining
}

func (c *channel) roster() []protocol.Member {
	members := slices.SortedFunc(maps.Values(c.members), func(a, b *member) int { return int(a.number) - int(b.number) })
	list := make([]protocol.Member, len(members))
	for i, m := range members {
		list[i] = m.Member
	}
	return list
}

func (c *channel) keep(payload []byte, ttl time.Duration) (version uint64) {
	c.last, c.expires = payload, time.Now().Add(ttl)
	c.lastVersion++
	return c.lastVersion
}

func (c *channel) lastEvent() cluster.Last {
	ttl := time.Until(c.expires)
	if ttl <= 0 {
		c.last = nil
		return cluster.Last{Version: c.lastVersion}
	}
	return cluster.Last{Payload: c.last, Version: c.lastVersion, TTL: ttl}
}
