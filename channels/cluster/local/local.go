// Package local is a cluster inside one process: the reference of what a
// driver does, and what tests of several nodes run on.
package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	epoch    int
	born     time.Time // of the epoch
	number   uint64    // of the last change of any channel
	channels map[cluster.Topic]*channel
	outboxes map[string]*outbox // by application
	swept    int                // channels that were left by the last sweep
	made     int                // nodes that ever were
	lease    time.Duration      // see SetLease
	seed     uint64             // see SetSeed
	lossy    bool               // see LoseAnswers
	once     map[once]time.Time // when publications with a key were done
}

// NewHub returns a cluster without nodes.
func NewHub() *Hub {
	h := new(Hub)
	h.clear()
	return h
}

// Node returns a new node.
func (h *Hub) Node() cluster.Driver {
	n := &node{hub: h, topics: make(map[cluster.Topic]struct{}), wake: make(chan struct{}, 1), ended: make(chan struct{})}
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
		h.restored()
	}
	h.down = down
}

// restored tells all nodes that are not cut off. mu is held.
func (h *Hub) restored() {
	for _, n := range h.nodes {
		if !n.cut {
			n.push(item{kind: restored})
		}
	}
}

// Flush loses all that the nodes have together, and lets them know.
func (h *Hub) Flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clear()
	h.restored()
}

// clear begins an epoch. mu is held, or nobody else has the hub yet.
func (h *Hub) clear() {
	h.epoch++
	h.born = time.Now()
	h.number, h.swept = 0, 0
	h.channels = make(map[cluster.Topic]*channel)
	h.once = make(map[once]time.Time)
	h.outboxes = make(map[string]*outbox)
}

// Kill lets a node die: it is cut off for good, and its share is taken away once its
// lease has ended.
func (h *Hub) Kill(d cluster.Driver) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(d.(*node), true)
}

// drop ends a node, but not what it has. mu is held.
func (h *Hub) drop(n *node) {
	if n.dead {
		return
	}
	n.dead = true
	close(n.ended)
	n.signal()
	n.lose()
	clear(n.topics)
	if i := slices.Index(h.nodes, n); i >= 0 {
		h.nodes = slices.Delete(h.nodes, i, i+1)
	}
}

// remove ends a node, and takes its share away: at the end of its lease, if there is
// one and it died. mu is held.
func (h *Hub) remove(n *node, died bool) {
	h.drop(n)
	if n.resumed != nil {
		if !died {
			return // it goes on in another process
		}
		if n.before != nil && n.before.dead {
			n = n.before
		}
	}
	if died && h.lease > 0 {
		time.AfterFunc(h.lease, func() { h.takeShareAway(n, 0) })
	} else {
		h.takeShare(n)
	}
}

// takeShare takes the share of a node away. One of the others has a look at what is in
// the outboxes then. mu is held.
func (h *Hub) takeShare(n *node) {
	for t, c := range h.channels {
		if s := c.shares[n]; s != nil {
			last := s.Share
			last.Count, last.Whole, last.Join, last.Leave, last.Known, last.Load, last.Epoch = 0, false, nil, nil, 0, false, ""
			h.update(n, t, last)
		}
	}
	for _, o := range h.outboxes {
		if o.owner == n {
			o.owner = nil
		}
	}
	h.hint()
}

// hint has a node look at the outboxes: the first that can be reached. mu is held.
func (h *Hub) hint() {
	heir := h.reaching()
	if heir == nil && h.lease > 0 {
		time.AfterFunc(time.Second, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.hint()
		})
	}
	for app := range h.outboxes {
		if heir != nil {
			heir.push(item{kind: due, hint: cluster.Hint{Bucket: cluster.Bucket{App: app}}})
		}
	}
}

