package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/session"
	"belfry/server/trace"
)

// liveStream is a page that shows what happens.
type liveStream struct {
	t     *testing.T
	lines *bufio.Scanner
	close context.CancelFunc
}

// live opens a stream, and returns once it records.
func (f *fixture) live(t *testing.T, query string) *liveStream {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel) // ahead of the server's end
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/live?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("answered with %s, %s", answer.Status, kind)
	}
	return &liveStream{t, bufio.NewScanner(answer.Body), cancel}
}

// next are at least so many records, without their ids and times.
func (s *liveStream) next(n int) (records []trace.Record) {
	s.t.Helper()
	for len(records) < n && s.lines.Scan() {
		data, ok := strings.CutPrefix(s.lines.Text(), "data: ")
		if !ok {
			continue
		}
		var b batch
		if err := json.Unmarshal([]byte(data), &b); err != nil {
			s.t.Fatalf("%v in %q", err, data)
		}
		records = append(records, b.Records...)
	}
	for i := range records {
		if records[i].ID == 0 || records[i].At == 0 {
			s.t.Errorf("no id or time: %+v", records[i])
		}
		records[i].ID, records[i].At = 0, 0
	}
	return records
}

func TestLive(t *testing.T) {
	f := newFixture(t, func(a *config.App) { a.AllowedOrigins = []string{"a.example"} })
	s := f.live(t, "app=1")
	client := f.connect("1", session.Handshake{Remote: "192.0.2.1:5000", Client: "js", Version: "8.6.0", Origin: "https://a.example"}, new(wire))
	subscribe(client, "presence-room", "ann")
	if err := client.App().Channels.Publish(channels.Publication{Event: protocol.Event{Name: "said", Channel: "presence-room", Data: []byte(`"hello"`)}}); err != nil {
		t.Fatal(err)
	}
	client.Handle([]byte(`{"event":"client-typing","channel":"presence-room","data":{"a":1}}`))
	client.Handle([]byte(`{"event":"client-typing","channel":"presence-other","data":"{}"}`))
	client.Handle([]byte(`{"event":"pusher:unsubscribe","data":{"channel":"presence-room"}}`))
	client.End(session.ByClient)
	if _, e := f.admission.Admit(session.Handshake{App: f.admission.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}, Origin: "https://b.example"}, new(wire)); e == nil {
		t.Error("another origin was admitted")
	}
	id := client.ID().String()
	one, none := 1, 0
	want := []trace.Record{
		{Kind: trace.Connect, App: "1", SocketID: id, Remote: "192.0.2.1:5000", Client: "js", Version: "8.6.0", Origin: "https://a.example", Transport: "websocket"},
		{Kind: trace.Subscribe, App: "1", SocketID: id, Channel: "presence-room", UserID: "ann"},
		{Kind: trace.Publish, App: "1", Channel: "presence-room", Event: "said", Recipients: &one, Data: "hello", DataBytes: 5},
		{Kind: trace.ClientEvent, App: "1", SocketID: id, Channel: "presence-room", Event: "client-typing", UserID: "ann", Recipients: &none, Data: `{"a":1}`, DataBytes: 7},
		{Kind: trace.Refusal, App: "1", SocketID: id, Channel: "presence-other", Code: 4301, What: "refused", Reason: `Client event on "presence-other", which this connection is not subscribed to`,
			Remote: "192.0.2.1", Client: "js", Version: "8.6.0", Origin: "https://a.example"},
		{Kind: trace.Unsubscribe, App: "1", SocketID: id, Channel: "presence-room", UserID: "ann"},
		{Kind: trace.Disconnect, App: "1", SocketID: id, Reason: "client"},
		{Kind: trace.Refusal, App: "1", Code: 4009, What: "connection refused", Reason: "Origin not allowed: add its host to allowed_origins of the app", Origin: "https://b.example"},
	}
	got := s.next(len(want))
	for i, w := range want {
		g := got[i]
		g.DelayMS = 0
		if text, expected := jsonOf(t, g), jsonOf(t, w); text != expected {
			t.Errorf("record %d is\n%s\nwant\n%s", i, text, expected)
		}
	}
	if len(got) > len(want) {
		t.Errorf("more records: %+v", got[len(want):])
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLiveFilter(t *testing.T) {
	f := newFixture(t)
	client := f.connect("1", session.Handshake{}, new(wire))
	other := f.connect("1", session.Handshake{}, new(wire))
	s := f.live(t, "app=1&kind=subscribe&kind=unsubscribe&channel=presence-&socket="+client.ID().String())
	subscribe(other, "presence-room", "bob")
	subscribe(client, "private-room", "")
	subscribe(client, "presence-room", "ann")
	if got := s.next(1); len(got) != 1 || got[0].Channel != "presence-room" || got[0].UserID != "ann" {
		t.Errorf("%+v", got)
	}
}

// What is too fast is counted.
func TestLiveSkips(t *testing.T) {
	f := newFixture(t)
	s := f.live(t, "kind=refusal")
	const all = 5 * trace.MaxRecords
	for i := range all {
		f.admission.Reject("1", protocol.Errorf(4000+i, "refused"))
	}
	records, skipped := 0, 0
	for records+skipped < all && s.lines.Scan() {
		if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
			var b batch
			if err := json.Unmarshal([]byte(data), &b); err != nil {
				t.Fatal(err)
			}
			if len(b.Records) > trace.MaxRecords {
				t.Errorf("%d records at once", len(b.Records))
			}
			records += len(b.Records)
			skipped += b.Skipped
		}
	}
	if records+skipped != all || records < trace.MaxRecords {
		t.Errorf("%d records, %d skipped", records, skipped)
	}
}

