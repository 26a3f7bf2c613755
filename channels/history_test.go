package channels

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// keeping are limits with a history of some channels.
func keeping(events int, age time.Duration, names ...string) Limits {
	l := Limits{PresenceMembers: 100, CacheTTL: time.Hour}
	for _, name := range names {
		l.Histories = append(l.Histories, HistoryRule{name, Retention{Events: events, Age: age}})
	}
	return l
}

// alone is an application of a single node.
func alone(t *testing.T, limits Limits) *App {
	broker := NewBroker(2, nil)
	t.Cleanup(broker.Close)
	return broker.NewApp("1", limits, new(counts), nil)
}

func say(t *testing.T, a *App, channel string, data ...string) {
	t.Helper()
	for _, d := range data {
		if err := a.Publish(Publication{Event: event(channel, d)}); err != nil {
			t.Fatal(err)
		}
	}
}

// told is a history as text: the data, a + if it is complete, and the serials.
func told(t *testing.T, a *App, channel string, since *protocol.Serial, limit int) (text string, serials []protocol.Serial) {
	t.Helper()
	h, err := a.History(channel, since, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h.Events {
		var data string
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		text += data + " "
		serials = append(serials, e.Serial)
	}
	if h.Complete {
		text += "+"
	}
	return text, serials
}

func expectTold(t *testing.T, a *App, channel string, since *protocol.Serial, limit int, want string) {
	t.Helper()
	if got, _ := told(t, a, channel, since, limit); got != want {
		t.Errorf("history of %s since %v: %q, want %q", channel, since, got, want)
	}
}

func TestRules(t *testing.T) {
	l := Limits{Histories: []HistoryRule{{"a.1", Retention{Events: 1}}, {"a.*", Retention{Events: 2}}, {"b", Retention{Events: 3}}}}
	for name, want := range map[string]int{"a.1": 1, "a.12": 2, "a.": 2, "a": 0, "b": 3, "bb": 0, "": 0} {
		if got := l.retention(name).Events; got != want {
			t.Errorf("%s keeps %d events, want %d", name, got, want)
		}
	}
	if got := (&Limits{Histories: []HistoryRule{{"*", Retention{Events: 4}}}}).retention("any").Events; got != 4 {
		t.Errorf("* keeps %d", got)
	}
}

// A history keeps as many events as configured, and says what is missing.
func TestHistory(t *testing.T) {
	a := alone(t, keeping(3, time.Hour, "h", "i"))
	if _, err := a.History("other", nil, 10); !errors.Is(err, ErrNoHistory) {
		t.Errorf("a channel without a history: error %v", err)
	}
	expectTold(t, a, "h", nil, 10, "+")
	say(t, a, "h", "1")
	say(t, a, "i", "other")
	say(t, a, "h", "2", "3")
	_, s := told(t, a, "h", nil, 10)
	expectTold(t, a, "h", nil, 10, "1 2 3 +")
	expectTold(t, a, "h", nil, 2, "2 3 +")
	expectTold(t, a, "h", &s[0], 10, "2 3 +")
	expectTold(t, a, "h", &s[0], 1, "2 +")
	expectTold(t, a, "h", &s[2], 10, "+")
	say(t, a, "h", "4")
	expectTold(t, a, "h", &s[0], 10, "2 3 4 +") // the event itself is dropped, none after it
	say(t, a, "h", "5")
	expectTold(t, a, "h", &s[0], 10, "3 4 5 ")
	expectTold(t, a, "h", &s[1], 10, "3 4 5 +")
	expectTold(t, a, "h", &protocol.Serial{Epoch: "other", Number: s[2].Number}, 10, "3 4 5 ")
	expectTold(t, a, "h", &protocol.Serial{Epoch: s[0].Epoch, Number: 1 << 60}, 10, "")
	expectTold(t, a, "h", &protocol.Serial{Epoch: s[0].Epoch}, 10, "3 4 5 ")
	expectTold(t, a, "i", nil, 10, "other +")
}

// A history ends with its age, and the channel with its history if nobody is subscribed.
func TestHistoryAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := NewBroker(1, nil)
		defer broker.Close()
		a := broker.NewApp("1", keeping(10, time.Minute, "*"), new(counts), nil)
		_, here := subscribe(t, a, "here")
		for _, channel := range []string{"here", "nobody"} {
			say(t, a, channel, "1")
		}
		_, s := told(t, a, "nobody", nil, 10)
		_, l := told(t, a, "here", nil, 10)
		time.Sleep(40 * time.Second)
		say(t, a, "here", "2")
		time.Sleep(20 * time.Second)
		_, h := told(t, a, "here", nil, 10)
		last := h[0]
		expectTold(t, a, "nobody", nil, 10, "+")
		expectTold(t, a, "here", nil, 10, "2 +")
		expectTold(t, a, "here", &l[0], 10, "2 +")
		expectTold(t, a, "nobody", &s[0], 10, "+")
		a.Expire(time.Now())
		if n := a.channels.Load(); n != 1 {
			t.Errorf("%d channels are left", n)
		}
		expectTold(t, a, "nobody", &s[0], 10, "+")
		say(t, a, "nobody", "2")
		expectTold(t, a, "nobody", &s[0], 10, "2 +")
		time.Sleep(time.Minute)
		a.Expire(time.Now()) // forgets what was said on the other channel
		a.Unsubscribe(here)
		time.Sleep(time.Minute - time.Nanosecond)
		a.Expire(time.Now())
		expectTold(t, a, "here", &l[0], 10, "")
		expectTold(t, a, "here", &last, 10, "+") // whoever has just left misses nothing
		time.Sleep(time.Nanosecond)
		a.Expire(time.Now())
		if use := broker.HistoryUse(); a.channels.Load() != 0 || use != (HistoryUse{}) {
			t.Errorf("%d channels are left, histories take %+v", a.channels.Load(), use)
		}
		expectTold(t, a, "here", &last, 10, "") // another one was forgotten, and later
	})
}

