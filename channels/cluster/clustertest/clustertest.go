// Package clustertest is the conformance suite of cluster drivers: what
// package cluster promises, driver by driver.
package clustertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// Patience is how long anything that must happen may take.
const Patience = 30 * time.Second

// pause is between two looks at a condition.
const pause = 10 * time.Millisecond

// Cluster makes the nodes of one cluster, and breaks it.
type Cluster interface {
	// Node returns a new node, which is not started yet.
	Node() cluster.Driver
	// Kill cuts a node off for good, as if its machine had died.
	Kill(cluster.Driver)
	// Interrupt makes the cluster unreachable to all nodes, and Restore ends
	// that. It keeps what it knows.
	Interrupt()
	Restore()
	// Forget has the cluster lose all that it knows.
	Forget()
}

// Run tests the drivers of clusters that newCluster makes, one for each test.
// The tests run in parallel.
func Run(t *testing.T, newCluster func(t *testing.T) Cluster) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"Order", testOrder},
		{"Listen", testListen},
		{"Ignore", testIgnore},
		{"SlowReceiver", testSlowReceiver},
		{"Batch", testBatch},
		{"Kept", testKept},
		{"History", testHistory},
		{"QuietHistory", testQuietHistory},
		{"Once", testOnce},
		{"AnyText", testAnyText},
		{"Contexts", testContexts},
		{"Concurrent", testConcurrent},
		{"Repeated", testRepeated},
		{"Whole", testWhole},
		{"Roster", testRoster},
		{"MaxMembers", testMaxMembers},
		{"Counts", testCounts},
		{"Watched", testWatched},
		{"Transitions", testTransitions},
		{"Grace", testGrace},
		{"Lending", testLending},
		{"LentToTheDead", testLentToTheDead},
		{"Queries", testQueries},
		{"Nodes", testNodes},
		{"Apps", testApps},
		{"Death", testDeath},
		{"Close", testClose},
		{"Move", testMove},
		{"MoveGivenUp", testMoveGivenUp},
		{"MoveElsewhere", testMoveElsewhere},
		{"Interruption", testInterruption},
		{"Loss", testLoss},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(&suite{T: t, cluster: newCluster(t)})
		})
	}
}

// suite is one test.
type suite struct {
	*testing.T
	cluster Cluster
}

// node is a driver with its receiver.
type node struct {
	cluster.Driver
	*recorder
	s *suite
}

// made makes one that is not started.
func (s *suite) made() *node {
	s.Helper()
	return &node{Driver: s.cluster.Node(), recorder: &recorder{changed: make(chan struct{})}, s: s}
}

// node starts one.
func (s *suite) node() *node {
	s.Helper()
	n := s.made()
	n.Start(n.recorder)
	s.Cleanup(n.Close)
	return n
}

func (s *suite) nodes(number int) []*node {
	s.Helper()
	nodes := make([]*node, number)
	for i := range nodes {
		nodes[i] = s.node()
	}
	return nodes
}

// until waits for a condition of the cluster.
func (s *suite) until(what string, condition func() bool) {
	s.Helper()
	for deadline := time.Now().Add(Patience); !condition(); {
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within %s", what, Patience)
		}
		<-time.After(pause)
	}
}

func topic(channel string) cluster.Topic { return cluster.Topic{App: "1", Channel: channel} }

func members(ids ...string) []protocol.Member {
	list := make([]protocol.Member, len(ids))
	for i, id := range ids {
		list[i] = protocol.Member{UserID: id, UserInfo: fmt.Appendf(nil, `{"name":%q}`, id)}
	}
	return list
}

func (n *node) listen(t cluster.Topic) {
	n.s.Helper()
	if err := n.Listen(context.Background(), t); err != nil {
		n.s.Fatal(err)
	}
}

func (n *node) publish(p ...cluster.Publication) {
	n.s.Helper()
	if err := n.Publish(context.Background(), p...); err != nil {
		n.s.Fatal(err)
	}
}

func (n *node) say(t cluster.Topic, format string, args ...any) {
	n.s.Helper()
	n.publish(cluster.Publication{Topic: t, Payload: fmt.Appendf(nil, format, args...)})
}

func (n *node) update(t cluster.Topic, share cluster.Share) cluster.Outcome {
	n.s.Helper()
	o, err := n.Update(context.Background(), t, share)
	if err != nil {
		n.s.Fatal(err)
	}
	return o
}

// delivered takes transitions of a bucket until there are as many, and acknowledges
// them.
func (n *node) delivered(b cluster.Bucket, number int) (all []cluster.Transition) {
	n.s.Helper()
	receipt := ""
	n.s.until(fmt.Sprintf("%d transitions", number), func() bool {
		taken, err := n.Take(context.Background(), b, receipt)
		if err != nil {
			n.s.Fatal(err)
		}
		all = append(all, taken.Transitions...)
		receipt = taken.Receipt
		return len(all) >= number
	})
	if taken, err := n.Take(context.Background(), b, receipt); err != nil || len(taken.Transitions) > 0 {
		n.s.Errorf("then there are %+v, error %v", taken, err)
	}
	return all
}

func (n *node) state(t cluster.Topic) cluster.State {
	n.s.Helper()
	state, err := n.State(context.Background(), t)
	if err != nil {
		n.s.Fatal(err)
	}
	return state
}

func (n *node) users(t cluster.Topic) []string {
	n.s.Helper()
	ids, err := n.Users(context.Background(), t)
	if err != nil {
		n.s.Fatal(err)
	}
	return ids
}

// heard waits until the payloads of a topic are as many, and returns them.
func (n *node) heard(t cluster.Topic, number int) []string {
	n.s.Helper()
	var payloads []string
	for _, m := range n.messages(number, func(m cluster.Message) bool { return m.Topic == t && m.Kind == cluster.Published }) {
		payloads = append(payloads, string(m.Payload))
	}
	return payloads
}

// told waits until a topic has as many messages that are no payloads.
func (n *node) told(t cluster.Topic, number int) []cluster.Message {
	n.s.Helper()
	return n.messages(number, func(m cluster.Message) bool { return m.Topic == t && m.Kind != cluster.Published })
}

func (n *node) messages(number int, which func(cluster.Message) bool) (found []cluster.Message) {
	n.s.Helper()
	n.wait(n.s, fmt.Sprintf("%d messages", number), func(r *recorder) bool {
		found = nil
		for _, m := range r.received {
			if which(m) {
				found = append(found, m)
			}
		}
		return len(found) >= number
	})
	return found
}

// recorder is a receiver.
type recorder struct {
	block chan struct{} // Receive waits until it is closed; nil: not at all

	mu       sync.Mutex // guards the following
	received []cluster.Message
	restored int
	due      []cluster.Bucket
	changed  chan struct{} // closed with each change
}

func (r *recorder) Receive(m cluster.Message) {
	r.call(func() { r.received = append(r.received, m) })
	if r.block != nil {
		<-r.block
	}
}

func (r *recorder) Restored(func(cluster.Topic) bool) { r.call(func() { r.restored++ }) }

func (r *recorder) Shares([]cluster.Topic) {}

func (r *recorder) Due(h cluster.Hint) { r.call(func() { r.due = append(r.due, h.Bucket) }) }

func (r *recorder) call(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// wait waits for a condition of what was received.
func (r *recorder) wait(s *suite, what string, condition func(*recorder) bool) {
	s.Helper()
	for deadline := time.After(Patience); ; {
		r.mu.Lock()
		changed, done := r.changed, condition(r)
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			s.Fatalf("%s: not within %s", what, Patience)
		}
	}
}

// same compares lists of which the order does not matter.
func same(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}
