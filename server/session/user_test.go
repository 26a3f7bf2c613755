package session_test

import (
	"fmt"
	"strings"
	"testing"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
)

func TestSignIn(t *testing.T) {
	s := servertest.Start(t)
	one, two, other, nobody := s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1")
	const userData = `{"id":"ann","user_info":{"name":"Ann \"A\""},"more":[1]}`
	one.Send(one.SignInText(userData))
	one.Expect(servertest.SignedIn(userData))
	two.SignIn("ann")
	other.SignIn("bob")

	// The clients ask for the channel themselves.
	const channel = "#server-to-user-ann"
	one.Subscribe(channel)
	for _, c := range []*servertest.Client{other, nobody} {
		c.Send(c.SubscribeText(channel, ""))
		expectRefusal(t, c, channel, "AuthError", 401, 4009)
	}

	// Whether they have or not, they are reached, each once; and nobody else.
	s.Publish(t, "1", "hello", "you", channel)
	for _, c := range []*servertest.Client{one, two} {
		c.Expect(servertest.EventText("hello", channel, "you"))
		c.Sync()
	}
	other.Sync()
	nobody.Sync()

	// Signing in again as oneself changes nothing, as somebody else is refused.
	one.Send(one.SignInText(userData))
	one.Expect(servertest.SignedIn(userData))
	one.Send(one.SignInText(`{"id":"bob"}`))
	if code, _ := one.ReadError(); code != 4009 {
		t.Errorf("a change of user is answered with %d", code)
	}
	s.Publish(t, "1", "hello", "bob", "#server-to-user-bob")
	other.Expect(servertest.EventText("hello", "#server-to-user-bob", "bob"))
	one.Sync()

	two.Drop()
	servertest.Eventually(t, "one connection is left", func() bool { return s.Metric(t, `belfry_connections{app="1"}`) == 3 })
	s.Publish(t, "1", "hello", "again", channel)
	one.Expect(servertest.EventText("hello", channel, "again"))
	if got := s.Get(t, "1", "channels"); got.Body != `{"channels":{}}` {
		t.Errorf("users' channels are listed: %s", got.Body)
	}
	if n := s.Metric(t, `belfry_channels{app="1",kind="server-to-user"}`); n != 2 {
		t.Errorf("%v users are counted", n)
	}
}

func TestSignInRefused(t *testing.T) {
	s := servertest.Start(t)
	c, other := s.Connect(t, "1"), s.Connect(t, "1")
	signin := func(data string) string { return `{"event":"pusher:signin","data":` + data + `}` }
	for _, message := range []string{
		other.SignInText(`{"id":"1"}`), // for another connection
		strings.Replace(c.SignInText(`{"id":"1"}`), "key-1", "key-2", 1),
		strings.Replace(c.SignInText(`{"id":"1"}`), `\"1\"`, `\"2\"`, 1),
		c.SignInText(`{}`), c.SignInText(`{"id":""}`), c.SignInText(`not JSON`), c.SignInText(`{"id":"1","watchlist":"2"}`),
		signin(`{}`), signin(`null`), signin(`"x"`), `{"event":"pusher:signin"}`,
		// An auth for a channel is none for a user.
		signin(`{"auth":"` + servertest.Sign("1", c.SocketID+":private-x") + `","user_data":"{\"id\":\"1\"}"}`),
	} {
		c.Send(message)
		code, text := c.ReadError()
		if code != 4009 || strings.Contains(text, "secret-1") {
			t.Errorf("%s is answered with %d %q", message, code, text)
		}
		c.Sync()
	}
	s.Publish(t, "1", "e", "x", "#server-to-user-1")
	c.Sync()
	c.SignIn("1")
}

func TestPresenceBySignIn(t *testing.T) {
	s := servertest.Start(t)
	first, c := s.Connect(t, "1"), s.Connect(t, "1")
	first.Join("presence-a", "x")
	c.Send(c.SignInText(`{"id":"ann","user_info":{"name":"Ann"}}`))
	c.ReadText()
	c.Send(c.SubscribeText("presence-a", ""))
	c.Expect(presenceSucceeded("presence-a", `{"presence":{"count":2,"ids":["x","ann"],"hash":{"x":null,"ann":{"name":"Ann"}}}}`))
	first.Expect(memberAdded("presence-a", `{"user_id":"ann","user_info":{"name":"Ann"}}`))
	c.Send(`{"event":"client-e","channel":"presence-a","data":"d"}`)
	first.Expect(`{"event":"client-e","channel":"presence-a","data":"d","user_id":"ann"}`)

	// Still signed: the application decides who may join what.
	c.Send(`{"event":"pusher:subscribe","data":{"channel":"presence-b"}}`)
	expectRefusal(t, c, "presence-b", "AuthError", 401, 4009)
	// channel_data decides when there is some.
	c.Send(c.SubscribeText("presence-c", `{"user_id":"other"}`))
	c.Expect(presenceSucceeded("presence-c", `{"presence":{"count":1,"ids":["other"],"hash":{"other":null}}}`))

	large := s.Connect(t, "1")
	large.Send(large.SignInText(`{"id":"l","user_info":"` + strings.Repeat("i", 1024) + `"}`))
	large.ReadText()
	large.Send(large.SubscribeText("presence-a", ""))
	expectRefusal(t, large, "presence-a", "InvalidSubscription", 400, 0)
	c.Drop()
	first.Expect(memberRemoved("presence-a", "ann"))
}