// All histories together take no more than they may: the oldest events of all go first.
func TestHistoriesAreBounded(t *testing.T) {
	a := alone(t, keeping(100, time.Hour, "*"))
	b := a.broker.NewApp("2", keeping(100, time.Hour, "*"), new(counts), nil)
	say(t, a, "one", "1")
	size := a.broker.HistoryUse().Bytes - historyOverhead
	a.broker.LimitHistories(5*size + 3*historyOverhead)
	say(t, b, "two", "2")
	say(t, a, "one", "3")
	say(t, b, "thr", "4", "5")
	if use := a.broker.HistoryUse(); use != (HistoryUse{Events: 5, Bytes: 5*size + 3*historyOverhead}) {
		t.Errorf("%+v", use)
	}
	_, s := told(t, a, "one", nil, 10)
	say(t, b, "thr", "6")
	expectTold(t, a, "one", &s[0], 10, "3 +")
	a.broker.LimitHistories(4*size + 2*historyOverhead)
	expectTold(t, b, "two", nil, 10, "+")
	expectTold(t, a, "one", &s[0], 10, "3 +")
	a.broker.LimitHistories(5*size + historyOverhead)
	say(t, b, "thr", "7")
	expectTold(t, a, "one", &s[0], 10, "")
	say(t, b, "thr", "8")
	expectTold(t, b, "thr", nil, 10, "4 5 6 7 8 +")
	if use := a.broker.HistoryUse(); use != (HistoryUse{Events: 5, Bytes: 5*size + historyOverhead, Dropped: 3}) {
		t.Errorf("%+v", use)
	}
	a.broker.LimitHistories(2*size + historyOverhead)
	expectTold(t, b, "thr", nil, 10, "7 8 +")
	b.Close()
	if use := a.broker.HistoryUse(); use.Events != 0 || use.Bytes != 0 {
		t.Errorf("with the application, its histories have not ended: %+v", use)
	}
	a.Expire(time.Now())
	if n := a.channels.Load() + b.channels.Load(); n != 0 {
		t.Errorf("%d channels are left", n)
	}
}

// Whatever is published at once, the sums are right.
func TestHistoriesConcurrently(t *testing.T) {
	a := alone(t, keeping(20, time.Hour, "*"))
	say(t, a, "c0", "0000")
	most := 50*(a.broker.HistoryUse().Bytes-historyOverhead) + 5*historyOverhead
	a.broker.LimitHistories(most)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 500 {
				say(t, a, fmt.Sprint("c", (n+i)%5), fmt.Sprintf("%04d", n))
				if n%100 == 0 {
					a.Expire(time.Now())
				}
			}
		})
	}
	all.Wait()
	use := a.broker.HistoryUse()
	events := 0
	for i := range 5 {
		_, serials := told(t, a, fmt.Sprint("c", i), nil, 100)
		events += len(serials)
		if !slices.IsSortedFunc(serials, func(a, b protocol.Serial) int { return int(a.Number) - int(b.Number) }) {
			t.Errorf("serials %v", serials)
		}
	}
	if use.Events != events || use.Bytes > most || events < 40 {
		t.Errorf("%d events, and %+v", events, use)
	}
}

