package channels

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

func signIn(a *App, user string, watchlist ...string) (*recorder, *Identity) {
	r := newRecorder()
	i, _, _, err := a.SignIn(r, user, watchlist)
	if err != nil {
		panic(err)
	}
	return r, i
}

// take returns the data of what has come so far, and forgets it.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var data []string
	for _, m := range r.got {
		data = append(data, m.Data)
	}
	r.got = nil
	return data
}

func online(ids ...string) string  { return news2("online", ids) }
func offline(ids ...string) string { return news2("offline", ids) }

func news2(name string, ids []string) string {
	return fmt.Sprintf(`{"events":[{"name":"%s","user_ids":["%s"]}]}`, name, strings.Join(ids, `","`))
}

func expect(t *testing.T, who string, r *recorder, want ...string) {
	t.Helper()
	if got := r.take(); !slices.Equal(got, want) {
		t.Errorf("%s was told %q, want %q", who, got, want)
	}
}

func TestUserChannelReachesTheUserOnly(t *testing.T) {
	a, _ := newApp(t, Limits{})
	one, first := signIn(a, "1")
	two, _ := signIn(a, "1")
	other, _ := signIn(a, "2")
	a.publish(event("#server-to-user-1", "x"), protocol.SocketID{})
	one.wait(t, "x")
	two.wait(t, "x")
	expect(t, "another user", other)
	if n := len(a.connections("1")); n != 2 {
		t.Errorf("user 1 has %d connections", n)
	}
	a.SignOut(first)
	if got := a.connections("1"); len(got) != 1 || got[0] != Subscriber(two) {
		t.Errorf("user 1 has connections %v", got)
	}
	if got := a.connections("3"); got != nil {
		t.Errorf("nobody has connections %v", got)
	}
	if states := must(a.States)(""); len(states) != 0 {
		t.Errorf("users' channels are listed: %v", states)
	}
	if n := a.OccupiedChannels(protocol.User); n != 2 {
		t.Errorf("%d users are counted", n)
	}
}

func TestMembers(t *testing.T) {
	a, _ := newApp(t, Limits{})
	join := func(channel, user string) *recorder {
		r := newRecorder()
		if _, _, err := a.Subscribe(r, channel, &protocol.Member{UserID: user}); err != nil {
			t.Fatal(err)
		}
		return r
	}
	one := join("presence-a", "1")
	if _, _, err := a.Subscribe(one, "presence-b", &protocol.Member{UserID: "1"}); err != nil {
		t.Fatal(err)
	}
	two := join("presence-cache-a", "1")
	join("presence-a", "2")
	got := a.members("1")
	if len(got) != 2 || !slices.Contains(got, Subscriber(one)) || !slices.Contains(got, Subscriber(two)) {
		t.Errorf("user 1 has %d connections on presence channels", len(got))
	}
}

func TestWatchlist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newApp(t, Limits{})
		_, b := signIn(a, "b")
		watcher := newRecorder()
		identity, on, off, _ := a.SignIn(watcher, "a", []string{"b", "c", "a"})
		if !slices.Equal(on, []string{"b", "a"}) || !slices.Equal(off, []string{"c"}) {
			t.Errorf("online are %v, offline %v", on, off)
		}
		round := func() { time.Sleep(2 * watchDelay); synctest.Wait() }

		round()
		expect(t, "the watcher, of nothing new,", watcher)

		_, c := signIn(a, "c")
		_, c2 := signIn(a, "c")
		round()
		expect(t, "the watcher", watcher, online("c"))

		a.SignOut(c)
		round()
		expect(t, "the watcher, while c has one connection left,", watcher)
		a.SignOut(c2)
		a.SignOut(b)
		round()
		got := watcher.take()
		if len(got) != 1 || got[0] != offline("b", "c") && got[0] != offline("c", "b") {
			t.Errorf("the watcher was told %q", got)
		}

		// Away and back within a round is no news, both ways round.
		_, c = signIn(a, "c")
		a.SignOut(c)
		round()
		expect(t, "the watcher", watcher)
		_, c = signIn(a, "c")
		round()
		expect(t, "the watcher", watcher, online("c"))
		a.SignOut(c)
		_, c = signIn(a, "c")
		round()
		expect(t, "the watcher", watcher)

		// One who comes between a change and its round is not told twice.
		a.SignOut(c)
		late, lateIdentity := signIn(a, "d", "c")
		round()
		expect(t, "the watcher", watcher, offline("c"))
		expect(t, "one who knew", late)

		a.SignOut(identity)
		_, c = signIn(a, "c")
		round()
		expect(t, "one who signed out", watcher)
		expect(t, "the other", late, online("c"))

		a.SignOut(lateIdentity)
		a.SignOut(c)
		round()
		if n := len(a.users.byID) + len(a.users.changed) + len(a.users.timers.pending); n != 0 {
			t.Errorf("%d are remembered when nobody is left", n)
		}
		a.broker.Close()
	})
}

// A user with many watchers is encoded once.
func TestWatchersShareAFrame(t *testing.T) {
	single := make(map[string]protocol.Frame)
	one := (&news{online: []string{"x"}}).frame(single)
	two := (&news{online: []string{"x"}}).frame(single)
	if &one[0] != &two[0] {
		t.Error("the same news is encoded twice")
	}
	both := (&news{online: []string{"x"}, offline: []string{"y"}}).frame(single)
	if got, want := string(both.JSON()), string(protocol.WatchlistFrame([]string{"x"}, []string{"y"}).JSON()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
