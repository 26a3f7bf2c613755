package channels

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"belfry/protocol"
)

// handOver exports everything of an application to one of another broker, with the
// same subscribers: subscriptions and sign-ins are restored as the sessions do it.
func handOver(t *testing.T, a, to *App, clients []*client) {
	t.Helper()
	a.broker.Freeze()
	defer a.broker.Thaw()
	to.broker.Freeze()
	defer to.broker.Thaw()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.ExportChannels(to.RestoreChannel))
	to.RestoreDepartures(a.ExportDepartures())
	for _, c := range clients {
		for i, sub := range c.subs {
			restored, err := to.RestoreSubscription(c.recorder, sub.Channel(), sub.UserID())
			must(err)
			c.subs[i] = restored
		}
		if c.identity != nil {
			watchlist, online := a.Watchlist(c.identity)
			restored, err := to.RestoreSignIn(c.recorder, c.identity.UserID(), watchlist, online)
			must(err)
			c.identity = restored
		}
	}
	must(to.Restored())
}

// client is a subscriber with what it has.
type client struct {
	*recorder
	subs     []*Subscription
	identity *Identity
}

func (c *client) subscribe(t *testing.T, a *App, name string, m *protocol.Member) Joined {
	t.Helper()
	s, joined, err := a.Subscribe(c.recorder, name, m)
	if err != nil {
		t.Fatal(err)
	}
	c.subs = append(c.subs, s)
	return joined
}

// A new broker goes on where the old one was, and nobody is told of that.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told [2]backend
		apps := make([]*App, 2)
		for i := range apps {
			broker := NewBroker(2, nil)
			defer broker.Close()
			apps[i] = broker.NewApp("1", Limits{PresenceMembers: 100, CacheTTL: time.Minute, SubscriptionCount: true}, new(counts), &told[i])
			defer apps[i].Close()
		}
		old, successor := apps[0], apps[1]
		var clients []*client
		for range 4 {
			clients = append(clients, &client{recorder: newRecorder()})
		}
		a, b, c, leaving := clients[0], clients[1], clients[2], clients[3]
		ann, bob := protocol.Member{UserID: "ann", UserInfo: []byte(`{"name":"Ann \"\ud83d\" é","n":[1,null]}`)}, protocol.Member{UserID: "bob"}
		bob.UserInfo = []byte("null")
		a.subscribe(t, old, "presence-x", &bob)
		b.subscribe(t, old, "presence-x", &ann)
		c.subscribe(t, old, "presence-x", &ann)
		leaving.subscribe(t, old, "presence-x", &protocol.Member{UserID: "cy"})
		a.subscribe(t, old, "cache-y", nil)
		a.subscribe(t, old, "private-z", nil)
		b.subscribe(t, old, "private-z", nil)
		leaving.subscribe(t, old, "vacant", nil)
		old.Publish(Publication{Event: protocol.Event{Name: "e", Channel: "cache-y", Data: []byte(`"last"`)}},
			Publication{Event: protocol.Event{Name: "e", Channel: "cache-nobody", Data: []byte(`"kept"`)}})
		for _, one := range []*client{a, b} {
			i, _, _, err := old.SignIn(one.recorder, map[*client]string{a: "u", b: "v"}[one], []string{"v", "w"})
			if err != nil {
				t.Fatal(err)
			}
			one.identity = i
		}
		time.Sleep(time.Second) // of the bubble
		for _, s := range leaving.subs {
			old.Unsubscribe(s)
		}
		leaving.subs = nil
		if i, _, _, err := old.SignIn(leaving.recorder, "w", nil); err != nil { // the others are not told yet
			t.Fatal(err)
		} else {
			leaving.identity = i
		}
		synctest.Wait()

		want, got := describe(t, old), []string(nil)
		told[0].take()
		sizes := received(clients)
		handOver(t, old, successor, clients)
		if got = describe(t, successor); !slices.Equal(got, want) {
			t.Errorf("the new one has\n%s", cmp.Diff(want, got))
		}
		if now := received(clients); !slices.Equal(now, sizes) {
			t.Errorf("clients have got %v messages, and had %v", now, sizes)
		}
		told[0].expect(t, "the handover")
		told[1].expect(t, "the handover")

		// From here on, the old broker has nobody any more.
		time.Sleep(watchDelay)
		synctest.Wait()
		if text := a.data()[len(a.data())-1]; text != `{"events":[{"name":"online","user_ids":["w"]}]}` {
			t.Errorf("the watcher was told %s", text)
		}
		time.Sleep(Grace - time.Second)
		a.subscribe(t, successor, "vacant", nil) // was never vacated
		time.Sleep(Grace)
		told[1].expect(t, "the end of the grace", happenedCount("vacant", 1), happenedTo("member_removed", "presence-x", "cy"))
		successor.Publish(Publication{Event: protocol.Event{Name: "e", Channel: "private-z", Data: []byte(`"1"`)}})
		synctest.Wait()
		for _, one := range []*client{a, b} {
			if data := one.data(); data[len(data)-1] != "1" {
				t.Errorf("after an event, a client has got %q", data)
			}
		}
		if joined := c.subscribe(t, successor, "cache-y", nil); joined.Last == nil {
			t.Error("the last event is lost")
		}
		for _, one := range clients {
			for _, s := range one.subs {
				successor.Unsubscribe(s)
			}
			if one.identity != nil {
				successor.SignOut(one.identity)
			}
		}
		if n := successor.Subscriptions(); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
}