func watchlistText(events ...string) string {
	return `{"event":"pusher_internal:watchlist_events","data":` + servertest.Quote(`{"events":[`+strings.Join(events, ",")+`]}`) + `}`
}

func came(ids string) string { return `{"name":"online","user_ids":[` + ids + `]}` }
func went(ids string) string { return `{"name":"offline","user_ids":[` + ids + `]}` }

func TestWatchlist(t *testing.T) {
	s := servertest.Start(t)
	bob := s.Connect(t, "1")
	bob.SignIn("bob")
	ann := s.Connect(t, "1")
	const userData = `{"id":"ann","watchlist":["bob","cat"]}`
	ann.Send(ann.SignInText(userData))
	ann.Expect(servertest.SignedIn(userData))
	ann.Expect(watchlistText(came(`"bob"`), went(`"cat"`)))

	cat, again := s.Connect(t, "1"), s.Connect(t, "1")
	cat.SignIn("cat")
	ann.Expect(watchlistText(came(`"cat"`)))
	again.SignIn("cat")
	cat.Drop()
	bob.Drop()
	ann.Expect(watchlistText(went(`"bob"`))) // cat has a connection left
	again.Drop()
	ann.Expect(watchlistText(went(`"cat"`)))
	ann.Sync()
}

func TestWatchlistTooLong(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	var ids []string
	for i := range protocol.MaxWatchlist + 1 {
		ids = append(ids, fmt.Sprintf(`"u%d"`, i))
	}
	c.Send(c.SignInText(`{"id":"ann","watchlist":[` + strings.Join(ids, ",") + `]}`))
	c.ReadText()
	c.Expect(watchlistText(went(strings.Join(ids[:protocol.MaxWatchlist], ","))))
	if code, _ := c.ReadError(); code != 4302 {
		t.Errorf("got error %d, want 4302", code)
	}
	last := s.Connect(t, "1")
	last.SignIn(fmt.Sprintf("u%d", protocol.MaxWatchlist-1))
	c.Expect(watchlistText(came(ids[protocol.MaxWatchlist-1])))
}

func TestSubscriptionCount(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].SubscriptionCount = true })
	counted := func(channel string, n int) string {
		return `{"event":"pusher_internal:subscription_count","channel":"` + channel + `","data":` + servertest.Quote(fmt.Sprintf(`{"subscription_count":%d}`, n)) + `}`
	}
	one, two := s.Connect(t, "1"), s.Connect(t, "1")
	one.Subscribe("private-a")
	one.Expect(counted("private-a", 1))
	two.Subscribe("private-a")
	for _, c := range []*servertest.Client{one, two} {
		c.Expect(counted("private-a", 2))
	}
	two.Drop()
	one.Expect(counted("private-a", 1))
	one.Join("presence-a", "1")
	one.Sync()
}

