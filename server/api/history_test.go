package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
)

// historyAnswer is what GET channels/{c}/history answers.
type historyAnswer struct {
	Events []struct {
		Serial, Name, Data string
		TimeMS             int64 `json:"time_ms"`
	}
	Complete bool
}

func historyOf(t *testing.T, s *servertest.Server, route string) (h historyAnswer) {
	t.Helper()
	a := s.Get(t, "1", route)
	if err := json.Unmarshal([]byte(a.Body), &h); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%s was answered with %d %s", route, a.Status, a.Body)
	}
	return h
}

// expectHistory compares the data of events, and whether they are complete.
func expectHistory(t *testing.T, h historyAnswer, complete bool, data ...string) {
	t.Helper()
	var got []string
	for _, e := range h.Events {
		got = append(got, e.Data)
	}
	if fmt.Sprint(got) != fmt.Sprint(data) || h.Complete != complete {
		t.Errorf("%q, complete %t; want %q, %t", got, h.Complete, data, complete)
	}
}

func TestHistory(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Apps[0].History = []config.History{{Channels: "private-chat.*", Events: 3, Age: time.Hour}, {Channels: "b", Events: 1, Age: time.Hour}}
	})
	const route = "channels/private-chat.1/history"
	expectOK(t, s.Get(t, "1", route), `{"events":[],"complete":true}`)

	c := s.Connect(t, "1")
	c.Subscribe("private-chat.1")
	c.Subscribe("private-other")
	for _, data := range []string{"1", `<&"é\`} {
		s.Publish(t, "1", `App\Events\Said`, data, "private-chat.1", "private-other")
	}
	h := historyOf(t, s, route)
	expectHistory(t, h, true, "1", `<&"é\`)
	for _, e := range h.Events {
		text := servertest.EventText(`App\Events\Said`, "private-chat.1", e.Data)
		c.Expect(strings.TrimSuffix(text, "}")+`,"serial":"`+e.Serial+`"}`, servertest.EventText(`App\Events\Said`, "private-other", e.Data))
		if at := time.UnixMilli(e.TimeMS); e.Name != `App\Events\Said` || time.Since(at).Abs() > time.Hour {
			t.Errorf("%+v", e)
		}
	}
	c.Send(`{"event":"client-typing","channel":"private-chat.1","data":{"a":1}}`)
	c.Sync()
	first := h.Events[0].Serial
	expectHistory(t, historyOf(t, s, route+"?since="+first), true, `<&"é\`, `{"a":1}`)
	expectHistory(t, historyOf(t, s, route+"?limit=1&since="+first), true, `<&"é\`)
	expectHistory(t, historyOf(t, s, route+"?limit=1"), true, `{"a":1}`)
	s.Publish(t, "1", "e", "4", "private-chat.1")
	s.Publish(t, "1", "e", "5", "private-chat.1")
	expectHistory(t, historyOf(t, s, route+"?since="+first), false, `{"a":1}`, "4", "5")
	expectHistory(t, historyOf(t, s, route+"?since=other-1"), false, `{"a":1}`, "4", "5")

	for query, text := range map[string]string{
		"limit=0": "limit \"0\" is not a whole number from 1 to 1000", "limit=1001": "limit", "limit=x": "limit",
		"since=e": "since \"e\" is not a serial: give one as messages have it", "since=e-": "since", "since=-1": "since",
	} {
		expectError(t, s.Get(t, "1", route+"?"+query), http.StatusBadRequest, text)
	}
	expectError(t, s.Get(t, "1", "channels/private-other/history"), http.StatusNotFound, `channel "private-other" has no history`, "apps[].history")
	expectError(t, s.Get(t, "1", "channels/bb/history"), http.StatusNotFound, "apps[].history")
	expectError(t, s.Get(t, "1", "channels/a%20b/history"), http.StatusBadRequest)
	expectError(t, s.Post(t, "1", route, "{}"), http.StatusMethodNotAllowed)
	expectError(t, s.HTTP(t, http.MethodGet, "/apps/1/"+route, nil, nil), http.StatusUnauthorized)

	if got := s.Metric(t, "belfry_history_events"); got != 3 {
		t.Errorf("belfry_history_events is %v", got)
	}
	if got := s.Metric(t, "belfry_history_bytes"); got < 3*50 {
		t.Errorf("belfry_history_bytes is %v", got)
	}

	// Changed by a reload.
	s.Reconfigure(t, func(c *config.Config) {
		c.Apps[0].History = []config.History{{Channels: "private-other", Events: 1, Age: time.Hour}}
	})
	expectError(t, s.Get(t, "1", route), http.StatusNotFound, "apps[].history")
	expectHistory(t, historyOf(t, s, "channels/private-other/history"), true)
	s.Publish(t, "1", "e", "new", "private-other")
	expectHistory(t, historyOf(t, s, "channels/private-other/history"), true, "new")
}

// The memory of all histories is bounded, and a reload changes the bound.
func TestHistoryBytes(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Apps[0].History = []config.History{{Channels: "*", Events: 1000, Age: time.Hour}}
		c.Server.MaxHistoryBytes = 2 << 20
	})
	data := strings.Repeat("x", 10_000)
	publish := func(times int) {
		for i := range times {
			s.Publish(t, "1", "e", data, fmt.Sprint("c", i%7))
		}
	}
	publish(150)
	if got := s.Metric(t, "belfry_history_events_dropped_total"); got != 0 {
		t.Errorf("%v were dropped", got)
	}
	s.Reconfigure(t, func(c *config.Config) { c.Server.MaxHistoryBytes = 1 << 20 })
	bytes, events, dropped := s.Metric(t, "belfry_history_bytes"), s.Metric(t, "belfry_history_events"), s.Metric(t, "belfry_history_events_dropped_total")
	if bytes > 1<<20 || bytes < 1<<19 || events+dropped != 150 {
		t.Errorf("%v bytes, %v events, %v dropped", bytes, events, dropped)
	}
	publish(7)
	if bytes := s.Metric(t, "belfry_history_bytes"); bytes > 1<<20 {
		t.Errorf("then %v bytes", bytes)
	}
}
