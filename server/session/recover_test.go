package session_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
)

// withHistories starts a server whose channels have histories but for those named plain.
func withHistories(t *testing.T) *servertest.Server {
	return servertest.Start(t, func(c *config.Config) {
		for _, name := range []string{"a*", "private-*", "presence-*", "cache-*"} {
			c.Apps[0].History = append(c.Apps[0].History, config.History{Channels: name, Events: 5, Age: time.Hour})
		}
	})
}

func recoverText(channels string) string {
	return `{"event":"pusher:recover","data":{"channels":` + channels + `}}`
}

// answered is the answer to a subscription; its data is a JSON text.
func answered(channel, data, serial string) string {
	if serial != "" {
		serial = `,"serial":"` + serial + `"`
	}
	return `{"event":"pusher_internal:subscription_succeeded","channel":` + servertest.Quote(channel) + `,"data":` + servertest.Quote(data) + serial + `}`
}

// published publishes an event, and returns what subscribers are sent, and its serial.
func published(t *testing.T, s *servertest.Server, c *servertest.Client, channel, data string) (text, serial string) {
	t.Helper()
	s.Publish(t, "1", "e", data, channel)
	start := strings.TrimSuffix(servertest.EventText("e", channel, data), "}") + `,"serial":"`
	rest := c.ExpectStart(start)
	return start + rest, strings.TrimSuffix(rest, `"}`)
}

// A client that comes back is answered byte for byte, and then has all events once.
func TestRecover(t *testing.T) {
	s := withHistories(t)
	there, c := s.Connect(t, "1"), s.Connect(t, "1")
	start := c.Subscribe("private-a")
	there.Subscribe("private-a")
	_, first := published(t, s, there, "private-a", "1")
	c.Leave()
	second, _ := published(t, s, there, "private-a", "2")
	third, last := published(t, s, there, "private-a", "3")

	back := s.Connect(t, "1")
	back.Send(recoverText(`{"private-a":"` + first + `","private-other":"` + first + `","plain":"` + first + `"}`))
	back.Send(back.SubscribeText("private-a", ""))
	text := back.ReadText()
	if start := strings.TrimSuffix(answered("private-a", `{"recovered":true}`, "e"), `e"}`); !strings.HasPrefix(text, start) || start+last+`"}` == text {
		t.Errorf("answered with %s", text)
	}
	back.Expect(second, third)
	fourth, _ := published(t, s, there, "private-a", "4")
	back.Expect(fourth)
	back.Send(back.SubscribeText("plain", ""))
	back.Expect(answered("plain", `{"recovered":false}`, "")) // it has no history
	back.Send(back.SubscribeText("private-other", ""))        // it was quiet: nothing is missing
	back.ExpectStart(strings.TrimSuffix(answered("private-other", `{"recovered":true}`, "e"), `e"}`))
	back.Send(back.SubscribeText("private-a", "")) // once more: it was asked for once
	back.Expect(answered("private-a", "{}", ""))
	back.Sync()

	again := s.Connect(t, "1")
	again.Send(recoverText(`{"private-a":"` + start + `"}`))
	again.Send(again.SubscribeText("private-a", ""))
	again.ExpectStart(strings.TrimSuffix(answered("private-a", `{"recovered":true}`, "e"), `e"}`))
	for i := range 4 {
		if got := again.ReadEvent().String(); !strings.HasSuffix(got, fmt.Sprint(i+1)) {
			t.Errorf("event %d is %s", i, got)
		}
	}
	published(t, s, there, "private-a", "5")
	published(t, s, there, "private-a", "6")
	for _, serial := range []string{start, "", "x", "-", "other-1", strings.Repeat("x", 1000)} {
		late := s.Connect(t, "1")
		late.Send(recoverText(`{"private-a":"` + serial + `"}`))
		late.Send(late.SubscribeText("private-a", ""))
		late.ExpectStart(strings.TrimSuffix(answered("private-a", `{"recovered":false}`, "e"), `e"}`))
		late.Sync()
	}
}

// On presence and cache channels, what the protocol itself says comes once, too.
func TestRecoverKinds(t *testing.T) {
	s := withHistories(t)
	c := s.Connect(t, "1")
	c.Join("presence-a", "1")
	c.Subscribe("cache-a")
	c.Expect(cacheMiss("cache-a"))
	_, presence := published(t, s, c, "presence-a", "1")
	_, cache := published(t, s, c, "cache-a", "1")
	p2, _ := published(t, s, c, "presence-a", "2")
	c2, _ := published(t, s, c, "cache-a", "2")
	back := s.Connect(t, "1")
	back.Send(recoverText(`{"presence-a":"` + presence + `","cache-a":"` + cache + `","cache-b":"` + cache + `"}`))
	back.Send(back.SubscribeText("presence-a", `{"user_id":"1"}`))
	back.ExpectStart(strings.TrimSuffix(answered("presence-a", `{"presence":{"count":1,"ids":["1"],"hash":{"1":null}},"recovered":true}`, "e"), `e"}`))
	back.Expect(p2)
	back.Send(back.SubscribeText("cache-a", ""))
	back.ExpectStart(strings.TrimSuffix(answered("cache-a", `{"recovered":true}`, "e"), `e"}`))
	back.Expect(c2)
	back.Send(back.SubscribeText("cache-b", ""))
	back.ExpectStart(strings.TrimSuffix(answered("cache-b", `{"recovered":true}`, "e"), `e"}`))
	back.Expect(cacheMiss("cache-b"))
	back.Sync()
}

