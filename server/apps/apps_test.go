package apps

import (
	"sync"
	"testing"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
)

func TestAllowsOrigin(t *testing.T) {
	const none = ""
	tests := []struct {
		patterns []string
		origin   string
		want     bool
	}{
		{[]string{"*"}, "https://anything.example", true},
		{[]string{"*"}, "null", true},
		{[]string{"*"}, none, true},
		{[]string{"example.com"}, "https://example.com", true},
		{[]string{"example.com"}, "http://example.com:8080", true},
		{[]string{"example.com"}, "https://EXAMPLE.com", true},
		{[]string{"example.com"}, none, true}, // no browser
		{[]string{"example.com"}, "null", false},
		{[]string{"example.com"}, "example.com", false}, // an origin has a scheme
		{[]string{"example.com"}, "https://www.example.com", false},
		{[]string{"example.com"}, "https://example.com.evil.org", false},
		{[]string{"example.com"}, "https://notexample.com", false},
		{[]string{"example.com"}, "https://example.com@evil.org", false},
		{[]string{"example.com"}, "https://evil.org/example.com", false},
		{[]string{"example.com"}, "https://evil.org#example.com", false},
		{[]string{"example.com"}, "://", false},
		{[]string{"*.example.com"}, "https://www.example.com", true},
		{[]string{"*.example.com"}, "https://a.b.example.com", true},
		{[]string{"*.example.com"}, "https://example.com", false},
		{[]string{"*.example.com"}, "https://.example.com", false},
		{[]string{"*.example.com"}, "https://notexample.com", false},
		{[]string{"*.example.com"}, "https://www.example.com.evil.org", false},
		{[]string{"a.org", "b.org"}, "https://b.org", true},
		{[]string{"::1"}, "http://[::1]:3000", true},
		{[]string{"127.0.0.1"}, "http://127.0.0.1:5173", true},
	}
	for _, tt := range tests {
		a := &Settings{App: config.App{AllowedOrigins: tt.patterns}}
		if got := a.AllowsOrigin(tt.origin); got != tt.want {
			t.Errorf("%v allows %q: %t", tt.patterns, tt.origin, got)
		}
	}
}

func TestConnectUpToTheLimit(t *testing.T) {
	a := &App{Metrics: metrics.New("", "", "").App("1")}
	a.settings.Store(&Settings{App: config.App{MaxConnections: 10}})
	var admitted sync.WaitGroup
	results := make(chan bool, 30)
	for range 30 {
		admitted.Go(func() {
			_, refused := a.Connect(protocol.XHRPolling, "127.0.0.1:1")
			results <- refused == nil
		})
	}
	admitted.Wait()
	close(results)
	n := 0
	for ok := range results {
		if ok {
			n++
		}
	}
	if n != 10 || a.Connections() != 10 {
		t.Errorf("%d were admitted, %d are counted, want 10", n, a.Connections())
	}
	a.Disconnect(protocol.XHRPolling, nil)
	if _, refused := a.Connect(protocol.XHRPolling, "127.0.0.1:1"); refused != nil {
		t.Errorf("a freed place was not given: %v", refused)
	}
	unlimited := new(App)
	unlimited.settings.Store(new(Settings))
	for range 100 {
		if _, refused := unlimited.Connect(protocol.WebSocket, "127.0.0.1:1"); refused != nil {
			t.Fatal("refused without a limit")
		}
	}
}

func TestRefusal(t *testing.T) {
	a := new(App)
	for _, tt := range []struct {
		enabled, removed bool
		code             int
	}{
		{true, false, 0},
		{false, false, 4003},
		{true, true, 4009},
		{false, true, 4009},
	} {
		a.settings.Store(&Settings{App: config.App{Enabled: tt.enabled}})
		a.removed.Store(tt.removed)
		if e := a.Refusal(); e == nil && tt.code != 0 || e != nil && e.Code != tt.code {
			t.Errorf("enabled %t, removed %t: %v", tt.enabled, tt.removed, e)
		}
	}
}

func TestRegistry(t *testing.T) {
	broker := channels.NewBroker(1, nil)
	defer broker.Close()
	one, two := config.DefaultApp(), config.DefaultApp()
	one.ID, one.Key, one.Secret = "1", "key-1", "s"
	two.ID, two.Key, two.Secret = "2", "key-2", "s"
	r := NewRegistry([]config.App{one, two}, broker, newSender(t), metrics.New("", "", ""))
	if a := r.ByID("2"); a == nil || a != r.ByKey("key-2") || a.Settings().Credentials.Key != "key-2" {
		t.Errorf("app 2 is %v", a)
	}
	if r.ByID("key-1") != nil || r.ByKey("1") != nil || r.ByID("") != nil {
		t.Error("found an app by what it is not called")
	}
	n := 0
	r.All(func(*App) { n++ })
	if n != 2 {
		t.Errorf("%d apps", n)
	}
}
