package trace

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

func watch(t *testing.T, tr *Trace, f Filter) *Watcher {
	t.Helper()
	w, err := tr.Watch(f)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// next is of what has happened in an interval.
func next(t *testing.T, w *Watcher) ([]Record, int) {
	t.Helper()
	records, skipped, err := w.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return records, skipped
}

func TestFilters(t *testing.T) {
	id, other := protocol.NewSocketID(1<<32|1), protocol.NewSocketID(2<<32|2)
	r := Record{Kind: Subscribe, App: "1", Channel: "private-a", Event: "ev", UserID: "u", Socket: id}
	for name, c := range map[string]struct {
		Filter
		matches bool
	}{
		"none":          {Filter{}, true},
		"all":           {Filter{App: "1", Kinds: []Kind{Connect, Subscribe}, Channel: "private-", Event: "e", Socket: id, UserID: "u"}, true},
		"app":           {Filter{App: "2"}, false},
		"kind":          {Filter{Kinds: []Kind{Connect}}, false},
		"channel":       {Filter{Channel: "rivate"}, false},
		"event":         {Filter{Event: "evt"}, false},
		"exact":         {Filter{Channel: "private-a", Exact: true}, true},
		"not exact":     {Filter{Channel: "private-", Exact: true}, false},
		"other socket":  {Filter{Socket: other}, false},
		"user's prefix": {Filter{UserID: "u1"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			var tr Trace
			w := watch(t, &tr, c.Filter)
			defer w.Close()
			tr.Add(r)
			records, skipped := next(t, w)
			if (len(records) == 1) != c.matches || skipped != 0 {
				t.Errorf("%s: %+v, and %d skipped", name, records, skipped)
			}
		})
	}
}

func TestWatchersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr Trace
		if tr.Watched() || (*Trace)(nil).Watched() {
			t.Error("watched by nobody")
		}
		var all []*Watcher
		for range MaxWatchers {
			all = append(all, watch(t, &tr, Filter{}))
		}
		if _, err := tr.Watch(Filter{}); err != ErrTooMany {
			t.Errorf("one more: %v", err)
		}
		for range 3 * MaxRecords {
			tr.Add(Record{Kind: Connect})
		}
		for _, w := range all {
			if records, skipped := next(t, w); len(records) != MaxRecords || skipped != 2*MaxRecords || records[0].ID+MaxRecords-1 != records[MaxRecords-1].ID {
				t.Errorf("%d records, %d skipped", len(records), skipped)
			}
			w.Close()
		}
		if tr.Watched() {
			t.Error("watched when all have closed")
		}
	})
}

// An event that everybody would skip is not even followed; nobody else's limit matters.
func TestFollowsOnlyWhatFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr Trace
		busy, calm := watch(t, &tr, Filter{Channel: "busy"}), watch(t, &tr, Filter{Channel: "calm"})
		followed := 0
		for range 2 * MaxRecords {
			p := channels.Passage{Channel: "busy"}
			if tr.Follows(p) {
				followed++
				tr.Passed(p)
			}
		}
		if followed != MaxRecords || !tr.Follows(channels.Passage{Channel: "calm"}) || tr.Follows(channels.Passage{Channel: "other"}) {
			t.Errorf("%d events were followed", followed)
		}
		if records, skipped := next(t, busy); len(records) != MaxRecords || skipped != MaxRecords {
			t.Errorf("%d records, %d skipped", len(records), skipped)
		}
		if records, skipped := next(t, calm); len(records) != 0 || skipped != 0 {
			t.Errorf("the other watcher: %d records, %d skipped", len(records), skipped)
		}
	})
}

func TestPassages(t *testing.T) {
	id := protocol.NewSocketID(1<<32 | 1)
	synctest.Test(t, func(t *testing.T) {
		var tr Trace
		w := watch(t, &tr, Filter{})
		defer w.Close()
		time.Sleep(time.Second)
		tr.Passed(channels.Passage{App: "1", Channel: "c", Event: "e", Data: []byte(`"` + strings.Repeat("x", 3000) + `"`), Except: id, Recipients: 0, Delay: time.Second})
		tr.Passed(channels.Passage{From: channels.Client, Except: id, Data: []byte(`{"a":1}`), Relayed: true})
		tr.Passed(channels.Passage{From: channels.Cluster, Repeated: true})
		records, _ := next(t, w)
		if len(records) != 3 {
			t.Fatalf("%+v", records)
		}
		r := records[0]
		if r.Kind != Publish || r.Except != id.String() || r.SocketID != "" || *r.Recipients != 0 || r.DelayMS != 1000 || r.At != At(time.Now().Add(-time.Second-Interval)) {
			t.Errorf("of the backend: %+v", r)
		}
		if r.DataBytes != 3000 || len(r.Data) > maxData+len("…") || !strings.HasPrefix(r.Data, "xxx") {
			t.Errorf("the data has %d of %d bytes", len(r.Data), r.DataBytes)
		}
		if r := records[1]; r.Kind != ClientEvent || r.SocketID != id.String() || r.Except != "" || r.Recipients != nil || r.Data != `{"a":1}` {
			t.Errorf("of a client: %+v", r)
		}
		if r := records[2]; r.Kind != Delivery || r.Reason == "" || r.Recipients != nil {
			t.Errorf("of the cluster: %+v", r)
		}
	})
}

func TestTextsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr Trace
		w := watch(t, &tr, Filter{})
		defer w.Close()
		long := strings.Repeat("l", 1e6)
		tr.Add(Record{Channel: long, Event: long, UserID: long, What: long, Reason: long, Remote: long, Client: long, Version: long, Origin: long})
		records, _ := next(t, w)
		for _, text := range []string{records[0].Channel, records[0].Event, records[0].UserID, records[0].What, records[0].Reason, records[0].Remote, records[0].Client, records[0].Version, records[0].Origin} {
			if len(text) > maxText+len("…") {
				t.Errorf("a text has %d bytes", len(text))
			}
		}
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr Trace
		w := watch(t, &tr, Filter{})
		defer w.Close()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, err := w.Next(ctx); err != context.Canceled {
			t.Errorf("the error is %v", err)
		}
	})
}

// What tracing costs an event: nothing while nobody watches, and little while somebody
// watches more than can be shown.
func BenchmarkFollows(b *testing.B) {
	p := channels.Passage{App: "1", Channel: "private-orders.1", Event: "App\\Events\\OrderShipped"}
	for name, filter := range map[string]*Filter{"unwatched": nil, "other": {Channel: "presence-"}, "skipped": {App: "1"}} {
		b.Run(name, func(b *testing.B) {
			var tr Trace
			if filter != nil {
				w, err := tr.Watch(*filter)
				if err != nil {
					b.Fatal(err)
				}
				w.left.Store(0)
			}
			b.ReportAllocs()
			for b.Loop() {
				if tr.Watched() && tr.Follows(p) {
					b.Fatal("followed")
				}
			}
		})
	}
}
