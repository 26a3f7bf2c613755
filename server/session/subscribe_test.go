package session_test

import (
	"fmt"
	"strings"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
)

const secret = "secret-1"

// subscribeData is a pusher:subscribe with this JSON as its data.
func subscribeData(data string) string { return `{"event":"pusher:subscribe","data":` + data + `}` }

// expectRefusal reads what a refused subscription is answered: an event for
// the channel's handlers and one for everybody else's.
func expectRefusal(t *testing.T, c *servertest.Client, channel, kind string, status, code int) (message string) {
	t.Helper()
	text := c.ReadText()
	gotCode, message := c.ReadError()
	want := `{"event":"pusher:subscription_error","channel":` + servertest.Quote(channel) + `,"data":` +
		servertest.Quote(fmt.Sprintf(`{"type":%q,"error":%s,"status":%d}`, kind, servertest.Quote(message), status)) + `}`
	if text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if gotCode != code {
		t.Errorf("got error %d %q, want %d", gotCode, message, code)
	}
	if strings.Contains(message, secret) {
		t.Errorf("message %q holds the secret", message)
	}
	c.Sync()
	return message
}

func presenceSucceeded(channel, roster string) string {
	return `{"event":"pusher_internal:subscription_succeeded","channel":` + servertest.Quote(channel) + `,"data":` + servertest.Quote(roster) + `}`
}

func memberAdded(channel, member string) string {
	return `{"event":"pusher_internal:member_added","channel":` + servertest.Quote(channel) + `,"data":` + servertest.Quote(member) + `}`
}

func memberRemoved(channel, user string) string {
	return `{"event":"pusher_internal:member_removed","channel":` + servertest.Quote(channel) + `,"data":` + servertest.Quote(`{"user_id":`+servertest.Quote(user)+`}`) + `}`
}

func cacheMiss(channel string) string {
	return `{"event":"pusher:cache_miss","channel":"` + channel + `","data":"{}"}`
}

func TestPingAndPong(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	for _, data := range []string{"", `,"data":{}`, `,"data":[]`, `,"data":"{}"`, `,"data":null`, `,"data":"x"`, `,"data":1`, `,"channel":null`, `,"more":{"a":[1]}`} {
		c.Send(`{"event":"pusher:ping"` + data + `}`)
		c.Expect(`{"event":"pusher:pong","data":"{}"}`)
		c.Send(`{"event":"pusher:pong"` + data + `}`) // a sign of life, not answered
	}
	c.Send(" \n{ \"data\" : { } ,\t\"event\" : \"pusher\\u003aping\" } ")
	c.Expect(`{"event":"pusher:pong","data":"{}"}`)
	c.Sync()
}