// What a reload takes away is gone, and what was published meanwhile is known to be missing.
func TestHistoryRulesChange(t *testing.T) {
	a := alone(t, keeping(10, time.Hour, "h"))
	subscribe(t, a, "h")
	say(t, a, "h", "1", "2", "3")
	_, s := told(t, a, "h", nil, 10)
	a.SetLimits(keeping(2, time.Hour, "h"))
	expectTold(t, a, "h", &s[0], 10, "2 3 +")
	a.SetLimits(keeping(10, time.Hour, "x"))
	if _, err := a.History("h", nil, 10); !errors.Is(err, ErrNoHistory) || a.broker.HistoryUse().Events != 0 {
		t.Errorf("error %v, histories %+v", err, a.broker.HistoryUse())
	}
	say(t, a, "h", "not kept")
	a.SetLimits(keeping(10, time.Hour, "h"))
	expectTold(t, a, "h", &s[2], 10, "")
	say(t, a, "h", "4")
	expectTold(t, a, "h", &s[2], 10, "4 ")
	_, s = told(t, a, "h", nil, 10)
	expectTold(t, a, "h", &s[0], 10, "+")
}

// raw is what a subscriber has received, as JSON texts.
type raw struct {
	*recorder
	mu    sync.Mutex
	texts []string
}

func (r *raw) Deliver(s *Subscription, frames []byte) bool {
	r.mu.Lock()
	for rest := frames; len(rest) > 0; {
		n := protocol.FrameLen(rest)
		r.texts = append(r.texts, string(protocol.Frame(rest[:n]).JSON()))
		rest = rest[n:]
	}
	r.mu.Unlock()
	return r.recorder.Deliver(s, frames)
}

func (r *raw) messages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.texts)
}

// Messages have serials on channels with a history, and others are what they were: on a
// single node, and on each node of a cluster.
// An event whose publisher has looked the rules up goes by those that there are once it is
// published.
func TestHistoryRulesChangeMeanwhile(t *testing.T) {
	with, without := keeping(10, time.Hour, "h"), keeping(10, time.Hour, "other")
	for _, tt := range []struct {
		name       string
		before     Limits
		after      Limits
		wantSerial bool
	}{
		{"a history begins", without, with, true},
		{"a history ends", with, without, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := alone(t, tt.before)
			limits := a.limits.Load()
			retention := limits.retention("h")
			a.SetLimits(tt.after)
			var p pending
			c := a.lock("h")
			c.encode(&p, event("h", "1"), retention, limits)
			c.unlock(nil)
			if got := strings.Contains(string(p.frame), `"serial"`); got != tt.wantSerial {
				t.Errorf("the frame is %s", p.frame)
			}
			if got := a.broker.HistoryUse(); (got.Events == 1) != tt.wantSerial {
				t.Errorf("kept: %+v", got)
			}
		})
	}
}

