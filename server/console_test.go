package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

const (
	adminPassword  = "hunter2-admin"
	viewerPassword = "hunter2-viewer"
)

// withConsole enables the console for an administrator and a viewer.
func withConsole(c *config.Config) {
	c.Console.Enabled, c.Console.Password, c.Console.ViewerPassword = true, adminPassword, viewerPassword
}

// browser is one that has a console open.
type browser struct {
	t      testing.TB
	url    string // of the console, with a slash at its end
	client *http.Client
}

func openConsole(t testing.TB, s *servertest.Server) *browser {
	t.Helper()
	url, _, _ := strings.Cut(s.ConsoleURL(), "#")
	return openConsoleAt(t, url, s.Client)
}

func openConsoleAt(t testing.TB, url string, client *http.Client) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, url, &http.Client{Transport: client.Transport, Timeout: client.Timeout, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do sends a request with headers such as "Origin: null".
func (b *browser) do(method, path, body string, header ...string) servertest.Answer {
	b.t.Helper()
	r, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, line := range header {
		switch name, value, _ := strings.Cut(line, ": "); name {
		case "":
		case "Host":
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
	a, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return servertest.Answer{Status: a.StatusCode, Header: a.Header, Body: string(text)}
}

func (b *browser) signIn(user, password string) servertest.Answer {
	b.t.Helper()
	return b.do(http.MethodPost, "api/session", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
}

func (b *browser) mustSignIn(user, password string) {
	b.t.Helper()
	if a := b.signIn(user, password); a.Status != http.StatusOK {
		b.t.Fatalf("signing in as %s: %d %s", user, a.Status, a.Body)
	}
}

// consoleLooks and consoleActs are all requests that need somebody who is signed in.
var (
	consoleLooks = []string{
		"api/server", "api/live", "api/refusals", "api/connections?app=1", "api/connections/1.2?app=1", "api/channels?app=1",
		"api/channel?app=1&name=a", "api/webhooks?app=1", "api/apps", "api/node",
	}
	consoleActs = []string{"api/connections/1.2/disconnect", "api/events", "api/webhooks/test"}
)

func TestConsoleSignIn(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	if strings.Contains(s.ConsoleURL(), "token") {
		t.Errorf("the console is at %s", s.ConsoleURL())
	}
	if a := b.do(http.MethodGet, "api/session", ""); a.Status != http.StatusUnauthorized || a.Body != `{"error":"sign in first","token":false}`+"\n" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for _, tt := range []struct{ body, error string }{
		{`{"user":"admin","password":"hunter2-adminx"}`, "the user or the password is wrong"},
		{`{"user":"admin","password":"` + viewerPassword + `"}`, "the user or the password is wrong"},
		{`{"user":"","password":""}`, "the user or the password is wrong"},
		{`{"token":"x"}`, "the token is wrong"},
	} {
		if a := openConsole(t, s).do(http.MethodPost, "api/session", tt.body); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, tt.error) || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s", tt.body, a.Status, a.Body)
		}
	}
	a := b.signIn("admin", adminPassword)
	if a.Status != http.StatusOK || a.Body != `{"role":"act","user":"admin"}`+"\n" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	cookie := a.Header.Get("Set-Cookie")
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	if want := regexp.MustCompile(`^belfry_console_` + port + `=[\w.-]+; Max-Age=43200; HttpOnly; SameSite=Strict$`); !want.MatchString(cookie) {
		t.Errorf("the cookie is %s", cookie)
	}
	if a := b.do(http.MethodGet, "api/session", ""); a.Status != http.StatusOK || a.Body != `{"role":"act","user":"admin"}`+"\n" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := b.do(http.MethodDelete, "api/session", ""); a.Status != http.StatusNoContent {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := b.do(http.MethodGet, "api/session", ""); a.Status != http.StatusUnauthorized {
		t.Errorf("signed out: %d %s", a.Status, a.Body)
	}
	if a := b.do(http.MethodPost, "api/session", fmt.Sprintf(`{"user":"admin","password":%q}`, adminPassword), "Origin: https://"+s.Addr().String()); !strings.Contains(a.Header.Get("Set-Cookie"), "; Secure") {
		t.Errorf("from a page by https: %d %s, cookie %s", a.Status, a.Body, a.Header.Get("Set-Cookie"))
	}
	if !s.Log.Contains(`msg="console sign-in refused" app="" code=401 reason="the user or the password is wrong" remote=127.0.0.1`) || s.Log.Contains("hunter2") {
		t.Errorf("logged\n%s", s.Log)
	}
}

func TestConsoleToken(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Console.Enabled, c.Console.ViewerPassword = true, viewerPassword })
	b := openConsole(t, s)
	if a := b.do(http.MethodGet, "api/session", ""); a.Status != http.StatusUnauthorized || !strings.Contains(a.Body, `"token":true`) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for _, body := range []string{`{"token":""}`, `{"token":"x"}`, `{"user":"admin","password":""}`} {
		if a := b.do(http.MethodPost, "api/session", body); a.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	_, token, _ := strings.Cut(s.ConsoleURL(), "/console/#token=")
	if a := b.do(http.MethodPost, "api/session", `{"token":"`+token+`"}`); a.Status != http.StatusOK || !strings.Contains(a.Body, `"role":"act"`) {
		t.Errorf("with the token %q: %d %s", token, a.Status, a.Body)
	}
	b.mustSignIn("viewer", viewerPassword)
	if s.Log.Contains(token) {
		t.Error("the server itself has logged the token")
	}
}

func TestConsoleRoles(t *testing.T) {
	s := servertest.Start(t, withConsole)
	stranger, viewer, admin := openConsole(t, s), openConsole(t, s), openConsole(t, s)
	viewer.mustSignIn("viewer", viewerPassword)
	admin.mustSignIn("admin", adminPassword)
	for _, path := range consoleLooks {
		if a := stranger.do(http.MethodGet, path, ""); a.Status != http.StatusUnauthorized {
			t.Errorf("a stranger has %s: %d %s", path, a.Status, a.Body)
		}
		if path == "api/live" { // which does not end
			continue
		}
		for _, b := range []*browser{viewer, admin} {
			if a := b.do(http.MethodGet, path, ""); a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden {
				t.Errorf("%s: %d %s", path, a.Status, a.Body)
			}
		}
	}
	for _, path := range consoleActs {
		if a := stranger.do(http.MethodPost, path, `{}`); a.Status != http.StatusUnauthorized {
			t.Errorf("a stranger does %s: %d %s", path, a.Status, a.Body)
		}
		if a := viewer.do(http.MethodPost, path, `{}`); a.Status != http.StatusForbidden || !strings.Contains(a.Body, "viewer may only look") {
			t.Errorf("a viewer does %s: %d %s", path, a.Status, a.Body)
		}
		if a := admin.do(http.MethodPost, path, `{}`); a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	if a := admin.do(http.MethodPost, "api/events", `{"app":"1","channel":"c","event":"e","data":"d","as":"server"}`); a.Status != http.StatusOK {
		t.Errorf("sending an event: %d %s", a.Status, a.Body)
	}
	if !s.Log.Contains(`msg="event sent from the console" app=1 channel=c event=e as=server user=admin remote=127.0.0.1`) {
		t.Error("what was done is not logged")
	}
}

// Another page cannot do anything with the cookie, whatever a browser makes of SameSite.
func TestConsoleCrossOrigin(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	b.mustSignIn("admin", adminPassword)
	address := s.Addr().String()
	for _, tt := range []struct {
		header  string
		allowed bool
	}{
		{"", true}, // no browser
		{"Sec-Fetch-Site: same-origin", true},
		{"Sec-Fetch-Site: none", true},
		{"Sec-Fetch-Site: same-site", false},
		{"Sec-Fetch-Site: cross-site", false},
		{"Origin: http://" + address, true},
		{"Origin: http://127.0.0.1:1", false},
		{"Origin: https://evil.example", false},
		{"Origin: null", false},
	} {
		for _, path := range append(slices.Clone(consoleActs), "api/session") {
			for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPut} {
				a := b.do(method, path, "x", tt.header)
				if refused := a.Status == http.StatusForbidden; refused == tt.allowed {
					t.Errorf("%s %s with %q: %d %s", method, path, tt.header, a.Status, a.Body)
				}
			}
			b.client.Jar = openConsole(t, s).client.Jar
			b.mustSignIn("admin", adminPassword)
		}
	}
}

func TestConsoleAttempts(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	var last servertest.Answer
	for range 6 {
		last = b.signIn("admin", "hunter2-wrong")
	}
	if seconds := last.Header.Get("Retry-After"); last.Status != http.StatusTooManyRequests || seconds == "" || !strings.Contains(last.Body, "try again in "+seconds+" seconds") {
		t.Errorf("the sixth attempt: %d %s, after %q", last.Status, last.Body, seconds)
	}
	if a := b.signIn("admin", adminPassword); a.Status != http.StatusTooManyRequests {
		t.Errorf("the right password: %d %s", a.Status, a.Body)
	}
	if !s.Log.Contains(`msg="console sign-in refused" app="" code=429`) {
		t.Error("it is not logged")
	}
}

func TestConsoleBodies(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	for body, want := range map[string]int{
		"{":      http.StatusBadRequest,
		"[1]":    http.StatusBadRequest,
		`"admin`: http.StatusBadRequest,
		`{"user":"` + strings.Repeat("a", 64<<10) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		if a := b.do(http.MethodPost, "api/session", body); a.Status != want {
			t.Errorf("%.20s: %d %s", body, a.Status, a.Body)
		}
	}
}

// Nothing that is configured as a secret is in any answer.
func TestConsoleHasNoSecrets(t *testing.T) {
	const secret = "hunter2-secret"
	s := servertest.Start(t, withConsole, func(c *config.Config) {
		c.Metrics.Token = secret
		c.Cluster.Redis.URL = "redis://:" + secret + "@127.0.0.1:1"
		c.Apps[0].Secret, c.Apps[0].Secrets = "", []string{secret, secret + "-old"}
		hook := config.DefaultWebhook()
		hook.URL = "https://user:" + secret + "@127.0.0.1:1/hook?key=" + secret
		hook.Headers = map[string]string{"Authorization": secret}
		c.Apps[0].Webhooks = []config.Webhook{hook}
	})
	if _, err := s.Dialer().Open(t, "/app/hunter-key"); err != nil { // something to be refused
		t.Fatal(err)
	}
	for user, password := range map[string]string{"admin": adminPassword, "viewer": viewerPassword} {
		b := openConsole(t, s)
		b.mustSignIn(user, password)
		for _, path := range append(slices.Clone(consoleLooks), "api/session", "", "static/app.js", "static/no.js", "api/no") {
			if path == "api/live" {
				continue
			}
			a := b.do(http.MethodGet, path, "")
			if text := fmt.Sprint(a.Header, a.Body); strings.Contains(text, "hunter2") {
				t.Errorf("%s has a secret: %s", path, text)
			}
		}
	}
}

func TestConsoleHeaders(t *testing.T) {
	s := servertest.Start(t, withConsole)
	b := openConsole(t, s)
	for _, path := range []string{"", "api/session", "api/no", "no", "static/no.js", "static/", "static/index.html"} {
		a := b.do(http.MethodGet, path, "")
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if a.Header.Get(name) != want {
				t.Errorf("%q has %s: %s", path, name, a.Header.Get(name))
			}
		}
		want := "no-store"
		if a.Status == http.StatusOK {
			want = "no-cache"
		}
		if got := a.Header.Get("Cache-Control"); got != want {
			t.Errorf("%q: %d, to be kept: %q", path, a.Status, got)
		}
	}
	page := b.do(http.MethodGet, "", "")
	tag := page.Header.Get("ETag")
	if page.Header.Get("Content-Type") != "text/html; charset=utf-8" || tag == "" || !strings.Contains(page.Body, "<title>") {
		t.Errorf("the page: %d %v", page.Status, page.Header)
	}
	if a := b.do(http.MethodGet, "", "", "If-None-Match: "+tag); a.Status != http.StatusNotModified || a.Body != "" {
		t.Errorf("the page once more: %d", a.Status)
	}
	if a := b.do(http.MethodPost, "api/server", ""); a.Status != http.StatusMethodNotAllowed && a.Status != http.StatusNotFound {
		t.Errorf("POST api/server: %d", a.Status)
	}
}

func TestConsoleApart(t *testing.T) {
	s := servertest.Start(t, withConsole, func(c *config.Config) { c.Console.Listen = "127.0.0.1:0" })
	b := openConsole(t, s)
	if strings.Contains(b.url, s.Addr().String()) {
		t.Fatalf("the console is at %s", b.url)
	}
	if a := s.HTTP(t, http.MethodGet, "/console/", nil, nil); a.Status != http.StatusNotFound {
		t.Errorf("on the main listener: %d", a.Status)
	}
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	for host, want := range map[string]string{
		"console.example:81":            "connect-src 'self' http://console.example:" + port + " ws://console.example:" + port + ";",
		"console.example":               "connect-src 'self' http://console.example:" + port + " ws://console.example:" + port + ";",
		"[::1]:81":                      "connect-src 'self' http://[::1]:" + port + " ws://[::1]:" + port + ";",
		"a*b":                           "connect-src 'self';",
		"evil.example;script-src":       "connect-src 'self';",
		"evil.example%20*":              "connect-src 'self';",
		strings.Repeat("a", 254) + ":1": "connect-src 'self';",
	} {
		a := b.do(http.MethodGet, "", "", "Host: "+host)
		if policy := a.Header.Get("Content-Security-Policy"); a.Status != http.StatusOK && a.Status != http.StatusBadRequest || a.Status == http.StatusOK && !strings.Contains(policy, want) {
			t.Errorf("host %s: %d %s", host, a.Status, policy)
		}
	}
	b.mustSignIn("admin", adminPassword)
	var answer struct {
		Clients struct {
			Same bool
			Port json.Number
		}
	}
	if a := b.do(http.MethodGet, "api/server", ""); json.Unmarshal([]byte(a.Body), &answer) != nil || answer.Clients.Same || answer.Clients.Port.String() != port {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	top := openConsoleAt(t, strings.TrimSuffix(b.url, "console/"), s.Client)
	for path, want := range map[string]string{"": "console/", "console": "console/"} {
		if a := top.do(http.MethodGet, path, ""); a.Status != http.StatusTemporaryRedirect || a.Header.Get("Location") != want {
			t.Errorf("/%s: %d to %q", path, a.Status, a.Header.Get("Location"))
		}
	}
}

// Connections to the console's own listener take descriptors from the same supply as all
// others, and make room for these.
func TestConsoleApartIsCounted(t *testing.T) {
	s := servertest.Start(t, withConsole, func(c *config.Config) { c.Console.Listen, c.Metrics.Listen = "127.0.0.1:0", "127.0.0.1:0" })
	for _, url := range []string{s.ConsoleURL(), "http://" + s.MetricsAddr().String()} {
		nc, err := net.Dial("tcp", strings.SplitN(url, "/", 4)[2])
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	servertest.Eventually(t, "both are counted", func() bool {
		answer, err := http.Get("http://" + s.MetricsAddr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains(string(text), "belfry_sockets{kind=\"http\"} 3")
	})
}

func TestConsoleApartWithTLS(t *testing.T) {
	s := servertest.Start(t, withConsole, servertest.Secure(t), func(c *config.Config) { c.Console.Listen = "127.0.0.1:0" })
	b := openConsole(t, s)
	if !strings.HasPrefix(b.url, "https://") {
		t.Fatalf("the console is at %s", b.url)
	}
	a := b.signIn("admin", adminPassword)
	_, port, _ := strings.Cut(s.Addr().String(), ":")
	if policy := a.Header.Get("Content-Security-Policy"); !strings.Contains(a.Header.Get("Set-Cookie"), "; Secure") || !strings.Contains(policy, "connect-src 'self' https://127.0.0.1:"+port+" wss://127.0.0.1:"+port+";") {
		t.Errorf("%d %s %v", a.Status, a.Body, a.Header)
	}
}

func TestConsolePaths(t *testing.T) {
	s := servertest.Start(t, withConsole, func(c *config.Config) { c.Server.Path, c.Console.Path = "/ws", "/a/b" })
	for _, at := range []string{"/a/b", "/ws/a/b"} {
		b := openConsoleAt(t, s.URL(at)+"/", s.Client)
		b.mustSignIn("admin", adminPassword)
		if a := b.do(http.MethodGet, "api/server", ""); a.Status != http.StatusOK {
			t.Errorf("%s: %d %s", at, a.Status, a.Body)
		}
		if a := openConsoleAt(t, s.URL(at), s.Client).do(http.MethodGet, "", ""); a.Status != http.StatusTemporaryRedirect || a.Header.Get("Location") != "b/" {
			t.Errorf("%s: %d to %q", at, a.Status, a.Header.Get("Location"))
		}
	}
}

// What an app takes is shown beside its limits, and those that were met.
func TestConsoleApps(t *testing.T) {
	s := servertest.Start(t, withConsole, func(c *config.Config) { c.Apps[0].MaxConnections = 7 })
	s.Connect(t, "1").Subscribe("a")
	b := openConsole(t, s)
	b.mustSignIn("viewer", viewerPassword)
	var answer struct {
		Apps []struct {
			ID  string
			Use []struct {
				Name, Key        string
				Now, Peak, Limit float64
			}
		}
	}
	if a := b.do(http.MethodGet, "api/apps", ""); json.Unmarshal([]byte(a.Body), &answer) != nil || len(answer.Apps) != 1 || answer.Apps[0].ID != "1" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	shown := make(map[string]string)
	for _, u := range answer.Apps[0].Use {
		shown[u.Name] = fmt.Sprintf("%v %v %v %s", u.Now, u.Peak, u.Limit, u.Key)
	}
	for name, want := range map[string]string{"connections": "1 1 7 max_connections", "subscriptions": "1 1 0 ", "channels": "1 1 0 "} {
		if got := shown[name]; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// With many applications, the page is sent a part of them, and finds the others.
func TestConsoleManyApps(t *testing.T) {
	const most = 100 << 10 // bytes
	s := servertest.Start(t, withConsole, func(c *config.Config) {
		for i := range 4999 {
			c.Apps = append(c.Apps, servertest.App(strconv.Itoa(100_000+i)))
		}
		c.Metrics.PerApp = 1 // the first one's
	})
	s.Connect(t, "104000")
	s.Connect(t, "104500")
	s.Connect(t, "104500")
	b := openConsole(t, s)
	b.mustSignIn("viewer", viewerPassword)
	type answer struct {
		Total     int
		AppsTotal int `json:"apps_total"`
		Apps      []struct {
			ID     string
			Shared bool
		}
	}
	get := func(path string) (is answer) {
		a := b.do(http.MethodGet, path, "")
		if a.Status != http.StatusOK || json.Unmarshal([]byte(a.Body), &is) != nil || len(a.Body) > most {
			t.Errorf("%s: %d, %d bytes, %.200s", path, a.Status, len(a.Body), a.Body)
		}
		return is
	}
	if is := get("api/server?app=104500"); is.AppsTotal != 5000 || len(is.Apps) != 501 || is.Apps[500].ID != "104500" {
		t.Errorf("%d of %d apps are named", len(is.Apps), is.AppsTotal)
	}
	if is := get("api/apps?offset=4990"); is.Total != 5000 || len(is.Apps) != 10 {
		t.Errorf("the last of %d apps are %v", is.Total, is.Apps)
	}
	if is := get("api/apps?q=4500"); is.Total != 1 || !is.Apps[0].Shared {
		t.Errorf("found %v", is.Apps)
	}
	if is := get("api/apps?sort=connections&limit=3"); is.Total != 5000 || is.Apps[0].ID != "104500" || is.Apps[1].ID != "104000" || !is.Apps[1].Shared || is.Apps[2].ID != "1" || is.Apps[2].Shared {
		t.Errorf("those with most connections are %v", is.Apps)
	}
}

func TestNoConsole(t *testing.T) {
	s := servertest.Start(t)
	if s.ConsoleURL() != "" {
		t.Errorf("the console is at %s", s.ConsoleURL())
	}
	unknown := s.HTTP(t, http.MethodGet, "/unknown", nil, nil)
	for _, path := range []string{"/console", "/console/", "/console/api/session", "/console/static/app.js"} {
		if a := s.HTTP(t, http.MethodGet, path, nil, nil); a.Status != http.StatusNotFound || a.Body != unknown.Body {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}

// A stream does not keep the server from stopping, and so is not cut, but ends.
func TestConsoleStreamEnds(t *testing.T) {
	for name, edit := range map[string]func(*config.Config){
		"on the main listener": func(*config.Config) {},
		"apart":                func(c *config.Config) { c.Console.Listen = "127.0.0.1:0" },
	} {
		t.Run(name, func(t *testing.T) {
			s := servertest.Start(t, withConsole, edit, func(c *config.Config) { c.Server.ShutdownGrace = 2 * wstest.Patience })
			b := openConsole(t, s)
			b.mustSignIn("viewer", viewerPassword)
			a, err := b.client.Get(b.url + "api/live")
			if err != nil {
				t.Fatal(err)
			}
			defer a.Body.Close()
			stream := bufio.NewReader(a.Body)
			if line, err := stream.ReadString('\n'); err != nil || !strings.HasPrefix(line, ":") {
				t.Fatalf("%q, error %v", line, err)
			}
			s.Stop()
			if _, err := io.Copy(io.Discard, stream); err != nil {
				t.Errorf("the stream was cut: %v", err)
			}
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
