package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// expectError checks that an answer is an error whose text has these parts.
func expectError(t *testing.T, a servertest.Answer, status int, parts ...string) {
	t.Helper()
	var body map[string]string
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil || len(body) != 1 || body["error"] == "" {
		t.Fatalf("answered with %d %q: not one error", a.Status, a.Body)
	}
	if a.Status != status {
		t.Errorf("answered with %d %s, want %d", a.Status, a.Body, status)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	for _, part := range parts {
		if !strings.Contains(body["error"], part) {
			t.Errorf("error is %q, want %q in it", body["error"], part)
		}
	}
	if strings.Contains(a.Body, "secret-") {
		t.Errorf("error %s has a secret in it", a.Body)
	}
}

func expectOK(t *testing.T, a servertest.Answer, body string) {
	t.Helper()
	if a.Status != http.StatusOK || a.Body != body {
		t.Errorf("answered with %d %s, want %s", a.Status, a.Body, body)
	}
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
}

const event = `{"name":"e","data":"x","channel":"a"}`

func TestRoutes(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		off := servertest.App("2")
		off.Enabled = false
		c.Apps = append(c.Apps, off)
	})
	tests := []struct {
		method, app, route string
		status             int
		allow              string
	}{
		{"POST", "1", "nowhere", 404, ""},
		{"GET", "1", "", 404, ""},
		{"GET", "1", "channels/a/users/b", 404, ""},
		{"GET", "1", "channels/a/nothing", 404, ""},
		{"POST", "1", "users/1/nothing", 404, ""},
		{"POST", "9", "events", 404, ""},
		{"GET", "9", "channels", 404, ""},
		{"GET", "key-1", "channels", 404, ""},
		{"GET", "1", "events", 405, "POST"},
		{"PUT", "1", "events", 405, "POST"},
		{"GET", "1", "batch_events", 405, "POST"},
		{"POST", "1", "channels", 405, "GET"},
		{"DELETE", "1", "channels/a", 405, "GET"},
		{"POST", "1", "channels/presence-a/users", 405, "GET"},
		{"OPTIONS", "1", "events", 405, "POST"},
		{"POST", "1", "connections", 405, "GET"},
		{"GET", "1", "users/1/terminate_connections", 405, "POST"},
		{"GET", "2", "channels", 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.app+"/"+tt.route, func(t *testing.T) {
			path := "/apps/" + tt.app + "/" + tt.route
			a := s.HTTP(t, tt.method, path, servertest.SignedQuery(tt.app, tt.method, path, nil, nil, time.Now()), nil)
			expectError(t, a, tt.status)
			if got := a.Header.Get("Allow"); got != tt.allow {
				t.Errorf("Allow is %q, want %q", got, tt.allow)
			}
		})
	}
	// A disabled app is only told so to those who hold its secret.
	expectError(t, s.HTTP(t, "GET", "/apps/2/channels", nil, nil), 401)
	expectError(t, s.HTTP(t, "GET", "/nowhere", nil, nil), 404)
	for path, body := range map[string]string{"/up": `{"health":"OK"}`, "/ready": `{"status":"ready"}`} {
		expectOK(t, s.HTTP(t, "GET", path, nil, nil), body)
		a := s.HTTP(t, "POST", path, nil, nil)
		expectError(t, a, 405)
		if got := a.Header.Get("Allow"); got != "GET, HEAD" {
			t.Errorf("Allow is %q", got)
		}
	}
}

