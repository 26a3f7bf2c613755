package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"belfry/auth"
	"belfry/server/config"
)

func status(code int, header ...string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/app/") || strings.Contains(r.URL.Path, "/pusher/") {
			return false
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

func TestAllIsWell(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hook := l.Addr().String()
	l.Close()
	belfry := startBelfry(t, func(c *config.Config) {
		c.Server.Path = "/ws"
		c.Apps[0].AllowedOrigins = []string{"shop.example.com"}
		c.Apps[0].Webhooks = []config.Webhook{{URL: "http://" + hook, Events: []string{"channel_occupied"}}}
	})
	belfry.Path = "/ws"
	d := newDoctor(belfry)
	d.Origin, d.Idle, d.Webhook = "https://shop.example.com", time.Millisecond, hook
	d.AuthURL = application(t, credentials).String()
	d.Target.EnvFile, d.Target.Laravel.Connection = ".env", "pusher"
	d.AuthHeader = http.Header{"Cookie": {"session=1"}}
	want := make(map[string]string)
	for _, name := range Checks() {
		want[name] = "ok"
	}
	want["tls"] = "skipped http"
	want["path"] = "ok /ws"
	d.expect(t, want)

	// Without a secret, half of it can be looked at.
	d = newDoctor(belfry)
	d.Target.Credentials.Secret = ""
	d.expect(t, map[string]string{"subscribe": "skipped BELFRY_APP_SECRET", "publish": "skipped", "receive": "skipped", "key": "ok",
		"clock": "ok", "origin": "skipped --origin", "auth": "skipped --auth-url", "webhook": "skipped --webhook", "idle": "skipped --idle"})

	d = newDoctor(belfry)
	d.Skip = []string{"fallback", "publish"}
	d.expect(t, map[string]string{"fallback": "skipped --skip", "receive": "skipped it needs publish, which is not ok"})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d = newDoctor(belfry)
	d.Report = func(r Result) {
		if r.State != Skipped || r.Found != "interrupted" {
			t.Errorf("%+v", r)
		}
	}
	d.Run(ctx)
}

// What proxies answer to the handshake.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	for _, tt := range []struct {
		answer func(w http.ResponseWriter, r *http.Request) bool
		want   string
	}{
		{status(200, "Content-Type", "text/html", "Server", "nginx/1.22.1"), "fail 200 OK & answered by nginx/1.22.1 & location /app/ { proxy_pass"},
		{status(301, "Location", "https://ws.example.com/"), "fail 301 & leads to https://ws.example.com/ & https:// in VITE_PUSHER_HOST & forceTLS: true"},
		{status(302, "Location", "/login"), "fail 302 & leads to /login & ahead of the redirect"},
		{status(400, "Server", "nginx"), "fail 400 & proxy_set_header Upgrade $http_upgrade"},
		{status(401), "fail 401 & auth_basic off"},
		{status(403, "Server", "cloudflare"), "fail 403 & Cloudflare"},
		{status(404, "Server", "Apache/2.4"), "fail 404 & ProxyPass /app/ http://127.0.0.1:8080/app/"},
		{status(405, "Server", "Caddy"), "fail 405 & handle /app/* { reverse_proxy"},
		{status(426, "Server", "Apache"), "fail 426 & upgrade=websocket"},
		{status(426), "fail 426 & docs/proxies.md"},
		{status(429), "fail 429 & limit_req"},
		{status(500, "Server", "nginx"), "fail 500 & log & Reverb & $http_upgrade"},
		{status(502, "Server", "nginx"), "fail 502 & server.listen & proxy_pass"},
		{status(503), "fail 503 & server.listen"},
		{status(504), "fail 504 & server.listen"},
		{status(522), "fail 522 & Cloudflare"},
		{status(101, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Accept", "cached"), "fail protocol violation & cache nothing"},
		{func(_ http.ResponseWriter, r *http.Request) bool { // as a proxy does that knows no WebSocket
			r.Header.Del("Upgrade")
			r.Header.Del("Connection")
			return false
		}, "fail 426 & the Upgrade header does not reach the server"},
	} {
		path := "skipped"
		if strings.Contains("200 404 405", tt.want[5:8]) {
			path = "fail no server is below /"
		}
		newDoctor(behind(t, belfry, tt.answer)).expect(t, map[string]string{"upgrade": tt.want, "path": path, "key": "skipped it needs upgrade, which is not ok",
			"subscribe": "skipped", "publish": "ok", "receive": "skipped", "fallback": "ok", "clock": "ok"})
	}
}

func TestPath(t *testing.T) {
	belfry := startBelfry(t)
	below := behind(t, belfry, func(w http.ResponseWriter, r *http.Request) bool {
		rest, found := strings.CutPrefix(r.URL.Path, "/ws/")
		if !found {
			w.Header().Set("Content-Type", "text/html")
			http.NotFound(w, r)
			return true
		}
		r.URL.Path = "/" + rest
		return false
	})
	newDoctor(below).expect(t, map[string]string{"upgrade": "fail 404", "path": `fail not below "/" but below "/ws/" & /ws in VITE_PUSHER_HOST & wsPath: '/ws'`,
		"publish": "fail 404 & the path /apps/ does not lead to the server & PUSHER_HOST", "fallback": "fail 404 & /pusher/app/ & --skip fallback"})
	d := newDoctor(below)
	below.Path = "/ws"
	d.expect(t, map[string]string{"path": "ok /ws", "receive": "ok", "fallback": "ok"})

	// Belfry itself says behind the handshake that there is no such path.
	belfry.Path = "/elsewhere"
	d = newDoctor(belfry)
	d.expect(t, map[string]string{"upgrade": "ok", "path": `fail below "/" & wsPath: ''`, "key": "fail 4005 & check of the path", "publish": "fail 404 & does not lead to the server", "fallback": "fail 404"})
}

func TestKey(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	d := newDoctor(belfry)
	d.Target.Credentials.Key = "other"
	d.expect(t, map[string]string{"upgrade": "ok", "path": "ok", "key": "fail 4001 & compare PUSHER_APP_KEY & npm run build",
		"publish": "fail 401 & compare PUSHER_APP_ID and PUSHER_APP_KEY", "fallback": "fail 4001"})
	newDoctor(behind(t, belfry, func(_ http.ResponseWriter, r *http.Request) bool { r.URL.RawQuery = ""; return false })).expect(t, map[string]string{
		"key": "fail 4008 & $uri$is_args$args", "publish": "fail 401 & $uri$is_args$args", "fallback": "fail 4008"})
	disabled := startBelfry(t, func(c *config.Config) { c.Apps[0].Enabled = false })
	newDoctor(disabled).expect(t, map[string]string{"key": "fail 4003 & enabled: true", "publish": "fail 403 & enabled: true", "fallback": "fail 4003"})

	for greeting, want := range map[string]string{
		`"hello"`: "fail does not speak the Pusher protocol",
		`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}`:            "fail activity_timeout",
		`{"event":"pusher:error","data":{"code":4004,"message":"quota of app-secret is full"}}`: "fail 4004: quota of [secret] & max_connections",
		`{"event":"pusher:error","data":{"code":4100,"message":"full"}}`:                        "fail 4100 & trusted_proxies",
		`{"event":"pusher:error","data":{"code":4009,"message":"no"}}`:                          "fail 4009 & allowed_origins",
		`{"event":"pusher:error","data":{"code":4000,"message":"no"}}`:                          "fail 4000 & https://",
		`{"event":"pusher:error","data":{"code":4200,"message":"no"}}`:                          "fail 4200 & try again",
		`{"event":"pusher:error","data":{"code":4777,"message":"no"}}`:                          "fail 4777 & log",
	} {
		newDoctor(speaking(t, greeting)).only("key").expect(t, map[string]string{"upgrade": "ok", "key": want})
	}
	d = newDoctor(speaking(t, "")).only("key") // nothing comes: a proxy holds it back
	d.Within = soon
	d.expect(t, map[string]string{"key": "fail nothing came & buffering"})
}

// speaking accepts WebSockets, says one thing, if anything, and answers nothing.
func speaking(t *testing.T, greeting string) *url.URL {
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		if greeting != "" {
			_ = conn.Write(r.Context(), websocket.MessageText, []byte(greeting)) // the test sees what comes
		}
		for err == nil { // until the client leaves
			_, _, err = conn.Read(context.Background())
		}
	})
}

