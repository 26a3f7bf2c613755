package clustertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"belfry/channels/cluster"
)

// keep has a node keep an event.
func (n *node) keep(t cluster.Topic, payload string, k cluster.Kept) {
	n.s.Helper()
	k.Publication = cluster.Publication{Topic: t, Payload: []byte(payload)}
	if err := n.Keep(context.Background(), k); err != nil {
		n.s.Fatal(err)
	}
}

// history asks a node.
func (n *node) history(t cluster.Topic, events int, age time.Duration) (h cluster.History, payloads []string) {
	n.s.Helper()
	h, err := n.History(context.Background(), t, events, age)
	if err != nil {
		n.s.Fatal(err)
	}
	for i, e := range h.Events {
		payloads = append(payloads, string(e.Payload))
		if e.TTL <= 0 || e.At.IsZero() || e.Number > h.Version.Number || i > 0 && e.Number <= h.Events[i-1].Number || i == 0 && e.Number <= h.After || h.Now.Before(e.At) {
			n.s.Errorf("event %d of %+v", i, h)
		}
	}
	return h, payloads
}

// A history has the last events, says which one was before them, and does not mix with the
// last event.
func testHistory(s *suite) {
	a, b := s.node(), s.node()
	t := topic("cache-c")
	if h, payloads := a.history(t, 10, time.Hour); len(payloads) > 0 || h.After != h.Version.Number {
		s.Errorf("before: %+v", h)
	}
	both := cluster.Kept{Last: time.Hour, Events: 3, For: time.Hour}
	onlyHistory := cluster.Kept{Events: 3, For: time.Hour}
	a.listen(t)
	b.keep(t, "one", both)
	b.keep(topic("other"), "another channel's", both)
	b.keep(t, "two", onlyHistory)
	first, payloads := a.history(t, 10, time.Hour)
	if !slices.Equal(payloads, []string{"one", "two"}) {
		s.Fatalf("kept %q", payloads)
	}
	for i, m := range a.messages(2, func(m cluster.Message) bool { return m.Kind == cluster.Published }) {
		if m.Version != (cluster.Version{Epoch: first.Version.Epoch, Number: first.Events[i].Number}) {
			s.Errorf("message %d has version %v", i, m.Version)
		}
	}
	for i := range 3 {
		a.keep(t, fmt.Sprint(i), onlyHistory)
	}
	h, payloads := b.history(t, 10, time.Hour)
	if !slices.Equal(payloads, []string{"0", "1", "2"}) || h.After != first.Events[1].Number {
		s.Errorf("of five, %q are kept, after %d", payloads, h.After)
	}
	if h, payloads := b.history(t, 2, time.Hour); !slices.Equal(payloads, []string{"1", "2"}) || h.After >= h.Events[0].Number || h.After <= first.Events[1].Number {
		s.Errorf("the last two: %q, after %d", payloads, h.After)
	}
	if h, payloads := b.history(t, 10, 0); len(payloads) > 0 || h.After < first.Events[1].Number {
		s.Errorf("none is young enough, but: %q, after %d", payloads, h.After)
	}
	if last := b.state(t).Last; last == nil || string(last.Payload) != "one" {
		s.Errorf("the last event: %+v", last)
	}
	load := func(since cluster.Version) *cluster.Snapshot {
		return a.update(t, cluster.Share{Count: 1, Load: true, Since: since}).Snapshot
	}
	epoch := first.Version.Epoch
	snapshot := load(cluster.Version{Epoch: epoch})
	if last := snapshot.Last; last == nil || string(last.Payload) != "one" || len(snapshot.Events) != 3 || snapshot.After != first.Events[1].Number {
		s.Errorf("loaded: %+v", snapshot)
	}
	all := snapshot.Events
	if some := load(cluster.Version{Epoch: epoch, Number: all[1].Number}); len(some.Events) != 1 || some.Events[0].Number != all[2].Number || some.After != all[1].Number {
		s.Errorf("loaded since the second: %+v, of %+v", some, all)
	}
	for _, since := range []cluster.Version{{}, {Epoch: "another"}, {Epoch: epoch, Number: all[2].Number}} {
		if none := load(since); len(none.Events) > 0 || none.After != all[2].Number {
			s.Errorf("loaded since %v: %+v", since, none)
		}
	}

	// Once all have ended, it is still known which one was the last.
	short := topic("short")
	a.keep(short, "brief", cluster.Kept{Events: 3, For: 200 * time.Millisecond})
	before, _ := a.history(short, 10, time.Hour)
	a.keep(t, "of the same bucket or not", onlyHistory)
	s.until("the end of all events", func() bool {
		h, payloads = a.history(short, 10, time.Hour)
		return len(payloads) == 0
	})
	if len(before.Events) > 0 && h.After != before.Events[0].Number {
		s.Errorf("after the end: %+v, before %+v", h, before)
	}
	a.keep(short, "later", onlyHistory)
	if h, payloads := a.history(short, 10, time.Hour); len(payloads) != 1 || len(before.Events) > 0 && h.After != before.Events[0].Number {
		s.Errorf("later: %+v", h)
	}
	a.keep(topic("last"), "only the last", cluster.Kept{Last: time.Hour})
	if _, payloads := a.history(topic("last"), 10, time.Hour); len(payloads) > 0 {
		s.Errorf("the last event is in the history: %q", payloads)
	}
}

// Who was subscribed to a channel without events and comes back has missed nothing, however
// much has happened on others meanwhile.
func testQuietHistory(s *suite) {
	a, b := s.node(), s.node()
	t := topic("quiet")
	a.listen(t)
	keep := cluster.Kept{Events: 3, For: time.Hour}
	b.keep(topic("other"), "one", keep)
	o := a.update(t, cluster.Share{Count: 1, Load: true, Remember: time.Hour})
	if o.Snapshot.After > o.Version.Number {
		s.Errorf("loaded: after %d at %v", o.Snapshot.After, o.Version)
	}
	a.update(t, cluster.Share{Before: 1})
	for i := range 100 {
		b.keep(topic(fmt.Sprint("other", i)), "two", keep)
	}
	b.listen(t)
	back := b.update(t, cluster.Share{Count: 1, Load: true, Remember: time.Hour})
	if h, _ := b.history(t, 10, time.Hour); back.Snapshot.After > o.Version.Number || h.After > o.Version.Number || len(h.Events) > 0 {
		s.Errorf("back: after %d at %v, history %+v; before at %v", back.Snapshot.After, back.Version, h, o.Version)
	}
	b.keep(t, "three", keep)
	if h, payloads := a.history(t, 10, time.Hour); len(payloads) != 1 || h.After > o.Version.Number {
		s.Errorf("with an event: %+v", h)
	}
}