// reaching returns the node that has lived for longest, of those that reach the hub; nil
// if none does. mu is held.
func (h *Hub) reaching() *node {
	for _, n := range h.nodes {
		if !n.cut && !h.down && n.before == nil {
			return n
		}
	}
	return nil
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
		c = &channel{shares: make(map[*node]*share), members: make(map[string]*member), version: h.number, newest: h.number}
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
		return !kept && len(c.shares) == 0 && len(c.kept(time.Now())) == 0 && c.lastEvent(time.Now()) == nil
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

func (n *node) Reaches(cluster.Topic) error { return n.Ready() }

func (n *node) Publish(ctx context.Context, publications ...cluster.Publication) error {
	if len(publications) == 0 {
		return nil
	}
	return n.do(ctx, publications[0].Topic.Channel, func(h *Hub) {
		for _, p := range publications {
			if h.repeats(p) {
				continue
			}
			h.send(cluster.Message{Topic: p.Topic, Kind: cluster.Published, Payload: slices.Clone(p.Payload)})
		}
	})
}

func (n *node) Keep(ctx context.Context, events ...cluster.Kept) error {
	if len(events) == 0 {
		return nil
	}
	return n.do(ctx, events[0].Topic.Channel, func(h *Hub) {
		for _, e := range events {
			if h.repeats(e.Publication) {
				continue
			}
			c := h.channel(e.Topic)
			m := cluster.Message{Topic: e.Topic, Kind: cluster.Published, Payload: slices.Clone(e.Payload)}
			m.After, m.Version = h.change(c)
			now := time.Now()
			kept := keptEvent{payload: m.Payload, number: m.Version.Number, at: now}
			if e.Last > 0 {
				c.last = kept
				c.last.expires = now.Add(e.Last)
			}
			if e.Events > 0 {
				kept.expires, kept.before = now.Add(e.For), c.newest
				c.events = append(c.kept(now), kept)
				c.events = c.events[max(len(c.events)-e.Events, 0):]
				c.newest = kept.number
			}
			h.send(m)
		}
	})
}

// once is a publication with a key.
type once struct {
	topic cluster.Topic
	key   string
}

// repeats reports whether a publication with that key was done, and notes this one. mu is
// held.
func (h *Hub) repeats(p cluster.Publication) bool {
	now := time.Now()
	maps.DeleteFunc(h.once, func(_ once, done time.Time) bool { return now.Sub(done) >= cluster.OnceFor })
	if p.Key == "" {
		return false
	}
	o := once{p.Topic, p.Key}
	if _, done := h.once[o]; done {
		return true
	}
	h.once[o] = now
	return false
}

// change gives a channel another version. mu is held.
func (h *Hub) change(c *channel) (before uint64, v cluster.Version) {
	before = c.version
	h.number++
	c.version = h.number
	return before, h.version(c)
}

func (h *Hub) version(c *channel) cluster.Version {
	return cluster.Version{Epoch: strconv.Itoa(h.epoch), Number: c.version}
}

func (n *node) Update(ctx context.Context, t cluster.Topic, s cluster.Share) (o cluster.Outcome, err error) {
	forgotten := false
	err = n.do(ctx, t.Channel, func(h *Hub) {
		if forgotten = !s.Whole && s.Epoch != "" && s.Epoch != strconv.Itoa(h.epoch); !forgotten {
			o = h.update(n, t, s)
		}
	})
	switch {
	case errors.Is(err, cluster.ErrUnknown):
		o = cluster.Outcome{}
		if s.Record {
			o.Hint = &cluster.Hint{Bucket: cluster.Bucket{App: t.App}}
		}
	case forgotten:
		err = cluster.ErrForgotten
	}
	return o, err
}

func (n *node) State(ctx context.Context, t cluster.Topic) (s cluster.State, err error) {
	err = n.do(ctx, "", func(h *Hub) {
		if c := h.channels[t]; c != nil {
			s = cluster.State{Count: c.count, Users: len(c.members), Last: c.lastEvent(time.Now())}
		}
	})
	return s, err
}

func (n *node) History(ctx context.Context, t cluster.Topic, events int, age time.Duration) (history cluster.History, err error) {
	err = n.do(ctx, "", func(h *Hub) {
		history = cluster.History{Version: cluster.Version{Epoch: strconv.Itoa(h.epoch), Number: h.number}, After: h.number, Now: time.Now()}
		c, now := h.channels[t], history.Now
		if c == nil {
			return
		}
		history.After = c.newest
		kept := c.kept(now)
		for _, e := range kept[max(len(kept)-events, 0):] {
			if now.Sub(e.at) >= age {
				continue
			}
			if len(history.Events) == 0 {
				history.After = e.before
			}
			history.Events = append(history.Events, e.event(now))
		}
	})
	return history, err
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

func (n *node) Introduce(ctx context.Context, about string, long time.Duration) error {
	return n.do(ctx, "", func(*Hub) { n.about, n.told = about, time.Now().Add(long) })
}

func (n *node) Nodes(ctx context.Context) (nodes []cluster.Node, err error) {
	err = n.do(ctx, "", func(h *Hub) {
		for _, other := range h.nodes {
			one := cluster.Node{ID: fmt.Sprintf("%08d", other.number), Self: other == n}
			if time.Now().Before(other.told) {
				one.About = other.about
			}
			nodes = append(nodes, one)
		}
	})
	return nodes, err
}

// channel is what all nodes have of one. The hub's lock guards it.
type channel struct {
	shares  map[*node]*share
	count   int // of all shares
	members map[string]*member
	joined  uint64 // members that ever were
	version uint64
	last    keptEvent
	events  []keptEvent // the history
	newest  uint64      // number of the last one that came into it, or of one before the channel was made
}

// share is what one node has of a channel: its last one, and the users.
type share struct {
	cluster.Share
	users map[string]struct{}
}

type keptEvent struct {
	payload []byte
	number  uint64
	at      time.Time
	expires time.Time
	before  uint64 // number of the event before
}

func (e keptEvent) event(now time.Time) cluster.Event {
	return cluster.Event{Payload: e.payload, Number: e.number, TTL: e.expires.Sub(now), At: e.at}
}

// member is a user through one node or several.
type member struct {
	protocol.Member
	nodes  int
	number uint64 // in the order of joining
}

// kept are the events of the history that are not too old.
func (c *channel) kept(now time.Time) []keptEvent {
	return slices.DeleteFunc(slices.Clone(c.events), func(e keptEvent) bool { return !now.Before(e.expires) })
}

func (c *channel) snapshot(since cluster.Version, epoch string) *cluster.Snapshot {
	now := time.Now()
	s := &cluster.Snapshot{Members: c.roster(), Last: c.lastEvent(now), After: c.newest}
	if since.Epoch != epoch {
		return s
	}
	for _, e := range c.kept(now) {
		if e.number <= since.Number {
			continue
		}
		if len(s.Events) == 0 {
			s.After = e.before
		}
		s.Events = append(s.Events, e.event(now))
	}
	return s
}

// lastEvent is nil if there is none.
func (c *channel) lastEvent(now time.Time) *cluster.Event {
	if !now.Before(c.last.expires) {
		return nil
	}
	e := c.last.event(now)
	return &e
}