func TestSignature(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps = append(c.Apps, servertest.App("2")) })
	const path = "/apps/1/events"
	now := time.Now()
	body := []byte(event)
	sign := func(query url.Values, at time.Time) url.Values {
		return servertest.SignedQuery("1", "POST", path, query, body, at)
	}
	edit := func(f func(url.Values)) url.Values {
		query := sign(nil, now)
		f(query)
		return query
	}
	tests := []struct {
		name  string
		query url.Values
		parts []string // nil: accepted
	}{
		{"good", sign(nil, now), nil},
		{"with another parameter", sign(url.Values{"x": {"a b+c/ü"}}, now), nil},
		{"599 seconds old", sign(nil, now.Add(-590*time.Second)), nil},
		{"599 seconds ahead", sign(nil, now.Add(590*time.Second)), nil},
		{"601 seconds old", sign(nil, now.Add(-601*time.Second)), []string{"Timestamp expired", "600s"}},
		{"an hour ahead", sign(nil, now.Add(time.Hour)), []string{"Timestamp expired", "600s"}},
		{"milliseconds", sign(url.Values{"auth_timestamp": {fmt.Sprint(now.UnixMilli())}}, now), []string{"Timestamp expired"}},
		{"timestamp is a word", sign(url.Values{"auth_timestamp": {"now"}}, now), []string{"auth_timestamp"}},
		{"nothing", nil, []string{"not signed"}},
		{"no key", edit(func(q url.Values) { q.Del("auth_key") }), []string{"auth_key"}},
		{"no signature", edit(func(q url.Values) { q.Del("auth_signature") }), []string{"auth_signature"}},
		{"no timestamp", sign(url.Values{"auth_timestamp": nil}, now), []string{"auth_timestamp"}},
		{"no version", edit(func(q url.Values) { q.Del("auth_version") }), []string{"auth_version"}},
		{"version 2.0", sign(url.Values{"auth_version": {"2.0"}}, now), []string{"auth_version"}},
		{"no body_md5", edit(func(q url.Values) { q.Del("body_md5") }), []string{"body_md5"}},
		{"body_md5 of another body", sign(url.Values{"body_md5": {"99914b932bd37a50b983c5e7c90ae93b"}}, now), []string{"body_md5"}},
		{"empty body_md5", sign(url.Values{"body_md5": {""}}, now), []string{"body_md5"}},
		{"another app's key", sign(url.Values{"auth_key": {"key-2"}}, now), []string{"auth_key", "key-2"}},
		{"another signature", edit(func(q url.Values) { q.Set("auth_signature", strings.Repeat("0", 64)) }), []string{"signature"}},
		{"empty signature", edit(func(q url.Values) { q.Set("auth_signature", "") }), []string{"signature"}},
		{"upper case", edit(func(q url.Values) { q.Set("auth_signature", strings.ToUpper(q.Get("auth_signature"))) }), []string{"signature"}},
		{"a parameter more than was signed", edit(func(q url.Values) { q.Set("x", "y") }), []string{"signature"}},
		{"two timestamps", edit(func(q url.Values) { q.Add("auth_timestamp", "1") }), []string{"auth_timestamp"}},
		{"another method", servertest.SignedQuery("1", "GET", path, nil, body, now), []string{"signature"}},
		{"another path", servertest.SignedQuery("1", "POST", "/apps/1/batch_events", nil, body, now), []string{"signature"}},
		{"another app's secret", edit(func(q url.Values) {
			q.Set("auth_signature", servertest.SignedQuery("2", "POST", path, url.Values{"auth_key": {"key-1"}}, body, now).Get("auth_signature"))
		}), []string{"signature"}},
	}
	c := s.Connect(t, "1")
	c.Subscribe("a")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name := range tt.query {
				if tt.query[name] == nil {
					delete(tt.query, name)
				}
			}
			a := s.HTTP(t, "POST", path, tt.query, body)
			if tt.parts == nil {
				expectOK(t, a, "{}")
				c.In(t).Expect(servertest.EventText("e", "a", "x"))
				return
			}
			expectError(t, a, 401, tt.parts...)
			if sent := tt.query.Get("auth_signature"); len(sent) == 64 && strings.Contains(a.Body, sent) {
				t.Errorf("error %s repeats the signature", a.Body)
			}
			if right := sign(nil, now).Get("auth_signature"); strings.Contains(a.Body, right) {
				t.Errorf("error %s has the right signature in it", a.Body)
			}
			c.In(t).Sync()
		})
	}
	// The body that was signed is the body that counts.
	expectError(t, s.HTTP(t, "POST", path, sign(nil, now), []byte(strings.Replace(event, "x", "y", 1))), 401, "body_md5")
	c.Sync()
	// Without a body, no digest of one is needed.
	expectOK(t, s.Get(t, "1", "channels"), `{"channels":{"a":{}}}`)
	if n := s.Metric(t, `belfry_api_requests_total{app="1",route="events",status="401"}`); n != 23 {
		t.Errorf("%v requests were counted as 401", n)
	}
}

