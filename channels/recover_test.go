package channels

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/local"
	"belfry/protocol"
)

// dataOf are the data of joined frames, in one text.
func dataOf(frames []byte) string {
	var all []string
	for len(frames) > 0 {
		n := protocol.FrameLen(frames)
		m, err := protocol.ParseMessage(protocol.Frame(frames[:n]).JSON())
		if err != nil {
			return err.Error()
		}
		all = append(all, strings.Trim(string(m.Data), `"`))
		frames = frames[n:]
	}
	return strings.Join(all, " ")
}

// resume subscribes as one that has all up to a serial, and describes what it is given: the
// data, + if it was recovered, - if not.
func resume(t *testing.T, a *App, channel string, since protocol.Serial, sockets ...protocol.SocketID) (text string, j Joined, r *recorder) {
	t.Helper()
	var m *protocol.Member
	if protocol.KindOf(channel).IsPresence() {
		m = &protocol.Member{UserID: "u"}
	}
	r = newRecorder()
	s, j, err := a.Recover(r, channel, m, &Recovery{since, sockets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Unsubscribe(s) })
	return replayed(j.Replay), j, r
}

func replayed(r Replay) string {
	text := dataOf(slices.Concat(r.Frames...))
	if r.Bytes != len(slices.Concat(r.Frames...)) {
		text = fmt.Sprintf("not %d bytes: %s", r.Bytes, text)
	}
	return strings.TrimSpace(text + map[protocol.RecoveryResult]string{protocol.NotAsked: "", protocol.Recovered: " +", protocol.Missed: " -"}[r.Recovery])
}

// A client that comes back is given what it has missed, on a single node and on another node
// of a cluster.
func TestResume(t *testing.T) {
	limits := keeping(5, time.Hour, "h*", "presence-h", "cache-h")
	w := newWorld(t, 2, limits)
	for name, apps := range map[string][]*App{"single": {alone(t, limits)}, "cluster": w.apps} {
		t.Run(name, func(t *testing.T) {
			a, b := apps[0], apps[len(apps)-1]
			for _, channel := range []string{"h", "presence-h", "cache-h"} {
				_, start, _ := resume(t, a, channel, protocol.Serial{}) // a stranger, and the first serial
				if got := replayed(start.Replay); got != "-" || start.Serial.Epoch == "" {
					t.Errorf("%s: without a serial: %q from %v", channel, got, start.Serial)
				}
				if got, _, _ := resume(t, b, channel, start.Serial); got != "+" {
					t.Errorf("%s: nothing was missed: %q", channel, got)
				}
				var m *protocol.Member
				if channel == "presence-h" {
					m = &protocol.Member{UserID: "u"}
				}
				there := newRecorder()
				if _, _, err := b.Subscribe(there, channel, m); err != nil {
					t.Fatal(err)
				}
				publish := func(data ...string) {
					say(t, a, channel, data...)
					there.wait(t, data[len(data)-1])
				}
				publish("1", "2", "3")
				if got, j, _ := resume(t, b, channel, start.Serial); got != "1 2 3 +" || j.Last != nil || j.Miss {
					t.Errorf("%s: %q, last %s", channel, got, j.Last)
				}
				_, s := told(t, b, channel, nil, 10)
				got, j, r := resume(t, b, channel, s[0])
				if got != "2 3 +" || j.Serial.Number < s[0].Number || j.Serial.Number >= s[1].Number {
					t.Errorf("%s: since 1: %q from %v, of %v", channel, got, j.Serial, s)
				}
				publish("4")
				r.wait(t, "4")
				if got := r.data(); !slices.Equal(got, []string{"4"}) {
					t.Errorf("%s: then %q", channel, got)
				}
				if got, j, _ := resume(t, b, channel, s[2]); got != "4 +" || !channelKnows(j, s[2]) {
					t.Errorf("%s: since 3: %q", channel, got)
				}
				publish("5", "6", "7")
				for since, want := range map[protocol.Serial]string{
					s[0]:                                  "-",
					s[1]:                                  "3 4 5 6 7 +",
					{Epoch: "other", Number: s[2].Number}: "-",
					{Epoch: s[0].Epoch}:                   "-",
					{Epoch: s[0].Epoch, Number: 1 << 60}:  "-",
				} {
					if got, _, _ := resume(t, b, channel, since); got != want {
						t.Errorf("%s: since %v: %q, want %q", channel, since, got, want)
					}
				}
			}
			if got, j, _ := resume(t, b, "plain", protocol.Serial{Epoch: "e"}); got != "-" || j.Serial != (protocol.Serial{}) {
				t.Errorf("a channel without a history: %q", got)
			}
		})
	}
}

