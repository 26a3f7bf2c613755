package session_test

import (
	"fmt"
	"strings"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
	"belfry/server/refusals"
)

// Whatever a client sends, it is answered with an error, and the connection
// still works.
func TestMalformedMessages(t *testing.T) {
	messages := []string{
		``, ` `, `{`, `}`, `[`, `[]`, `{}`, `null`, `true`, `1`, `"pusher:ping"`, `{"event"}`, `{"event":}`, `{"event":"pusher:ping"`,
		`{"event":"pusher:ping"}}`, `{"event":"pusher:ping"}{"event":"pusher:ping"}`, `{"event":"pusher:ping",}`, `{'event':'pusher:ping'}`,
		`[{"event":"pusher:ping"}]`, "\ufeff" + `{"event":"pusher:ping"}`, "{\"event\":\"pusher:\x00ping\"}", `{"event":"\ud800"}`,
		`{"event":null}`, `{"event":1}`, `{"event":true}`, `{"event":{}}`, `{"event":["pusher:ping"]}`, `{"event":""}`, `{"data":{}}`,
		`{"event":"pusher:ping","channel":1}`, `{"event":"pusher:ping","channel":{}}`,

		`{"event":"ping"}`, `{"event":"anything"}`, `{"event":"App\\Events\\X","channel":"a","data":"{}"}`,
		`{"event":"pusher:"}`, `{"event":"pusher:Ping"}`, `{"event":"pusher:ping "}`, `{"event":"pusher:error","data":{}}`,
		`{"event":"pusher:connection_established","data":"{}"}`, `{"event":"pusher:signin_success","data":"{}"}`,
		`{"event":"pusher:cache_miss","channel":"a","data":"{}"}`, `{"event":"pusher:subscription_error","channel":"a","data":"{}"}`,
		`{"event":"pusher_internal:subscription_succeeded","channel":"a","data":"{}"}`,
		`{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"1\"}"}`,
		`{"event":"pusher_internal:x"}`,
		`{"event":"` + strings.Repeat("x", 60_000) + `"}`, `{"event":"` + strings.Repeat("é", 30_000) + `"}`,

		`{"event":"pusher:subscribe"}`, `{"event":"pusher:unsubscribe"}`,
		`{"event":"client-x"}`, `{"event":"client-x","data":{}}`, `{"event":"client-x","channel":"","data":{}}`, `{"event":"client-x","channel":"a","data":{}}`,
		`{"event":"client-x","channel":"private-nowhere","data":{}}`, `{"event":"client-","channel":"#x","data":{}}`,
	}
	for _, event := range []string{"subscribe", "unsubscribe"} {
		for _, data := range []string{
			`null`, `1`, `1e999`, `true`, `[]`, `{}`, `""`, `"x"`, `"null"`, `"[]"`, `"{}"`, `"{"`, `"\"{}\""`, `"\u0000"`,
			`{"channel":null}`, `{"channel":1}`, `{"channel":true}`, `{"channel":{}}`, `{"channel":["a"]}`, `{"auth":"x"}`,
			`{"channel":"a","auth":1}`, `{"channel":"a","auth":{}}`, `{"channel":"a","channel_data":{"user_id":"1"}}`, `{"channel":"a","channel_data":1}`,
			`{"channel":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `}`,
			`{"channel":` + strings.Repeat("1", 30_000) + `}`, `{"channel":1e400}`, `{"channel":-0}`,
		} {
			messages = append(messages, `{"event":"pusher:`+event+`","data":`+data+`}`)
		}
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	messages = append(messages,
		deep(30_000), strings.Repeat("[", 60_000), strings.Repeat(`{"a":`, 10_000),
		`{"event":"x","data":`+deep(20_000)+`}`,
		`{"event":"x","data":`+deep(9_000)+`}`,
		`{"event":"x","data":`+strings.Repeat("9", 60_000)+`}`,
	)
	s := servertest.Start(t)
	c, witness := s.Connect(t, "1"), s.Connect(t, "1")
	witness.Subscribe("a")
	for _, m := range messages {
		c.Send(m)
		e := c.ReadEvent()
		if e.Event == "pusher:subscription_error" {
			e = c.ReadEvent()
		}
		code, text := e.Error()
		if code != 0 && code != 4301 || text == "" || len(text) > 500 {
			t.Errorf("%.100s: got %.300s", m, e.Data)
		}
		if c.Sync(); t.Failed() {
			t.FailNow()
		}
	}
	witness.Sync()
	if got := s.Metric(t, `belfry_subscriptions{app="1"}`); got != 1 {
		t.Errorf("belfry_subscriptions is %v", got)
	}
	// One client does not fill the log.
	for _, code := range []string{"none", "4301"} {
		if n := strings.Count(s.Log.String(), "level=INFO msg=refused app=1 code="+code); n > refusals.Burst {
			t.Errorf("%d refusals with code %s are logged at info", n, code)
		}
	}
}

func TestClientEvents(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].ClientEventRate = 0 })
	sender, member, unsubscribed := s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1")
	for _, c := range []*servertest.Client{sender, member} {
		c.Subscribe("private-a")
		c.Subscribe("a")
		c.Subscribe("private-encrypted-a")
		c.Subscribe("private-cache-a")
		c.Expect(cacheMiss("private-cache-a"))
	}
	sender.Join("presence-a", "john \"1\"")
	member.Join("presence-a", "jane")
	sender.Expect(memberAdded("presence-a", `{"user_id":"jane"}`))
	unsubscribed.Subscribe("a")

	const limit = 10 << 10
	long := strings.Repeat("é", 200-len("client-"))
	relayed := []struct{ name, message, want string }{
		{"object", `{"event":"client-x","channel":"private-a","data":{"a": [1, "b"]}}`, `{"event":"client-x","channel":"private-a","data":"{\"a\":[1,\"b\"]}"}`},
		{"string", `{"event":"client-x","channel":"private-a","data":"{\"a\": 1}"}`, `{"event":"client-x","channel":"private-a","data":"{\"a\": 1}"}`},
		{"string, byte for byte", `{"event":"client-x","channel":"private-a","data":"\u00e9é\/\ud83d\udd14"}`, `{"event":"client-x","channel":"private-a","data":"\u00e9é\/\ud83d\udd14"}`},
		{"empty string", `{"event":"client-x","channel":"private-a","data":""}`, `{"event":"client-x","channel":"private-a","data":""}`},
		{"number", `{"event":"client-x","channel":"private-a","data":1.50}`, `{"event":"client-x","channel":"private-a","data":"1.50"}`},
		{"null", `{"event":"client-x","channel":"private-a","data":null}`, `{"event":"client-x","channel":"private-a","data":"null"}`},
		{"missing", `{"event":"client-x","channel":"private-a"}`, `{"event":"client-x","channel":"private-a","data":"null"}`},
		{"presence", `{"event":"client-x","channel":"presence-a","data":"y"}`, `{"event":"client-x","channel":"presence-a","data":"y","user_id":"john \"1\""}`},
		{"presence, with a false user_id", `{"event":"client-x","channel":"presence-a","data":"y","user_id":"jane"}`, `{"event":"client-x","channel":"presence-a","data":"y","user_id":"john \"1\""}`},
		{"cache", `{"event":"client-x","channel":"private-cache-a","data":"y"}`, `{"event":"client-x","channel":"private-cache-a","data":"y"}`},
		{"longest name", `{"event":"client-` + long + `","channel":"private-a","data":"y"}`, `{"event":"client-` + long + `","channel":"private-a","data":"y"}`},
		{"most data", `{"event":"client-x","channel":"private-a","data":"` + strings.Repeat("d", limit) + `"}`, `{"event":"client-x","channel":"private-a","data":"` + strings.Repeat("d", limit) + `"}`},
		{"most data, escaped", `{"event":"client-x","channel":"private-a","data":"` + strings.Repeat(`\"`, limit) + `"}`, `{"event":"client-x","channel":"private-a","data":"` + strings.Repeat(`\"`, limit) + `"}`},
	}
	for _, tt := range relayed {
		t.Run(tt.name, func(t *testing.T) {
			sender.Send(tt.message)
			member.Expect(tt.want)
			sender.Sync() // it does not come back
			unsubscribed.Sync()
		})
	}
	// A client event is never the last event of a cache channel.
	late := s.Connect(t, "1")
	late.Subscribe("private-cache-a")
	late.Expect(cacheMiss("private-cache-a"))

	refused := []struct{ name, message string }{
		{"public channel", `{"event":"client-x","channel":"a","data":"y"}`},
		{"encrypted channel", `{"event":"client-x","channel":"private-encrypted-a","data":"y"}`},
		{"not subscribed", `{"event":"client-x","channel":"private-b","data":"y"}`},
		{"no channel", `{"event":"client-x","data":"y"}`},
		{"201 characters of name", `{"event":"client-x` + long + `","channel":"private-a","data":"y"}`},
		{"too much data", `{"event":"client-x","channel":"private-a","data":"` + strings.Repeat("d", limit+1) + `"}`},
		{"too much data in an object", `{"event":"client-x","channel":"private-a","data":{"a":"` + strings.Repeat("d", limit) + `"}}`},
	}
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			sender.Send(tt.message)
			if code, message := sender.ReadError(); code != 4301 {
				t.Errorf("got error %d %q, want 4301", code, message)
			}
			sender.Sync()
			member.Sync()
		})
	}
	unsubscribed.Send(`{"event":"client-x","channel":"private-a","data":"y"}`)
	if code, _ := unsubscribed.ReadError(); code != 4301 {
		t.Errorf("a stranger's client event is answered with %d", code)
	}
	member.Sync()

	// After leaving, no more.
	sender.Send(`{"event":"pusher:unsubscribe","data":{"channel":"private-a"}}`)
	sender.Send(`{"event":"client-x","channel":"private-a","data":"y"}`)
	if code, _ := sender.ReadError(); code != 4301 {
		t.Errorf("the client event of one who left is answered with %d", code)
	}
	member.Sync()
}

func TestClientEventsDisabled(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].ClientEvents = config.ClientEventsNone })
	a, b := s.Connect(t, "1"), s.Connect(t, "1")
	a.Subscribe("private-a")
	b.Subscribe("private-a")
	a.Send(`{"event":"client-x","channel":"private-a","data":"y"}`)
	if code, _ := a.ReadError(); code != 4301 {
		t.Errorf("got error %d, want 4301", code)
	}
	a.Sync()
	b.Sync()
}

func TestClientEventRate(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].ClientEventRate = 5 })
	sender, other, member := s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1")
	for _, c := range []*servertest.Client{sender, other, member} {
		c.Subscribe("private-a")
	}
	// More than the machine could ever be slow enough for.
	const n = 500
	var all []byte
	for i := range n {
		all = append(all, frame(fmt.Sprintf(`{"event":"client-x","channel":"private-a","data":"%d"}`, i))...)
	}
	sender.Write(all)
	refusals := 0
	for _, text := range sender.ReadUntilPong() {
		if !strings.HasPrefix(text, `{"event":"pusher:error","channel":"private-a","data":{"code":4301,`) {
			t.Fatalf("got %s", text)
		}
		refusals++
	}
	relayed := len(member.ReadUntilPong())
	if relayed < 5 || refusals == 0 || relayed+refusals != n {
		t.Errorf("of %d client events, %d were relayed and %d refused", n, relayed, refusals)
	}
	if got := len(other.ReadUntilPong()); got != relayed {
		t.Errorf("one member got %d client events, the other %d", got, relayed)
	}
	// The allowance is each connection's own.
	other.Send(`{"event":"client-x","channel":"private-a","data":"mine"}`)
	member.Expect(servertest.EventText("client-x", "private-a", "mine"))
	other.Sync()
}

func frame(text string) []byte { return wstest.TextFrame(text) }