func TestSerials(t *testing.T) {
	limits := keeping(10, time.Hour, "h", "cache-h", "presence-h")
	w := newWorld(t, 2, limits)
	for name, apps := range map[string][]*App{"single": {alone(t, limits)}, "cluster": w.apps} {
		t.Run(name, func(t *testing.T) {
			from, at := apps[0], apps[len(apps)-1]
			sender := newRecorder()
			for _, channel := range []string{"h", "cache-h", "presence-h", "plain", "cache-plain"} {
				var member *protocol.Member
				if protocol.KindOf(channel).IsPresence() {
					member = &protocol.Member{UserID: "u"}
				}
				mine, _, err := from.Subscribe(sender, channel, member)
				if err != nil {
					t.Fatal(err)
				}
				r := &raw{recorder: newRecorder()}
				if _, _, err := at.Subscribe(r, channel, member); err != nil {
					t.Fatal(err)
				}
				say(t, from, channel, "1")
				r.wait(t, "1")
				typed := protocol.Event{Name: "client-e", Channel: channel, Data: []byte(`"2"`), UserID: "u"}
				if err := from.PublishFrom(mine, typed, ""); err != nil {
					t.Fatal(err)
				}
				r.wait(t, "2")
				got := r.messages()
				got = got[len(got)-2:]
				want := []string{string(event(channel, "1").Frame().JSON()), string(typed.Frame().JSON())}
				if strings.HasSuffix(channel, "plain") {
					if !slices.Equal(got, want) {
						t.Errorf("%s: got %q, want %q", channel, got, want)
					}
					continue
				}
				h, err := at.History(channel, nil, 10)
				if err != nil || len(h.Events) != 2 {
					t.Fatalf("%s: %d events, error %v", channel, len(h.Events), err)
				}
				for i, e := range h.Events {
					want := want[i][:len(want[i])-1] + `,"serial":"` + e.Serial.String() + `"}`
					if got[i] != want {
						t.Errorf("%s: got %s, want %s", channel, got[i], want)
					}
					if excepted := e.Except == sender.ID(); excepted != (i == 1) {
						t.Errorf("%s: event %d excepts %v", channel, i, e.Except)
					}
				}
				if h.Events[0].Serial.Number >= h.Events[1].Serial.Number || time.Since(h.Events[0].At).Abs() > time.Hour {
					t.Errorf("%s: %+v", channel, h.Events)
				}
				if protocol.KindOf(channel).IsCache() { // a client's event is none
					_, j, err := at.Subscribe(newRecorder(), channel, nil)
					if err != nil || j.Last == nil || string(j.Last.JSON()) != got[0] {
						t.Errorf("the last event is %s, error %v", j.Last, err)
					}
				}
			}
		})
	}
}

