package server_test

import (
	"net/http"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
)

// Two applications use the same names for everything, and have nothing in
// common.
func TestIsolation(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps = append(c.Apps, servertest.App("2")) })
	one, two := s.Connect(t, "1"), s.Connect(t, "2")
	for _, channel := range []string{"a", "private-a"} {
		one.Subscribe(channel)
		two.Subscribe(channel)
	}
	for _, channel := range []string{"cache-a", "private-cache-a"} {
		one.Subscribe(channel)
		one.ReadText() // its cache_miss
	}

	s.Publish(t, "1", "e", "x", "a", "private-a", "cache-a", "private-cache-a")
	for _, channel := range []string{"a", "private-a", "cache-a", "private-cache-a"} {
		one.Expect(servertest.EventText("e", channel, "x"))
	}
	two.Sync()
	two.Subscribe("cache-a")
	two.Expect(`{"event":"pusher:cache_miss","channel":"cache-a","data":"{}"}`)
	s.Publish(t, "2", "e", "y", "a")
	two.Expect(servertest.EventText("e", "a", "y"))
	one.Sync()

	one.Send(`{"event":"client-x","channel":"private-a","data":"z"}`)
	one.Sync()
	two.Sync()

	// Each user is the only one.
	alone := func(id string) string {
		return `{"presence":{"count":1,"ids":["` + id + `"],"hash":{"` + id + `":null}}}`
	}
	if got := one.Join("presence-a", "u"); got != alone("u") {
		t.Errorf("roster of the first app is %s", got)
	}
	if got := two.Join("presence-a", "u"); got != alone("u") {
		t.Errorf("roster of the second app is %s", got)
	}
	one.Sync()
	two.Send(`{"event":"pusher:unsubscribe","data":{"channel":"presence-a"}}`)
	two.Sync()
	one.Sync()

	// A socket id of one app excludes nobody in another.
	for app, c := range map[string]*servertest.Client{"1": two, "2": one} {
		body := `{"name":"e","data":"w","channel":"a","socket_id":"` + c.SocketID + `"}`
		if a := s.Post(t, app, "events", body); a.Status != http.StatusOK {
			t.Errorf("answered with %d %s", a.Status, a.Body)
		}
	}
	one.Expect(servertest.EventText("e", "a", "w"))
	two.Expect(servertest.EventText("e", "a", "w"))

	for app, want := range map[string]map[string]string{
		"1": {
			"channels":                                   `{"channels":{"a":{},"cache-a":{},"presence-a":{},"private-a":{},"private-cache-a":{}}}`,
			"channels/presence-a/users":                  `{"users":[{"id":"u"}]}`,
			"channels/presence-a?info=user_count":        `{"occupied":true,"user_count":1}`,
			"channels/private-a?info=subscription_count": `{"occupied":true,"subscription_count":1}`,
			"connections":                                `{"connections":1}`,
		},
		"2": {
			"channels":                                   `{"channels":{"a":{},"cache-a":{},"private-a":{}}}`,
			"channels/presence-a/users":                  `{"users":[]}`,
			"channels/presence-a?info=user_count":        `{"occupied":false,"user_count":0}`,
			"channels/private-a?info=subscription_count": `{"occupied":true,"subscription_count":1}`,
			"channels/private-cache-a?info=cache":        `{"cache":null,"occupied":false}`,
			"connections":                                `{"connections":1}`,
		},
	} {
		for route, body := range want {
			if a := s.Get(t, app, route); a.Status != http.StatusOK || a.Body != body {
				t.Errorf("app %s, %s: %d %s, want %s", app, route, a.Status, a.Body, body)
			}
		}
	}

	// The credentials of one open nothing of the other.
	body := []byte(`{"name":"e","data":"x","channel":"a"}`)
	for _, path := range []string{"/apps/1/events", "/apps/2/events"} {
		query := servertest.SignedQuery("2", http.MethodPost, path, nil, body, time.Now())
		want := http.StatusUnauthorized
		if path == "/apps/2/events" {
			want = http.StatusOK
		}
		if a := s.HTTP(t, http.MethodPost, path, query, body); a.Status != want {
			t.Errorf("%s with the other app's signature: %d %s", path, a.Status, a.Body)
		}
	}
	two.Expect(servertest.EventText("e", "a", "x"))
	one.Sync()
	two.Send(`{"event":"pusher:subscribe","data":{"channel":"private-b","auth":"` + servertest.Sign("1", two.SocketID+":private-b") + `"}}`)
	if e := two.ReadEvent(); e.Event != "pusher:subscription_error" {
		t.Errorf("a token of the other app is answered with %+v", e)
	}
	if code, _ := two.ReadError(); code != 4009 {
		t.Errorf("a token of the other app is answered with %d", code)
	}
	two.Sync()
}