func received(clients []*client) (n []int) {
	for _, c := range clients {
		n = append(n, len(c.data()))
	}
	return n
}

// describe is what there is to see of an application.
func describe(t *testing.T, a *App) (lines []string) {
	t.Helper()
	a.each("", func(c *channel) {
		line := fmt.Sprintf("%s %d", c.name, c.count)
		if c.members != nil {
			line += " " + string(protocol.Success{Channel: c.name, Members: c.members.snapshot()}.Frame())
			for _, id := range c.members.ids() {
				line += fmt.Sprint(" ", c.members.byID[id].connections)
			}
		}
		if c.last != nil {
			line += fmt.Sprintf(" %q %s %s", c.last.frame, c.last.data, c.last.expires)
		}
		if n := c.notices; n != nil {
			line += fmt.Sprint(" ", n.counted, n.count, n.counting, n.missed)
		}
		lines = append(lines, line)
	})
	for kind := range protocol.NumKinds {
		lines = append(lines, fmt.Sprint(kind, a.OccupiedChannels(kind)))
	}
	lines = append(lines, fmt.Sprint(a.Subscriptions(), a.channels.Load()))
	a.users.mu.Lock()
	defer a.users.mu.Unlock()
	for id, u := range a.users.byID {
		line := fmt.Sprint(id, " ", u.connections)
		var knowing []string
		for i, known := range u.watchers {
			knowing = append(knowing, fmt.Sprint(i.subscriber.ID(), known))
		}
		slices.Sort(knowing)
		lines = append(lines, line+fmt.Sprint(knowing))
	}
	for _, d := range a.ExportDepartures() {
		lines = append(lines, fmt.Sprint(d))
	}
	slices.Sort(lines)
	return lines
}

// What does not fit together is an error.
func TestRestoreRefuses(t *testing.T) {
	member := []ExportedMember{{UserID: "1"}}
	for name, restore := range map[string]func(*App, *recorder) error{
		"members of a channel without presence": func(a *App, _ *recorder) error {
			return a.RestoreChannel(ExportedChannel{Name: "a", Members: member})
		},
		"a member twice": func(a *App, _ *recorder) error {
			return a.RestoreChannel(ExportedChannel{Name: "presence-a", Members: append(member, member...)})
		},
		"a channel twice": func(a *App, _ *recorder) error {
			return errors.Join(a.RestoreChannel(ExportedChannel{Name: "presence-a", Members: member}),
				a.RestoreChannel(ExportedChannel{Name: "presence-a", Members: member}))
		},
		"a last event that is no frame": func(a *App, _ *recorder) error {
			return a.RestoreChannel(ExportedChannel{Name: "cache-a", Last: &ExportedEvent{Frame: []byte{0x81, 200}}})
		},
		"a subscriber that is no member": func(a *App, r *recorder) error {
			_, err := a.RestoreSubscription(r, "presence-a", "1")
			return err
		},
		"a member without a connection": func(a *App, _ *recorder) error {
			return errors.Join(a.RestoreChannel(ExportedChannel{Name: "presence-a", Members: member}), a.Restored())
		},
		"a user who is not watched": func(a *App, r *recorder) error {
			_, err := a.RestoreSignIn(r, "1", nil, []string{"2"})
			return err
		},
	} {
		a, _ := newApp(t, Limits{})
		if err := restore(a, newRecorder()); !errors.Is(err, errRestore) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// The members of a roster survive, whatever they are.
func TestRosterSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m protocol.Members
		var want []protocol.Member
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			one := protocol.Member{UserID: rapid.String().Draw(t, "id")}
			if text := rapid.String().Draw(t, "info"); text != "" {
				one.UserInfo = protocol.AppendString(nil, text)
			}
			m.Add(one)
			want = append(want, one)
		}
		got, err := m.List()
		if err != nil {
			t.Fatal(err)
		}
		if len(want)+len(got) > 0 && !cmp.Equal(got, want) {
			t.Fatal(cmp.Diff(want, got))
		}
	})
}

