package channels

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"belfry/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counts is an Observer.
type counts struct{ messages, bytes, delays atomic.Int64 }

func (c *counts) Delivered(messages, bytes int) {
	c.messages.Add(int64(messages))
	c.bytes.Add(int64(bytes))
}
func (c *counts) Delay(time.Duration) { c.delays.Add(1) }

// recorder is a Subscriber that keeps the data of what it gets.
type recorder struct {
	id     protocol.SocketID
	source protocol.Source
	lines  bool

	terminated atomic.Bool

	mu      sync.Mutex
	got     []message
	dropped []error
	wake    chan struct{} // closed and replaced with every delivery
}

type message struct{ Event, Channel, Data, UserID string }

var lastID atomic.Uint64

func newRecorder() *recorder {
	return &recorder{id: protocol.NewSocketID(lastID.Add(1)<<32 | lastID.Load()), wake: make(chan struct{})}
}

func (r *recorder) ID() protocol.SocketID { return r.id }

func (r *recorder) Source() protocol.Source { return r.source }

func (r *recorder) Lines() bool { return r.lines }

// Answered at once: there is nothing to hold back.
func (r *recorder) Hold() {}

func (r *recorder) Terminate() { r.terminated.Store(true) }

func (r *recorder) Dropped(channel string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = append(r.dropped, err)
}

func (r *recorder) Deliver(s *Subscription, frames []byte) (kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.Left() {
		r.keep(frames)
	}
	return false
}

func (r *recorder) Send(f protocol.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(f)
}