// A history in a cluster is the same on all nodes, whether they have subscribers or not.
func TestClusterHistory(t *testing.T) {
	w := newWorld(t, 3, keeping(3, time.Hour, "h", "cache-h"))
	for _, channel := range []string{"h", "cache-h"} {
		for i := range 3 {
			w.publish(t, i, channel, fmt.Sprint(i))
		}
		_, s := told(t, w.apps[0], channel, nil, 10)
		for _, a := range w.apps {
			expectTold(t, a, channel, nil, 10, "0 1 2 +")
			expectTold(t, a, channel, &s[0], 1, "1 +")
			expectTold(t, a, channel, &protocol.Serial{Epoch: "other"}, 10, "0 1 2 ")
		}
		for i := range 2 {
			w.publish(t, 0, channel, fmt.Sprint(3+i))
		}
		expectTold(t, w.apps[1], channel, &s[1], 10, "2 3 4 +")
		expectTold(t, w.apps[1], channel, &s[0], 10, "2 3 4 ")
		w.hub.Flush()
		expectTold(t, w.apps[2], channel, &s[2], 10, "")
		w.publish(t, 0, channel, "new")
		expectTold(t, w.apps[2], channel, &s[2], 10, "new ")
	}
	w.hub.SetDown(true)
	if _, err := w.apps[0].History("h", nil, 10); !errors.Is(err, cluster.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

// Events that a node has missed on a channel whose roster it follows come once the cluster
// is back, each once and in order.
func TestClusterHistoryAfterALoss(t *testing.T) {
	for _, channel := range []string{"presence-h", "cache-h"} {
		w := newWorld(t, 2, keeping(3, time.Hour, channel))
		var member *protocol.Member
		if protocol.KindOf(channel).IsPresence() {
			member = &protocol.Member{UserID: "u"}
		}
		r := newRecorder()
		if _, _, err := w.apps[0].Subscribe(r, channel, member); err != nil {
			t.Fatal(err)
		}
		w.publish(t, 1, channel, "0")
		r.wait(t, "0")
		w.hub.Cut(w.drivers[0])
		for i := range 5 {
			w.publish(t, 1, channel, fmt.Sprint("missed ", i))
		}
		w.hub.Heal(w.drivers[0])
		eventually(t, "the missed events that are kept", func() bool { return slices.Contains(r.data(), "missed 4") })
		w.publish(t, 1, channel, "end")
		var got []string
		for _, d := range r.wait(t, "end") {
			if strings.HasPrefix(d, "missed") {
				got = append(got, d)
			}
		}
		if !slices.Equal(got, []string{"missed 2", "missed 3", "missed 4"}) {
			t.Errorf("%s: got %q", channel, got)
		}
	}
}

// A handover keeps histories: serials go on, and nothing counts as missing.
func TestHandOverHistory(t *testing.T) {
	limits := keeping(3, time.Hour, "h", "i", "gone")
	old, successor := alone(t, limits), alone(t, keeping(3, time.Hour, "h", "i"))
	except := newRecorder().ID()
	say(t, old, "gone", "0")
	say(t, old, "h", "1", "2", "3", "4")
	if err := old.Publish(Publication{Event: event("i", "x"), Except: except}); err != nil {
		t.Fatal(err)
	}
	_, s := told(t, old, "h", nil, 10)
	before, err := old.History("i", nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	successor.RestoreNumbers(old.ExportNumbers())
	handOver(t, old, successor, nil)
	expectTold(t, successor, "h", &s[0], 10, "3 4 +")
	after, err := successor.History("i", nil, 10)
	if err != nil || len(after.Events) != 1 || after.Events[0].Serial != before.Events[0].Serial || after.Events[0].Except != except || !after.Events[0].At.Equal(before.Events[0].At) {
		t.Errorf("%+v, before %+v, error %v", after, before, err)
	}
	if use := successor.broker.HistoryUse(); use.Events != 4 {
		t.Errorf("%+v", use)
	}
	say(t, successor, "h", "5")
	expectTold(t, successor, "h", &s[0], 10, "3 4 5 +")
	_, later := told(t, successor, "h", nil, 10)
	if last := later[2]; last.Epoch != s[0].Epoch || last.Number <= before.Events[0].Serial.Number {
		t.Errorf("the next serial is %v after %v", last, before.Events[0].Serial)
	}
	successor.SetLimits(limits)
	expectTold(t, successor, "gone", &protocol.Serial{Epoch: s[0].Epoch, Number: s[0].Number - 1}, 10, "")

	for _, bad := range []ExportedHistory{
		{Events: []ExportedKept{{Frame: []byte("x"), Number: 1}}},
		{Events: []ExportedKept{{Frame: event("j", "1").Frame(), Number: 1, Except: "nobody"}}},
		{Events: []ExportedKept{{Frame: event("j", "1").Frame(), Number: 1 << 60}}},
		{After: 1, Events: []ExportedKept{{Frame: event("j", "1").Frame(), Number: 1}}},
	} {
		if err := alone(t, keeping(3, time.Hour, "j")).RestoreChannel(ExportedChannel{Name: "j", History: &bad}); !errors.Is(err, errRestore) {
			t.Errorf("%+v: error %v", bad, err)
		}
	}
}

// Whoever left before a handover, and comes back within the age, misses nothing.
func TestHandOverEmptyHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var apps []*App
		for range 2 {
			broker := NewBroker(1, nil)
			defer broker.Close()
			apps = append(apps, broker.NewApp("1", keeping(10, time.Minute, "h"), new(counts), nil))
		}
		_, here := subscribe(t, apps[0], "h")
		say(t, apps[0], "h", "1")
		_, s := told(t, apps[0], "h", nil, 10)
		time.Sleep(time.Minute)
		apps[0].Unsubscribe(here)
		apps[0].Expire(time.Now())
		apps[1].RestoreNumbers(apps[0].ExportNumbers())
		handOver(t, apps[0], apps[1], nil)
		time.Sleep(time.Minute - time.Nanosecond)
		apps[1].Expire(time.Now())
		expectTold(t, apps[1], "h", &s[0], 10, "+")
	})
}

// What rules add to a publish: many of which none matches, or one that keeps the event.
func BenchmarkPublishWithRules(b *testing.B) {
	var others []HistoryRule
	for i := range 50 { // as many as the configuration takes
		others = append(others, HistoryRule{fmt.Sprintf("h%02d*", i), Retention{Events: 100, Age: 2 * time.Minute}})
	}
	for _, bb := range []struct {
		name  string
		rules []HistoryRule
	}{
		{"none", nil},
		{"unmatched", others},
		{"history", []HistoryRule{{"*", Retention{Events: 100, Age: 2 * time.Minute}}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			broker := NewBroker(2, nil)
			broker.LimitHistories(64 << 20)
			a := broker.NewApp("1", Limits{CacheTTL: time.Minute, Histories: bb.rules}, new(counts), nil)
			if _, _, err := a.Subscribe(sink{protocol.NewSocketID(1)}, "nobody", nil); err != nil {
				b.Fatal(err)
			}
			e := event("nobody", strings.Repeat("x", 100))
			b.ReportAllocs()
			for b.Loop() {
				a.publish(e, protocol.SocketID{})
			}
			broker.Close()
		})
	}
}
