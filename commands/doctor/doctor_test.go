package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
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

func TestNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := &url.URL{Scheme: "http", Host: l.Addr().String()}
	l.Close()
	newDoctor(closed).expect(t, map[string]string{"name": "ok 127.0.0.1", "tcp": "fail refused & start the server & VITE_PUSHER_HOST & BELFRY_LISTEN",
		"tls": "skipped it needs tcp", "upgrade": "skipped", "path": "skipped", "key": "skipped", "publish": "fail refused & PUSHER_HOST", "receive": "skipped", "clock": "skipped", "fallback": "skipped"})
	newDoctor(&url.URL{Scheme: "http", Host: "no..name"}).only("tcp").expect(t, map[string]string{"name": "fail no such host & correct the host in VITE_PUSHER_HOST", "tcp": "skipped"})
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the system takes connections for it
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	d := newDoctor(&url.URL{Scheme: "http", Host: mute.Addr().String()}).only("upgrade")
	d.Within = soon
	d.expect(t, map[string]string{"tcp": "ok", "upgrade": "fail nothing came & does not answer"})
	belfry := startBelfry(t)
	secure := *belfry
	secure.Scheme = "https"
	newDoctor(&secure).only("tls", "publish").expect(t, map[string]string{"tls": "fail TLS handshake & HTTP without TLS & http:// in VITE_PUSHER_HOST", "publish": "fail http:// in PUSHER_HOST"})
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	root := newAuthority(t)
	host := func() *x509.Certificate { return &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}} }
	old := host()
	old.NotBefore, old.NotAfter = time.Now().Add(-60*day), time.Now().Add(-30*day)
	early := host()
	early.NotBefore, early.NotAfter = time.Now().Add(30*day), time.Now().Add(60*day)
	inner := root.sign(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	between := &authority{t: t, certificate: inner.Leaf, key: inner.PrivateKey.(*ecdsa.PrivateKey)}
	short := between.sign(host())
	whole := short
	whole.Certificate = append([][]byte{}, short.Certificate[0], inner.Certificate[0])
	for name, tt := range map[string]struct {
		certificate tls.Certificate
		want        string
	}{
		"well":     {root.sign(host()), "ok certificate for 127.0.0.1 & 29 days & chain of 1"},
		"name":     {root.sign(&x509.Certificate{DNSNames: []string{"ws.example.com"}}), "fail for ws.example.com, not for 127.0.0.1 & get a certificate for 127.0.0.1 & VITE_PUSHER_HOST"},
		"nameless": {root.sign(&x509.Certificate{}), "fail for no name"},
		"expired":  {root.sign(old), "fail expired on " + old.NotAfter.Format(time.DateOnly) + " & renew"},
		"early":    {root.sign(early), "fail valid from & clock"},
		"self":     {(&authority{t: t}).sign(host()), "fail signed by itself & Let's Encrypt"},
		"alien":    {newAuthority(t).sign(host()), "fail without its chain & fullchain.pem"},
		"no chain": {short, "fail without its chain & ssl_certificate & server.tls.cert_file"},
		"chain":    {whole, "ok chain of 2"},
	} {
		d := newDoctor(serveTLS(t, belfry, tt.certificate))
		d.Roots = x509.NewCertPool()
		d.Roots.AddCert(root.certificate)
		// The others go on, and say what else there is.
		t.Run(name, func(t *testing.T) {
			d.expect(t, map[string]string{"tls": tt.want, "upgrade": "ok", "receive": "ok", "fallback": "ok"})
		})
	}
	d := newDoctor(serveTLS(t, belfry, root.sign(&x509.Certificate{DNSNames: []string{"ws.example.com"}})))
	d.Roots = x509.NewCertPool()
	d.Roots.AddCert(root.certificate)
	d.Target.Own, d.Target.TLS = true, &tls.Config{InsecureSkipVerify: true}
	d.expect(t, map[string]string{"tls": "ok certificate for ws.example.com, not compared", "receive": "ok"})
	picky := httptest.NewUnstartedServer(http.NotFoundHandler())
	picky.Config.ErrorLog = log.New(io.Discard, "", 0)
	picky.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no such host") }}
	picky.StartTLS()
	defer picky.Close()
	at, err := url.Parse(picky.URL)
	if err != nil {
		t.Fatal(err)
	}
	newDoctor(at).only("tls").expect(t, map[string]string{"tls": "fail remote error: tls & no certificate for 127.0.0.1 & VITE_PUSHER_HOST"})
	plain := serveTLS(t, belfry, root.sign(host()))
	plain.Scheme = "http"
	newDoctor(plain).only("upgrade", "publish").expect(t, map[string]string{"upgrade": "fail 400 & https:// in VITE_PUSHER_HOST", "publish": "fail 400 & https:// in PUSHER_HOST"})
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
