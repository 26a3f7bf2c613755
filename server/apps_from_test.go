package server_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
)

// appSource answers for applications as an HTTP source does: their documents by id and by
// key.
type appSource struct {
	*httptest.Server

	mu   sync.Mutex // guards the following
	apps map[string]string
	away bool
}

func startAppSource(t testing.TB, ids ...string) *appSource {
	b := &appSource{apps: make(map[string]string)}
	for _, id := range ids {
		b.set(id, "")
	}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

// set has an application with these further members of its document.
func (b *appSource) set(id, more string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apps[id] = fmt.Sprintf(`{"id":"%s","key":"key-%[1]s","secret":"secret-%[1]s"%s}`, id, more)
}

func (b *appSource) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apps, id)
}

func (b *appSource) setAway(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

func (b *appSource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := r.URL.Query()
	document := b.apps[q.Get("id")+strings.TrimPrefix(q.Get("key"), "key-")]
	switch {
	case b.away:
		http.Error(w, "away", http.StatusServiceUnavailable)
	case document == "":
		http.NotFound(w, r)
	default:
		w.Write([]byte(document))
	}
}

// configure has the server look applications up, beside those it has.
func (b *appSource) configure(c *config.Config) {
	c.AppsFrom.URL, c.AppsFrom.TTL, c.AppsFrom.NegativeTTL = b.URL, time.Second, 0
}

func TestAppsFrom(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			from := startAppSource(t, "7", "8")
			s := servertest.Start(t, tt.edit, from.configure)

			// Whoever comes first, a client or a publisher, has it looked up.
			c := s.Connect(t, "7")
			c.Subscribe("private-a")
			s.Publish(t, "7", "e", "x", "private-a")
			c.Expect(servertest.EventText("e", "private-a", "x"))
			s.Publish(t, "8", "e", "x", "a")
			f := s.ConnectFallback(t, "8", "xhr_streaming")
			f.Subscribe("a")
			s.Publish(t, "8", "e", "x", "a")
			f.Expect(servertest.EventText("e", "a", "x"))
			configured := s.Connect(t, "1")
			configured.Subscribe("a")

			// Nobody's names.
			expectRefusal(t, s.Dialer().Dial(t, servertest.Path("9")), 4001)
			if a := s.Get(t, "9", "channels"); a.Status != http.StatusNotFound {
				t.Errorf("an app that nobody has: %d %s", a.Status, a.Body)
			}

			// While the source is away, those who are known go on, and nobody is told
			// to stay away.
			from.setAway(true)
			servertest.Eventually(t, "the source is away", func() bool { return s.Metric(t, "belfry_apps_from_up") == 0 })
			for _, app := range []string{"9", "10"} {
				expectRefusal(t, s.Dialer().Dial(t, servertest.Path(app)), 4100)
				if a := s.Get(t, app, "channels"); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
					t.Errorf("an app that cannot be looked up: %d %s", a.Status, a.Body)
				}
			}
			s.Publish(t, "7", "e", "y", "private-a")
			c.Expect(servertest.EventText("e", "private-a", "y"))
			s.Connect(t, "7").Drop()
			if a := s.HTTP(t, http.MethodGet, "/ready", nil, nil); a.Status != http.StatusOK {
				t.Errorf("/ready answers with %d %s", a.Status, a.Body)
			}

			from.setAway(false)
			from.remove("8")
			from.set("7", `,"enabled":false`)
			servertest.Eventually(t, "the source is back", func() bool { return s.Metric(t, "belfry_apps_from_up") == 1 })
			f.ExpectClose(4009)
			expectRefusal(t, c.Conn, 4003)
			configured.Sync()
			from.set("7", "")
			servertest.Eventually(t, "the app is enabled again", func() bool { return s.Get(t, "7", "channels").Status == http.StatusOK })
			s.Connect(t, "7").Sync()
			if strings.Contains(s.Log.String(), "secret-") {
				t.Error("a secret is in the log")
			}
		})
	}
}
