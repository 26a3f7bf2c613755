package webhooks

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"belfry/auth"
	"belfry/protocol"
	"belfry/server/config"
)

func TestRequest(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		hook := to("http://us%65r:pass@backend/hook?token=1")
		hook.Headers = map[string]string{"authorization-2": "x", "X-Extra": ""}
		a := w.application("1", hook)
		a.happens("channel_occupied:c", "member_added:presence-c:7")
		before := time.Now()
		pass(batchDelay)
		got := h.requests()
		if len(got) != 1 {
			t.Fatalf("%d requests", len(got))
		}
		r := got[0]
		if want := fmt.Sprintf(`{"time_ms":%d,"events":[{"name":"channel_occupied","channel":"c"},{"name":"member_added","channel":"presence-c","user_id":"7"}]}`,
			before.Add(batchDelay).UnixMilli()); r.body != want {
			t.Errorf("body %s, want %s", r.body, want)
		}
		if err := credentials.VerifyWebhook(r.header.Get("X-Pusher-Signature"), []byte(r.body)); err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "X-Pusher-Key": "key-1", "User-Agent": "Belfry/test",
			"Content-Length": fmt.Sprint(len(r.body)), "Authorization-2": "x",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if _, ok := r.header["X-Extra"]; !ok || r.url != "/hook?token=1" || r.user != "user:pass" {
			t.Errorf("url %s, user %s, header %v", r.url, r.user, r.header)
		}
		w.expect(t, `sent_total{app="1"}`, "2", `retried_total{app="1"}`, "0", `queue_length{app="1"}`, "0",
			`request_duration_seconds_count{app="1"}`, "1")
	})
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		header string
		pauses func(time.Duration) bool
	}{
		{"7", func(d time.Duration) bool { return d == 7*time.Second }},
		{"Sat, 01 Jan 2000 00:01:00 GMT", func(d time.Duration) bool { return d == time.Minute-batchDelay }},
		{"86400", func(d time.Duration) bool { return d == giveUp }}, // a last try, then
		{"0", func(d time.Duration) bool { return d <= firstRetry }},
		{"soon", func(d time.Duration) bool { return d <= firstRetry }},
		{"Sat, 01 Jan 1990 00:01:00 GMT", func(d time.Duration) bool { return d <= firstRetry }},
	}
	for _, tt := range tests {
		t.Run(tt.header, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) { // whose clock begins with the year 2000
				h := w.host("backend", func(n int, w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Retry-After", tt.header)
					status(429, 200)(n, w, r)
				})
				w.application("1", to("http://backend")).happens("cache_miss:c")
				pass(10 * time.Minute)
				got := h.requests()
				if len(got) != 2 || !tt.pauses(got[1].at.Sub(got[0].at)) {
					t.Errorf("%d requests, the second after %v", len(got), got[len(got)-1].at.Sub(got[0].at))
				}
			})
		})
	}
}

// A refused batch is halved; the event that stays refused is not sent again, and
// holds up nothing.
func TestFinalFailures(t *testing.T) {
	for _, code := range []int{300, 301, 302, 303, 304, 400, 401, 403, 404, 410, 413, 422, 600} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", nil)
				h.answers(func(n int, w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", "/elsewhere")
					if slices.Contains(h.requests()[n].events(t), "cache_miss:a") {
						w.WriteHeader(code)
					}
				})
				a := w.application("1", to("http://backend"))
				a.happens("cache_miss:a", "cache_miss:b", "client_event:a")
				pass(2 * batchDelay)
				a.happens("cache_miss:c")
				pass(time.Hour)
				var got []string
				for _, r := range h.requests() {
					if r.url != "/" {
						t.Errorf("a request to %s", r.url)
					}
					got = append(got, strings.Join(r.events(t), " "))
				}
				if want := []string{"cache_miss:a cache_miss:b client_event:a", "cache_miss:a client_event:a", "cache_miss:a", "cache_miss:b", "client_event:a", "cache_miss:c"}; !slices.Equal(got, want) &&
					!slices.Equal(got, append(want[:3:3], "client_event:a", "cache_miss:b", "cache_miss:c")) {
					t.Errorf("requests %q", got)
				}
				reason := "status"
				if code < 400 {
					reason = "redirect"
				}
				w.expect(t, `failed_total{app="1",reason="`+reason+`"}`, "1", `sent_total{app="1"}`, "3")
				if w.log.lines("webhooks are given up") != 1 || w.log.lines(fmt.Sprint("status ", code)) < 2 {
					t.Errorf("log:\n%s", w.log)
				}
			})
		})
	}
}

