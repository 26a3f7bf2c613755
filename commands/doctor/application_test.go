package doctor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"belfry/auth"
	"belfry/server/config"
)

func TestLaravel(t *testing.T) {
	for _, tt := range []struct{ variable, value, want string }{
		{"BROADCAST_CONNECTION", "pusher", "ok BROADCAST_CONNECTION is pusher"},
		{"BROADCAST_DRIVER", "reverb", "ok Laravel 11 and later read BROADCAST_CONNECTION"},
		{"BROADCAST_CONNECTION", "log", "fail BROADCAST_CONNECTION is log & BROADCAST_CONNECTION=pusher & config:clear"},
		{"BROADCAST_CONNECTION", "null", "fail is not set & BROADCAST_DRIVER"},
	} {
		d := newDoctor(startBelfry(t)).only("laravel")
		d.Target.EnvFile, d.Target.Laravel = ".env", config.Env{tt.variable: tt.value, "PUSHER_APP_KEY": "k"}.Laravel()
		d.expect(t, map[string]string{"laravel": tt.want})
	}
	d := newDoctor(startBelfry(t)).only("laravel")
	d.Target.EnvFile, d.Target.Laravel, d.Target.Own = ".env", config.Env{"BROADCAST_CONNECTION": "pusher", "PUSHER_APP_KEY": "k"}.Laravel(), true
	d.expect(t, map[string]string{"laravel": "fail PUSHER_HOST is not set & PUSHER_PORT and PUSHER_SCHEME in .env"})
}

// application is an application's /broadcasting/auth that signs for who is logged in.
func application(t *testing.T, c auth.Credentials) *url.URL {
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("Cookie") != "session=1" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"auth": c.SignChannel(r.FormValue("socket_id"), r.FormValue("channel_name"), "")})
	})
}

func TestAuth(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	ask := func(at *url.URL, want string) {
		t.Helper()
		d := newDoctor(belfry).only("auth")
		d.AuthURL, d.AuthHeader = at.String(), http.Header{"Cookie": {"session=1"}}
		d.expect(t, map[string]string{"auth": want})
		d = newDoctor(belfry).only("auth")
		d.Target.Credentials.Secret = "" // the server is asked then
		d.AuthURL, d.AuthHeader = at.String(), http.Header{"Cookie": {"session=1"}}
		state, _, _ := strings.Cut(want, " ")
		d.expect(t, map[string]string{"auth": state})
	}
	ask(application(t, credentials), "ok 200 OK for private-orders, and the server accepts")
	ask(application(t, auth.Credentials{Key: "app-key", Secret: "another"}), "fail another secret & PUSHER_APP_SECRET & config:clear")
	ask(application(t, auth.Credentials{Key: "another", Secret: "app-secret"}), "fail another key & PUSHER_APP_KEY")
	answer := func(code int, contentType, body string) *url.URL {
		return serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Location", map[bool]string{true: "/login"}[code/100 == 3])
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		})
	}
	for code, want := range map[int]string{
		401: "fail 401 & auth:sanctum", 403: "fail 403 Forbidden for private-orders & --auth-channel & routes/channels.php",
		404: "fail 404 & install:broadcasting", 405: "fail 405 & POST", 419: "fail 419 & X-CSRF-TOKEN", 429: "fail 429 & throttle",
		500: "fail 500 & laravel.log", 302: "fail 302 & leads to /login & --auth-header", 418: "fail 418 & log",
	} {
		ask(answer(code, "text/html", "<html>"), want)
	}
	ask(answer(200, "text/html; charset=UTF-8", "<html>"), "fail a page instead of JSON & cookie")
	ask(answer(200, "application/json", "null"), "fail without a signature & BROADCAST_CONNECTION")
	ask(answer(200, "application/json", "Warning: {}"), "fail not JSON")
	d := newDoctor(belfry).only("auth")
	d.AuthURL = "https://user:hunter2@127.0.0.1:1/"
	d.Report = func(r Result) {
		if r.Check == "auth" && (r.State != Failed || !strings.Contains(r.Change, "--auth-url") || strings.Contains(r.Found+r.Change, "hunter2")) {
			t.Errorf("%+v", r)
		}
	}
	d.Run(t.Context())
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	d := newDoctor(belfry).only("webhook")
	d.Webhook, d.Within = "127.0.0.1:0", soon
	d.expect(t, map[string]string{"webhook": "fail no channel_occupied & apps[].webhooks[].url"})
	d = newDoctor(belfry).only("webhook")
	d.Webhook = belfry.Host
	d.expect(t, map[string]string{"webhook": "fail address already in use & --webhook"})

	d = newDoctor(belfry)
	d.client = d.Target.Client
	body := `{"time_ms":1,"events":[{"name":"channel_occupied","channel":"c"}]}`
	for _, tt := range []struct {
		body, key, signature string
		mine                 bool
		wrong                string
	}{
		{body, "app-key", credentials.SignWebhook([]byte(body)), true, ""},
		{body, "other", credentials.SignWebhook([]byte(body)), true, "the key other"},
		{body, "app-key", "0", true, "invalid signature"},
		{"<html>", "app-key", "0", true, "no webhook"},
		{`{"events":[{"name":"channel_vacated","channel":"c"}]}`, "app-key", "0", false, ""},
		{`{"events":[{"name":"channel_occupied","channel":"d"}]}`, "app-key", "0", false, ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("X-Pusher-Key", tt.key)
		r.Header.Set("X-Pusher-Signature", tt.signature)
		told, mine := d.told(r, []byte(tt.body), "c")
		if mine != tt.mine || (told.wrong != "") != (tt.wrong != "") || !strings.Contains(told.wrong, tt.wrong) || (told.change != "") != (tt.wrong != "") {
			t.Errorf("%s %s: %+v, mine %v", tt.body, tt.key, told, mine)
		}
	}
}
