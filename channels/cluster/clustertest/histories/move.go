package histories

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"belfry/channels"
	"belfry/channels/cluster"
)

// moveWithin is how long a node takes to move at most, and restWithin how long what its
// clients do may take before it begins to.
const (
	moveWithin = 10 * time.Second
	restWithin = 2 * time.Second
)

// errStays is the end of a move that is to fail.
var errStays = errors.New("the other process has ended")

// move has a node go on in another broker, with all its clients, which notice nothing. With
// fails, it goes on as it was when the other broker has everything. The world's lock is held,
// but not meanwhile.
func (w *world) move(n *node, fails bool) {
	if !w.moves || n.cut {
		return
	}
	w.mu.Unlock()
	defer w.mu.Lock()
	for deadline := time.Now().Add(restWithin); !n.using.TryLock(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return
		}
	}
	defer n.using.Unlock()
	steady := time.Now()
	if err := w.moveOn(n, fails); err != nil && err != errStays {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n.steady(steady, time.Now()) {
			w.fault("refused", "node %d cannot move: %v", n.number, err)
		}
	}
}

// moveOn is move while no client of the node does anything.
func (w *world) moveOn(n *node, fails bool) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), moveWithin)
	defer cancel()
	old, from := n.broker, n.app
	place, err := old.Place()
	if err != nil {
		return nil // an application has just been removed
	}
	way := w.store.Node()
	driver := way.Driver()
	if err := driver.(cluster.Movable).Inherit(place); err != nil {
		return err
	}
	next := broker(driver)
	hooks := newBackend(n.hooks.tell)
	to := next.NewApp(app, n.limits(), observer{}, hooks)
	defer func() {
		if err != nil {
			way.Kill()
			next.Close()
		} else {
			old.Close()
		}
	}()
	topics, err := old.Topics()
	if err == nil {
		err = next.Listen(ctx, topics)
	}
	if err != nil {
		return err
	}

	old.FreezeCalls()
	defer old.ThawCalls()
	defer old.Resume()
	n.hooks.close() // the server hands over what is not delivered, too
	defer n.hooks.open()
	if topics, err = old.Topics(); err == nil {
		err = errors.Join(next.Listen(ctx, topics), old.Cut(ctx))
	}
	if err != nil {
		return err
	}
	old.Freeze()
	defer old.Thaw()
	next.FreezeCalls()
	defer next.ThawCalls()
	next.Freeze()
	defer next.Thaw()
	restored, err := w.handOver(n, from, to)
	if err == nil {
		err = errors.Join(next.RestoreOutboxes(travel(old.ExportOutboxes())), to.Restored(), next.AwaitCut(ctx))
	}
	switch {
	case err != nil:
		return err
	case fails:
		return errStays
	}
	w.mu.Lock()
	for s, subscription := range restored {
		s.s, s.client.app = subscription, to
		s.resumed = false // the other process does not know which connections the page had before
	}
	for _, c := range slices.Concat(w.clients[:], n.crowd) {
		if c != nil && c.node == n {
			c.app = to // even if it has not subscribed yet
		}
	}
	n.way, n.broker, n.app, n.hooks = way, next, to, hooks
	w.mu.Unlock()
	old.HandedOver()
	next.ReleaseDeliveries(false)
	next.Resume()
	return nil
}

// handOver restores what one application of a node has in another, and returns the new
// subscriptions.
func (w *world) handOver(n *node, from, to *channels.App) (map[*seat]*channels.Subscription, error) {
	to.RestoreWhereabouts(travel(from.ExportWhereabouts()))
	if err := from.ExportChannels(func(e channels.ExportedChannel) error { return to.RestoreChannel(travel(e)) }); err != nil {
		return nil, err
	}
	w.mu.Lock()
	var there []*seat
	for _, s := range w.seats {
		if s.client.node == n && s.client.app == from && s.s != nil && s.client.seats[s.channel] == s {
			there = append(there, s)
		}
	}
	w.mu.Unlock()
	restored := make(map[*seat]*channels.Subscription)
	for _, s := range there {
		subscription, err := to.RestoreSubscription(s.client, s.channel, s.user)
		if err != nil {
			return nil, err
		}
		restored[s] = subscription
	}
	return restored, nil
}

// travel is a value as it comes out of the other process.
func travel[T any](v T) (come T) {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &come)
	}
	if err != nil {
		panic(err)
	}
	return come
}