// A path is signed as it is sent or decoded, with the prefix or without.
func TestSignedPaths(t *testing.T) {
	get := func(t *testing.T, s *servertest.Server, sent, signed string) servertest.Answer {
		t.Helper()
		return s.HTTP(t, "GET", sent, servertest.SignedQuery("1", "GET", signed, nil, nil, time.Now()), nil)
	}
	t.Run("encoded", func(t *testing.T) {
		s := servertest.Start(t)
		c := s.Connect(t, "1")
		c.Join("presence-a@b,c;d=e", "1")
		for _, signed := range []string{"/apps/1/channels/presence-a%40b%2Cc%3Bd%3De/users", "/apps/1/channels/presence-a@b,c;d=e/users"} {
			expectOK(t, get(t, s, "/apps/1/channels/presence-a%40b%2Cc%3Bd%3De/users", signed), `{"users":[{"id":"1"}]}`)
		}
		expectOK(t, get(t, s, "/apps/1/channels/presence-a@b,c;d=e/users", "/apps/1/channels/presence-a@b,c;d=e/users"), `{"users":[{"id":"1"}]}`)
		for _, name := range []string{"a%2Fb", "%23server", "a%20b", "%C3%A9", "a%00"} {
			path := "/apps/1/channels/" + name
			expectError(t, get(t, s, path, path), 400, "channel name")
		}
	})
	t.Run("prefix", func(t *testing.T) {
		s := servertest.Start(t, func(c *config.Config) { c.Server.Path = "/some/where" })
		for _, sent := range []string{"/apps/1/channels", "/some/where/apps/1/channels"} {
			expectOK(t, get(t, s, sent, "/apps/1/channels"), `{"channels":{}}`)
		}
		expectOK(t, get(t, s, "/some/where/apps/1/channels", "/some/where/apps/1/channels"), `{"channels":{}}`)
		expectError(t, get(t, s, "/apps/1/channels", "/some/where/apps/1/channels"), 401)
		expectError(t, get(t, s, "/else/apps/1/channels", "/apps/1/channels"), 404)
	})
}

