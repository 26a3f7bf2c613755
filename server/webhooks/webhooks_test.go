package webhooks

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
)

// Close delivers what waits for anything: a batch, a request before, another try.
func TestCloseDelivers(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h, failing := w.host("backend", nil), w.host("failing", status(500))
		a := w.application("1", to("http://backend"), to("http://failing"))
		a.happens("cache_miss:d")
		pass(time.Second / 2)
		refused := len(failing.requests())
		failing.answers(nil)
		for i := range 250 {
			a.happens(fmt.Sprint("member_removed:c:", i))
		}
		a.happens("channel_vacated:c")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		w.ended = true
		start := time.Now()
		w.Close(ctx)
		for _, h := range []*host{h, failing} {
			got := h.events(t)
			if h == failing {
				got = got[refused:]
			}
			got = byChannel(got)
			if len(got) != 252 || got[0] != "member_removed:c:0" || got[249] != "member_removed:c:249" || got[250] != "channel_vacated:c" || got[251] != "cache_miss:d" {
				t.Errorf("%d events, from %s to %s", len(got), got[0], got[len(got)-1])
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("it waited for %v", waited)
		}
		a.happens("cache_miss:late")
		w.expect(t, `sent_total{app="1"}`, "504", `dropped_total{app="1",reason="shutdown"}`, "2")
	})
}

// Close ends when its context does, and counts what is left.
func TestCloseDrops(t *testing.T) {
	for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request){
		"stalled": stall,
		"failing": status(500),
		"asking for time": func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(429)
		},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", answer)
				a := w.application("1", to("http://backend"))
				a.happens("cache_miss:a", "channel_vacated:a")
				pass(time.Second)
				a.happens("cache_miss:b")
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				w.ended = true
				start := time.Now()
				w.Close(ctx)
				if waited := time.Since(start); waited != 5*time.Second {
					t.Errorf("it waited for %v", waited)
				}
				w.expect(t, `dropped_total{app="1",reason="shutdown"}`, "3")
				if n := len(h.requests()); name == "asking for time" && n != 1 {
					t.Errorf("it was asked %d times", n)
				}
				if w.log.lines("could not be delivered before the end") != 1 {
					t.Errorf("log:\n%s", w.log)
				}
			})
		})
	}
}

// Who comes after the end is refused, and starts nothing.
func TestAfterClose(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		a := w.application("1")
		w.end()
		a.Configure(credentials, []config.Webhook{to("http://backend")})
		w.application("2", to("http://backend")).happens("cache_miss:c")
		a.Close()
		if w.HasEndpoints() {
			t.Error("there are endpoints")
		}
	})
}

func TestConfigure(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		stays, goes, comes := w.host("stays", status(503)), w.host("goes", stall), w.host("comes", nil)
		a := w.application("1")
		if w.HasEndpoints() {
			t.Error("there are endpoints")
		}
		a.happens("cache_miss:0")
		a.Configure(credentials, []config.Webhook{to("http://stays"), to("http://goes")})
		a.happens("member_added:c:1")
		pass(time.Second)
		a.happens("member_added:c:2")

		changed := to("http://stays")
		changed.Headers = map[string]string{"X-Version": "2"}
		changed.Events = []string{"channel_vacated"}
		a.Configure(credentials, []config.Webhook{to("http://comes"), changed})
		w.expect(t, `dropped_total{app="1",reason="removed"}`, "2")
		stays.answers(nil)
		a.happens("cache_miss:3", "channel_vacated:c")
		pass(time.Minute)

		got := stays.requests()
		last := got[len(got)-1]
		all := stays.events(t)
		if e := all[len(all)-3:]; !slices.Equal(e, []string{"member_added:c:1", "member_added:c:2", "channel_vacated:c"}) {
			t.Errorf("stays got %v", all)
		}
		if last.header.Get("X-Version") != "2" {
			t.Errorf("it has the header %v", last.header)
		}
		if e := comes.events(t); !slices.Equal(e, []string{"cache_miss:3", "channel_vacated:c"}) {
			t.Errorf("comes got %v", e)
		}
		if n := len(goes.requests()); n != 1 || w.log.lines("is not configured any more") != 1 {
			t.Errorf("goes got %d requests; log:\n%s", n, w.log)
		}
	})
}

