package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/api"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/metrics"
	"belfry/server/refusals"
)

// stalled is a Subscriber that breaks the rule not to block, so that its channel
// is full.
type stalled struct {
	channels.Subscriber
	entered, release chan struct{}
}

func (*stalled) ID() protocol.SocketID          { return protocol.SocketID{} }
func (*stalled) Lines() bool                    { return false }
func (*stalled) Hold()                          {}
func (*stalled) Source() (none protocol.Source) { return none }

func (s *stalled) Deliver(*channels.Subscription, []byte) bool {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.release
	return false
}

// unhurried is a ResponseWriter whose answer may wait though its handler may not.
type unhurried struct {
	*httptest.ResponseRecorder
	awaited []<-chan struct{}
}

func (u *unhurried) Await(closed <-chan struct{}) { u.awaited = append(u.awaited, closed) }

// A handler that must not wait publishes to a full channel all the same, and has
// its answer wait.
func TestPublishWithoutWaiting(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	broker, m := channels.NewBroker(1, nil), metrics.New("", "", "")
	defer broker.Close()
	registry := apps.NewRegistry([]config.App{servertest.App("1")}, broker, servertest.Webhooks(t), m)
	defer registry.Update(nil)
	handler := &api.API{Apps: registry, Metrics: m, Refusals: refusals.New(log), MaxRequestBytes: 1 << 20, Hurry: context.Background(),
		Authorized: func(http.ResponseWriter, *http.Request) {}}
	publish := func() *unhurried {
		body := []byte(`{"name":"e","channels":["a","b"],"data":"` + strings.Repeat("x", 10000) + `"}`)
		query := servertest.SignedQuery("1", http.MethodPost, "/apps/1/events", nil, body, time.Now())
		w := &unhurried{ResponseRecorder: httptest.NewRecorder()}
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/apps/1/events?"+query.Encode(), strings.NewReader(string(body))))
		if w.Code != http.StatusOK || w.Body.String() != "{}" {
			t.Errorf("answered with %d %s", w.Code, w.Body)
		}
		return w
	}
	s := &stalled{entered: make(chan struct{}, 1), release: make(chan struct{})}
	if _, _, err := registry.ByID("1").Channels.Subscribe(s, "a", nil); err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	go func() { // a small channel's publisher delivers by itself
		defer close(first)
		publish()
	}()
	<-s.entered
	w := publish()
	for range 100 {
		if len(w.awaited) > 0 {
			break
		}
		w = publish()
	}
	if len(w.awaited) != 1 {
		t.Fatalf("%d channels are full, want 1", len(w.awaited))
	}
	select {
	case <-w.awaited[0]:
		t.Error("there is room already")
	default:
	}
	close(s.release)
	<-w.awaited[0]
	<-first
}

func TestQuick(t *testing.T) {
	for target, want := range map[string]bool{
		"POST /apps/1/events":                             true,
		"POST /ws/apps/1/events":                          true,
		"POST /apps/1/batch_events":                       true,
		"GET /apps/1/events":                              false,
		"GET /apps/1/channels":                            false,
		"POST /apps/1/users/1/terminate_connections":      false,
		"POST /apps/1/users/events/terminate_connections": false,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := api.Quick(httptest.NewRequest(method, path, nil)); got != want {
			t.Errorf("%s is quick: %t", target, got)
		}
	}
}
