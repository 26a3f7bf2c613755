package console

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"belfry/channels/cluster/local"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/session"
)

func TestListChannels(t *testing.T) {
	f := newFixture(t)
	one, two := f.connect("1", session.Handshake{}, new(wire)), f.connect("1", session.Handshake{}, new(wire))
	subscribe(one, "a", "")
	subscribe(one, "presence-Team", "7")
	subscribe(two, "presence-Team", "7")
	subscribe(two, "private-b", "")
	var sent map[string]int
	f.ask("POST", "/api/events", map[string]string{"app": "1", "channel": "a", "event": "<b>", "data": "x", "as": "server"}, &sent)

	type list struct {
		Total    int
		Channels []channel
	}
	for query, want := range map[string][]string{
		"":                                {"a", "presence-Team", "private-b"},
		"&sort=subscriptions":             {"presence-Team", "a", "private-b"},
		"&sort=users&limit=1":             {"presence-Team"},
		"&sort=rate&limit=1":              {"a"},
		"&sort=last&offset=0&limit=1":     {"a"},
		"&offset=1&limit=1":               {"presence-Team"},
		"&q=TEAM":                         {"presence-Team"},
		"&q=%3Cscript%3E":                 nil,
		"&q=p&sort=name&offset=1":         {"private-b"},
		"&q=p&sort=name&offset=9&limit=5": nil,
	} {
		var got list
		f.get("/api/channels?app=1"+query, &got)
		var names []string
		for _, c := range got.Channels {
			names = append(names, c.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q: %v of %d, want %v", query, names, got.Total, want)
		}
	}
	var got list
	f.get("/api/channels?app=1&sort=rate", &got)
	a := got.Channels[0]
	if got.Total != 3 || a.Kind != "public" || a.Subscriptions != 1 || a.Users != 0 || a.Rate <= 0 || a.LastEvent != "<b>" || a.LastAt == 0 {
		t.Errorf("shown as %+v of %d", a, got.Total)
	}
	f.refused(http.StatusNotFound, "GET", "/api/channels", nil)
	f.refused(http.StatusBadRequest, "GET", "/api/channels?app=1&sort=opened", nil)
}

func TestShowChannel(t *testing.T) {
	f := newFixture(t, func(a *config.App) {
		a.History = []config.History{{Channels: "presence-cache-*", Events: 200, Age: time.Minute}}
	})
	const name = "presence-cache-a"
	var ids []string
	for i := range 5 {
		s := f.connect("1", session.Handshake{}, new(wire))
		subscribe(s, name, fmt.Sprint(i/2))
		ids = append(ids, s.ID().String())
	}
	large := strings.Repeat("é", 9000)
	for i := range 102 {
		data := fmt.Sprintf(`{"n":%d}`, i)
		if i == 101 {
			data = large[:10000]
		}
		var answer map[string]int
		if status := f.ask("POST", "/api/events", map[string]string{"app": "1", "channel": name, "event": `a\"b`, "data": data, "as": "server"}, &answer); status != 200 || answer["recipients"] != 5 {
			t.Fatalf("answered with %d %v", status, answer)
		}
	}
	var got shownChannel
	f.get("/api/channel?app=1&name="+name+"&offset=2&limit=2", &got)
	if got.Kind != "presence-cache" || got.Subscriptions != 5 || got.Users != 3 || got.TotalSubscriptions != 5 || got.TotalUsers != 3 ||
		got.SubscribersTotal != 5 || got.LastEvent != `a\"b` || got.Error != "" {
		t.Errorf("shown as %+v", got)
	}
	ordered := slices.SortedFunc(slices.Values(ids), func(a, b string) int {
		x, _ := protocol.ParseSocketID(a)
		y, _ := protocol.ParseSocketID(b)
		return x.Compare(y)
	})
	if len(got.Subscribers) != 2 || got.Subscribers[0].SocketID != ordered[2] || got.Subscribers[1].SocketID != ordered[3] || got.Subscribers[0].UserID == "" {
		t.Errorf("subscribers are %+v, want from %v", got.Subscribers, ordered)
	}
	if got.Cached == nil || got.Cached.Data != large[:10000] || got.Cached.Bytes != 10000 || got.Cached.TTL <= 0 {
		t.Errorf("cached is %+v", got.Cached)
	}
	if got.History == nil || len(got.History.Events) != 100 {
		t.Fatalf("the history is %+v", got.History)
	}
	if e := got.History.Events[98]; e.Name != `a\"b` || e.Data != `{"n":100}` || e.Bytes != 9 || e.Serial == "" || e.Time == 0 {
		t.Errorf("an event is %+v", e)
	}

	var nobody shownChannel
	f.get("/api/channel?app=1&name=private-x", &nobody)
	if nobody.Name != "private-x" || nobody.Kind != "private" || nobody.Subscriptions != 0 || nobody.LastAt != 0 ||
		nobody.Cached != nil || nobody.History != nil || len(nobody.Subscribers) != 0 {
		t.Errorf("a channel that nobody is on is %+v", nobody)
	}
	for _, query := range []string{"", "&name=" + strings.Repeat("x", 500), "&name=%3Cscript%3E", "&name=a&limit=x"} {
		f.refused(http.StatusBadRequest, "GET", "/api/channel?app=1"+query, nil)
	}
	if data, size := shown([]byte(quote(large))); size != 18000 || len(data) > maxData+len("…") || !strings.HasPrefix(large, strings.TrimSuffix(data, "…")) {
		t.Errorf("%d bytes of %d are shown", len(data), size)
	}
}

func TestSendEvent(t *testing.T) {
	f := newFixture(t, func(a *config.App) { a.MaxEventBytes = 100 })
	f.Changes = new(handover.Changes)
	w := new(wire)
	s := f.connect("1", session.Handshake{}, w)
	for _, channel := range []string{"a", "private-a", "private-cache-a", "private-encrypted-a"} {
		subscribe(s, channel, "")
	}
	event := func(channel, name, data, as string) map[string]string {
		return map[string]string{"app": "1", "channel": channel, "event": name, "data": data, "as": as}
	}
	hostile := `</script>"\` + "\u2028"
	for _, e := range []map[string]string{
		event("a", hostile, hostile, "server"), event("private-a", "client-a", "x", "server"), event("private-a", "client-"+hostile, hostile, "client"),
		event("private-cache-a", "client-x", "not kept", "client"), event("private-encrypted-a", "e", "", "server"),
	} {
		var answer map[string]int
		if status := f.ask("POST", "/api/events", e, &answer); status != http.StatusOK || answer["recipients"] != 1 {
			t.Errorf("%v is answered with %d %v", e, status, answer)
		}
		want := string(protocol.Event{Name: e["event"], Channel: e["channel"], Data: []byte(quote(e["data"]))}.Frame().JSON())
		eventually(t, "the event is delivered", func() bool { return strings.Contains(w.text(), want) })
	}
	if state, err := f.Apps.ByID("1").Channels.State("private-cache-a"); err != nil || state.LastData != nil {
		t.Errorf("the last event is %s, %v", state.LastData, err)
	}
	var answer map[string]int
	if f.ask("POST", "/api/events", event("nobody", "e", "x", "server"), &answer); answer["recipients"] != 0 {
		t.Errorf("nobody is %v", answer)
	}
	for _, e := range []map[string]string{
		event("a", "", "x", "server"), event("", "e", "x", "server"), event("a b", "e", "x", "server"), event("a", "pusher:e", "x", "server"),
		event("a", strings.Repeat("e", 201), "x", "server"), event("a", "e", strings.Repeat("x", 101), "server"),
		event("a", "e", "x", ""), event("a", "e", "x", "both"),
		event("private-a", "e", "x", "client"), event("a", "client-e", "x", "client"), event("private-encrypted-a", "client-e", "x", "client"),
	} {
		f.refused(http.StatusBadRequest, "POST", "/api/events", e)
	}
	f.refused(http.StatusNotFound, "POST", "/api/events", map[string]string{"app": "3"})
	f.refused(http.StatusBadRequest, "POST", "/api/events", []string{})

	f.Changes.Freeze()
	f.Changes.Move()
	f.Changes.Thaw()
	if why := f.refused(http.StatusServiceUnavailable, "POST", "/api/events", event("a", "late", "x", "server")); !strings.Contains(why, "moved") {
		t.Errorf("refused with %q", why)
	}
	if strings.Contains(w.text(), "late") {
		t.Error("an event was published though the state has moved")
	}
}

// A node tells of all nodes, and what it knows by itself while the cluster is away.
func TestChannelOfCluster(t *testing.T) {
	hub := local.NewHub()
	var nodes [2]*fixture
	for i := range nodes {
		nodes[i] = newFixtureOn(t, hub.Node())
		w := new(wire)
		s := nodes[i].connect("1", session.Handshake{}, w)
		subscribe(s, "presence-a", fmt.Sprint(i))
		eventually(t, "the client is subscribed", func() bool { return strings.Contains(w.text(), "subscription_succeeded") })
	}
	const path = "/api/channel?app=1&name=presence-a"
	eventually(t, "the cluster knows both", func() bool {
		var got shownChannel
		nodes[0].get(path, &got)
		return got.TotalSubscriptions == 2 && got.TotalUsers == 2 && got.Subscriptions == 1 && got.Users == 1 && got.Error == ""
	})
	event := map[string]string{"app": "1", "channel": "presence-a", "event": "e", "data": "x", "as": "server"}
	var answer map[string]int
	if nodes[0].ask("POST", "/api/events", event, &answer); answer["recipients"] != 2 {
		t.Errorf("an event reaches %v", answer)
	}
	hub.SetDown(true)
	var got shownChannel
	nodes[0].get(path, &got)
	if got.Error == "" || got.Subscriptions != 1 || got.TotalSubscriptions != 1 || len(got.Subscribers) != 1 {
		t.Errorf("while the cluster is away: %+v", got)
	}
	nodes[0].refused(http.StatusServiceUnavailable, "POST", "/api/events", event)
	hub.SetDown(false)
}

func TestClientEventsOff(t *testing.T) {
	f := newFixture(t, func(a *config.App) { a.ClientEvents = config.ClientEventsNone })
	why := f.refused(http.StatusBadRequest, "POST", "/api/events", map[string]string{"app": "1", "channel": "private-a", "event": "client-a", "data": "x", "as": "client"})
	if !strings.Contains(why, "client_events") {
		t.Errorf("refused with %q", why)
	}
}