// channelKnows reports whether an answer leads on from a serial.
func channelKnows(j Joined, s protocol.Serial) bool {
	return j.Serial.Epoch == s.Epoch && j.Serial.Number >= s.Number
}

// Whoever an event was not for is not given it when it comes back, as whichever connection.
func TestResumeExcepts(t *testing.T) {
	limits := keeping(5, time.Hour, "private-h")
	w := newWorld(t, 2, limits)
	for name, apps := range map[string][]*App{"single": {alone(t, limits)}, "cluster": w.apps} {
		t.Run(name, func(t *testing.T) {
			a, b := apps[0], apps[len(apps)-1]
			_, start, first := resume(t, a, "private-h", protocol.Serial{})
			mine, s := subscribe(t, a, "private-h")
			if err := a.Publish(Publication{Event: event("private-h", "1"), Except: first.ID()}); err != nil {
				t.Fatal(err)
			}
			if err := a.PublishFrom(s, event("private-h", "2"), ""); err != nil {
				t.Fatal(err)
			}
			first.wait(t, "2")
			for _, tt := range []struct {
				sockets []protocol.SocketID
				want    string
			}{{nil, "1 2 +"}, {[]protocol.SocketID{first.ID()}, "2 +"}, {[]protocol.SocketID{newRecorder().ID(), mine.ID()}, "1 +"}, {[]protocol.SocketID{mine.ID(), first.ID()}, "+"}} {
				got, j, _ := resume(t, b, "private-h", start.Serial, tt.sockets...)
				if got != tt.want {
					t.Errorf("%d sockets: %q, want %q", len(tt.sockets), got, tt.want)
				}
				if tt.want == "+" && j.Serial.Number <= start.Serial.Number {
					t.Errorf("it would be given the same once more: from %v, was at %v", j.Serial, start.Serial)
				}
			}
			// A request of the client may name a connection that has broken meanwhile.
			_, _, again := resume(t, b, "private-h", start.Serial, first.ID())
			if err := a.Publish(Publication{Event: event("private-h", "3"), Except: first.ID()}); err != nil {
				t.Fatal(err)
			}
			say(t, a, "private-h", "4")
			again.wait(t, "4")
			if got := again.data(); !slices.Equal(got, []string{"4"}) {
				t.Errorf("then it gets %q", got)
			}
		})
	}
}

// New subscribers are given what is young enough, and a cache channel's last event once.
func TestRewind(t *testing.T) {
	for name, nodes := range map[string]int{"single": 0, "cluster": 2} {
		synctest.Test(t, func(t *testing.T) {
			limits := keeping(5, time.Hour, "h", "cache-h")
			for i := range limits.Histories {
				limits.Histories[i].Rewind = time.Minute
			}
			limits.CacheTTL = time.Hour
			apps := []*App{alone(t, limits)}
			if nodes > 0 {
				apps = newWorld(t, nodes, limits).apps
			}
			a, b := apps[0], apps[len(apps)-1]
			join := func(channel string) Joined {
				_, j, err := b.Subscribe(newRecorder(), channel, nil)
				if err != nil {
					t.Fatal(err)
				}
				return j
			}
			for _, channel := range []string{"h", "cache-h"} {
				say(t, a, channel, "1", "2")
				time.Sleep(30 * time.Second)
				say(t, a, channel, "3")
				j := join(channel)
				if got := replayed(j.Replay); got != "1 2 3" || j.Last != nil {
					t.Errorf("%s, %s: %q, last %s", name, channel, got, j.Last)
				}
				if got, _, _ := resume(t, b, channel, j.Serial); got != "1 2 3 +" {
					t.Errorf("%s, %s: it comes back at once, and is given %q", name, channel, got)
				}
				if got, _, _ := resume(t, b, channel, protocol.Serial{}); got != "1 2 3 -" {
					t.Errorf("%s, %s: one that has lost its serial: %q", name, channel, got)
				}
				time.Sleep(30 * time.Second)
				if got := replayed(join(channel).Replay); got != "3" {
					t.Errorf("%s, %s: 30 s later %q", name, channel, got)
				}
				time.Sleep(31 * time.Second)
				if j := join(channel); replayed(j.Replay) != "" || (j.Last != nil || j.Miss) != (channel == "cache-h") {
					t.Errorf("%s, %s: later %q, last %s", name, channel, replayed(j.Replay), j.Last)
				}
			}
		})
	}
}

