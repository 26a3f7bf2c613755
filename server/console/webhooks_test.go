package console

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/session"
)

func TestWebhooks(t *testing.T) {
	bodies := make(chan string, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "<script>hunter2")
	}))
	t.Cleanup(backend.Close)
	address := strings.TrimPrefix(backend.URL, "http://")
	f := newFixture(t, func(a *config.App) {
		hook := config.DefaultWebhook()
		hook.URL = "http://user:hunter2@" + address + "/hook?token=hunter2"
		hook.Events = []string{protocol.WebhookChannelOccupied}
		a.Webhooks = []config.Webhook{hook}
	})
	type list struct{ Endpoints []endpoint }
	var before list
	f.get("/api/webhooks?app=1", &before)
	if len(before.Endpoints) != 1 {
		t.Fatalf("shown as %+v", before)
	}
	e := before.Endpoints[0]
	if e.URL != "http://"+address+"/hook" || e.Index != 0 || !slices.Equal(e.Events, []string{"channel_occupied"}) || len(e.Requests) != 0 || e.FailingSince != 0 {
		t.Errorf("shown as %+v", e)
	}

	var result webhookRequest
	test := map[string]any{"app": "1", "index": 0, "url": e.URL, "event": "member_added"}
	if status := f.ask("POST", "/api/webhooks/test", test, &result); status != http.StatusOK || result.Status != http.StatusTeapot || result.Failure != "status 418" {
		t.Errorf("tested with %d %+v", status, result)
	}
	if body := <-bodies; !strings.Contains(body, `"user_id":"belfry-test"`) {
		t.Errorf("sent %s", body)
	}
	if f.log.Contains("hunter2") || !f.log.Contains("webhook tested") {
		t.Errorf("logged %s", f.log)
	}

	subscribe(f.connect("1", session.Handshake{}, new(wire)), "a", "")
	<-bodies
	eventually(t, "the request is shown", func() bool {
		var after list
		f.get("/api/webhooks?app=1", &after)
		r := after.Endpoints[0].Requests
		return len(r) == 1 && r[0].Status == http.StatusTeapot && r[0].Events == 1 && r[0].At > 0 && after.Endpoints[0].FailingSince > 0
	})

	for change, status := range map[string]int{"index": http.StatusNotFound, "url": http.StatusNotFound, "app": http.StatusNotFound, "event": http.StatusBadRequest} {
		wrong := map[string]any{"app": "1", "index": 0, "url": e.URL, "event": "member_added"}
		if wrong[change] = "x"; change == "index" {
			wrong[change] = 1
		}
		f.refused(status, "POST", "/api/webhooks/test", wrong)
	}
	f.refused(http.StatusNotFound, "GET", "/api/webhooks?app=x", nil)
	var none list
	if f.get("/api/webhooks?app=2", &none); none.Endpoints == nil || len(none.Endpoints) != 0 {
		t.Errorf("without endpoints: %+v", none)
	}
}
