package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/keepalive"
	"belfry/server/session"
)

// listed is an answer to GET api/connections.
type listed struct {
	Total       int
	Connections []connection
}

func (l listed) ids() (ids []string) {
	for _, c := range l.Connections {
		ids = append(ids, c.SocketID)
	}
	return ids
}

func TestListConnections(t *testing.T) {
	f := newFixture(t)
	var ids []string
	for i := range 5 {
		s := f.connect("1", session.Handshake{Remote: address(i), Client: "js", Version: "8.4.0", Origin: "https://a.test"}, &wire{seen: keepalive.Time(i + 1)})
		s.Send(make(protocol.Frame, 100*i))
		for n := range i {
			subscribe(s, fmt.Sprintf("presence-Room-%d", n), fmt.Sprintf("User-%d", i))
		}
		ids = append(ids, s.ID().String())
	}
	f.connect("2", session.Handshake{Remote: address(0)}, new(wire))
	slices.Reverse(ids) // the newest first, and those with most

	for _, sort := range []string{"", "&sort=opened", "&sort=seen", "&sort=channels", "&sort=waiting"} {
		var l listed
		f.get("/api/connections?app=1"+sort, &l)
		if l.Total != 5 || !slices.Equal(l.ids(), ids) {
			t.Errorf("%q: %d connections: %v, want %v", sort, l.Total, l.ids(), ids)
		}
	}
	for query, want := range map[string][]string{
		"offset=1&limit=2": ids[1:3],
		"offset=4&limit=9": ids[4:],
		"offset=9":         nil,
	} {
		var l listed
		f.get("/api/connections?app=1&"+query, &l)
		if l.Total != 5 || !slices.Equal(l.ids(), want) {
			t.Errorf("%s: %d connections: %v, want %v", query, l.Total, l.ids(), want)
		}
	}
	for q, want := range map[string][]string{
		"room-3":    ids[:1],
		"ROOM-2":    ids[:2],
		"user-2":    ids[2:3],
		"192.0.0.1": ids[4:],
		ids[3]:      ids[3:4],
		"nobody":    nil,
		"%00%ff":    nil,
	} {
		var l listed
		f.get("/api/connections?app=1&q="+q, &l)
		if l.Total != len(want) || !slices.Equal(l.ids(), want) {
			t.Errorf("%s: %d connections: %v, want %v", q, l.Total, l.ids(), want)
		}
	}
	var l listed
	f.get("/api/connections?app=1&limit=1", &l)
	got := l.Connections[0]
	if got.Transport != "websocket" || got.Remote != "192.0.0.5" || got.Client != "js" || got.Version != "8.4.0" || got.Origin != "https://a.test" ||
		got.Channels != 4 || got.Waiting == 0 || got.App != "1" || got.OpenedAt != got.SeenAt || got.OpenedAt%1000 != 0 {
		t.Errorf("shown as %+v", got)
	}
	for _, query := range []string{"", "?app=3", "?app=1&sort=x", "?app=1&limit=0", "?app=1&limit=501", "?app=1&offset=-1", "?app=1&offset=x", "?app=1&q=" + strings.Repeat("x", 201)} {
		status := http.StatusBadRequest
		if !strings.Contains(query, "app=1") {
			status = http.StatusNotFound
		}
		f.refused(status, "GET", "/api/connections"+query, nil)
	}
}

// What strangers say of themselves is bounded, and stays text.
func TestHostileConnection(t *testing.T) {
	f := newFixture(t, func(a *config.App) { a.AllowedOrigins = []string{"*"} })
	hostile := `<script>"` + "\x00\xff\u202e" + strings.Repeat("é", 5000)
	s := f.connect("1", session.Handshake{Remote: "@", Client: hostile, Version: hostile, Origin: hostile}, new(wire))
	var c connection
	f.get("/api/connections/"+s.ID().String()+"?app=1", &c)
	if c.Remote != "" || len(c.Client) > 100 || len(c.Version) > 100 || len(c.Origin) > 100 || !strings.HasPrefix(c.Client, "<script>") {
		t.Errorf("shown as %+v", c)
	}
	f.refused(http.StatusNotFound, "GET", "/api/connections/%3Cscript%3E?app=1", nil)
}

