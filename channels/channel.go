package channels

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"belfry/protocol"
)

// channel is one channel of one application. It exists while it has
// subscribers, a last event to replay or a history.
type channel struct {
	app  *App
	name string

	mu sync.Mutex // guards everything below but the constant fields, and its shards

	// kind, home and bare are constant; placed here so that the struct has no padding.
	kind     protocol.Kind
	home     uint8 // the flusher of a channel that needs but one
	bare     bool  // the cluster is not told who is on it
	dead     bool  // removed from the app: look the name up again
	count    int32 // subscriptions
	shards   []*shard
	members  *roster // of a presence channel
	last     *lastEvent
	history  *history // nil while there is none, and on a node of a cluster
	notices  *notices // nil while there are none
	activity activity
	remote   *remote // nil on a single node
	// room is closed when a full shard has been taken, nil while nobody waits.
	room chan struct{}
}

func newChannel(a *App, name string) *channel {
	c := &channel{app: a, name: name, kind: protocol.KindOf(name)}
	c.home = uint8(maphash.String(a.broker.seed, name) >> 32 % uint64(len(a.broker.flushers)))
	if c.kind.IsPresence() {
		c.members = new(roster)
	}
	if a.broker.driver != nil {
		c.remote = &remote{reconciler: reconciler{acked: nothing}}
		c.bare = name == controlName || strings.HasPrefix(name, watchPrefix)
	}
	return c
}

// lastEvent is what a cache channel replays.
type lastEvent struct {
	frame   protocol.Frame
	data    []byte // JSON text of a string; nil in a cluster, which is asked for it
	expires time.Time
}

// unlock is the end of every change: it starts what is due, forgets what is unused,
// and delivers what is pending on shards that were idle. mu is held, and released.
func (c *channel) unlock(idle []*shard) {
	if c.remote != nil && c.due() {
		c.remote.queued = true
		c.app.broker.node.push(c)
	}
	c.removeIfUnused()
	count := c.count
	c.mu.Unlock()
	c.start(idle, count)
}

// removeIfUnused ends the channel's life when nothing needs it. mu is held.
func (c *channel) removeIfUnused() {
	if c.dead || c.count > 0 || c.last != nil || c.history != nil || c.remote != nil && !c.remote.idle() {
		return
	}
	c.dead = true
	if c.remote != nil {
		c.app.broker.node.forget(c)
	}
	s := c.app.stripe(c.name)
	s.mu.Lock()
	delete(s.channels, c.name)
	s.mu.Unlock()
	c.app.removed()
}

// expire drops a last event that is too old. mu is held.
func (c *channel) expire(now time.Time) {
	if c.last != nil && !now.Before(c.last.expires) {
		c.last = nil
	}
}

// shard returns the shard that a connection belongs to. Those that take lines
// are together in one of their own, behind the others, so that a frame becomes
// a line once. mu is held.
func (c *channel) shard(sub Subscriber) *shard {
	flushers := c.app.broker.flushers
	i, flusher := len(flushers), flushers[c.home]
	lines := sub.Lines()
	if !lines {
		i = sub.ID().Shard(len(flushers))
		flusher = flushers[i]
	}
	if c.shards == nil {
		c.shards = make([]*shard, len(flushers))
	}
	if i == len(c.shards) {
		c.shards = append(c.shards, nil)
	}
	if c.shards[i] == nil {
		c.shards[i] = &shard{channel: c, flusher: flusher, lines: lines}
	}
	return c.shards[i]
}

// subscribers are those of the subscriptions that f accepts. mu is held.
func (c *channel) subscribers(f func(*Subscription) bool) (found []Subscriber) {
	for _, s := range c.shards {
		if s == nil {
			continue
		}
		for _, sub := range s.subs {
			if f(sub) {
				found = append(found, sub.subscriber)
			}
		}
	}
	return found
}

// append adds a frame to what is pending on every shard and returns those that
// were idle: the caller must give them to c.unlock. mu is held.
func (c *channel) append(p pending) (idle []*shard) {
	for _, s := range c.shards {
		if s == nil || len(s.subs) == 0 {
			continue
		}
		if s.append(p) {
			idle = append(idle, s)
		}
	}
	return idle
}

const (
	// smallChannel is how many subscriptions a publisher serves by itself.
	smallChannel = 32
	// oneFlusher is up to how many subscriptions a single flusher serves all
	// shards: what waking another one costs, it would not win back.
	oneFlusher = 1024
)

// start delivers what is pending on shards that were idle: at once when the
// channel is small, by a flusher otherwise. count is the channel's when the
// shards were found idle. In a cluster, one goroutine receives the messages of all
// channels: a flusher lets it go on, and joins what it receives meanwhile.
func (c *channel) start(idle []*shard, count int32) {
	for _, s := range idle {
		switch {
		case count > oneFlusher:
			s.flusher.push(s)
		case c.remote != nil && count > 1 || count > smallChannel || s.flush(new(round)):
			c.app.broker.flushers[c.home].push(s)
		}
	}
}