func TestSecret(t *testing.T) {
	t.Parallel()
	d := newDoctor(startBelfry(t))
	d.Target.Credentials.Secret = "other-secret"
	d.expect(t, map[string]string{"subscribe": "fail 401 & compare PUSHER_APP_SECRET & config:clear", "publish": "fail 401 & compare PUSHER_APP_SECRET", "receive": "skipped", "clock": "ok"})
	d = newDoctor(startBelfry(t))
	d.Target.AppID = "2"
	d.expect(t, map[string]string{"subscribe": "ok", "publish": "fail 404 & compare PUSHER_APP_ID", "receive": "skipped"})
	d = newDoctor(speaking(t, `{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}`)).only("subscribe")
	d.Within = soon
	d.expect(t, map[string]string{"key": "ok", "subscribe": "fail nothing came & does not answer"})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	api := func(answer func(http.ResponseWriter)) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/apps/") {
				answer(w)
				return true
			}
			return false
		}
	}
	for want, answer := range map[string]func(http.ResponseWriter){
		"fail 403 & nginx: allow & --api-url":                             func(w http.ResponseWriter) { w.WriteHeader(403) },
		"fail 404 & location /apps/ { proxy_pass":                         func(w http.ResponseWriter) { w.Header().Set("Server", "nginx"); w.WriteHeader(404) },
		"fail 302 & leads & does not lead to the server":                  func(w http.ResponseWriter) { w.Header().Set("Location", "/"); http.Error(w, "leads", http.StatusFound) },
		"fail 200 OK: a page & does not lead to the server & PUSHER_HOST": func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"fail 413 & client_max_body_size":                                 func(w http.ResponseWriter) { w.WriteHeader(413) },
		"fail 429 & api_request_rate":                                     func(w http.ResponseWriter) { w.WriteHeader(429) },
		"fail 502 & server.listen":                                        func(w http.ResponseWriter) { w.WriteHeader(502) },
		"fail 401 Unauthorized: [secret] is wrong & PUSHER_APP_SECRET":    func(w http.ResponseWriter) { http.Error(w, "app-secret is wrong", http.StatusUnauthorized) },
	} {
		newDoctor(behind(t, belfry, api(answer))).expect(t, map[string]string{"subscribe": "ok", "publish": want, "receive": "skipped"})
	}
	// The backend's address is that of another server.
	d := newDoctor(belfry).only("receive")
	d.Target.API, d.Within = startBelfry(t), soon
	d.expect(t, map[string]string{"publish": "ok", "receive": "fail took the event & compare PUSHER_HOST with VITE_PUSHER_HOST & cluster.driver"})
}