// A client that has missed too much for one answer has to ask its backend.
func TestReplayIsBounded(t *testing.T) {
	a := alone(t, keeping(1000, time.Hour, "h"))
	_, start, _ := resume(t, a, "h", protocol.Serial{})
	large := strings.Repeat("x", maxReplay/4)
	say(t, a, "h", large, large, large)
	if _, j, _ := resume(t, a, "h", start.Serial); j.Recovery != protocol.Recovered || len(j.Frames) != 3 {
		t.Errorf("%d events, recovery %d", len(j.Frames), j.Recovery)
	}
	say(t, a, "h", large)
	if _, j, _ := resume(t, a, "h", start.Serial); j.Recovery != protocol.Missed || len(j.Frames) != 0 || j.Frames != nil {
		t.Errorf("%d events, recovery %d", len(j.Frames), j.Recovery)
	}
	limits := *a.limits.Load()
	limits.Histories[0].Rewind = time.Hour
	a.SetLimits(limits)
	if _, j, err := a.Subscribe(newRecorder(), "h", nil); err != nil || len(j.Frames) != 3 {
		t.Errorf("rewound by %d events, error %v", len(j.Frames), err)
	}
}

// Without events and subscribers, a single node remembers for the age that there were none,
// in bounded memory.
func TestResumeQuietChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := alone(t, keeping(5, time.Minute, "*"))
		r := newRecorder()
		quiet, j, err := a.Subscribe(r, "quiet", nil)
		if err != nil {
			t.Fatal(err)
		}
		others := func() { // whose histories end
			say(t, a, "other", "1")
			time.Sleep(2 * time.Minute)
			a.Expire(time.Now())
		}
		others()
		if got, _, _ := resume(t, a, "quiet", j.Serial); got != "+" {
			t.Errorf("while somebody is subscribed: %q", got)
		}
		a.Unsubscribe(quiet)
		say(t, a, "other", "2")
		time.Sleep(30 * time.Second)
		a.Expire(time.Now())
		if got, _, _ := resume(t, a, "quiet", j.Serial); got != "+" {
			t.Errorf("within the age: %q", got)
		}
		a.broker.LimitHistories(64 << 10)
		for i := range 10_000 {
			r := newRecorder()
			s, _, err := a.Subscribe(r, fmt.Sprint("c", i), nil)
			if err != nil {
				t.Fatal(err)
			}
			a.Unsubscribe(s)
		}
		if n, use := a.channels.Load(), a.broker.HistoryUse(); n > 64<<10/historyOverhead+2 || use.Bytes > 64<<10 || use.Events > 1 {
			t.Errorf("%d channels, %+v", n, use)
		}
	})
}

// counting counts what the ledger is asked, and answers late.
type counting struct {
	cluster.Driver
	asked atomic.Int32
}

func (d *counting) History(ctx context.Context, t cluster.Topic, events int, age time.Duration) (cluster.History, error) {
	d.asked.Add(1)
	h, err := d.Driver.History(ctx, t, events, age)
	time.Sleep(10 * time.Millisecond)
	return h, err
}