func TestShowConnection(t *testing.T) {
	f := newFixture(t)
	s := f.connect("1", session.Handshake{Remote: "[2001:db8::1]:80"}, new(wire))
	subscribe(s, "public", "")
	subscribe(s, "presence-a", "7")
	path := "/api/connections/" + s.ID().String()
	var got struct {
		connection
		Subscriptions []subscription
	}
	f.get(path+"?app=1", &got)
	want := []subscription{{"presence-a", "7"}, {"public", ""}}
	if got.Remote != "2001:db8::1" || got.Channels != 2 || !slices.Equal(got.Subscriptions, want) {
		t.Errorf("shown as %+v", got)
	}
	f.refused(http.StatusNotFound, "GET", path+"?app=2", nil)
	s.End(session.ByClient)
	f.refused(http.StatusNotFound, "GET", path+"?app=1", nil)
}

func TestDisconnect(t *testing.T) {
	f := newFixture(t)
	f.Changes = new(handover.Changes)
	for _, code := range []int{protocol.CodeUnauthorized, protocol.CodeReconnect} {
		w := new(wire)
		s := f.connect("1", session.Handshake{}, w)
		path := "/api/connections/" + s.ID().String() + "/disconnect"
		f.refused(http.StatusBadRequest, "POST", path, map[string]any{"app": "1", "code": 4100})
		f.refused(http.StatusBadRequest, "POST", path, "no object")
		f.refused(http.StatusNotFound, "POST", path, map[string]any{"app": "2", "code": code})
		if w.closed != nil {
			t.Fatalf("closed with %v", w.closed)
		}
		var answer map[string]any
		if status := f.ask("POST", path, map[string]any{"app": "1", "code": code}, &answer); status != http.StatusOK || len(answer) != 0 {
			t.Errorf("answered with %d %v", status, answer)
		}
		if w.closed == nil || w.closed.Code != code {
			t.Errorf("closed with %v, want %d", w.closed, code)
		}
		if _, open := s.Info(); open || !f.log.Contains("socket_id="+s.ID().String()) {
			t.Errorf("open is %t, log:\n%s", open, f.log)
		}
	}
	scrape := httptest.NewRecorder()
	f.Metrics.Handler().ServeHTTP(scrape, httptest.NewRequest("GET", "/", nil))
	if want := `belfry_connections_closed_total{app="1",reason="console",transport="websocket"} 2`; !strings.Contains(scrape.Body.String(), want) {
		t.Errorf("the metrics have no %s", want)
	}

	w := new(wire)
	s := f.connect("1", session.Handshake{}, w)
	f.Changes.Freeze()
	f.Changes.Move()
	f.Changes.Thaw()
	why := f.refused(http.StatusServiceUnavailable, "POST", "/api/connections/"+s.ID().String()+"/disconnect", map[string]any{"app": "1", "code": 4009})
	if !strings.Contains(why, "moved") || w.closed != nil {
		t.Errorf("refused with %q, closed with %v", why, w.closed)
	}
}

// Clients come and go while they are listed and disconnected.
func TestConnectionsComeAndGo(t *testing.T) {
	f := newFixture(t)
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for n := range 100 {
				s := f.connect("1", session.Handshake{Remote: address(n)}, new(wire))
				subscribe(s, "presence-a", fmt.Sprint(i))
				subscribe(s, "b", "")
				s.Handle([]byte(`{"event":"pusher:unsubscribe","data":{"channel":"b"}}`))
				if n%2 == 0 {
					s.End(session.ByClient)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		var l listed
		f.get("/api/connections?app=1&q=presence&sort=channels", &l)
		for _, c := range l.Connections[:min(1, len(l.Connections))] {
			var raw json.RawMessage
			f.ask("GET", "/api/connections/"+c.SocketID+"?app=1", nil, &raw)
			f.ask("POST", "/api/connections/"+c.SocketID+"/disconnect", map[string]any{"app": "1", "code": 4200}, &raw)
		}
	}
}

func BenchmarkConnections(b *testing.B) {
	f := newFixture(b)
	for i := range 20_000 {
		s := f.connect("1", session.Handshake{Remote: address(i), Client: "js", Version: "8.4.0"}, &wire{seen: keepalive.Time(i % 100)})
		subscribe(s, fmt.Sprintf("room-%d", i%1000), "")
		subscribe(s, fmt.Sprintf("private-user-%d", i), "")
	}
	for _, bb := range []struct{ name, query string }{{"newest", ""}, {"search", "&q=room-77&sort=seen"}, {"last page", "&offset=19950"}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/connections?app=1"+bb.query, nil))
			}
		})
	}
}