func TestSubscribe(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	sign := func(channel string) string { return servertest.Quote(servertest.Sign("1", c.SocketID+":"+channel)) }
	tests := []struct{ name, channel, data string }{
		{"public", "a", `{"channel":"a"}`},
		{"empty auth, as pusher-js sends", "b", `{"auth":"","channel":"b"}`},
		{"null auth and channel_data", "c", `{"auth":null,"channel":"c","channel_data":null}`},
		{"unneeded auth", "d", `{"auth":"nonsense","channel":"d"}`},
		{"more keys", "e", `{"channel":"e","more":{"deep":[1,2,{"x":null}]}}`},
		{"data as a string", "f", `"{\"channel\":\"f\"}"`},
		{"every character", "AZaz09_-=@,.;", `{"channel":"AZaz09_-=@,.;"}`},
		{"longest name", strings.Repeat("n", 200), `{"channel":"` + strings.Repeat("n", 200) + `"}`},
		{"escaped name", "g", `{"channel":"\u0067"}`},
		{"private", "private-a", `{"channel":"private-a","auth":` + sign("private-a") + `}`},
		{"private, data as a string", "private-b", servertest.Quote(`{"channel":"private-b","auth":` + sign("private-b") + `}`)},
		{"private, empty channel_data", "private-c", `{"channel":"private-c","channel_data":"","auth":` + sign("private-c") + `}`},
		{"private, custom channel_data", "private-d", `{"channel":"private-d","channel_data":"x:y","auth":` + sign("private-d:x:y") + `}`},
		{"encrypted", "private-encrypted-a", `{"channel":"private-encrypted-a","auth":` + sign("private-encrypted-a") + `}`},
		{"no dash: public", "private", `{"channel":"private"}`},
		{"no dash: public as well", "privateer-x", `{"channel":"privateer-x"}`},
		{"capitals: public", "PRIVATE-x", `{"channel":"PRIVATE-x"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.Send(subscribeData(tt.data))
			c.Expect(servertest.Succeeded(tt.channel))
			s.Publish(t, "1", "e", "x", tt.channel)
			c.Expect(servertest.EventText("e", tt.channel, "x"))

			// Once more is no harm, and makes no second subscription.
			c.Send(subscribeData(tt.data))
			c.Expect(servertest.Succeeded(tt.channel))
			s.Publish(t, "1", "e", "y", tt.channel)
			c.Expect(servertest.EventText("e", tt.channel, "y"))
			if a := s.Get(t, "1", "channels/"+tt.channel+"?info=subscription_count"); a.Body != `{"occupied":true,"subscription_count":1}` {
				t.Errorf("channel is %s", a.Body)
			}
			c.Sync()

			c.Send(`{"event":"pusher:unsubscribe","data":{"channel":"` + tt.channel + `"}}`)
			c.Sync()
			s.Publish(t, "1", "e", "z", tt.channel)
			c.Sync()
			if a := s.Get(t, "1", "channels/"+tt.channel); a.Body != `{"occupied":false}` {
				t.Errorf("channel is %s", a.Body)
			}
		})
	}
}

// A connection that has many channels, and leaves some of them.
func TestManyChannels(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	name := func(i int) string { return fmt.Sprint("channel-", i) }
	const n = 60
	for i := range n {
		c.Subscribe(name(i))
	}
	for i := 0; i < n; i += 2 {
		c.Send(`{"event":"pusher:unsubscribe","data":{"channel":"` + name(i) + `"}}`)
	}
	c.Sync()
	for i := range n {
		s.Publish(t, "1", "e", "x", name(i))
		if i%2 == 1 {
			c.Expect(servertest.EventText("e", name(i), "x"))
		}
	}
	c.Sync()
	if got := s.Metric(t, `belfry_subscriptions{app="1"}`); got != n/2 {
		t.Errorf("belfry_subscriptions is %v, want %d", got, n/2)
	}
}

func TestUnsubscribeIsSilent(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	for _, data := range []string{`{"channel":"nowhere"}`, `"{\"channel\":\"nowhere\"}"`, `{"channel":"private-nowhere"}`, `{"channel":""}`, `{"channel":"not a name"}`} {
		c.Send(`{"event":"pusher:unsubscribe","data":` + data + `}`)
		c.Sync()
	}
}

func TestSubscribeRefused(t *testing.T) {
	s := servertest.Start(t)
	c, other := s.Connect(t, "1"), s.Connect(t, "1")
	sign := func(text string) string { return servertest.Sign("1", text) }
	good := sign(c.SocketID + ":private-a")
	const john = `{"user_id":"john"}`
	tests := []struct {
		name, channel, auth, channelData string
		kind                             string
		status, code                     int
	}{
		{"no auth", "private-a", "", "", "AuthError", 401, 4009},
		{"auth without a key", "private-a", strings.TrimPrefix(good, "key-1:"), "", "AuthError", 401, 4009},
		{"key without a digest", "private-a", "key-1:", "", "AuthError", 401, 4009},
		{"another key", "private-a", "key-2" + strings.TrimPrefix(good, "key-1"), "", "AuthError", 401, 4009},
		{"secret for key", "private-a", "secret-1" + strings.TrimPrefix(good, "key-1"), "", "AuthError", 401, 4009},
		{"upper case", "private-a", "key-1:" + strings.ToUpper(strings.TrimPrefix(good, "key-1:")), "", "AuthError", 401, 4009},
		{"cut off", "private-a", good[:len(good)-1], "", "AuthError", 401, 4009},
		{"too long", "private-a", good + "0", "", "AuthError", 401, 4009},
		{"another channel", "private-a", sign(c.SocketID + ":private-b"), "", "AuthError", 401, 4009},
		{"another socket", "private-a", sign(other.SocketID + ":private-a"), "", "AuthError", 401, 4009},
		{"another secret", "private-a", "key-1" + strings.TrimPrefix(servertest.Sign("2", c.SocketID+":private-a"), "key-2"), "", "AuthError", 401, 4009},
		{"channel_data not signed", "private-a", good, "x", "AuthError", 401, 4009},
		{"encrypted", "private-encrypted-a", good, "", "AuthError", 401, 4009},
		{"private cache", "private-cache-a", good, "", "AuthError", 401, 4009},
		{"presence, no auth", "presence-a", "", john, "AuthError", 401, 4009},
		{"presence, another channel_data", "presence-a", sign(c.SocketID + ":presence-a:" + john), `{"user_id":"jane"}`, "AuthError", 401, 4009},
		{"presence, channel_data not signed", "presence-a", sign(c.SocketID + ":presence-a"), john, "AuthError", 401, 4009},
		{"presence cache", "presence-cache-a", "", john, "AuthError", 401, 4009},

		{"empty name", "", "", "", "InvalidSubscription", 400, 0},
		{"space", "a b", "", "", "InvalidSubscription", 400, 0},
		{"slash", "a/b", "", "", "InvalidSubscription", 400, 0},
		{"colon", "a:b", "", "", "InvalidSubscription", 400, 0},
		{"quote", `a"b`, "", "", "InvalidSubscription", 400, 0},
		{"line break", "a\nb", "", "", "InvalidSubscription", 400, 0},
		{"NUL", "a\x00b", "", "", "InvalidSubscription", 400, 0},
		{"umlaut", "größe", "", "", "InvalidSubscription", 400, 0},
		{"201 characters", strings.Repeat("n", 201), "", "", "InvalidSubscription", 400, 0},
		{"201 characters, private and signed", "private-" + strings.Repeat("n", 193), sign(c.SocketID + ":private-" + strings.Repeat("n", 193)), "", "InvalidSubscription", 400, 0},
		{"#", "#", "", "", "InvalidSubscription", 400, 0},
		{"# name", "#private-a", "", "", "InvalidSubscription", 400, 0},
		{"user channel, not signed in", "#server-to-user-1", "", "", "AuthError", 401, 4009},
		{"user channel of nobody", "#server-to-user-", "", "", "InvalidSubscription", 400, 0},
		{"prefix only: private", "private-", "", "", "AuthError", 401, 4009},
		{"prefix only: presence", "presence-", "", "", "AuthError", 401, 4009},
		{"prefix only: encrypted", "private-encrypted-", "", "", "AuthError", 401, 4009},

		{"presence, no channel_data", "presence-a", sign(c.SocketID + ":presence-a"), "", "InvalidSubscription", 400, 0},
	}
	for _, data := range []string{
		`{}`, `[]`, `"x"`, `null`, `{`, `{"user_id":null}`, `{"user_id":""}`, `{"user_id":{}}`, `{"user_id":["1"]}`, `{"user_id":true}`,
		`{"user_info":{}}`, `{"user_id":"` + strings.Repeat("u", 129) + `"}`, `{"user_id":` + strings.Repeat("1", 129) + `}`,
		`{"user_id":"1","user_info":"` + strings.Repeat("i", 1023) + `"}`,
	} {
		name := data
		if len(name) > 40 {
			name = name[:40]
		}
		tests = append(tests, struct {
			name, channel, auth, channelData string
			kind                             string
			status, code                     int
		}{"presence, channel_data " + name, "presence-a", sign(c.SocketID + ":presence-a:" + data), data, "InvalidSubscription", 400, 0})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.Send(subscribeData(`{"channel":` + servertest.Quote(tt.channel) + `,"auth":` + servertest.Quote(tt.auth) + `,"channel_data":` + servertest.Quote(tt.channelData) + `}`))
			if tt.channel == "" {
				// Nothing to name in the event for the channel.
				if e := c.ReadEvent(); e.Event == "pusher:subscription_error" {
					c.ReadError()
				} else if e.Event != "pusher:error" {
					t.Errorf("got %+v", e)
				}
				c.Sync()
				return
			}
			message := expectRefusal(t, c, tt.channel, tt.kind, tt.status, tt.code)
			right := servertest.Sign("1", c.SocketID+":"+tt.channel+strings.TrimSuffix(":"+tt.channelData, ":"))
			for name, hidden := range map[string]string{"the digest that was right": right, "the digest that was given": tt.auth} {
				if _, hidden, _ := strings.Cut(hidden, ":"); hidden != "" && strings.Contains(message, hidden) {
					t.Errorf("message %q holds %s", message, name)
				}
			}
		})
	}
	if got := s.Metric(t, `belfry_subscriptions{app="1"}`); got != 0 {
		t.Errorf("belfry_subscriptions is %v", got)
	}
	if a := s.Get(t, "1", "channels"); a.Body != `{"channels":{}}` {
		t.Errorf("channels are %s", a.Body)
	}
	if s.Log.Contains(secret) {
		t.Errorf("the log has the secret in it")
	}
	if s.Log.Contains(strings.TrimPrefix(good, "key-1:")) {
		t.Errorf("the log has a valid signature in it")
	}
}