// Many clients that come back together cost the ledger a few questions, and those that have
// missed nothing none.
func TestResumeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &counting{Driver: local.NewHub().Node()}
		broker := NewBroker(2, d)
		defer broker.Close()
		a := broker.NewApp("1", keeping(10, time.Hour, "h"), new(counts), nil)
		_, start, _ := resume(t, a, "h", protocol.Serial{})
		done := make(chan string)
		for range 500 {
			go func() {
				_, j, err := a.Recover(newRecorder(), "h", nil, &Recovery{Since: start.Serial})
				done <- fmt.Sprint(replayed(j.Replay), err)
			}()
		}
		for range 500 {
			if got := <-done; got != "+<nil>" {
				t.Fatal(got)
			}
		}
		if n := d.asked.Load(); n != 0 {
			t.Errorf("nothing was missed, and %d questions asked", n)
		}
		say(t, a, "h", "1")
		synctest.Wait()
		for range 500 {
			go func() {
				_, j, err := a.Recover(newRecorder(), "h", nil, &Recovery{Since: start.Serial})
				done <- fmt.Sprint(replayed(j.Replay), err)
			}()
		}
		say(t, a, "h", "2")
		for range 500 {
			if got := <-done; got != "1 +<nil>" && got != "1 2 +<nil>" {
				t.Fatal(got)
			}
		}
		if n := d.asked.Load(); n > 4 {
			t.Errorf("%d questions", n)
		}
	})
}

// lagging is a driver whose messages come late.
type lagging struct {
	cluster.Driver
	receiver cluster.Receiver
	gate     atomic.Pointer[chan struct{}] // nil, or closed once they may come
}

func (d *lagging) Start(r cluster.Receiver) {
	d.receiver = r
	d.Driver.Start(d)
}

func (d *lagging) Receive(m cluster.Message) {
	if gate := d.gate.Load(); gate != nil {
		<-*gate
	}
	d.receiver.Receive(m)
}

func (d *lagging) Restored(lost func(cluster.Topic) bool) { d.receiver.Restored(lost) }
func (d *lagging) Shares(topics []cluster.Topic)          { d.receiver.Shares(topics) }
func (d *lagging) Due(h cluster.Hint)                     { d.receiver.Due(h) }

// A client may have an event that has not come to the node to which it changes.
func TestResumeOnANodeThatLagsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := local.NewHub()
		late := &lagging{Driver: hub.Node()}
		var apps []*App
		for _, d := range []cluster.Driver{hub.Node(), late} {
			broker := NewBroker(2, d)
			defer broker.Close()
			apps = append(apps, broker.NewApp("1", keeping(10, time.Hour, "h"), new(counts), nil))
		}
		there, _ := subscribe(t, apps[1], "h")
		_, start, _ := resume(t, apps[0], "h", protocol.Serial{})
		synctest.Wait()
		gate := make(chan struct{})
		late.gate.Store(&gate)
		say(t, apps[0], "h", "1", "2")
		_, s := told(t, apps[0], "h", nil, 10)
		time.AfterFunc(time.Second, func() { close(gate) })
		got, j, r := resume(t, apps[1], "h", s[1])
		if got != "+" || !channelKnows(j, s[1]) {
			t.Errorf("%q from %v", got, j.Serial)
		}
		if got, _, _ := resume(t, apps[1], "h", protocol.Serial{Epoch: s[1].Epoch, Number: 1 << 60}); got != "-" {
			t.Errorf("an event that does not exist: %q", got)
		}
		say(t, apps[0], "h", "3")
		r.wait(t, "3")
		there.wait(t, "3")
		if got := r.data(); !slices.Equal(got, []string{"3"}) {
			t.Errorf("it was delivered %q", got)
		}
		if got := there.data(); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("who stayed was delivered %q", got)
		}
		if got, _, _ := resume(t, apps[1], "h", start.Serial); got != "1 2 3 +" {
			t.Errorf("another: %q", got)
		}
	})
}

