package local

import (
	"context"
	"fmt"
	"sync"

	"belfry/channels/cluster"
)

// node is one of a hub's. The hub's lock guards it.
type node struct {
	hub    *Hub
	topics map[cluster.Topic]struct{} // listened to
	dead   bool                       // killed or closed
	queue  []item
	lagged bool // messages are lost since the queue was full

	wake    chan struct{} // something is queued, or the node is dead
	running sync.WaitGroup
}

// item is a call of the receiver.
type item struct {
	kind    itemKind
	message cluster.Message
	hint    cluster.Hint
}

type itemKind uint8

const (
	received itemKind = iota
	restored
	due
)

// do runs f with the hub locked, if the node can reach it.
func (n *node) do(ctx context.Context, f func(*Hub)) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("local: %w: %w", cluster.ErrUnavailable, err)
	}
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.down || n.dead {
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

// take returns what is queued; dead: and will be no more.
func (n *node) take() (queue []item, dead bool) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	queue, n.queue = n.queue, nil
	if n.lagged {
		n.lagged = false
		queue = append(queue, item{kind: restored})
	}
	return queue, n.dead
}

func (n *node) Start(r cluster.Receiver) {
	n.running.Go(func() {
		for {
			queue, dead := n.take()
			if dead {
				return
			}
			for _, i := range queue {
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
		n.hub.remove(n)
	}
	n.hub.mu.Unlock()
	n.running.Wait()
}
