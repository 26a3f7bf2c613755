package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"belfry/server/internal/servertest"
	"belfry/server/session"
)

// answer decodes what a request that succeeds is answered with.
func (b *browser) answer(method, path, body string, into any) {
	b.t.Helper()
	a := b.do(method, path, body)
	if a.Status != http.StatusOK {
		b.t.Fatalf("%s %s: %d %s", method, path, a.Status, a.Body)
	}
	if err := json.Unmarshal([]byte(a.Body), into); err != nil {
		b.t.Fatalf("%s %s: %v in %s", method, path, err, a.Body)
	}
}

// Clients of every transport are shown, and disconnected.
func TestConsoleConnections(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	b.mustSignIn("admin", adminPassword)
	socket := s.Connect(t, "1")
	stream := s.ConnectFallback(t, "1", servertest.Streaming)
	poll := s.ConnectFallback(t, "1", servertest.Polling)
	socket.Join("presence-a", "ann")

	type connection struct {
		SocketID                           string `json:"socket_id"`
		Transport, Remote, Client, Version string
		Channels                           int
		OpenedAt                           int64 `json:"opened_at"`
		SeenAt                             int64 `json:"seen_at"`
	}
	list := func(query string) (byID map[string]connection) {
		t.Helper()
		var l struct {
			Total       int
			Connections []connection
		}
		b.answer(http.MethodGet, "api/connections?app=1"+query, "", &l)
		byID = make(map[string]connection)
		for _, c := range l.Connections {
			byID[c.SocketID] = c
		}
		if l.Total != len(byID) {
			t.Errorf("%d of %d connections are shown", len(byID), l.Total)
		}
		return byID
	}
	shown := list("")
	for id, transport := range map[string]string{socket.SocketID: "websocket", stream.SocketID: "xhr_streaming", poll.SocketID: "xhr_polling"} {
		c := shown[id]
		if c.Transport != transport || c.Remote != "127.0.0.1" || c.Client != "test" || c.OpenedAt == 0 || c.SeenAt < c.OpenedAt {
			t.Errorf("a client by %s is shown as %+v", transport, c)
		}
	}
	if found := list("&q=ann"); len(shown) != 3 || len(found) != 1 || found[socket.SocketID].Channels != 1 {
		t.Errorf("there are %+v, of ann %+v", shown, found)
	}

	disconnect := func(id string, code int) {
		t.Helper()
		var none struct{}
		b.answer(http.MethodPost, "api/connections/"+id+"/disconnect", fmt.Sprintf(`{"app":"1","code":%d}`, code), &none)
	}
	disconnect(socket.SocketID, 4009)
	if code, _ := socket.ReadError(); code != 4009 {
		t.Errorf("told %d", code)
	}
	socket.ExpectClose(4009)
	disconnect(stream.SocketID, 4200)
	if code, _ := stream.ReadEvent().Error(); code != 4200 {
		t.Errorf("told %d", code)
	}
	if line := stream.Line(); !strings.HasPrefix(line, "c[4200,") {
		t.Errorf("closed with %s", line)
	}
	if left := list(""); len(left) != 1 || left[poll.SocketID].Transport == "" {
		t.Errorf("%+v are left", left)
	}
	if n := s.Metric(t, `belfry_connections_closed_total{app="1",reason="`+string(session.Console)+`",transport="websocket"}`); n != 1 {
		t.Errorf("%v are counted", n)
	}
	if !s.Log.Contains(`msg="connection closed from the console" app=1 socket_id=` + socket.SocketID + " code=4009 user=admin") {
		t.Errorf("logged\n%s", s.Log)
	}
}

// What a client publishes and is published to is shown of its channel.
func TestConsoleChannels(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	b.mustSignIn("admin", adminPassword)
	one, two := s.Connect(t, "1"), s.Connect(t, "1")
	one.Subscribe("private-a")
	two.Subscribe("private-a")
	last := func() (event string) {
		t.Helper()
		var shown struct {
			LastEvent   string `json:"last_event"`
			Subscribers []struct{}
		}
		b.answer(http.MethodGet, "api/channel?app=1&name=private-a", "", &shown)
		if len(shown.Subscribers) != 2 {
			t.Errorf("%d subscribers are shown", len(shown.Subscribers))
		}
		return shown.LastEvent
	}
	one.Send(`{"event":"client-x","channel":"private-a","data":"1"}`)
	two.Expect(`{"event":"client-x","channel":"private-a","data":"1"}`)
	if got := last(); got != "client-x" {
		t.Errorf("the last event is %q", got)
	}
	var sent struct{ Recipients int }
	b.answer(http.MethodPost, "api/events", `{"app":"1","channel":"private-a","event":"client-y","data":"{}","as":"client"}`, &sent)
	one.Expect(`{"event":"client-y","channel":"private-a","data":"{}"}`)
	two.Expect(`{"event":"client-y","channel":"private-a","data":"{}"}`)
	if got := last(); got != "client-y" || sent.Recipients != 2 {
		t.Errorf("the last event is %q, it has reached %d", got, sent.Recipients)
	}
	for source, want := range map[string]float64{"http": 0, "client": 2} {
		if n := s.Metric(t, `belfry_events_published_total{app="1",source="`+source+`"}`); n != want {
			t.Errorf("%v events of %s are counted", n, source)
		}
	}
}