func (r *recorder) keep(frames []byte) {
	for len(frames) > 0 {
		var text []byte
		if r.lines {
			text, frames = cutLine(frames)
		} else {
			n := protocol.FrameLen(frames)
			text, frames = protocol.Frame(frames[:n]).JSON(), frames[n:]
		}
		var m struct {
			message
			UserID string `json:"user_id"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			panic(err)
		}
		m.message.UserID = m.UserID
		r.got = append(r.got, m.message)
	}
	close(r.wake)
	r.wake = make(chan struct{})
}

// cutLine takes the message off the first line.
func cutLine(lines []byte) (text, rest []byte) {
	line, rest, _ := bytes.Cut(lines, []byte("\n"))
	messages, err := protocol.ParseMessages(line[1:])
	if err != nil {
		panic(err)
	}
	return []byte(messages[0]), rest
}

func (r *recorder) data() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var data []string
	for _, m := range r.got {
		data = append(data, m.Data)
	}
	return data
}

// wait returns the data of everything received, once last is the latest.
func (r *recorder) wait(t *testing.T, last string) []string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		n := len(r.got)
		done := n > 0 && r.got[n-1].Data == last
		wake := r.wake
		r.mu.Unlock()
		if done {
			return r.data()
		}
		select {
		case <-wake:
		case <-timeout:
			t.Fatalf("%q did not come; %d events did", last, n)
		}
	}
}

func newApp(t testing.TB, limits Limits) (*App, *counts) {
	broker := NewBroker(2, nil)
	t.Cleanup(broker.Close)
	if limits.PresenceMembers == 0 {
		limits.PresenceMembers = 100
	}
	if limits.CacheTTL == 0 {
		limits.CacheTTL = time.Minute
	}
	c := new(counts)
	return broker.NewApp("1", limits, c, nil), c
}

func event(channel, data string) protocol.Event {
	return protocol.Event{Name: "e", Channel: channel, Data: protocol.AppendString(nil, data)}
}

func subscribe(t testing.TB, a *App, channel string) (*recorder, *Subscription) {
	t.Helper()
	r := newRecorder()
	s, _, err := a.Subscribe(r, channel, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

// subscribeMixed is subscribe for one that takes lines every other time.
func subscribeMixed(t testing.TB, a *App, channel string) (*recorder, *Subscription) {
	t.Helper()
	r := newRecorder()
	r.lines = lastID.Load()%2 == 0
	s, _, err := a.Subscribe(r, channel, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func (a *App) publish(e protocol.Event, except protocol.SocketID) {
	_ = a.Publish(Publication{Event: e, Except: except})
}

func TestPublishReachesSubscribersOfTheChannel(t *testing.T) {
	for _, size := range []int{1, smallChannel, smallChannel + 1, 3*quantum + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a, _ := newApp(t, Limits{})
			var subscribers []*recorder
			for range size {
				r, _ := subscribeMixed(t, a, "orders")
				subscribers = append(subscribers, r)
			}
			other, _ := subscribe(t, a, "others")
			a.publish(event("orders", "1"), protocol.SocketID{})
			a.publish(event("nobody", "x"), protocol.SocketID{})
			a.publish(event("orders", "2"), protocol.SocketID{})
			for _, r := range subscribers {
				if got := r.wait(t, "2"); !slices.Equal(got, []string{"1", "2"}) {
					t.Fatalf("got %v", got)
				}
			}
			if got := other.data(); got != nil {
				t.Errorf("another channel's subscriber got %v", got)
			}
			if n := a.Subscriptions(); n != size+1 {
				t.Errorf("%d subscriptions, want %d", n, size+1)
			}
		})
	}
}

func TestDeliveriesAreCounted(t *testing.T) {
	broker := NewBroker(1, nil)
	c := new(counts)
	a := broker.NewApp("1", Limits{PresenceMembers: 1, CacheTTL: time.Minute}, c, nil)
	const subscribers, events = 50, 20
	for range subscribers {
		subscribe(t, a, "a")
	}
	size := len(event("a", "x").Frame())
	for range events {
		a.publish(event("a", "x"), protocol.SocketID{})
	}
	broker.Close() // delivers what is pending
	if got := c.messages.Load(); got != subscribers*events {
		t.Errorf("counted %d messages, want %d", got, subscribers*events)
	}
	if got := c.bytes.Load(); got != int64(subscribers*events*size) {
		t.Errorf("counted %d bytes, want %d", got, subscribers*events*size)
	}
	if c.delays.Load() == 0 {
		t.Error("no delay was told")
	}
}

// Frames become lines once, for however many take them.
func TestLinesAreMadeOnce(t *testing.T) {
	broker := NewBroker(4, nil)
	defer broker.Close()
	a := broker.NewApp("1", Limits{CacheTTL: time.Minute}, new(counts), nil)
	const subscribers = smallChannel // served before Publish returns
	var taken []*keeper
	for range subscribers {
		k := &keeper{recorder: newRecorder()}
		k.lines = true
		taken = append(taken, k)
		if _, _, err := a.Subscribe(k, "c", nil); err != nil {
			t.Fatal(err)
		}
	}
	a.publish(event("c", "1"), protocol.SocketID{})
	for _, k := range taken {
		if k.first == nil || k.first != taken[0].first {
			t.Fatal("two subscribers were offered different bytes")
		}
	}
}

// keeper is a Subscriber that keeps where the bytes are that it was offered.
type keeper struct {
	*recorder
	first *byte
}

func (k *keeper) Deliver(_ *Subscription, lines []byte) (kept bool) {
	k.first = &lines[0]
	return false
}

// The promises, while everything happens at once: subscribers that stay
// receive every event once, in one order for all, which keeps each
// publisher's own; one that comes and goes receives an unbroken part of it.
func TestOrderWhileSubscribersComeAndGo(t *testing.T) {
	for _, staying := range []int{3, 200} {
		t.Run(fmt.Sprint(staying), func(t *testing.T) {
			const publishers, events = 4, 300
			a, _ := newApp(t, Limits{})
			var stay []*recorder
			for range staying {
				r, _ := subscribeMixed(t, a, "c")
				stay = append(stay, r)
			}
			excepted := stay[0] // of every tenth event

			stop := make(chan struct{})
			var churn, publishing sync.WaitGroup
			var mu sync.Mutex
			var visits [][]string
			for range 8 {
				churn.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						r, s := subscribeMixed(t, a, "c")
						a.Unsubscribe(s)
						mu.Lock()
						visits = append(visits, r.data())
						mu.Unlock()
					}
				})
			}
			for p := range publishers {
				publishing.Go(func() {
					for i := range events {
						except := protocol.SocketID{}
						if i%10 == 0 {
							except = excepted.id
						}
						a.publish(event("c", fmt.Sprintf("%d %d", p, i)), except)
					}
				})
			}
			publishing.Wait()
			close(stop)
			churn.Wait()
			a.publish(event("c", "end"), protocol.SocketID{})

			order := stay[1].wait(t, "end")
			position := make(map[string]int)
			next := make([]int, publishers)
			for i, data := range order[:len(order)-1] {
				position[data] = i
				var p, n int
				fmt.Sscanf(data, "%d %d", &p, &n)
				if n != next[p] {
					t.Fatalf("event %d of publisher %d came when %d was due", n, p, next[p])
				}
				next[p]++
			}
			if len(position) != publishers*events || len(order) != publishers*events+1 {
				t.Fatalf("%d events, %d distinct, want %d", len(order)-1, len(position), publishers*events)
			}
			for _, r := range stay[2:] {
				if got := r.wait(t, "end"); !slices.Equal(got, order) {
					t.Fatal("two subscribers saw different orders")
				}
			}
			want := slices.DeleteFunc(slices.Clone(order), func(data string) bool {
				return data != "end" && strings.HasSuffix(data, "0")
			})
			if got := excepted.wait(t, "end"); !slices.Equal(got, want) {
				t.Errorf("the excepted subscriber got %d events, want %d in the same order", len(got), len(want))
			}
			for _, visit := range visits {
				for i, data := range visit {
					at, known := position[data]
					if !known || i > 0 && at != position[visit[i-1]]+1 {
						t.Fatalf("a visitor saw a broken part: %v", visit)
					}
				}
			}
		})
	}
}

// A subscriber gets nothing that was published before it came, even when that
// still waits for its flusher.
func TestNothingFromBefore(t *testing.T) {
	a, _ := newApp(t, Limits{})
	blocker := &blocking{recorder: newRecorder(), entered: make(chan struct{}), release: make(chan struct{})}
	if _, _, err := a.Subscribe(blocker, "c", nil); err != nil {
		t.Fatal(err)
	}
	var published sync.WaitGroup
	published.Go(func() { a.publish(event("c", "1"), protocol.SocketID{}) }) // flushes by itself, and blocks
	<-blocker.entered
	a.publish(event("c", "2"), protocol.SocketID{}) // waits behind it
	late := newRecorder()
	late.id = blocker.id // the same shard
	if _, _, err := a.Subscribe(late, "c", nil); err != nil {
		t.Fatal(err)
	}
	a.publish(event("c", "3"), protocol.SocketID{})
	close(blocker.release)
	published.Wait()
	if got := blocker.wait(t, "3"); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("the first subscriber got %v", got)
	}
	if got := late.wait(t, "3"); !slices.Equal(got, []string{"3"}) {
		t.Errorf("the late subscriber got %v", got)
	}
}

// Who leaves while a batch is going out changes nothing for the others, on
// whichever side of the flusher they are.
func TestNobodyIsSkippedWhenOthersLeave(t *testing.T) {
	broker := &Broker{flushers: []*flusher{newFlusher()}, seed: maphash.MakeSeed()} // which this test flushes for
	a := broker.NewApp("1", Limits{CacheTTL: time.Minute}, new(counts), nil)
	var all []*recorder
	var subs []*Subscription
	for range 3 * quantum {
		r, s := subscribe(t, a, "c")
		all, subs = append(all, r), append(subs, s)
	}
	a.publish(event("c", "1"), protocol.SocketID{})
	shard := a.find("c").shards[0]
	var r round
	leave := func(at ...int) {
		for _, i := range at {
			a.Unsubscribe(subs[i])
			all[i] = nil
		}
	}
	if !shard.flush(&r) { // serves the last quantum
		t.Fatal("one quantum served all")
	}
	const size = 3 * quantum
	leave(0, size-1, 2*quantum-1, 2*quantum, 5, size-2, 1)
	late, _ := subscribe(t, a, "c")
	for shard.flush(&r) {
		if all[7] != nil {
			leave(7, size-3)
		}
	}
	for i, r := range all {
		if r == nil {
			continue
		}
		if got := r.data(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("subscriber %d got %v", i, got)
		}
	}
	if got := late.data(); got != nil {
		t.Errorf("who came later got %v", got)
	}
	for i, s := range shard.subs {
		if int(s.pos) != i {
			t.Errorf("subscription %d believes to be at %d", i, s.pos)
		}
	}
}

// blocking is a Subscriber that breaks the rule, so that tests can look at what
// happens meanwhile.
type blocking struct {
	*recorder
	once             sync.Once
	entered, release chan struct{}
}

func (b *blocking) Deliver(s *Subscription, frames []byte) (kept bool) {
	b.once.Do(func() {
		close(b.entered)
		<-b.release
	})
	return b.recorder.Deliver(s, frames)
}

// Whoever leaves, however far a batch has got, all others know where they are.
func TestRemoveKeepsPositions(t *testing.T) {
	for n := range int32(6) {
		for cursor := range n + 1 {
			for gone := range n {
				s := new(shard)
				for range n {
					s.add(new(Subscription))
				}
				s.cursor = cursor
				before := slices.Clone(s.subs)
				s.remove(s.subs[gone])
				if len(s.subs) != int(n-1) || slices.Contains(s.subs, before[gone]) {
					t.Fatalf("%d of %d, %d unserved: %d are left", gone, n, cursor, len(s.subs))
				}
				for i, sub := range s.subs {
					if sub.pos != int32(i) {
						t.Errorf("%d of %d, %d unserved: the one at %d thinks that it is at %d", gone, n, cursor, i, sub.pos)
					}
					if unserved := slices.Index(before, sub) < int(cursor); unserved != (i < int(s.cursor)) {
						t.Errorf("%d of %d, %d unserved: the one at %d has changed sides", gone, n, cursor, i)
					}
				}
			}
		}
	}
}

// Whoever comes and goes on a presence channel has no more events wait than there is
// room for.
func TestMembersAreBounded(t *testing.T) {
	const name = "presence-c"
	a, _ := newApp(t, Limits{PresenceMembers: 10})
	blocker := &blocking{recorder: newRecorder(), entered: make(chan struct{}), release: make(chan struct{})}
	if _, _, err := a.Subscribe(blocker, name, &protocol.Member{UserID: "slow"}); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { a.publish(event(name, "first"), protocol.SocketID{}) })
	<-blocker.entered
	m := &protocol.Member{UserID: "churner", UserInfo: []byte(`"` + strings.Repeat("x", 1000) + `"`)}
	joins := 0
	for ; ; joins++ {
		s, _, err := a.Subscribe(newRecorder(), name, m)
		if errors.Is(err, ErrBusy) {
			break
		}
		if err != nil || joins > maxMembersPending/1000 {
			t.Fatalf("join %d: %v", joins, err)
		}
		a.Unsubscribe(s)
	}
	if _, _, err := a.Subscribe(newRecorder(), name, &protocol.Member{UserID: "slow"}); err != nil {
		t.Errorf("another connection of a member: %v", err)
	}
	close(blocker.release)
	done.Wait()
	eventually(t, "there is room again", func() bool {
		_, _, err := a.Subscribe(newRecorder(), name, m)
		return err == nil
	})
	eventually(t, "nothing is lost", func() bool { return len(blocker.recorder.data()) >= 2*joins })
}

// A publisher waits while too much is pending; a client is refused.
func TestBackpressure(t *testing.T) {
	a, _ := newApp(t, Limits{})
	blocker := &blocking{recorder: newRecorder(), entered: make(chan struct{}), release: make(chan struct{})}
	s, _, err := a.Subscribe(blocker, "private-c", nil)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { a.publish(event("private-c", "first"), protocol.SocketID{}) })
	<-blocker.entered
	big := strings.Repeat("x", maxPending/4)
	for range 4 {
		a.publish(event("private-c", big), protocol.SocketID{})
	}
	if err := a.PublishFrom(s, event("private-c", "client"), ""); !errors.Is(err, ErrBusy) {
		t.Errorf("a client's event: %v, want ErrBusy", err)
	}
	returned := make(chan struct{})
	done.Go(func() {
		a.publish(event("private-c", "last"), protocol.SocketID{})
		close(returned)
	})
	select {
	case <-returned:
		t.Error("the publisher did not wait")
	default:
	}
	close(blocker.release)
	done.Wait()
	got := blocker.wait(t, "last")
	if want := []string{"first", big, big, big, big, "last"}; !slices.Equal(got, want) {
		t.Errorf("got %d events, want %d", len(got), len(want))
	}
}

// Who offers does not wait, and learns when there is room.
func TestOffer(t *testing.T) {
	a, _ := newApp(t, Limits{})
	blocker := &blocking{recorder: newRecorder(), entered: make(chan struct{}), release: make(chan struct{})}
	if _, _, err := a.Subscribe(blocker, "private-c", nil); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { a.publish(event("private-c", "first"), protocol.SocketID{}) })
	<-blocker.entered
	offer := func(data string) (full []<-chan struct{}) {
		full, err := a.Offer(Publication{Event: event("private-c", data)}, Publication{Event: event("private-other", data)})
		if err != nil {
			t.Fatal(err)
		}
		return full
	}
	big := strings.Repeat("x", maxPending/4)
	for range 4 {
		if full := offer(big); full != nil {
			t.Error("the channel is full too early")
		}
	}
	full := offer("last")
	if len(full) != 1 {
		t.Fatalf("%d channels are full, want 1", len(full))
	}
	select {
	case <-full[0]:
		t.Error("there is room already")
	default:
	}
	close(blocker.release)
	<-full[0]
	done.Wait()
	if got, want := blocker.wait(t, "last"), []string{"first", big, big, big, big, "last"}; !slices.Equal(got, want) {
		t.Errorf("got %d events, want %d", len(got), len(want))
	}
}

func TestClientEventSkipsItsSender(t *testing.T) {
	a, _ := newApp(t, Limits{})
	sender, s := subscribe(t, a, "private-c")
	other, _ := subscribe(t, a, "private-c")
	if err := a.PublishFrom(s, event("private-c", "hi"), ""); err != nil {
		t.Fatal(err)
	}
	a.publish(event("private-c", "end"), protocol.SocketID{})
	if got := other.wait(t, "end"); !slices.Equal(got, []string{"hi", "end"}) {
		t.Errorf("the other got %v", got)
	}
	if got := sender.wait(t, "end"); !slices.Equal(got, []string{"end"}) {
		t.Errorf("the sender got %v", got)
	}
}

func TestPresence(t *testing.T) {
	a, _ := newApp(t, Limits{PresenceMembers: 2})
	join := func(user, info string) (*recorder, *Subscription, []string, error) {
		r := newRecorder()
		s, joined, err := a.Subscribe(r, "presence-c", &protocol.Member{UserID: user, UserInfo: json.RawMessage(info)})
		var ids []string
		for _, m := range decode(t, joined.Members) {
			ids = append(ids, m.UserID+string(m.UserInfo))
		}
		return r, s, ids, err
	}
	anna, annas, ids, _ := join("anna", `1`)
	if !slices.Equal(ids, []string{"anna1"}) {
		t.Errorf("anna sees %v", ids)
	}
	_, bens, ids, _ := join("ben", `2`)
	if !slices.Equal(ids, []string{"anna1", "ben2"}) {
		t.Errorf("ben sees %v", ids)
	}
	_, second, ids, _ := join("ben", `3`) // another tab, with other info: the first stays
	if !slices.Equal(ids, []string{"anna1", "ben2"}) {
		t.Errorf("ben's second tab sees %v", ids)
	}
	if _, _, _, err := join("carl", `4`); !errors.Is(err, ErrFull) {
		t.Errorf("a third user: %v, want ErrFull", err)
	}
	if s := must(a.State)("presence-c"); s.Users != 2 || s.Subscriptions != 3 {
		t.Errorf("state is %+v", s)
	}
	if got := must(a.Users)("presence-c"); !slices.Equal(got, []string{"anna", "ben"}) {
		t.Errorf("users are %v", got)
	}
	a.Unsubscribe(bens)
	a.publish(event("presence-c", "one tab left"), protocol.SocketID{})
	a.Unsubscribe(second)
	a.publish(event("presence-c", "end"), protocol.SocketID{})
	want := []string{`{"user_id":"ben","user_info":2}`, "one tab left", `{"user_id":"ben"}`, "end"}
	if got := anna.wait(t, "end"); !slices.Equal(got, want) {
		t.Errorf("anna got  %v\nwant %v", got, want)
	}
	a.Unsubscribe(annas)
	if a.find("presence-c") != nil || a.Subscriptions() != 0 || a.OccupiedChannels(protocol.Presence) != 0 {
		t.Error("the empty channel remains")
	}
}

func TestCacheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := NewBroker(1, nil)
		defer broker.Close()
		a := broker.NewApp("1", Limits{PresenceMembers: 1, CacheTTL: time.Minute}, new(counts), nil)
		last := func() string {
			_, s := subscribe(t, a, "private-cache-c")
			j := a.Rejoin(s, nil)
			a.Unsubscribe(s)
			return string(j.Last)
		}
		if got := last(); got != "" {
			t.Errorf("replays %q before any event", got)
		}
		if a.find("private-cache-c") != nil {
			t.Error("a channel without subscribers and without a last event remains")
		}
		first := event("private-cache-c", "1")
		a.publish(first, protocol.SocketID{})
		if got := last(); got != string(first.Frame()) {
			t.Errorf("replays %q", got)
		}
		// A client's event is not kept.
		_, s := subscribe(t, a, "private-cache-c")
		if err := a.PublishFrom(s, event("private-cache-c", "client"), ""); err != nil {
			t.Fatal(err)
		}
		a.Unsubscribe(s)
		time.Sleep(30 * time.Second) // synctest's clock
		if got := last(); got != string(first.Frame()) {
			t.Errorf("replays %q after half its time", got)
		}
		if state := must(a.State)("private-cache-c"); string(state.LastData) != `"1"` || state.LastTTL != 30*time.Second || state.Occupied() {
			t.Errorf("state is %+v", state)
		}
		second := event("private-cache-c", "2")
		a.publish(second, protocol.SocketID{})
		time.Sleep(59 * time.Second)
		if got := last(); got != string(second.Frame()) {
			t.Errorf("replays %q, want the second event", got)
		}
		time.Sleep(time.Second)
		if got := last(); got != "" {
			t.Errorf("replays %q after its time", got)
		}
		a.publish(first, protocol.SocketID{})
		a.Expire(time.Now().Add(time.Minute - 1))
		if a.find("private-cache-c") == nil {
			t.Error("forgotten too early")
		}
		a.Expire(time.Now().Add(time.Minute))
		if a.find("private-cache-c") != nil {
			t.Error("not forgotten")
		}
	})
}

func TestStates(t *testing.T) {
	a, _ := newApp(t, Limits{})
	for _, channel := range []string{"a-1", "a-2", "a-2", "b-1"} {
		subscribe(t, a, channel)
	}
	a.publish(event("cache-x", "kept"), protocol.SocketID{}) // exists, but is not occupied
	got := map[string]int{}
	for name, s := range must(a.States)("") {
		got[name] = s.Subscriptions
	}
	if len(got) != 3 || got["a-2"] != 2 {
		t.Errorf("all: %v", got)
	}
	if got := must(a.States)("a-"); len(got) != 2 {
		t.Errorf("a-: %v", got)
	}
	if got := a.OccupiedChannels(protocol.Public); got != 3 {
		t.Errorf("%d public channels", got)
	}
}

func TestAppsAreApart(t *testing.T) {
	broker := NewBroker(1, nil)
	defer broker.Close()
	limits := Limits{PresenceMembers: 1, CacheTTL: time.Minute}
	one, two := broker.NewApp("1", limits, new(counts), nil), broker.NewApp("1", limits, new(counts), nil)
	r1, _ := subscribe(t, one, "c")
	r2, _ := subscribe(t, two, "c")
	one.publish(event("c", "one"), protocol.SocketID{})
	two.publish(event("c", "two"), protocol.SocketID{})
	if got := r1.wait(t, "one"); len(got) != 1 {
		t.Errorf("the first app's got %v", got)
	}
	if got := r2.wait(t, "two"); len(got) != 1 {
		t.Errorf("the second app's got %v", got)
	}
}

// sink is a Subscriber that costs nothing.
type sink struct{ id protocol.SocketID }

func (s sink) ID() protocol.SocketID              { return s.id }
func (s sink) Source() protocol.Source            { return 0 }
func (s sink) Lines() bool                        { return false }
func (s sink) Hold()                              {}
func (s sink) Terminate()                         {}
func (s sink) Dropped(string, error)              {}
func (s sink) Deliver(*Subscription, []byte) bool { return false }
func (s sink) Send(protocol.Frame)                {}

// A delivery must not allocate: per publish there are a few allocations,
// however many subscribers there are.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			broker := NewBroker(2, nil)
			a := broker.NewApp("1", Limits{CacheTTL: time.Minute}, new(counts), nil)
			for i := range n {
				if _, _, err := a.Subscribe(sink{protocol.NewSocketID(uint64(i)<<32 | uint64(i))}, "c", nil); err != nil {
					b.Fatal(err)
				}
			}
			e := event("c", strings.Repeat("x", 100))
			b.ReportAllocs()
			for b.Loop() {
				a.publish(e, protocol.SocketID{})
			}
			broker.Close()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/delivery")
		})
	}
}

// must is for queries, which cannot fail on a single node.
func must[A, B any](query func(A) (B, error)) func(A) B {
	return func(a A) B {
		b, err := query(a)
		if err != nil {
			panic(err)
		}
		return b
	}
}