func TestLiveRefusals(t *testing.T) {
	f := newFixture(t)
	f.refused(http.StatusBadRequest, "GET", "/api/live?socket=x", nil)
	for range trace.MaxWatchers {
		f.live(t, "")
	}
	if why := f.refused(http.StatusServiceUnavailable, "GET", "/api/live", nil); !strings.Contains(why, fmt.Sprint(trace.MaxWatchers)) {
		t.Error(why)
	}
}

// A stream ends with the console, and then nobody watches.
func TestLiveEnds(t *testing.T) {
	f := newFixture(t)
	s := f.live(t, "")
	f.Close()
	for s.lines.Scan() {
	}
	if err := s.lines.Err(); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	cfg, err := config.Parse("belfry.yaml", []byte("apps:\n  - id: '1'\n    key: key-1\n    secret: secret-1\n    max_connections: 1\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Configured(cfg)
	f.admission.Reject("", protocol.Errorf(4001, "App key x is not that of any app"))
	f.admission.Reject("1", protocol.Errorf(4004, "Application is over its quota of 1 connections: see max_connections"))
	f.admission.Reject("1", protocol.Errorf(4009, "Signed with another secret"))
	f.admission.Reject("2", protocol.Errorf(4100, "no_such_key, max_request_bytes, \"max_connections \\\" allowed_origins\""))
	var all, none, one, other struct{ Refusals []refusal }
	f.get("/api/refusals", &all)
	f.get("/api/refusals?app=2", &other)
	f.get("/api/refusals?app=", &none)
	f.get("/api/refusals?app=1", &one)
	if len(all.Refusals) != 4 || len(none.Refusals) != 1 || len(one.Refusals) != 2 {
		t.Fatalf("%d in all, %d of no app, %d of one", len(all.Refusals), len(none.Refusals), len(one.Refusals))
	}
	settings := fmt.Sprint(one.Refusals[0].Settings, one.Refusals[1].Settings, other.Refusals[0].Settings, none.Refusals[0].Settings)
	if settings != "[{apps[0].secret belfry.yaml:4}] [{apps[0].max_connections belfry.yaml:5}] [{server.max_request_bytes }] []" {
		t.Errorf("the settings are %s", settings)
	}
}
