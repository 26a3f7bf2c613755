package console

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/channels"
	"belfry/channels/cluster"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
	"belfry/server/trace"
	"belfry/server/webhooks"
)

// This package is a part of the server that package servertest runs, and so cannot use
// that.

// testApp is an application with default limits, key-ID and secret-ID.
func testApp(id string) config.App {
	a := config.DefaultApp()
	a.ID, a.Key, a.Secret = id, "key-"+id, "secret-"+id
	return a
}

// logged is what was logged.
type logged struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Contains looks for a part of what was logged so far.
func (l *logged) Contains(part string) bool { return strings.Contains(l.String(), part) }

// wire is a connection that keeps what it is sent. What comes after the greeting waits.
type wire struct {
	seen keepalive.Time

	mu     sync.Mutex // guards the following
	sent   []byte
	closed *protocol.Error
}

func (w *wire) Send(frames []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, frames...)
}

func (w *wire) Deliver(s *channels.Subscription, frames []byte) (kept bool) {
	if !s.Left() {
		w.Send(frames)
	}
	return false
}

func (w *wire) Hold()                {}
func (w *wire) Release(first []byte) { w.Send(first) }
func (w *wire) Room(int) bool        { return true }
func (w *wire) Ping()                {}
func (w *wire) Seen() keepalive.Time { return w.seen }

func (w *wire) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent)
}

func (w *wire) Close(e *protocol.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = e
}

func (w *wire) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.sent)
}

// fixture is a console of a server that has no network.
type fixture struct {
	*Console
	t         testing.TB
	log       *logged
	admission *session.Admission

	mu       sync.Mutex // guards the following
	sessions []*session.Session
}

// newFixture has App("1"), which edit may change.
func newFixture(t testing.TB, edit ...func(*config.App)) *fixture {
	t.Helper()
	return newFixtureOn(t, nil, edit...)
}

// newFixtureOn is newFixture for a node of a cluster.
func newFixtureOn(t testing.TB, driver cluster.Driver, edit ...func(*config.App)) *fixture {
	t.Helper()
	app := testApp("1")
	for _, f := range edit {
		f(&app)
	}
	broker := channels.NewBroker(2, driver)
	t.Cleanup(broker.Close)
	follow := new(trace.Trace)
	broker.TraceTo(follow)
	f := &fixture{t: t, log: new(logged)}
	log := slog.New(slog.NewTextHandler(f.log, nil))
	watch := keepalive.New()
	t.Cleanup(watch.Close)
	m := metrics.New("", "", "")
	hooks, err := webhooks.New(webhooks.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hooks.Close(context.Background()) })
	registry := apps.NewRegistry([]config.App{app, testApp("2")}, broker, hooks, m)
	f.admission = &session.Admission{Apps: registry, Metrics: m, Log: log, Refusals: refusals.New(log), Trace: follow}
	f.admission.Refusals.TraceTo(follow)
	f.Console = New(Options{Config: &config.Config{}, Log: log, Apps: registry, Broker: broker, Metrics: m,
		Refusals: f.admission.Refusals, Trace: follow, Watch: watch, Sessions: f.all, Address: new(net.TCPAddr), Clients: new(net.TCPAddr)})
	t.Cleanup(func() {
		f.Close()
		for s := range f.all() {
			s.End(session.ByClient)
		}
	})
	return f
}

func (f *fixture) all() iter.Seq[*session.Session] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Values(slices.Clone(f.sessions))
}

// connect admits a client of an app.
func (f *fixture) connect(app string, h session.Handshake, w *wire) *session.Session {
	f.t.Helper()
	h.App, h.Protocol = f.admission.Find(f.t.Context(), "key-"+app, ""), []string{"7"}
	s, e := f.admission.Admit(h, w)
	if e != nil {
		f.t.Fatal(e)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = append(f.sessions, s)
	return s
}

// subscribe subscribes to a channel, signed if need be.
func subscribe(s *session.Session, channel, userID string) {
	data := map[string]string{"channel": channel}
	if userID != "" {
		user, _ := json.Marshal(map[string]string{"user_id": userID})
		data["channel_data"] = string(user)
	}
	data["auth"] = s.App().Settings().Credentials.SignChannel(s.ID().String(), channel, data["channel_data"])
	message, _ := json.Marshal(map[string]any{"event": "pusher:subscribe", "data": data})
	s.Handle(message)
}

// ask makes a request, with the JSON of body unless that is nil, and decodes the answer.
func (f *fixture) ask(method, path string, body, answer any) (status int) {
	f.t.Helper()
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(string(text)))
	w := httptest.NewRecorder()
	f.serve(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), answer); err != nil {
		f.t.Fatalf("%s %s: %v in %.200q", method, path, err, w.Body)
	}
	return w.Code
}

// serve serves a request of somebody who may act.
func (f *fixture) serve(w http.ResponseWriter, r *http.Request) {
	r.AddCookie(&http.Cookie{Name: f.cookie, Value: f.keys.seal(account{Act, "admin"}, time.Now().Add(time.Hour))})
	f.Console.ServeHTTP(w, r)
}

// get is a request that succeeds.
func (f *fixture) get(path string, answer any) {
	f.t.Helper()
	var raw json.RawMessage
	if status := f.ask("GET", path, nil, &raw); status != http.StatusOK {
		f.t.Fatalf("%s is answered with %d %s", path, status, raw)
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		f.t.Fatalf("%s: %v", path, err)
	}
}

// refused makes a request that fails, and returns why.
func (f *fixture) refused(status int, method, path string, body any) string {
	f.t.Helper()
	var answer struct{ Error string }
	if got := f.ask(method, path, body, &answer); got != status || answer.Error == "" {
		f.t.Errorf("%s %s is answered with %d %q, want %d", method, path, got, answer.Error, status)
	}
	return answer.Error
}

func address(i int) string { return fmt.Sprintf("192.0.%d.%d:80", i/250, i%250+1) }

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("did not come true: %s", what)
		}
	}
}

// quote is s as a JSON string.
func quote(s string) string { return string(protocol.AppendString(nil, s)) }
