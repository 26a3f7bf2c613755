package commands

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"belfry/auth"
	"belfry/commands/client"
)

// backend is a server that verifies signatures and then answers.
func backend(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body string)) *client.Client {
	t.Helper()
	credentials := auth.Credentials{Key: "k", Secret: "hunter2"}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		path := strings.TrimPrefix(r.URL.EscapedPath(), "/ws")
		signed := auth.Request{Method: r.Method, Paths: []string{path}, Query: auth.ParseQuery(r.URL.RawQuery), Body: body}
		if err := credentials.VerifyRequest(signed, time.Now()); err != nil && strings.HasPrefix(path, "/apps/") {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		answer(w, r, string(body))
	}))
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	return &client.Client{API: at, AppID: "a b", Credentials: credentials}
}

func TestTrigger(t *testing.T) {
	var got string
	c := backend(t, func(w http.ResponseWriter, r *http.Request, body string) {
		got = r.Method + " " + r.URL.EscapedPath() + " " + r.Header.Get("Content-Type") + " " + body
		fmt.Fprint(w, `{}`)
	})
	var out bytes.Buffer
	trigger := &Trigger{Client: c, Channel: "news", Event: "posted", Data: "-", SocketID: "1.2", In: strings.NewReader("a\n\n"), Out: &out}
	if err := trigger.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `POST /ws/apps/a%20b/events application/json {"name":"posted","channels":["news"],"data":"a\n","socket_id":"1.2"}`
	if got != want || out.String() != "published posted to news\n" {
		t.Errorf("sent %s, printed %s", got, out.String())
	}
}

func TestRefusals(t *testing.T) {
	for answer, want := range map[string]string{
		`{"error":"no\u001b[0m \n such"}`:   ": 403 Forbidden: no\ufffd[0m   such",
		`{"message":"no"}`:                  ": 403 Forbidden: no",
		"no\n" + strings.Repeat("x", 3000):  ": 403 Forbidden: no " + strings.Repeat("x", 497) + "…",
		"\n<html><title>\nNot here</title>": `: 403 Forbidden: a page, "Not here"`,
		"<html>":                            ": 403 Forbidden: a page",
		"":                                  ": 403 Forbidden",
	} {
		c := backend(t, func(w http.ResponseWriter, _ *http.Request, _ string) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, answer)
		})
		err := (&Trigger{Client: c, Channel: "news", Out: io.Discard}).Run(t.Context())
		if status := (*client.StatusError)(nil); !errors.As(err, &status) || status.Status != http.StatusForbidden || !strings.HasSuffix(err.Error(), "/ws/apps/a%20b/events"+want) {
			t.Errorf("%.40q: %v", answer, err)
		}
		if strings.Contains(err.Error(), "auth_signature") {
			t.Error(err)
		}
	}
	c := backend(t, func(w http.ResponseWriter, _ *http.Request, _ string) { fmt.Fprint(w, "<html>") })
	if err := (&Trigger{Client: c, Out: io.Discard}).Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "200 OK: a page") {
		t.Error(err)
	}
	c = backend(t, func(w http.ResponseWriter, _ *http.Request, _ string) { fmt.Fprint(w, "[]") })
	if err := (&Channels{Client: c, Out: io.Discard}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Error(err)
	}
	if err := (&Connections{Client: c, Out: io.Discard}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no number") {
		t.Error(err)
	}
	c.API.Host = "127.0.0.1:1"
	if err := (&Connections{Client: c, Out: io.Discard}).Run(t.Context()); err == nil || strings.Contains(err.Error(), "auth_") {
		t.Error(err)
	}
	c.Credentials.Secret = ""
	if err := (&Connections{Client: c, Out: io.Discard}).Run(t.Context()); !errors.Is(err, client.ErrNoSecret) {
		t.Error(err)
	}
}

// Servers differ in what they count for a list.
func TestChannels(t *testing.T) {
	answers := func(subscriptions bool) func(w http.ResponseWriter, r *http.Request, _ string) {
		return func(w http.ResponseWriter, r *http.Request, _ string) {
			query := r.URL.Query()
			switch info := query.Get("info"); {
			case info == "user_count" && query.Get("filter_by_prefix") == "presence-":
				fmt.Fprint(w, `{"channels":{"presence-b":{"user_count":2},"presence-c":{"user_count":1}}}`)
			case info == "subscription_count" && subscriptions:
				fmt.Fprint(w, `{"channels":{"presence-b":{"subscription_count":3},"a":{"subscription_count":4}}}`)
			case info == "":
				fmt.Fprint(w, `{"channels":{"presence-b":{},"a":{}}}`)
			default:
				http.Error(w, "no such info", http.StatusBadRequest)
			}
		}
	}
	for _, tt := range []struct {
		subscriptions bool
		channels      Channels
		want          string
	}{
		{true, Channels{}, "a\npresence-b\n"},
		{true, Channels{JSON: true}, "{\"channel\":\"a\"}\n{\"channel\":\"presence-b\"}\n"},
		{true, Channels{Info: true}, "CHANNEL     SUBSCRIPTIONS  USERS\na           4              -\npresence-b  3              2\npresence-c  -              1\n"},
		{false, Channels{Info: true, JSON: true}, "{\"channel\":\"a\"}\n{\"channel\":\"presence-b\",\"user_count\":2}\n{\"channel\":\"presence-c\",\"user_count\":1}\n"},
		{true, Channels{Info: true, Prefix: "private-", JSON: true}, "{\"channel\":\"a\",\"subscription_count\":4}\n{\"channel\":\"presence-b\",\"subscription_count\":3}\n"},
	} {
		var out bytes.Buffer
		tt.channels.Client, tt.channels.Out = backend(t, answers(tt.subscriptions)), &out
		if err := tt.channels.Run(t.Context()); err != nil || out.String() != tt.want {
			t.Errorf("printed\n%s\nerror %v", out.String(), err)
		}
	}
}

func TestHealth(t *testing.T) {
	hang := make(chan struct{})
	c := backend(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		switch r.URL.Path {
		case "/ws/up":
			fmt.Fprint(w, `OK`)
		case "/ws/ready":
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"status":"draining"}`)
		default:
			<-hang
		}
	})
	t.Cleanup(func() { close(hang) })
	var out bytes.Buffer
	if err := (&Health{Client: c, Up: true, Within: time.Hour, Out: &out}).Run(t.Context()); err != nil || out.String() != "ok\n" {
		t.Errorf("%s%v", out.String(), err)
	}
	err := (&Health{Client: c, Within: time.Hour, Out: &out}).Run(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "/ws/ready: 503 Service Unavailable: draining") {
		t.Error(err)
	}
	c.API = c.API.JoinPath("hang")
	err = (&Health{Client: c, Within: time.Millisecond, Out: &out}).Run(t.Context())
	if err == nil || !strings.HasSuffix(err.Error(), "/ws/hang/ready: no answer within 1ms") {
		t.Error(err)
	}
}

// A server without a certificate yet is up, though not ready.
func TestHealthWithoutCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none yet") }}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.TLS.Certificates = nil // which StartTLS has made up
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, up := range []bool{true, false} {
		var out bytes.Buffer
		h := &Health{Client: &client.Client{API: at}, Up: up, Within: 10 * time.Second, Out: &out}
		if err := h.Run(t.Context()); (err == nil) != up {
			t.Errorf("up %t: printed %q, %v", up, out.String(), err)
		}
	}
}