// Over the HTTP fallback, a subscription may overtake the message: what was missed comes
// then, and the answer behind it.
func TestRecoverLate(t *testing.T) {
	s := withHistories(t)
	there := s.Connect(t, "1")
	there.Subscribe("a")
	_, first := published(t, s, there, "a", "1")
	second, _ := published(t, s, there, "a", "2")
	f := s.ConnectFallback(t, "1", servertest.Streaming)
	f.Subscribe("a")
	third, _ := published(t, s, there, "a", "3")
	f.Expect(third)
	f.Send(recoverText(`{"a":"` + first + `"}`))
	f.Expect(second, answered("a", `{"recovered":true}`, ""))
	fourth, _ := published(t, s, there, "a", "4")
	f.Expect(fourth)
	f.Send(recoverText(`{"a":"other-1"}`))
	f.Expect(answered("a", `{"recovered":false}`, ""))
	f.Sync()
}

// What a client asks for is bounded, and gives it nothing that it may not have.
func TestRecoverRefusals(t *testing.T) {
	s := withHistories(t)
	there := s.Connect(t, "1")
	start := there.Subscribe("private-a")
	published(t, s, there, "private-a", "secret")
	c := s.Connect(t, "1")
	c.Send(recoverText(`{"private-a":"` + start + `","#server-to-user-1":"` + start + `"}`))
	c.Sync()
	c.Send(`{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"key-1:00"}}`)
	expectRefusal(t, c, "private-a", "AuthError", 401, 4009)
	c.Send(`{"event":"pusher:unsubscribe","data":{"channel":"private-a"}}`)
	c.Subscribe("private-a") // as one who does not ask any more
	c.Sync()

	many := func(from, n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`"a%d":"e-1"`, from+i))
		}
		return recoverText(`{` + strings.Join(names, ",") + `}`)
	}
	c = s.Connect(t, "1")
	for i, tt := range []struct {
		text string
		code int
	}{
		{many(0, 501), 4100}, {recoverText(`[]`), 0}, {recoverText(`{"a":1}`), 0}, {recoverText(`{"a b":"e-1"}`), 0},
		{`{"event":"pusher:recover"}`, 0}, {`{"event":"pusher:recover","data":{"channels":{},"socket_ids":["x"]}}`, 0},
	} {
		c.Send(tt.text)
		if code, message := c.ReadError(); code != tt.code || !strings.Contains(message, "recover") {
			t.Errorf("%d: error %d %q", i, code, message)
		}
	}
	c.Send(many(0, 300))
	c.Send(many(300, 200))
	c.Send(many(500, 1))
	if code, _ := c.ReadError(); code != 4100 {
		t.Errorf("one more: error %d", code)
	}
	c.Send(many(499, 1)) // one that is there
	c.Send(c.SubscribeText("a0", ""))
	c.ExpectStart(strings.TrimSuffix(answered("a0", `{"recovered":false}`, "e"), `e"}`))
	c.Send(many(500, 1))
	c.Sync()
}

// What a client wants to recover goes with its session to another process.
func TestRestoreResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admit := func() (*session.Admission, *apps.App) {
			broker := channels.NewBroker(1, nil)
			t.Cleanup(broker.Close)
			app := servertest.App("1")
			app.History = []config.History{{Channels: "a", Events: 5, Age: time.Hour}}
			counts := metrics.New("", "", "")
			registry := apps.NewRegistry([]config.App{app}, broker, servertest.Webhooks(t), counts)
			return &session.Admission{Apps: registry, Metrics: counts, Log: discard, Refusals: refusals.New(discard)}, registry.ByID("1")
		}
		before, _ := admit()
		s, _ := before.Admit(session.Handshake{App: before.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}}, new(wire))
		s.Handle([]byte(`{"event":"pusher:recover","data":{"channels":{"a":"e-41","b":"x"},"socket_ids":["1.2"]}}`))
		exported, _ := s.Export()
		text, err := json.Marshal(exported)
		if err != nil {
			t.Fatal(err)
		}
		var state session.Exported
		if err := json.Unmarshal(text, &state); err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(state.Recoveries, &protocol.Recover{Channels: map[string]string{"a": "e-41", "b": "x"}, Sockets: []string{"1.2"}}) {
			t.Errorf("%+v goes with the session", state.Recoveries)
		}
		after, app := admit()
		client := new(wire)
		s, err = after.Restore(state, client)
		if err != nil {
			t.Fatal(err)
		}
		app.Channels.Restored()
		s.Handle([]byte(`{"event":"pusher:subscribe","data":{"channel":"a"}}`))
		if got := client.sent.String(); !strings.Contains(got, `{\"recovered\":false}`) {
			t.Errorf("answered with %q", got)
		}
	})
}
