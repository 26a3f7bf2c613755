package session_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
)

// newAdmission is to an application with limits that are easily met.
func newAdmission(t *testing.T) (*session.Admission, *apps.App) {
	t.Helper()
	broker := channels.NewBroker(1, nil)
	t.Cleanup(broker.Close)
	counts := metrics.New("", "", "")
	limits := servertest.App("1")
	limits.ClientEventRate, limits.MessageRate = 3, 2
	limits.APIRequestRate, limits.MaxConnectionsPerAddress = 5, 1
	registry := apps.NewRegistry([]config.App{limits}, broker, servertest.Webhooks(t), counts)
	return &session.Admission{Apps: registry, Metrics: counts, Log: discard, Refusals: refusals.New(discard)}, registry.ByID("1")
}

var addresses = cmpopts.EquateComparable(netip.Addr{})

// A session is the same after a handover, and its client was told nothing.
func TestRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, app := newAdmission(t)
		client := &wire{seen: 1}
		s, e := before.Admit(session.Handshake{App: before.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}, Remote: "192.0.2.1:1",
			Client: "js", Version: "8.4.0", Origin: "https://example.com"}, client)
		if e != nil {
			t.Fatal(e)
		}
		id := s.ID().String()
		handle := func(s *session.Session, messages ...string) {
			for _, m := range messages {
				s.Handle([]byte(m))
			}
		}
		userData := `{"id":"1","user_info":{"a":1},"watchlist":["1","2"]}`
		member := `{"user_id":"1","user_info":[null]}`
		handle(s,
			`{"event":"pusher:signin","data":{"user_data":`+servertest.Quote(userData)+`,"auth":`+servertest.Quote(servertest.Sign("1", id+"::user::"+userData))+`}}`,
			`{"event":"pusher:subscribe","data":{"channel":"presence-a","channel_data":`+servertest.Quote(member)+`,"auth":`+servertest.Quote(servertest.Sign("1", id+":presence-a:"+member))+`}}`,
			`{"event":"pusher:subscribe","data":{"channel":"private-b","auth":`+servertest.Quote(servertest.Sign("1", id+":private-b"))+`}}`)
		const whisper = `{"event":"client-e","channel":"private-b","data":"x"}`
		handle(s, whisper, whisper)
		s.Due(5, 4)
		for range 4 {
			app.AllowRequest()
		}
		exported, alive := s.Export()
		if !alive || exported.User == nil || len(exported.Subscriptions) != 2 || exported.ClientEvents == nil || !exported.Authorized {
			t.Fatalf("exported %+v", exported)
		}
		text, err := json.Marshal(exported)
		if err != nil {
			t.Fatal(err)
		}

		after, next := newAdmission(t)
		if err := next.Restore(before.Apps.Export(app)); err != nil {
			t.Fatal(err)
		}
		if err := app.Channels.ExportChannels(next.Channels.RestoreChannel); err != nil {
			t.Fatal(err)
		}
		var state session.Exported
		if err := json.Unmarshal(text, &state); err != nil {
			t.Fatal(err)
		}
		silent := &wire{seen: 1}
		r, err := after.Restore(state, silent)
		if err != nil {
			t.Fatal(err)
		}
		if err := next.Channels.Restored(); err != nil {
			t.Fatal(err)
		}
		if again, alive := r.Export(); !alive || !cmp.Equal(again, exported, addresses) {
			t.Errorf("restored %s", cmp.Diff(exported, again, addresses))
		}
		if silent.sent.Len() > 0 {
			t.Errorf("the client was told %q", &silent.sent)
		}

		was, _ := s.Info()
		if is, open := r.Info(); !open || is != was || is.Remote.String() != "192.0.2.1" || is.Client != "js" ||
			is.Origin != "https://example.com" || is.Opened != 1 || is.UserID != "1" || is.Subscriptions != 2 {
			t.Errorf("shown as %+v, before as %+v", is, was)
		}

		// The limits go on: one client event and one request are left, and no other
		// connection may come from the address.
		r.Evict()
		handle(r, whisper)
		if silent.sent.Len() > 0 {
			t.Errorf("the last client event is answered with %q", &silent.sent)
		}
		handle(r, whisper)
		if silent.sent.Len() == 0 {
			t.Error("one client event too many is not refused")
		}
		if !next.AllowRequest() || next.AllowRequest() {
			t.Error("not one request is left")
		}
		if _, e := after.Admit(session.Handshake{App: after.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}, Remote: "192.0.2.1:2"}, new(wire)); e == nil || e.Code != protocol.CodeOverCapacity {
			t.Errorf("another connection from the address: %v", e)
		}
		r.End(session.ByClient)
		s.End(session.ByClient)
		if n := next.Channels.Subscriptions(); n != 0 || next.Connections() != 0 {
			t.Errorf("%d subscriptions and %d connections are left", n, next.Connections())
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	a, _ := newAdmission(t)
	for name, e := range map[string]session.Exported{
		"another app":       {App: "2", ID: "1.2"},
		"no socket id":      {App: "1", ID: "x"},
		"another transport": {App: "1", ID: "1.2", Transport: protocol.NumTransports},
		"no member":         {App: "1", ID: "1.2", Subscriptions: []session.ExportedSubscription{{Channel: "presence-a"}}},
	} {
		if _, err := a.RestoreAbsent(e); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}
