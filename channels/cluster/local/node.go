package local

import (
	"context"
	"fmt"
	"sync"
	"time"

	"belfry/channels/cluster"
)

// node is one of a hub's. The hub's lock guards it.
type node struct {
	hub    *Hub
	topics map[cluster.Topic]struct{} // listened to
	number int
	dead   bool // killed or closed
	cut    bool
	cuts   int // how often it was
	queue  []item
	lost   int  // how often the queue was
	lagged bool // messages are lost since the queue was full
	slow   time.Duration
	delays map[string]uint64 // how often each was
	about  string            // see Introduce
	told   time.Time         // until when about counts

	move                  // to another process
	wake    chan struct{} // something is queued, or the node is dead
	ended   chan struct{} // closed when it is dead
	running sync.WaitGroup
}

// item is a call of the receiver.
type item struct {
	kind    itemKind
	message cluster.Message
	hint    cluster.Hint
	attempt int // of a mark
}

type itemKind uint8

const (
	received itemKind = iota
	restored
	due
	mark // the cut; see cluster.Movable
)

// do is reach for a call, which takes a while if the node is slow. What is delayed by
// itself. The answer may get lost, see LoseAnswers.
func (n *node) do(ctx context.Context, what string, f func(*Hub)) error {
	n.delay(what)
	before := 0
	if err := n.reach(ctx, func(h *Hub) { f(h); before = n.lost }); err != nil {
		return err
	}
	n.delay(what)
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.lossy && n.lost != before {
		return fmt.Errorf("local: %w", cluster.ErrUnknown)
	}
	return nil
}

// reach runs f with the hub locked, if the node can reach it.
func (n *node) reach(ctx context.Context, f func(*Hub)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("local: %w: %w", cluster.ErrUnavailable, err)
	}
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.down || n.cut || n.dead {
		return fmt.Errorf("local: %w", cluster.ErrUnavailable)
	}
	f(n.hub)
	return nil
}

// push queues a call of the receiver. mu is held.
func (n *node) push(i item) {
	if i.kind == received && (n.lagged || len(n.queue) >= maxQueued) {
		n.lagged = true
		return
	}
	n.queue = append(n.queue, i)
	n.signal()
}

func (n *node) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take returns what is queued, and how often that was lost; dead: and will be no more.
func (n *node) take() (queue []item, lost int, dead bool) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	queue, n.queue = n.queue, nil
	if n.lagged {
		n.lagged = false
		queue = append(queue, item{kind: restored})
	}
	return queue, n.lost, n.dead
}

// isLost reports whether the queue was lost since take.
func (n *node) isLost(before int) bool {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	return n.lost != before
}

func (n *node) Start(r cluster.Receiver) {
	n.running.Go(func() {
		for {
			queue, lost, dead := n.take()
			if dead {
				return
			}
			for _, i := range queue {
				if n.delay("@messages"); n.isLost(lost) {
					break
				}
				if !n.passes(i) {
					continue
				}
				switch i.kind {
				case received:
					r.Receive(i.message)
				case restored:
					r.Restored(func(cluster.Topic) bool { return true })
				case due:
					r.Due(i.hint)
				}
			}
			if len(queue) == 0 {
				<-n.wake
			}
		}
	})
}

func (n *node) Close() {
	n.hub.mu.Lock()
	if !n.dead {
		n.hub.remove(n, n.cut || n.hub.down)
	}
	n.hub.mu.Unlock()
	n.running.Wait()
}