// A node that was cut off delivers what its channels with a history missed, and tells of a
// loss only if there is one.
func TestNodesRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, keeping(3, time.Hour, "h", "presence-h", "cache-h"))
		for _, channel := range []string{"h", "presence-h", "cache-h"} {
			r := &raw{recorder: newRecorder()}
			var m *protocol.Member
			if channel == "presence-h" {
				m = &protocol.Member{UserID: "u"}
			}
			if _, _, err := w.apps[1].Subscribe(r, channel, m); err != nil {
				t.Fatal(err)
			}
			lost := func() (n int) {
				for _, text := range r.messages() {
					if strings.Contains(text, "subscription_succeeded") {
						n++
						if !strings.Contains(text, `\"recovered\":false`) || !strings.Contains(text, `,"serial":"`) {
							t.Errorf("%s", text)
						}
					}
				}
				return n
			}
			say(t, w.apps[0], channel, "1")
			synctest.Wait()
			w.hub.Cut(w.drivers[1])
			say(t, w.apps[0], channel, "2", "3")
			w.hub.Heal(w.drivers[1])
			say(t, w.apps[0], channel, "4")
			synctest.Wait()
			time.Sleep(time.Second)
			if got := r.data(); !slices.Equal(eventsOnly(got), []string{"1", "2", "3", "4"}) || lost() != 0 {
				t.Errorf("%s: %q, %d losses told", channel, got, lost())
			}
			w.hub.Cut(w.drivers[1])
			say(t, w.apps[0], channel, "5", "6", "7", "8")
			w.hub.Heal(w.drivers[1])
			synctest.Wait()
			time.Sleep(time.Second)
			if got := eventsOnly(r.data()); !slices.Equal(got[4:], []string{"6", "7", "8"}) || lost() != 1 {
				t.Errorf("%s: more than is kept: %q, %d losses told", channel, got, lost())
			}
			w.hub.Flush()
			synctest.Wait()
			time.Sleep(time.Second)
			if lost() != 2 {
				t.Errorf("%s: the ledger was empty, %d losses told", channel, lost())
			}
		}
	})
}

// A loss is told ahead of the events that follow it, with the serial behind which they begin:
// a client whose connection ends in between asks for the rest from there, and knows.
func TestLossIsToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, keeping(3, time.Hour, "h"))
		r := &raw{recorder: newRecorder()}
		if _, _, err := w.apps[1].Subscribe(r, "h", nil); err != nil {
			t.Fatal(err)
		}
		told := 0
		says := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			time.Sleep(5 * time.Second)
			var said []string
			texts := r.messages()
			for _, text := range texts[told:] {
				if strings.Contains(text, "subscription_succeeded") {
					_, serial, _ := strings.Cut(text, `"serial":"`)
					said = append(said, "lost, "+strings.TrimSuffix(serial, `"}`))
				} else if m, err := protocol.ParseMessage([]byte(text)); err == nil {
					said = append(said, strings.Trim(string(m.Data), `"`))
				}
			}
			if !slices.Equal(said, want) {
				t.Errorf("%s: %q, want %q", what, said, want)
			}
			told = len(texts)
		}
		w.hub.Cut(w.drivers[1])
		say(t, w.apps[0], "h", "1", "2", "3", "4")
		w.hub.Heal(w.drivers[1])
		says("more than is kept", "lost, 1-1", "2", "3", "4")
		w.hub.FlushUnnoticed()
		say(t, w.apps[0], "h", "5", "6")
		says("the ledger was empty", "lost, 2-0", "5", "6")
	})
}

// eventsOnly leaves away what the protocol itself says.
func eventsOnly(data []string) []string {
	return slices.DeleteFunc(slices.Clone(data), func(s string) bool { return strings.HasPrefix(s, "{") })
}

// A node loads a channel once, whatever is published on it.
func TestMessagesNeedNoLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &updates{Driver: local.NewHub().Node()}
		broker := NewBroker(2, d)
		defer broker.Close()
		a := broker.NewApp("1", keeping(10, time.Hour, "h"), new(counts), nil)
		for _, channel := range []string{"h", "presence-p", "cache-c", "plain"} {
			var m *protocol.Member
			if protocol.KindOf(channel).IsPresence() {
				m = &protocol.Member{UserID: "u"}
			}
			if _, _, err := a.Subscribe(newRecorder(), channel, m); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		before := d.made.Load()
		for _, channel := range []string{"h", "presence-p", "cache-c", "plain"} {
			say(t, a, channel, "1", "2", "3")
		}
		time.Sleep(time.Second)
		if n := d.made.Load() - before; n != 0 {
			t.Errorf("%d updates", n)
		}
	})
}

// updates counts those of a driver.
type updates struct {
	cluster.Driver
	made atomic.Int32
}

func (d *updates) Update(ctx context.Context, t cluster.Topic, s cluster.Share) (cluster.Outcome, error) {
	d.made.Add(1)
	return d.Driver.Update(ctx, t, s)
}

