package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"belfry/channels/cluster"
)

// movable returns the node's driver, and skips the test of one that is not.
func (n *node) movable() cluster.Movable {
	n.s.Helper()
	m, ok := n.Driver.(cluster.Movable)
	if !ok {
		n.s.Skip("nodes of this driver do not move")
	}
	return m
}

// behind starts a node in the place of another one, which listens to some topics.
func (n *node) behind(topics ...cluster.Topic) *node {
	n.s.Helper()
	place, err := n.movable().Place()
	if err != nil {
		n.s.Fatal(err)
	}
	next := n.s.made()
	if err := next.movable().Inherit(place); err != nil {
		n.s.Fatal(err)
	}
	next.Start(next.recorder)
	n.s.Cleanup(next.Close)
	for _, t := range topics {
		next.listen(t)
	}
	return next
}

// cut makes the cut between a node and the one behind it.
func (n *node) cut(next *node) {
	n.s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := n.movable().Cut(ctx); err != nil {
		n.s.Fatal(err)
	}
	if err := next.movable().AwaitCut(ctx); err != nil {
		n.s.Fatal(err)
	}
}

// inOrder compares what was heard of a stream with all of it.
func inOrder(s *suite, t cluster.Topic, got []string, said int) {
	s.Helper()
	if len(got) != said {
		s.Errorf("of %v, %d messages came of %d", t, len(got), said)
	}
	for i, text := range got {
		if text != strconv.Itoa(i) {
			s.Fatalf("of %v, message %d is %s", t, i, text)
		}
	}
}

// numbered are topics of many buckets.
func numbered(n int) (topics []cluster.Topic) {
	for i := range n {
		topics = append(topics, topic(fmt.Sprint("c", i)))
	}
	return topics
}

// stream publishes numbers to all of some topics, as fast as any receiver takes them, until
// stop is called, which returns how many.
func (n *node) stream(topics []cluster.Topic) (stop func() int) {
	var said atomic.Int64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			case <-pace.C:
			}
			for _, t := range topics {
				if err := n.Publish(context.Background(), cluster.Publication{Topic: t, Payload: strconv.AppendInt(nil, int64(i), 10)}); err != nil {
					n.s.Error(err)
					return
				}
			}
			said.Add(1)
		}
	}()
	n.s.until("a stream", func() bool { return said.Load() > 10 })
	return func() int {
		close(end)
		<-ended
		return int(said.Load())
	}
}

// testMove: a node goes on in another process, three times, and nobody notices: what is
// published meanwhile reaches one of the two, and its shares and buckets stay.
func testMove(s *suite) {
	a, other := s.node(), s.node()
	a.movable()
	room, topics := topic("presence-room"), numbered(10)
	for _, t := range append(topics, room) {
		a.listen(t)
		other.listen(t)
	}
	o := a.update(room, cluster.Share{Count: 1, Join: members("u"), Record: true})
	bucket := o.Hint.Bucket
	lent, err := a.Take(context.Background(), bucket, "")
	if err != nil || len(lent.Transitions) != 2 {
		s.Fatalf("taken %+v, %v", lent, err)
	}
	stop := other.stream(topics)
	got := make(map[cluster.Topic][]string)
	collect := func(n *node, number int) {
		for _, t := range topics {
			got[t] = append(got[t], n.heard(t, number)...)
		}
	}
	for range 3 {
		next := a.behind(append(topics, room)...)
		next.listen(topic("new")) // since
		a.cut(next)
		collect(a, 0)
		if heard := len(next.heard(topics[0], 0)); heard > 0 {
			s.Fatalf("the process behind gets %d messages ahead of Resume", heard)
		}
		a.Close()
		next.movable().Resume()
		next.heard(topics[0], 5) // whichever they are
		a = next
	}
	said := stop()
	for _, t := range topics {
		a.until(t, strconv.Itoa(said-1))
	}
	collect(a, 0)
	for _, t := range topics {
		inOrder(s, t, got[t], said)
	}

	// It is still the node.
	if told := other.told(room, 1); len(told) != 1 || len(told[0].Joined) != 1 {
		s.Errorf("another node is told %+v", told)
	}
	if state := other.state(room); state.Count != 1 || state.Users != 1 {
		s.Errorf("then the state is %+v", state)
	}
	if taken, err := other.Take(context.Background(), bucket, ""); err != nil || !taken.Lent {
		s.Errorf("the bucket: %+v, %v", taken, err)
	}
	if taken, err := a.Take(context.Background(), bucket, lent.Receipt); err != nil || len(taken.Transitions) > 0 {
		s.Errorf("after it is acknowledged: %+v, %v", taken, err)
	}
	o = a.update(room, cluster.Share{Count: 2, Before: 1, Epoch: o.Version.Epoch, Join: members("v"), Record: true})
	if o.Count != 2 {
		s.Errorf("one more: %+v", o)
	}
	other.told(room, 2)
	a.Close()
	s.until("the share is gone", func() bool { return other.state(room).Count == 0 })
	if other.restored > 0 {
		s.Error("another node was told of a loss")
	}
}