// Whatever a state is, it is refused, or channels go on from it.
func FuzzRestore(f *testing.F) {
	for _, seed := range []string{
		`{"channels":[{"name":"presence-x","members":[{"user_id":"1","info":"{}"},{"user_id":"2"}]}],"subscriptions":[{"channel":"presence-x","user_id":"1"},{"channel":"presence-x","user_id":"2"}]}`,
		`{"channels":[{"name":"cache-c","last":{"frame":"gQJ7fQ==","data":"Int9Ig==","expires":"2100-01-01T00:00:00Z"},"counted":"2000-01-01T00:00:00Z","count":-1,"counting":true,"missed":"2000-01-01T00:00:00Z"}],"subscriptions":[{"channel":"cache-c"}]}`,
		`{"channels":[{"name":"presence-x","members":[{"user_id":""},{"user_id":"\"","info":"]"}]}],"subscriptions":[{"channel":"presence-x"}]}`,
		`{"departures":[{"name":"member_removed","channel":"presence-x","user_id":"3","source":7,"due":"2000-01-01T00:00:00Z"},{"due":"0001-01-01T00:00:00Z"},{}]}`,
		`{"users":[{"id":"u","watchlist":["u","v"],"online":["v"]}],"subscriptions":[{"channel":"#server-to-user-u"}]}`,
		`{"users":[{"id":"u","watchlist":["v","v"],"online":["v"]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var state struct {
			Channels      []ExportedChannel   `json:"channels"`
			Departures    []ExportedDeparture `json:"departures"`
			Subscriptions []struct {
				Channel string `json:"channel"`
				UserID  string `json:"user_id"`
			} `json:"subscriptions"`
			Users []struct {
				ID                string
				Watchlist, Online []string
			} `json:"users"`
		}
		if json.Unmarshal(text, &state) != nil {
			return
		}
		broker := NewBroker(1, nil)
		defer broker.Close()
		a := broker.NewApp("1", Limits{PresenceMembers: 100, CacheTTL: time.Minute, SubscriptionCount: true}, new(counts), new(backend))
		defer a.Close()
		broker.Freeze()
		thaw := sync.OnceFunc(broker.Thaw)
		defer thaw()
		for _, c := range state.Channels {
			if a.RestoreChannel(c) != nil {
				return
			}
		}
		a.RestoreDepartures(state.Departures)
		r := newRecorder()
		var subs []*Subscription
		for _, s := range state.Subscriptions {
			sub, err := a.RestoreSubscription(r, s.Channel, s.UserID)
			if err != nil {
				return
			}
			subs = append(subs, sub)
		}
		var identities []*Identity
		for _, u := range state.Users {
			i, err := a.RestoreSignIn(r, u.ID, u.Watchlist, u.Online)
			if err != nil {
				return
			}
			identities = append(identities, i)
		}
		if a.Restored() != nil {
			return
		}
		thaw()
		if _, err := a.States(""); err != nil {
			t.Fatal(err)
		}
		for _, s := range subs {
			a.Rejoin(s, nil)
			a.Unsubscribe(s)
		}
		for _, i := range identities {
			a.SignOut(i)
		}
		if n := a.Subscriptions(); n != 0 {
			t.Fatalf("%d subscriptions are left", n)
		}
	})
}