// An application that is gone leaves nothing behind, and may come again.
func TestCloseApp(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", stall)
		a, b := w.application("1", to("http://backend")), w.application("2", to("http://backend"))
		a.happens("cache_miss:a", "channel_vacated:a")
		a.Close()
		w.expect(t, `dropped_total{app="1",reason="removed"}`, "2", `queue_length{app="1"}`, "0")
		a.happens("cache_miss:b", "channel_vacated:b")
		h.answers(nil)
		b.happens("cache_miss:2")
		w.application("1", to("http://backend")).happens("cache_miss:again")
		pass(time.Minute)
		got := h.events(t)
		slices.Sort(got)
		if !slices.Equal(got, []string{"cache_miss:2", "cache_miss:again"}) {
			t.Errorf("got %v", got)
		}
	})
}

// What nobody wants costs next to nothing.
func TestUnwantedEventsAllocateNothing(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		hook := to("http://backend")
		hook.Events, hook.Filter.ChannelPrefix = []string{"client_event"}, "private-"
		for _, hooks := range [][]config.Webhook{nil, {hook}} {
			a := w.application("1", hooks...)
			e := happening("client_event:c")
			if n := testing.AllocsPerRun(100, func() { a.Happened(e, nil) }); n != 0 {
				t.Errorf("with %d endpoints: %v allocations", len(hooks), n)
			}
		}
	})
}

// Over real sockets, from all sides at once: nothing is lost, nothing comes
// twice, and every channel is in order.
func TestConcurrently(t *testing.T) {
	const channels, events = 8, 500
	var mu sync.Mutex
	next := make(map[string]int)
	complete := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || credentials.VerifyWebhook(r.Header.Get("X-Pusher-Signature"), body) != nil {
			t.Errorf("request %s, error %v", body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		total := 0
		for _, e := range (delivered{body: string(body)}).events(t) {
			var c, n int
			fmt.Sscanf(e, "member_added:%d:%d", &c, &n)
			if channel := fmt.Sprint(c); next[channel] != n {
				t.Errorf("channel %d has %d after %d", c, n, next[channel]-1)
			} else {
				next[channel]++
			}
		}
		for _, n := range next {
			total += n
		}
		if total == channels*events {
			close(complete)
		}
	}))
	defer server.Close()
	s, err := New(Options{Spool: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := s.App("1", metrics.New("", "", "").App("1").Webhooks)
	a.Configure(credentials, []config.Webhook{to(server.URL)})
	var running sync.WaitGroup
	for c := range channels {
		running.Go(func() {
			for n := range events {
				a.Happened(protocol.WebhookEvent{Name: protocol.WebhookMemberAdded, Channel: fmt.Sprint(c), UserID: fmt.Sprint(n)}, nil)
				if n%100 == 0 {
					a.Configure(credentials, []config.Webhook{to(server.URL)})
					a.Queued()
				}
			}
		})
	}
	running.Wait()
	select {
	case <-complete:
	case <-time.After(time.Minute):
		t.Error("not everything came")
	}
	s.Close(t.Context())
	if n := a.Queued(); n != 0 {
		t.Errorf("%d events are left", n)
	}
}

func BenchmarkHappened(b *testing.B) {
	s, err := New(Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	defer s.Close(ctx)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	a := s.App("1", metrics.New("", "", "").App("1").Webhooks)
	e := happening("client_event:private-c")
	b.Run("none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a.Happened(e, nil)
		}
	})
	a.Configure(credentials, []config.Webhook{to(server.URL)})
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a.Happened(e, nil)
		}
	})
}