// testMoveGivenUp: a node goes on as if nothing had been when the process behind fails,
// at whatever moment.
func testMoveGivenUp(s *suite) {
	a, other := s.node(), s.node()
	a.movable()
	room, topics := topic("presence-room"), numbered(10)
	for _, t := range topics {
		a.listen(t)
	}
	o := a.update(room, cluster.Share{Count: 1, Join: members("u"), Record: true})
	stop := other.stream(topics)
	giveUp := func(next *node) {
		a.movable().Resume()
		next.Close()
		a.heard(topics[0], len(a.heard(topics[0], 0))+5)
	}
	giveUp(a.behind())
	giveUp(a.behind(topics...))
	next := a.behind(topics...)
	a.cut(next)
	giveUp(next)
	s.cluster.Kill(a.behind(topics...).Driver)
	next = a.behind(topics...)
	a.cut(next)
	s.cluster.Kill(next.Driver)
	giveUp(next)

	// Nobody is behind who could find the cut.
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if _, err := a.movable().Place(); err != nil {
		s.Fatal(err)
	}
	if err := a.movable().Cut(ctx); err != nil {
		s.Error(err)
	}
	a.movable().Resume()
	// The cut of another attempt is none.
	next = a.behind(topics...)
	if _, err := a.movable().Place(); err != nil {
		s.Fatal(err)
	}
	if err := a.movable().Cut(ctx); err != nil {
		s.Error(err)
	}
	brief, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := next.movable().AwaitCut(brief); !errors.Is(err, cluster.ErrUnavailable) {
		s.Errorf("the cut of another attempt: %v", err)
	}
	giveUp(next)

	last := stop() - 1
	for _, t := range topics {
		a.until(t, strconv.Itoa(last))
		inOrder(s, t, a.heard(t, 0), last+1)
	}
	if state := other.state(room); state.Count != 1 || state.Users != 1 {
		s.Errorf("then the state is %+v", state)
	}
	if o := a.update(room, cluster.Share{Before: 1, Epoch: o.Version.Epoch, Leave: []string{"u"}, Record: true}); o.Count != 0 {
		s.Errorf("then nobody is left: %+v", o)
	}
	if a.restored > 0 {
		s.Error("the node was told of a loss")
	}
}

// testMoveElsewhere: a node does not go on where nobody knows it, nor where the place says
// nothing.
func testMoveElsewhere(s *suite) {
	a, other := s.node(), s.node()
	a.movable()
	t := topic("c")
	a.listen(t)
	place, err := a.movable().Place()
	if err != nil {
		s.Fatal(err)
	}
	a.Close()
	s.until("nobody listens", func() bool { return other.state(t).Count == 0 })
	next := s.made()
	s.Cleanup(next.Close)
	if next.movable().Inherit([]byte("x")) == nil {
		s.Error("a place that is none is inherited")
	}
	if next.movable().Inherit(place) == nil {
		next.Start(next.recorder)
		if err := next.Listen(context.Background(), t); !errors.Is(err, cluster.ErrUnavailable) {
			s.Errorf("a node that has ended goes on: %v", err)
		}
	}
}

// until waits for a payload of a topic.
func (n *node) until(t cluster.Topic, last string) {
	n.s.Helper()
	n.wait(n.s, "the last message", func(r *recorder) bool {
		for _, m := range slices.Backward(r.received) {
			if m.Topic == t && m.Kind == cluster.Published {
				return string(m.Payload) == last
			}
		}
		return false
	})
}
