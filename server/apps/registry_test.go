package apps

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/webhooks"
)

// newRegistry has no apps; scrape returns what is exported of them.
func newRegistry(t *testing.T) (r *Registry, scrape func() string) {
	broker := channels.NewBroker(1, nil)
	t.Cleanup(broker.Close)
	m := metrics.New("", "", "")
	return NewRegistry(nil, broker, newSender(t), m), func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
}

func newSender(t testing.TB) *webhooks.Sender {
	t.Helper()
	s, err := webhooks.New(webhooks.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func configured(id string) config.App {
	c := config.DefaultApp()
	c.ID, c.Key, c.Secret = id, "key-"+id, "secret-"+id
	return c
}

func ids(apps []*App) (ids []string) {
	for _, a := range apps {
		ids = append(ids, a.ID)
	}
	return ids
}

func expectChanges(t *testing.T, got Changes, added, changed, removed []string) {
	t.Helper()
	if !slices.Equal(ids(got.Added), added) || !slices.Equal(ids(got.Changed), changed) || !slices.Equal(ids(got.Removed), removed) {
		t.Fatalf("added %v, changed %v, removed %v, want %v, %v, %v", ids(got.Added), ids(got.Changed), ids(got.Removed), added, changed, removed)
	}
}

func TestUpdate(t *testing.T) {
	r, scrape := newRegistry(t)
	one, two, three := configured("1"), configured("2"), configured("3")
	expectChanges(t, r.Update([]config.App{three, one, two}), []string{"1", "2", "3"}, nil, nil)
	apps := map[string]*App{"1": r.ByID("1"), "2": r.ByID("2"), "3": r.ByID("3")}
	settings := apps["1"].Settings()

	// The same again touches nothing, in whatever order and memory.
	same := configured("1")
	expectChanges(t, r.Update([]config.App{same, two, three}), nil, nil, nil)
	if r.ByID("1") != apps["1"] || apps["1"].Settings() != settings {
		t.Error("an app that is unchanged was touched")
	}

	two.Key, two.Secret, two.Secrets = "another-key", "", []string{"new", "old"}
	two.MaxPresenceMembers = 1
	four := configured("4")
	expectChanges(t, r.Update([]config.App{two, one, four}), []string{"4"}, []string{"2"}, []string{"3"})
	if r.ByID("1") != apps["1"] || apps["1"].Settings() != settings {
		t.Error("an app that is unchanged was touched")
	}
	if a := r.ByKey("another-key"); a == nil || a != apps["2"] || a != r.ByID("2") || r.ByKey("key-2") != nil {
		t.Errorf("app 2 with its new key is %v, with its old one %v", a, r.ByKey("key-2"))
	}
	if c := apps["2"].Settings().Credentials; c.Key != "another-key" || c.Secret != "new" || !slices.Equal(c.OldSecrets, []string{"old"}) {
		t.Errorf("credentials of app 2 are %v", c)
	}
	join := func(user string) error {
		_, _, err := apps["2"].Channels.Subscribe(nobody{}, "presence-a", &protocol.Member{UserID: user})
		return err
	}
	if err := join("a"); err != nil {
		t.Error(err)
	}
	if err := join("b"); err == nil {
		t.Error("the new limit of members is not in force")
	}

	if r.ByID("3") != nil || r.ByKey("key-3") != nil || apps["3"].Refusal() == nil || apps["2"].Refusal() != nil {
		t.Error("app 3 is still there, or app 2 is not")
	}
	if got := scrape(); strings.Contains(got, `app="3"`) || !strings.Contains(got, `belfry_connections{app="4",transport="websocket"} 0`) {
		t.Errorf("exported is\n%s", got)
	}

	// The key of one is given to another, and an id comes back.
	two.Key, one.Key = one.Key, two.Key
	expectChanges(t, r.Update([]config.App{one, two, three}), []string{"3"}, []string{"1", "2"}, []string{"4"})
	if r.ByKey("key-1") != apps["2"] || r.ByKey("another-key") != apps["1"] {
		t.Error("the keys of two apps were not exchanged")
	}
	if a := r.ByID("3"); a == nil || a == apps["3"] || a.Refusal() != nil || apps["3"].Refusal() == nil {
		t.Error("app 3 is not a new one")
	}
	if got := scrape(); !strings.Contains(got, `belfry_connections{app="3",transport="websocket"} 0`) {
		t.Errorf("exported is\n%s", got)
	}
}

// nobody is a subscriber that gets nothing.
type nobody struct{}

func (nobody) ID() protocol.SocketID                       { return protocol.NewSocketID(1) }
func (nobody) Deliver(*channels.Subscription, []byte) bool { return false }
func (nobody) Hold()                                       {}
func (nobody) Terminate()                                  {}
func (nobody) Dropped(string, error)                       {}
func (nobody) Source() protocol.Source                     { return 0 }
func (nobody) Lines() bool                                 { return false }
func (nobody) Send(protocol.Frame)                         {}

// Lookups and scrapes go on meanwhile; for the race detector.
func TestUpdateAmidLookups(t *testing.T) {
	r, scrape := newRegistry(t)
	always := configured("always")
	r.Update([]config.App{always})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	read := func(f func()) {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	read(func() {
		for i := range 3 {
			if a := r.ByKey(fmt.Sprint("key-", i)); a != nil {
				a.Metrics.Closed(protocol.WebSocket, "client")
				_ = a.Settings().Enabled
			}
		}
		if r.ByID("always") == nil {
			t.Error("an app that stays was not found")
		}
	})
	read(func() { r.All(func(a *App) { a.Metrics.Error(a.Channels.Subscriptions()) }) })
	read(func() { scrape() })
	for i := range 300 {
		r.Update([]config.App{always, configured(fmt.Sprint(i % 3))})
	}
	r.Update([]config.App{always})
	close(stop)
	readers.Wait()
	for i := range 3 {
		if got := scrape(); strings.Contains(got, fmt.Sprintf("app=%q", fmt.Sprint(i))) {
			t.Errorf("app %d left something:\n%s", i, got)
		}
	}
}

// A client that gives a secret in the place of the key is told whose it is, and nobody sees
// it.
func TestWithoutSecret(t *testing.T) {
	r, _ := newRegistry(t)
	two := configured("2")
	two.Secret, two.Secrets = "", []string{"new", "old"}
	r.Update([]config.App{configured("1"), two})
	for key, want := range map[string]string{"secret-1": "[the secret of app 1]", "new": "[the secret of app 2]", "old": "[the secret of app 2]", "key-1": "key-1", "": ""} {
		if got := r.WithoutSecret(key); got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	}
	r.Update([]config.App{two})
	if got := r.WithoutSecret("secret-1"); got != "secret-1" {
		t.Errorf("of an app that is gone: %q", got)
	}
}

func TestPeakConnections(t *testing.T) {
	r, _ := newRegistry(t)
	one := configured("1")
	one.MaxConnections = 3
	r.Update([]config.App{one})
	a := r.ByID("1")
	for range 3 {
		if _, e := a.Connect(protocol.WebSocket, "192.0.2.1:1"); e != nil {
			t.Fatal(e)
		}
	}
	if _, e := a.Connect(protocol.WebSocket, "192.0.2.1:1"); e == nil {
		t.Error("one more is connected")
	}
	for range 3 {
		a.Disconnect(protocol.WebSocket, nil)
	}
	if peak := a.PeakConnections(); peak != 3 {
		t.Errorf("the peak is %d", peak)
	}
	a.Adopt(protocol.WebSocket)
	if a.Connections() != 1 || a.PeakConnections() != 3 {
		t.Errorf("%d are connected, %d at most", a.Connections(), a.PeakConnections())
	}
}