func TestPresence(t *testing.T) {
	s := servertest.Start(t)
	const channel = "presence-a"
	join := func(c *servertest.Client, data string) { t.Helper(); c.Send(c.SubscribeText(channel, data)) }

	first := s.Connect(t, "1")
	join(first, `{"user_id":"1","user_info":{"name":"größe","n":[1.50, 2e3]}}`)
	first.Expect(presenceSucceeded(channel, `{"presence":{"count":1,"ids":["1"],"hash":{"1":{"name":"größe","n":[1.50, 2e3]}}}}`))

	// A number becomes a string; user_info may be missing.
	second := s.Connect(t, "1")
	join(second, `{"user_id":2}`)
	second.Expect(presenceSucceeded(channel, `{"presence":{"count":2,"ids":["1","2"],"hash":{"1":{"name":"größe","n":[1.50, 2e3]},"2":null}}}`))
	first.Expect(memberAdded(channel, `{"user_id":"2"}`))

	// A second connection of a user, with other user_info: the first one's
	// stays, and nobody is told.
	tab := s.Connect(t, "1")
	join(tab, `{"user_id":"2","user_info":"other"}`)
	tab.Expect(presenceSucceeded(channel, `{"presence":{"count":2,"ids":["1","2"],"hash":{"1":{"name":"größe","n":[1.50, 2e3]},"2":null}}}`))

	third := s.Connect(t, "1")
	join(third, `{"user_id":"\"3\\","user_info":true}`)
	third.Expect(presenceSucceeded(channel, `{"presence":{"count":3,"ids":["1","2","\"3\\"],"hash":{"1":{"name":"größe","n":[1.50, 2e3]},"2":null,"\"3\\":true}}}`))
	for _, c := range []*servertest.Client{first, second, tab} {
		c.Expect(memberAdded(channel, `{"user_id":"\"3\\","user_info":true}`))
	}
	if a := s.Get(t, "1", "channels/presence-a?info=user_count"); a.Body != `{"occupied":true,"user_count":3}` {
		t.Errorf("channel is %s", a.Body)
	}

	// Subscribing twice is no second connection of the user.
	join(third, `{"user_id":"\"3\\","user_info":"changed"}`)
	if got := third.ReadEvent().String(); !strings.Contains(got, `"count":3`) || strings.Contains(got, "changed") {
		t.Errorf("subscribing again was answered with %s", got)
	}
	// As another user it is refused, and the member stays who it was.
	join(third, `{"user_id":"4"}`)
	if e := third.ReadEvent(); e.Event != "pusher:subscription_error" || e.Channel != channel {
		t.Errorf("subscribing as another user was answered with %+v", e)
	}
	third.ReadError()
	third.Sync()

	// Only the last connection of a user is a removal, however it ends.
	tab.Reset()
	servertest.Eventually(t, "the second tab is gone", func() bool { return s.Metric(t, `belfry_connections{app="1"}`) == 3 })
	second.Send(`{"event":"pusher:unsubscribe","data":{"channel":"presence-a"}}`)
	second.Sync()
	for _, c := range []*servertest.Client{first, third} {
		c.Expect(memberRemoved(channel, "2"))
	}
	if err := third.Leave(); err != nil {
		t.Error(err)
	}
	first.Expect(memberRemoved(channel, `"3\`))
	first.Sync()
	if a := s.Get(t, "1", "channels/presence-a/users"); a.Body != `{"users":[{"id":"1"}]}` {
		t.Errorf("users are %s", a.Body)
	}
	second.Sync()
}

func TestPresenceLimits(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Apps[0].MaxPresenceMembers = 2
		c.Apps[0].MaxPresenceUserBytes = 10
	})
	a, b, c := s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1")
	a.Join("presence-a", "1")
	b.Join("presence-a", "2")
	a.Expect(memberAdded("presence-a", `{"user_id":"2"}`))

	c.Send(c.SubscribeText("presence-a", `{"user_id":"3"}`))
	expectRefusal(t, c, "presence-a", "LimitReached", 4100, 4100)
	// A user who is there already may come again.
	if roster := c.Join("presence-a", "2"); !strings.Contains(roster, `"count":2`) {
		t.Errorf("roster is %s", roster)
	}
	// And one who has left makes room.
	a.Send(`{"event":"pusher:unsubscribe","data":{"channel":"presence-a"}}`)
	a.Sync()
	for _, c := range []*servertest.Client{b, c} {
		c.Expect(memberRemoved("presence-a", "1"))
	}
	if roster := a.Join("presence-a", "3"); !strings.Contains(roster, `"ids":["2","3"]`) {
		t.Errorf("roster is %s", roster)
	}

	d := s.Connect(t, "1")
	d.Send(d.SubscribeText("presence-b", `{"user_id":"1","user_info":"12345678"}`)) // 10 bytes with its quotes
	if e := d.ReadEvent(); e.Event != "pusher_internal:subscription_succeeded" {
		t.Errorf("user_info at its limit was answered with %+v", e)
	}
	d.Send(d.SubscribeText("presence-c", `{"user_id":"1","user_info":"123456789"}`))
	expectRefusal(t, d, "presence-c", "InvalidSubscription", 400, 0)
}

func TestMaxChannelsPerConnection(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].MaxChannelsPerConnection = 2 })
	c := s.Connect(t, "1")
	c.Subscribe("a")
	c.Subscribe("private-b")
	c.Send(c.SubscribeText("c", ""))
	expectRefusal(t, c, "c", "LimitReached", 4100, 4100)
	c.Subscribe("a") // counts once
	c.Send(`{"event":"pusher:unsubscribe","data":{"channel":"a"}}`)
	c.Subscribe("c")
	s.Connect(t, "1").Subscribe("d")
}

func TestCache(t *testing.T) {
	s := servertest.Start(t)
	for _, channel := range []string{"cache-a", "private-cache-a", "private-encrypted-cache-a"} {
		t.Run(channel, func(t *testing.T) {
			early := s.Connect(t, "1")
			early.Subscribe(channel)
			early.Expect(cacheMiss(channel))
			s.Publish(t, "1", "e", "first", channel)
			s.Publish(t, "1", "f", "last \"one\"", channel)
			last := servertest.EventText("f", channel, "last \"one\"")
			early.Expect(servertest.EventText("e", channel, "first"), last)

			late := s.Connect(t, "1")
			late.Subscribe(channel)
			late.Expect(last)
			late.Sync()

			// It outlives the channel's being occupied.
			for _, c := range []*servertest.Client{early, late} {
				if err := c.Leave(); err != nil {
					t.Fatal(err)
				}
			}
			servertest.Eventually(t, "nobody is subscribed", func() bool { return s.Metric(t, `belfry_subscriptions{app="1"}`) == 0 })
			again := s.Connect(t, "1")
			again.Subscribe(channel)
			again.Expect(last)
			if err := again.Leave(); err != nil {
				t.Fatal(err)
			}
		})
	}
	// Published before anybody ever came; on a presence channel, too.
	s.Publish(t, "1", "e", "x", "presence-cache-b", "cache-b")
	c := s.Connect(t, "1")
	c.Subscribe("cache-b")
	c.Expect(servertest.EventText("e", "cache-b", "x"))
	c.Join("presence-cache-b", "1")
	c.Expect(servertest.EventText("e", "presence-cache-b", "x"))
	c.Join("presence-cache-c", "1")
	c.Expect(cacheMiss("presence-cache-c"))
	c.Sync()
}
