package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

const (
	patience = 30 * time.Second
	pause    = 10 * time.Millisecond
)

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); <-time.After(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// testNode is a started driver, and the receiver of it.
type testNode struct {
	*Driver
	network *network
	t       *testing.T

	mu       sync.Mutex // guards the following
	payloads []string
	members  int // messages about them
	changes  int // all messages that are no events
	restored int
	lost     func(cluster.Topic) bool // of the last call of Restored
	due      []cluster.Bucket
	shares   []cluster.Topic
	log      bytes.Buffer
}

func startNode(t *testing.T, o Options) *testNode {
	t.Helper()
	n := makeNode(t, o)
	n.Start(n)
	return n
}

// makeNode makes one that is not started.
func makeNode(t *testing.T, o Options) *testNode {
	t.Helper()
	n := &testNode{network: new(network), t: t}
	o.Timeout, o.Lease, o.Renew = testTimeout, testLease, testRenew
	o.Log = slog.New(slog.NewTextHandler(n, nil))
	var err error
	if n.Driver, err = New(o); err != nil {
		t.Fatal(err)
	}
	n.client.DialCtxFn = n.network.dial
	t.Cleanup(n.Close)
	return n
}

func (n *testNode) Receive(m cluster.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.Kind == cluster.Published {
		n.payloads = append(n.payloads, string(m.Payload))
	} else {
		n.members += len(m.Joined) + len(m.Left)
		n.changes++
	}
}

func (n *testNode) Restored(lost func(cluster.Topic) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lost = lost
	n.restored++
}

func (n *testNode) Shares(topics []cluster.Topic) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shares = append(n.shares, topics...)
}

func (n *testNode) Due(h cluster.Hint) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.due = append(n.due, h.Bucket)
}

func (n *testNode) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(p)
}

func (n *testNode) logged() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String()
}

func (n *testNode) timesRestored() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.restored
}

func (n *testNode) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.payloads)
}

func (n *testNode) toldOfMembers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.members
}

func (n *testNode) say(payload string) error {
	return n.Publish(context.Background(), cluster.Publication{Topic: presence, Payload: []byte(payload)})
}

func (n *testNode) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

var presence = cluster.Topic{App: "1", Channel: "presence-c"}

func (n *testNode) share(ids ...string) cluster.Outcome {
	n.t.Helper()
	o, err := n.Update(context.Background(), presence, shareOf(ids...))
	n.must(err)
	return o
}

func shareOf(ids ...string) cluster.Share {
	s := cluster.Share{Count: len(ids), Whole: true}
	for _, id := range ids {
		s.Join = append(s.Join, protocol.Member{UserID: id})
	}
	return s
}

func (n *testNode) users() []string {
	n.t.Helper()
	ids, err := n.Users(context.Background(), presence)
	n.must(err)
	return ids
}

// working waits until what is published reaches all nodes.
func working(t *testing.T, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		until(t, "being ready", func() bool { return n.Ready() == nil })
	}
	for i, n := range nodes {
		text := fmt.Sprint("working ", i, len(n.heard()))
		n.must(n.say(text))
		for _, other := range nodes {
			until(t, "a message", func() bool { return slices.Contains(other.heard(), text) })
		}
	}
}

func pair(t *testing.T, o Options) (a, b *testNode) {
	t.Helper()
	o.Prefix = prefix()
	a, b = startNode(t, o), startNode(t, o)
	for _, n := range []*testNode{a, b} {
		n.must(n.Listen(context.Background(), presence))
	}
	a.share("a")
	b.share("b")
	return a, b
}