func TestPublish(t *testing.T) {
	s := servertest.Start(t)
	c, other := s.Connect(t, "1"), s.Connect(t, "1")
	for _, channel := range []string{"a", "b", "private-a", "private-encrypted-a"} {
		c.Subscribe(channel)
	}
	other.Subscribe("a")
	c.Join("presence-a", "1")
	const limit = 10 << 10
	long := strings.Repeat("é", 200)
	plain := func(channel, data string) string {
		return `{"event":"e","channel":"` + channel + `","data":` + data + `}`
	}
	tests := []struct {
		name, body string
		want       []string
	}{
		{"channel", event, []string{plain("a", `"x"`)}},
		{"channels", `{"name":"e","data":"x","channels":["a","b"]}`, []string{plain("a", `"x"`), plain("b", `"x"`)}},
		{"channels go before channel", `{"name":"e","data":"x","channels":["a"],"channel":"b"}`, []string{plain("a", `"x"`)}},
		{"one channel, twice", `{"name":"e","data":"x","channels":["a","b","a","a"]}`, []string{plain("a", `"x"`), plain("b", `"x"`)}},
		{"nobody there", `{"name":"e","data":"x","channels":["nowhere","a"]}`, []string{plain("a", `"x"`)}},
		{"private, presence, encrypted", `{"name":"e","data":"x","channels":["private-a","presence-a","private-encrypted-a"]}`,
			[]string{plain("private-a", `"x"`), plain("presence-a", `"x"`), plain("private-encrypted-a", `"x"`)}},
		{"byte for byte", `{"name":"e","data":"\u00e9é\/\ud83d\udd14🔔\u0000\n{\"a\": 1}","channel":"a"}`, []string{plain("a", `"\u00e9é\/\ud83d\udd14🔔\u0000\n{\"a\": 1}"`)}},
		{"empty data", `{"name":"e","data":"","channel":"a"}`, []string{plain("a", `""`)}},
		{"object", `{"name":"e","data":{"a": [1, "é\u00e9"]},"channel":"a"}`, []string{plain("a", `"{\"a\":[1,\"é\\u00e9\"]}"`)}},
		{"array", `{"name":"e","data":[],"channel":"a"}`, []string{plain("a", `"[]"`)}},
		{"number", `{"name":"e","data":1.50,"channel":"a"}`, []string{plain("a", `"1.50"`)}},
		{"false", `{"name":"e","data":false,"channel":"a"}`, []string{plain("a", `"false"`)}},
		{"Laravel's name", `{"name":"App\\Events\\OrderShipped","data":"x","channel":"a"}`, []string{`{"event":"App\\Events\\OrderShipped","channel":"a","data":"x"}`}},
		{"any name", `{"name":"größe \u0022x\u0022","data":"x","channel":"a"}`, []string{`{"event":"größe \"x\"","channel":"a","data":"x"}`}},
		{"longest name", `{"name":"` + long + `","data":"x","channel":"a"}`, []string{`{"event":"` + long + `","channel":"a","data":"x"}`}},
		{"name of a client event", `{"name":"client-x","data":"x","channel":"private-a"}`, []string{`{"event":"client-x","channel":"private-a","data":"x"}`}},
		{"most data", `{"name":"e","data":"` + strings.Repeat("d", limit) + `","channel":"a"}`, []string{plain("a", `"`+strings.Repeat("d", limit)+`"`)}},
		{"most data, escaped", `{"name":"e","data":"` + strings.Repeat(`\u0001`, limit) + `","channel":"a"}`, []string{plain("a", `"`+strings.Repeat(`\u0001`, limit)+`"`)}},
		{"more keys", `{"name":"e","data":"x","channel":"a","tags":{"a":"b"},"more":1}`, []string{plain("a", `"x"`)}},
		{"nulls", `{"name":"e","data":"x","channel":"a","channels":null,"socket_id":null,"info":null}`, []string{plain("a", `"x"`)}},
		{"empty socket_id", `{"name":"e","data":"x","channel":"a","socket_id":""}`, []string{plain("a", `"x"`)}},
		{"unknown socket_id", `{"name":"e","data":"x","channel":"a","socket_id":"1.2"}`, []string{plain("a", `"x"`)}},
		{"impossible socket_id", `{"name":"e","data":"x","channel":"a","socket_id":"99999999999999999999.1"}`, []string{plain("a", `"x"`)}},
		{"another's socket_id", `{"name":"e","data":"x","channel":"a","socket_id":"` + other.SocketID + `"}`, []string{plain("a", `"x"`)}},
		{"its socket_id", `{"name":"e","data":"x","channels":["a","b","presence-a"],"socket_id":"` + c.SocketID + `"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expectOK(t, s.Post(t, "1", "events", tt.body), "{}")
			c.In(t).Expect(tt.want...)
			c.In(t).Sync()
		})
	}
	// The excepted connection was the only one.
	for _, m := range other.ReadUntilPong() {
		if e, err := wstest.ParseEvent([]byte(m)); err != nil || e.Channel != "a" {
			t.Errorf("the other client got %s: %v", m, err)
		}
	}
	expectOK(t, s.Post(t, "1", "events", `{"name":"e","data":"last","channels":["a","b"],"socket_id":"`+c.SocketID+`"}`), "{}")
	other.Expect(plain("a", `"last"`))
	c.Sync()
}

func TestPublishRefused(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	c.Subscribe("a")
	quoted := func(n int) string { return `"` + strings.Repeat("a", n) + `"` }
	channels := func(n int) string {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf(`"a%d"`, i)
		}
		return strings.Join(names, ",")
	}
	tests := []struct {
		name, body string
		status     int
		part       string
	}{
		{"empty", ``, 400, "body"},
		{"not JSON", `{"name":`, 400, "body"},
		{"more behind it", event + `{}`, 400, "body"},
		{"array", `[]`, 400, "body"},
		{"null", `null`, 400, "name"},
		{"invalid UTF-8", "{\"name\":\"e\",\"data\":\"\xff\",\"channel\":\"a\"}", 400, "UTF-8"},
		{"nested too deep", strings.Repeat("[", 20_000), 400, "body"},
		{"no name", `{"data":"x","channel":"a"}`, 400, "name"},
		{"empty name", `{"name":"","data":"x","channel":"a"}`, 400, "name"},
		{"name is a number", `{"name":1,"data":"x","channel":"a"}`, 400, "name"},
		{"name of 201 characters", `{"name":` + quoted(201) + `,"data":"x","channel":"a"}`, 400, "201"},
		{"name of the protocol", `{"name":"pusher:ping","data":"x","channel":"a"}`, 400, "pusher:"},
		{"internal name", `{"name":"pusher_internal:member_added","data":"x","channel":"a"}`, 400, "pusher_internal:"},
		{"no data", `{"name":"e","channel":"a"}`, 400, "data"},
		{"no channel", `{"name":"e","data":"x"}`, 400, "channels"},
		{"no channels", `{"name":"e","data":"x","channels":[]}`, 400, "channels"},
		{"101 channels", `{"name":"e","data":"x","channels":[` + channels(101) + `]}`, 400, "101"},
		{"channels is a string", `{"name":"e","data":"x","channels":"a"}`, 400, "channels"},
		{"channel is a list", `{"name":"e","data":"x","channel":["a"]}`, 400, "channel"},
		{"empty channel", `{"name":"e","data":"x","channels":["a",""]}`, 400, "empty"},
		{"bad channel", `{"name":"e","data":"x","channels":["a","a b"]}`, 400, "a b"},
		{"channel of 201 characters", `{"name":"e","data":"x","channels":["a",` + quoted(201) + `]}`, 400, "201"},
		{"# channel", `{"name":"e","data":"x","channel":"#x"}`, 400, "#x"},
		{"null for a channel", `{"name":"e","data":"x","channels":["a",null]}`, 400, "empty"},
		{"bad socket_id", `{"name":"e","data":"x","channel":"a","socket_id":"12"}`, 400, "socket_id"},
		{"socket_id with a tail", `{"name":"e","data":"x","channel":"a","socket_id":"1.2:presence-a"}`, 400, "socket_id"},
		{"socket_id is a number", `{"name":"e","data":"x","channel":"a","socket_id":1.2}`, 400, "socket_id"},
		{"unknown info", `{"name":"e","data":"x","channel":"a","info":"color"}`, 400, "color"},
		{"too much data", `{"name":"e","data":` + quoted(10<<10+1) + `,"channel":"a"}`, 413, "10241"},
		{"too much data in an object", `{"name":"e","data":{"a":` + quoted(10<<10) + `},"channel":"a"}`, 413, "10248"},
		{"too large a body", `{"name":"e","data":"` + strings.Repeat(" ", 1<<20) + `","channel":"a"}`, 413, "1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			expectError(t, s.Post(t, "1", "events", tt.body), tt.status, tt.part)
			c.In(t).Sync()
		})
	}
	// As many as there may be.
	expectOK(t, s.Post(t, "1", "events", `{"name":"e","data":"x","channels":[`+channels(99)+`,"a"]}`), "{}")
	c.Expect(servertest.EventText("e", "a", "x"))
}

func TestBatch(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	c.Subscribe("a")
	c.Subscribe("b")
	batch := func(items ...string) string { return `{"batch":[` + strings.Join(items, ",") + `]}` }
	item := func(channel, data string) string {
		return `{"name":"e","channel":"` + channel + `","data":"` + data + `"}`
	}
	post := func(body string) servertest.Answer { t.Helper(); return s.Post(t, "1", "batch_events", body) }

	expectOK(t, post(batch(item("a", "1"), item("b", "2"), item("a", "3"), `{"name":"f","channel":"a","data":"4","socket_id":"`+c.SocketID+`"}`)), "{}")
	c.Expect(servertest.EventText("e", "a", "1"), servertest.EventText("e", "b", "2"), servertest.EventText("e", "a", "3"))
	expectOK(t, post(batch()), "{}")
	ten := strings.Split(strings.Repeat(item("nowhere", "x")+"\n", 10), "\n")[:10]
	expectOK(t, post(batch(ten...)), "{}")
	c.Sync()

	// All of it, or nothing.
	bad := map[string]string{
		"no channel":   `{"name":"e","data":"x"}`,
		"channels":     `{"name":"e","data":"x","channels":["a"]}`,
		"no name":      `{"channel":"a","data":"x"}`,
		"no data":      `{"name":"e","channel":"a"}`,
		"bad channel":  item("a b", "x"),
		"long channel": item(strings.Repeat("a", 201), "x"),
		"bad socket":   `{"name":"e","channel":"a","data":"x","socket_id":"x"}`,
		"bad info":     `{"name":"e","channel":"a","data":"x","info":"x"}`,
		"a string":     `"e"`,
	}
	for name, entry := range bad {
		t.Run(name, func(t *testing.T) {
			expectError(t, s.Post(t, "1", "batch_events", batch(item("a", "x"), item("b", "y"), entry)), 400)
			c.In(t).Sync()
		})
	}
	expectError(t, post(batch(item("a", "x"), item("a", strings.Repeat("d", 10<<10+1)))), 413, "batch[1]", "10241")
	expectError(t, post(batch(append(ten, item("a", "x"))...)), 400, "11")
	expectError(t, post(`{}`), 400, "batch")
	expectError(t, post(`{"batch":{}}`), 400, "batch")
	expectError(t, post(event), 400, "batch")
	c.Sync()
}

func TestInfo(t *testing.T) {
	s := servertest.Start(t)
	a, b := s.Connect(t, "1"), s.Connect(t, "1")
	for _, c := range []*servertest.Client{a, b} {
		c.Subscribe("a")
		c.Subscribe("private-a")
	}
	a.Join("presence-a", "1")
	b.Join("presence-a", "1")
	b.Join("presence-b", "1")
	a.Subscribe("cache-a")
	a.ReadText() // its cache_miss

	get := map[string]string{
		"channels":                            `{"channels":{"a":{},"cache-a":{},"presence-a":{},"presence-b":{},"private-a":{}}}`,
		"channels?filter_by_prefix=presence-": `{"channels":{"presence-a":{},"presence-b":{}}}`,
		"channels?filter_by_prefix=presence-&info=user_count":        `{"channels":{"presence-a":{"user_count":1},"presence-b":{"user_count":1}}}`,
		"channels?filter_by_prefix=presence-b&info=user_count":       `{"channels":{"presence-b":{"user_count":1}}}`,
		"channels?filter_by_prefix=private-&info=subscription_count": `{"channels":{"private-a":{"subscription_count":2}}}`,
		"channels?filter_by_prefix=nowhere":                          `{"channels":{}}`,
		"channels/a":                                                 `{"occupied":true}`,
		"channels/a?info=subscription_count":                         `{"occupied":true,"subscription_count":2}`,
		"channels/presence-a":                                        `{"occupied":true}`,
		"channels/presence-a?info=user_count":                        `{"occupied":true,"user_count":1}`,
		"channels/nowhere":                                           `{"occupied":false}`,
		"channels/nowhere?info=subscription_count":                   `{"occupied":false,"subscription_count":0}`,
		"channels/presence-nowhere?info=user_count":                  `{"occupied":false,"user_count":0}`,
		"channels/cache-a?info=cache":                                `{"cache":null,"occupied":true}`,
		"channels/presence-a/users":                                  `{"users":[{"id":"1"}]}`,
		"channels/presence-nowhere/users":                            `{"users":[]}`,
		"connections":                                                `{"connections":2}`,
	}
	for route, want := range get {
		expectOK(t, s.Get(t, "1", route), want)
	}
	for _, route := range []string{
		"channels?info=user_count", "channels?info=user_count&filter_by_prefix=private-", "channels?info=color",
		"channels/a?info=user_count", "channels/a?info=color", "channels/a/users", "channels/private-a/users",
		"channels/" + strings.Repeat("a", 201), "channels/presence-" + strings.Repeat("a", 201) + "/users",
	} {
		expectError(t, s.Get(t, "1", route), 400)
	}

	publish := func(info string) string {
		return `{"name":"e","data":"x","channels":["a","presence-a","nowhere"],"info":"` + info + `"}`
	}
	for info, want := range map[string]string{
		"":                               `{}`,
		"subscription_count":             `{"channels":{"a":{"subscription_count":2},"nowhere":{"subscription_count":0},"presence-a":{"subscription_count":2}}}`,
		"user_count":                     `{"channels":{"a":{},"nowhere":{},"presence-a":{"user_count":1}}}`,
		"user_count, subscription_count": `{"channels":{"a":{"subscription_count":2},"nowhere":{"subscription_count":0},"presence-a":{"subscription_count":2,"user_count":1}}}`,
	} {
		expectOK(t, s.Post(t, "1", "events", publish(info)), want)
	}
	expectOK(t, s.Post(t, "1", "batch_events", `{"batch":[`+
		`{"name":"e","data":"x","channel":"a","info":"subscription_count"},`+
		`{"name":"e","data":"x","channel":"a"},`+
		`{"name":"e","data":"x","channel":"presence-a","info":"user_count"}]}`),
		`{"batch":[{"subscription_count":2},{},{"user_count":1}]}`)
}

func TestCacheInfo(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].CacheTTL = time.Hour })
	expectOK(t, s.Get(t, "1", "channels/cache-a?info=cache"), `{"cache":null,"occupied":false}`)
	s.Publish(t, "1", "e", "größe \"1\"", "cache-a")
	a := s.Get(t, "1", "channels/cache-a?info=cache,subscription_count")
	var answer struct {
		Occupied bool
		Cache    struct {
			Data string
			TTL  int
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
	if answer.Occupied || answer.Cache.Data != `größe "1"` || answer.Cache.TTL < 1 || answer.Cache.TTL > 3600 {
		t.Errorf("answered with %s", a.Body)
	}
}

// A connection serves any number of requests, good and bad.
func TestKeepAlive(t *testing.T) {
	s := servertest.Start(t)
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(wstest.Patience))
	br := bufio.NewReader(nc)
	body := []byte(event)
	for i, status := range []int{200, 401, 200, 400, 404, 405, 200} {
		method, path, sent := "POST", "/apps/1/events", body
		switch status {
		case 400:
			sent = []byte("{}")
		case 404:
			path = "/apps/9/events"
		case 405:
			method = "PUT"
		}
		query := servertest.SignedQuery("1", method, path, nil, sent, time.Now())
		if status == 401 {
			query.Set("auth_signature", "0")
		}
		fmt.Fprintf(nc, "%s %s?%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", method, path, query.Encode(), len(sent), sent)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status || resp.Close {
			t.Errorf("request %d: answered with %s, and closed %v", i, resp.Status, resp.Close)
		}
	}
}

// The body is bounded however it is sent.
func TestMaxRequestBytes(t *testing.T) {
	const limit = 20_000
	s := servertest.Start(t, func(c *config.Config) { c.Server.MaxRequestBytes = limit })
	full := event + strings.Repeat(" ", limit-len(event))
	expectOK(t, s.Post(t, "1", "events", full), "{}")
	expectError(t, s.Post(t, "1", "events", full+" "), 413, "20001", "20000")

	query := servertest.SignedQuery("1", "POST", "/apps/1/events", nil, []byte(full+" "), time.Now())
	r, err := http.NewRequest("POST", s.URL("/apps/1/events?"+query.Encode()), io.MultiReader(strings.NewReader(full), strings.NewReader(" ")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client.Do(r) // in chunks
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("answered with %s", resp.Status)
	}
}

// Nothing of the body of a request that is not signed is read.
func TestUnsignedBodiesAreNotRead(t *testing.T) {
	s := servertest.Start(t)
	for _, query := range []string{"", "?auth_key=key-1&auth_signature=x&auth_timestamp=1&auth_version=1.0&body_md5=x"} {
		body, write := io.Pipe()
		r, err := http.NewRequest("POST", s.URL("/apps/1/events"+query), body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = 1 << 20
		r.Header.Set("Expect", "100-continue") // the body is sent when the server wants it
		go write.Write([]byte("x"))
		resp, err := s.Client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("answered with %s", resp.Status)
		}
		write.Close()
	}
}

// Bodies that are no JSON are told what they look like, and what hosted Pusher's
// libraries look for in an error is in it.
func TestErrorsToActOn(t *testing.T) {
	s := servertest.Start(t)
	long := strings.Repeat("x", 10241)
	for _, tt := range []struct {
		route, body string
		status      int
		want        string
	}{
		{"events", "name=e&channel=c&data=x", 400, "looks like a form"},
		{"events", "\x1f\x8b\x08\x00\x00", 400, "gzip"},
		{"events", "\ufeff" + event, 400, "byte order mark"},
		{"events", " ", 400, "it is empty"},
		{"events", "null", 400, "name is missing"},
		{"events", `{"name":"e","channels":"a","data":"x"}`, 400, "channels must not be a string"},
		{"events", `{"name":"e","channel":"a","data":"` + long + `"}`, 413, `{"error":"The data content of this event exceeds the allowed maximum (10240 bytes)`},
		{"batch_events", `{"batch":[{"name":"e","channel":"a","data":"` + long + `"}]}`, 413, `{"error":"The data content of this event exceeds the allowed maximum (10240 bytes)`},
		{"batch_events", `{"batch":[{},{},{},{},{},{},{},{},{},{},{}]}`, 400, "Batch too large"},
		{"batch_events", `{"batch":[{"name":"e","channel":5,"data":"x"}]}`, 400, "batch[0].channel must not be a number"},
	} {
		if a := s.Post(t, "1", tt.route, tt.body); a.Status != tt.status || !strings.Contains(a.Body, tt.want) {
			t.Errorf("%.60q: %d %s, want %d and %q", tt.body, a.Status, a.Body, tt.status, tt.want)
		}
	}
}

// Proxies that strip a prefix decode the path, and a library may have signed it
// encoded.
func TestPathThatAProxyDecoded(t *testing.T) {
	s := servertest.Start(t)
	const signed, sent = "/apps/1/channels/presence-a%3Db%40c%2Cd", "/apps/1/channels/presence-a=b@c,d"
	for _, path := range []string{signed, sent} {
		query := servertest.SignedQuery("1", "GET", path, nil, nil, time.Now())
		for _, requested := range []string{signed, sent} {
			expectOK(t, s.HTTP(t, "GET", requested, query, nil), `{"occupied":false}`)
		}
	}
}
