package local

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"belfry/channels/cluster"
)

// move is what a node has to do with another one that is the same node in another process.
// The hub's lock guards it.
type move struct {
	before  *node         // whose place this one is to take; nil: nobody's
	attempt int           // of the process before: the last one counts
	marked  chan struct{} // closed when the receiver has come to the cut
	resumed chan struct{} // closed by Resume; nil unless the receiver is to wait for it
}

// place is what Place says.
type place struct{ Node, Attempt int }

var errLagged = fmt.Errorf("local: %w: messages were lost ahead of the cut", cluster.ErrUnavailable)

func (n *node) Place() (text []byte, err error) {
	err = n.reach(context.Background(), func(*Hub) {
		n.attempt++
		text, err = json.Marshal(place{n.number, n.attempt})
	})
	return text, err
}

func (n *node) Inherit(text []byte) error {
	var p place
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("local: %w", err)
	}
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	i := slices.IndexFunc(n.hub.nodes, func(other *node) bool { return other.number == p.Node })
	if i < 0 {
		return fmt.Errorf("local: there is no node %d", p.Node)
	}
	n.move = move{before: n.hub.nodes[i], attempt: p.Attempt, marked: make(chan struct{}), resumed: make(chan struct{})}
	return nil
}

func (n *node) Cut(ctx context.Context) error {
	lagged := false
	err := n.reach(ctx, func(h *Hub) {
		n.marked, n.resumed = make(chan struct{}), make(chan struct{})
		lagged = n.lagged
		for _, other := range h.nodes {
			if !other.cut && (other == n || other.before == n && other.attempt == n.attempt) {
				other.push(item{kind: mark, attempt: n.attempt})
			}
		}
	})
	switch {
	case err != nil:
		return err
	case lagged:
		return errLagged
	}
	return n.AwaitCut(ctx)
}

func (n *node) AwaitCut(ctx context.Context) error {
	n.hub.mu.Lock()
	marked := n.marked
	n.hub.mu.Unlock()
	select {
	case <-marked:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("local: %w: %w", cluster.ErrUnavailable, ctx.Err())
	}
}

func (n *node) Resume() {
	h := n.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if n.resumed == nil {
		return
	}
	if before := n.before; before != nil && !n.dead {
		h.replace(before, n)
	}
	close(n.resumed)
	n.move = move{attempt: n.attempt}
}

// replace has one node have all that another one had, which is no more. mu is held.
func (h *Hub) replace(before, n *node) {
	for _, c := range h.channels {
		if s := c.shares[before]; s != nil {
			delete(c.shares, before)
			c.shares[n] = s
		}
	}
	for _, o := range h.outboxes {
		if o.owner == before {
			o.owner = n
		}
	}
	h.drop(before)
}

// passes says whether an item is for the receiver. At the cut it waits for Resume, or for
// the end of the node.
func (n *node) passes(i item) bool {
	n.hub.mu.Lock()
	m := n.move
	n.hub.mu.Unlock()
	if i.kind != mark {
		return m.before == nil
	}
	if m.resumed != nil && m.attempt == i.attempt {
		close(m.marked)
		select {
		case <-m.resumed:
		case <-n.ended:
		}
	}
	return false
}