func TestClock(t *testing.T) {
	belfry := startBelfry(t)
	// A server whose clock is an hour ahead.
	newDoctor(behind(t, belfry, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, "/apps/") {
			return false
		}
		err := credentials.VerifyQuery(auth.Request{Method: r.Method, Paths: []string{r.URL.Path}, Query: r.URL.Query()}, time.Now().Add(time.Hour))
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return true
	})).expect(t, map[string]string{"publish": "fail Timestamp expired & check of the clock", "receive": "skipped", "clock": "fail ahead & NTP & 10m0s"})
	dated := func(header string) *Doctor {
		return newDoctor(serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = []string{header} })).only("clock")
	}
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	dated(at(-time.Hour)).expect(t, map[string]string{"clock": "fail behind & NTP"})
	dated(at(5*time.Minute)).expect(t, map[string]string{"clock": "ok ahead; requests may be 10m0s apart"})
	dated("").expect(t, map[string]string{"clock": "skipped does not tell"})
	d := newDoctor(behind(t, belfry, func(w http.ResponseWriter, _ *http.Request) bool { w.Header()["Date"] = []string{""}; return false }))
	d.expect(t, map[string]string{"publish": "ok"})
}

func TestOrigin(t *testing.T) {
	d := newDoctor(startBelfry(t, func(c *config.Config) { c.Apps[0].AllowedOrigins = []string{"other.example.com"} }))
	d.Origin = "https://shop.example.com"
	d.expect(t, map[string]string{"key": "ok", "origin": "fail 4009 & add shop.example.com to allowed_origins", "receive": "ok"})
}

func TestFallback(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	fallback := func(answer http.HandlerFunc) *Doctor {
		return newDoctor(behind(t, belfry, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/pusher/") {
				return false
			}
			answer(w, r)
			return true
		}))
	}
	fallback(http.NotFound).expect(t, map[string]string{"fallback": "fail 404 & /pusher/app/ & --skip fallback"})
	fallback(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }).expect(t, map[string]string{"fallback": "fail 403 & as /app/"})
	fallback(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }).expect(t, map[string]string{"fallback": "fail no stream of pusher-js: it begins with <html>"})
	fallback(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "h\no\n") }).expect(t, map[string]string{"fallback": "fail ended without a greeting"})
	d := fallback(func(w http.ResponseWriter, r *http.Request) { // as a proxy that waits for the whole response
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}).only("fallback")
	d.Within = soon
	d.expect(t, map[string]string{"fallback": "fail no greeting within & proxy_buffering off"})
}

func TestIdle(t *testing.T) {
	var connections atomic.Int64
	greeting := []byte(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":120}"}`)
	d := newDoctor(serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		_ = conn.Write(r.Context(), websocket.MessageText, greeting) // the test sees what comes
		if connections.Add(1) == 1 {
			_, _, _ = conn.Read(context.Background())
		}
	})).only("idle")
	d.Idle = time.Hour
	d.expect(t, map[string]string{"key": "ok", "idle": "fail the connection broke & proxy_read_timeout 120s & ping_interval"})
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	for _, r := range []Result{{"tcp", OK, "fine", ""}, {"upgrade", Failed, "404", "do <this>"}} {
		if err := Print(&b, r); err != nil {
			t.Fatal(err)
		}
		if err := PrintJSON(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	want := `ok       tcp        fine
{"check":"tcp","result":"ok","found":"fine"}
fail     upgrade    404
                    change: do <this>
{"check":"upgrade","result":"fail","found":"404","change":"do <this>"}
`
	if b.String() != want {
		t.Errorf("printed\n%s", b.String())
	}
}