func TestRedirects(t *testing.T) {
	tests := []struct {
		name     string
		status   int
		location string
		want     []string // URLs asked for, on either host
	}{
		{"relative", 307, "/new?x", []string{"backend/old", "backend/new?x"}},
		{"same host", 308, "http://BACKEND:80/new", []string{"backend/old", "backend/new"}},
		{"another host", 307, "http://other/new", []string{"backend/old"}},
		{"without a scheme", 308, "//other/new", []string{"backend/old"}},
		{"another port", 307, "http://backend:8080/new", []string{"backend/old"}},
		{"user information for a host", 307, "http://backend@other/new", []string{"backend/old"}},
		{"file", 307, "file:///etc/passwd", []string{"backend/old"}},
		{"nowhere", 307, "", []string{"backend/old"}},
		{"not a URL", 307, "http://%hunter2", []string{"backend/old"}},
		{"for ever", 307, "/old", []string{"backend/old", "backend/old", "backend/old", "backend/old"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", func(_ int, w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/old" {
						w.Header().Set("Location", tt.location)
						w.WriteHeader(tt.status)
					}
				})
				hook := to("http://u:p@backend/old")
				hook.Headers = map[string]string{"X-Extra": "x"}
				other := w.host("other", nil)
				w.host("backend:8080", func(int, http.ResponseWriter, *http.Request) { t.Error("asked another port") })
				w.application("1", hook).happens("cache_miss:c")
				pass(time.Hour)
				var asked []string
				for _, r := range h.requests() {
					asked = append(asked, "backend"+r.url)
					if r.user != "u:p" || r.header.Get("X-Extra") != "x" || r.body != h.requests()[0].body ||
						credentials.VerifyWebhook(r.header.Get("X-Pusher-Signature"), []byte(r.body)) != nil {
						t.Errorf("request %+v", r)
					}
				}
				if !slices.Equal(asked, tt.want) || len(other.requests()) != 0 {
					t.Errorf("asked for %v, and %d times on another host", asked, len(other.requests()))
				}
				if sent := slices.Contains(tt.want, "backend/new") || slices.Contains(tt.want, "backend/new?x"); sent {
					w.expect(t, `sent_total{app="1"}`, "1")
				} else {
					w.expect(t, `sent_total{app="1"}`, "0", `failed_total{app="1",reason="redirect"}`, "1")
				}
				if w.log.lines("hunter2") != 0 {
					t.Errorf("log:\n%s", w.log)
				}
			})
		})
	}
}

// The signature is that of the credentials at the time of the attempt.
func TestCredentialsOfAnAttempt(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", status(503))
		a := w.application("1", to("http://backend"))
		a.happens("cache_miss:c")
		pass(time.Second)
		rotated := auth.Credentials{Key: "key-2", Secret: "secret-2"}
		a.Configure(rotated, []config.Webhook{to("http://backend")})
		h.answers(nil)
		pass(time.Minute)
		got := h.requests()
		first, last := got[0], got[len(got)-1]
		if credentials.VerifyWebhook(first.header.Get("X-Pusher-Signature"), []byte(first.body)) != nil ||
			rotated.VerifyWebhook(last.header.Get("X-Pusher-Signature"), []byte(last.body)) != nil ||
			last.header.Get("X-Pusher-Key") != "key-2" || last.body != first.body {
			t.Errorf("first %+v\nlast %+v", first, last)
		}
	})
}

// Nothing of a URL but scheme, host and path, no header's value, no signature
// and no data is in a log line or a metric.
func TestNothingTellsSecrets(t *testing.T) {
	for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request){
		"refused": status(404), "failing": status(500), "stalled": stall,
		"redirect": func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://%hunter2")
			w.WriteHeader(307)
		},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				w.host("backend", answer)
				var hooks []config.Webhook
				for _, where := range []string{"backend", "nowhere"} {
					hook := to("http://hunter2:hunter2@" + where + "/shown?hunter2#")
					hook.Headers = map[string]string{"Authorization": "hunter2"}
					hooks = append(hooks, hook)
				}
				a := w.application("1", hooks...)
				a.Configure(auth.Credentials{Key: "key", Secret: "hunter2"}, hooks)
				a.Happened(protocol.WebhookEvent{Name: protocol.WebhookClientEvent, Channel: "c", Data: []byte(`"hunter2"`)}, nil)
				pass(time.Hour)
				a.happens("cache_miss:c")
				w.end()
				if w.log.lines("http://backend/shown") == 0 || w.log.lines("http://nowhere/shown") == 0 {
					t.Errorf("the endpoints are not named:\n%s", w.log)
				}
				if w.log.lines("hunter2") != 0 || w.log.lines("signature") != 0 {
					t.Errorf("log:\n%s", w.log)
				}
			})
		})
	}
}