// What a subscription has brought already does not come again when its client says too late
// what it had.
func TestResumeLate(t *testing.T) {
	limits := keeping(10, time.Hour, "h", "private-cache-h", "rewound")
	limits.Histories[2].Rewind = time.Hour
	w := newWorld(t, 1, limits)
	for name, a := range map[string]*App{"single": alone(t, limits), "cluster": w.apps[0]} {
		t.Run(name, func(t *testing.T) {
			for channel, want := range map[string][2]string{"h": {"", "1 2 3 +"}, "private-cache-h": {"2", "1 3 +"}, "rewound": {"1 2 3", "+"}} {
				_, j, r := resume(t, a, channel, protocol.Serial{})
				mine, s := subscribe(t, a, channel)
				say(t, a, channel, "1", "2")
				mine.wait(t, "2")
				if err := a.PublishFrom(s, event(channel, "3"), ""); err != nil {
					t.Fatal(err)
				}
				r.wait(t, "3")
				back := newRecorder()
				sub, first, err := a.Subscribe(back, channel, nil)
				if err != nil {
					t.Fatal(err)
				}
				say(t, a, channel, "4")
				back.wait(t, "4")
				if got := strings.TrimSpace(dataOf(first.Last) + " " + dataOf(slices.Concat(first.Frames...))); got != want[0] {
					t.Errorf("%s: at first %q", channel, got)
				}
				if channel == "rewound" {
					_, s := told(t, a, channel, nil, 10)
					if got := replayed(a.Rejoin(sub, &Recovery{Since: s[1]}).Replay); got != "+" {
						t.Errorf("rewound past what it had: %q", got)
					}
				}
				for i, want := range []string{want[1], "+"} {
					if got := replayed(a.Rejoin(sub, &Recovery{Since: j.Serial}).Replay); got != want {
						t.Errorf("%s: asked %d times %q, want %q", channel, i+1, got, want)
					}
				}
			}
		})
	}
}

// Strangers who come and go cost nobody an event.
func TestUnusedHistoriesGoFirst(t *testing.T) {
	a := alone(t, keeping(5, time.Hour, "*"))
	a.broker.LimitHistories(64 << 10)
	say(t, a, "private-h", "1", "2", "3")
	for i := range 1000 {
		r := newRecorder()
		s, _, err := a.Subscribe(r, fmt.Sprint("c", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		a.Unsubscribe(s)
	}
	expectTold(t, a, "private-h", nil, 10, "1 2 3 +")
}

// A client whose node cannot reach the ledger waits for it rather than being told that it has
// missed something.
func TestResumeDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2, keeping(5, time.Hour, "h"))
		w.on(t, 1, "h")
		_, start, _ := resume(t, w.apps[0], "h", protocol.Serial{})
		say(t, w.apps[0], "h", "1")
		synctest.Wait()
		w.hub.Cut(w.drivers[1])
		time.AfterFunc(3*time.Second, func() { w.hub.Heal(w.drivers[1]) })
		if got, _, _ := resume(t, w.apps[1], "h", start.Serial); got != "1 +" {
			t.Errorf("healed: %q", got)
		}
		w.hub.Cut(w.drivers[1])
		time.Sleep(2 * time.Second)
		if got, _, _ := resume(t, w.apps[1], "h", start.Serial); got != "-" {
			t.Errorf("not healed: %q", got)
		}
		w.hub.Heal(w.drivers[1])
	})
}

// What was withheld counts as missed, and not as sent: a client that says too late what it had
// is sent it then.
func TestWithhold(t *testing.T) {
	limits := keeping(10, time.Hour, "h")
	limits.Histories[0].Rewind = time.Hour
	a := alone(t, limits)
	_, before, _ := resume(t, a, "h", protocol.Serial{})
	say(t, a, "h", "1", "2")
	sub, first, err := a.Subscribe(newRecorder(), "h", nil)
	if err != nil || len(first.Frames) != 2 {
		t.Fatalf("%q, error %v", replayed(first.Replay), err)
	}
	begins := sub.start.Serial
	first.Withhold()
	if got := replayed(first.Replay); got != "" || first.Serial != begins {
		t.Errorf("withheld: %q from %v, begins at %v", got, first.Serial, begins)
	}
	late := a.Rejoin(sub, &Recovery{Since: before.Serial})
	if got := replayed(late.Replay); got != "1 2 +" {
		t.Errorf("then %q", got)
	}
	late.Withhold()
	if got := replayed(late.Replay); got != "-" || late.Serial != (protocol.Serial{}) {
		t.Errorf("withheld again: %q from %v", got, late.Serial)
	}
}