// Of those who must sign in, one who does or who joins an authorized channel
// stays.
func TestRequireSignin(t *testing.T) {
	broker := channels.NewBroker(1, nil)
	t.Cleanup(broker.Close)
	a := servertest.App("1")
	a.RequireSignin = 30e9
	m := metrics.New("", "", "")
	admission := &session.Admission{Apps: apps.NewRegistry([]config.App{a}, broker, servertest.Webhooks(t), m), Metrics: m, Log: discard, Refusals: refusals.New(discard)}
	const now = keepalive.Time(100)
	tests := []struct {
		name, message string
		stays         bool
	}{
		{"nothing", `{"event":"pusher:ping"}`, false},
		{"public channel", `{"event":"pusher:subscribe","data":{"channel":"a"}}`, false},
		{"refused sign-in", `{"event":"pusher:signin","data":{"auth":"key-1:x","user_data":"{\"id\":\"1\"}"}}`, false},
		{"private channel", `{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$private-a"}}`, true},
		{"sign-in", `{"event":"pusher:signin","data":{"auth":"$:user::{\"id\":\"1\"}","user_data":"{\"id\":\"1\"}"}}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &wire{seen: now - 1} // whose second is over when it is first due
			s, e := admission.Admit(session.Handshake{App: admission.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}}, w)
			if e != nil {
				t.Fatal(e)
			}
			defer s.End(session.ByClient)
			if next := s.Due(now, now); next != now+30 {
				t.Errorf("looked at again after %d s", next-now)
			}
			id := s.ID().String()
			message := strings.ReplaceAll(tt.message, "$private-a", servertest.Sign("1", id+":private-a"))
			message = strings.ReplaceAll(message, `$:user::{\"id\":\"1\"}`, servertest.Sign("1", id+`::user::{"id":"1"}`))
			s.Handle([]byte(message))
			s.Due(now+29, now+29)
			if w.closed != nil {
				t.Fatalf("closed early with %v", w.closed)
			}
			s.Due(now+30, now+30)
			switch {
			case tt.stays && w.closed != nil:
				t.Errorf("closed with %v", w.closed)
			case !tt.stays && (w.closed == nil || w.closed.Code != 4009):
				t.Errorf("closed with %v, want 4009", w.closed)
			}
		})
	}
}

func TestTerminate(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		second := servertest.App("2")
		second.TerminateCode, second.TerminatePresenceUsers = 4200, true
		c.Apps = append(c.Apps, second)
	})
	terminate := func(app, user string) {
		t.Helper()
		if a := s.Post(t, app, "users/"+user+"/terminate_connections", "{}"); a.Status != 200 || a.Body != "{}" {
			t.Fatalf("answered with %d %s", a.Status, a.Body)
		}
	}
	one, two, bob, member := s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1")
	one.SignIn("ann")
	two.SignIn("ann")
	bob.SignIn("bob")
	member.Join("presence-a", "ann") // has not signed in
	terminate("1", "ann")
	terminate("1", "nobody")
	for _, c := range []*servertest.Client{one, two} {
		if code, _ := c.ReadError(); code != 4009 {
			t.Errorf("got error %d, want 4009", code)
		}
		if code, _ := c.ReadClose(); code != 4009 {
			t.Errorf("closed with %d, want 4009", code)
		}
	}
	bob.Sync()
	member.Sync()

	one, member = s.Connect(t, "2"), s.Connect(t, "2")
	one.SignIn("a b")
	member.Join("presence-a", "a b")
	terminate("2", "a%20b")
	for _, c := range []*servertest.Client{one, member} {
		c.ReadError()
		if code, _ := c.ReadClose(); code != 4200 {
			t.Errorf("closed with %d, want 4200", code)
		}
	}
	servertest.Eventually(t, "they are gone", func() bool {
		return s.Metric(t, `belfry_connections_closed_total{app="2",reason="terminated"}`) == 2 &&
			s.Metric(t, `belfry_connections{app="2"}`) == 0
	})
}

// The keys of what an application signed are case-sensitive: nobody becomes
// somebody else by a key that only looks like the one that is read.
func TestIdentityIsTheSignedOne(t *testing.T) {
	for _, userData := range []string{
		`{"id":"mallory","ID":"alice"}`,
		`{"ID":"alice","id":"mallory"}`,
		`{"id":"alice","id":"mallory"}`,
		`{"Id":"alice","\u0069d":"mallory"}`,
	} {
		t.Run(userData, func(t *testing.T) {
			s := servertest.Start(t)
			c := s.Connect(t, "1")
			c.Send(c.SignInText(userData))
			c.Expect(servertest.SignedIn(userData))
			s.Publish(t, "1", "secret", "x", "#server-to-user-alice")
			c.Sync()
			s.Publish(t, "1", "hello", "x", "#server-to-user-mallory")
			c.Expect(servertest.EventText("hello", "#server-to-user-mallory", "x"))
			if a := s.Post(t, "1", "users/mallory/terminate_connections", "{}"); a.Status != 200 {
				t.Errorf("terminating is answered with %d %s", a.Status, a.Body)
			}
			if code, _ := c.ReadError(); code != 4009 {
				t.Errorf("the connection is told %d", code)
			}
		})
	}
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	const member = `{"user_id":"7","User_ID":"8"}`
	c.Send(c.SubscribeText("presence-a", member))
	c.Expect(presenceSucceeded("presence-a", `{"presence":{"count":1,"ids":["7"],"hash":{"7":null}}}`))
}
