package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"belfry/auth"
)

var creds = auth.Credentials{Key: "app-key", Secret: "app-secret"}

// event is one event as published to the stand-in for Belfry.
type event struct {
	Name     string   `json:"name"`
	Data     string   `json:"data"`
	Channels []string `json:"channels"`
	SocketID string   `json:"socket_id"`
}

// newChat starts the backend, publishing under prefix to a stand-in that
// verifies signatures.
func newChat(t *testing.T, prefix string) (chat *httptest.Server, published <-chan event) {
	t.Helper()
	events := make(chan event, 10)
	belfry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		path := strings.TrimPrefix(r.URL.EscapedPath(), prefix)
		if path == "/ready" {
			return
		}
		err = creds.VerifyRequest(auth.Request{Method: r.Method, Paths: []string{path}, Query: r.URL.Query(), Body: body}, time.Now())
		if err != nil || path != "/apps/app-id/events" {
			http.Error(w, fmt.Sprint(path, err), http.StatusUnauthorized)
			return
		}
		var e event
		if err := json.Unmarshal(body, &e); err != nil {
			t.Error(err)
		}
		events <- e
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(belfry.Close)
	app := &application{belfry: newPublisher(parse(t, belfry.URL+prefix), "app-id", creds), messages: &conversation{}}
	chat = httptest.NewServer(app.routes(fstest.MapFS{"index.html": {Data: []byte("<h1>chat</h1>")}}))
	t.Cleanup(chat.Close)
	return chat, events
}

func parse(t *testing.T, raw string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// do sends one request, with headers as "Name: value", and decodes the answer.
func do(t *testing.T, method, target, body string, headers ...string) (status int, answer map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
	}
	return response.StatusCode, answer
}

const messagesPath = "/api/conversations/1/messages"

func TestSendStoresAndPublishes(t *testing.T) {
	for _, prefix := range []string{"", "/ws"} {
		chat, published := newChat(t, prefix)
		status, answer := do(t, "POST", chat.URL+messagesPath, `{"role":"visitor","text":" Hello ","sent_at":1.5}`, "X-Socket-ID: 12.34")
		if status != http.StatusCreated || answer["delivered"] != true {
			t.Fatalf("got %d %v", status, answer)
		}
		got := <-published
		if got.Name != `App\Events\ChatMessageReceived` || got.SocketID != "12.34" ||
			len(got.Channels) != 1 || got.Channels[0] != "private-chat.conversation.1" {
			t.Errorf("published %+v", got)
		}
		var data struct{ Message message }
		if err := json.Unmarshal([]byte(got.Data), &data); err != nil {
			t.Fatal(err)
		}
		if data.Message.ID != 1 || data.Message.Text != "Hello" || data.Message.Role != "visitor" || data.Message.SentAt != 1.5 {
			t.Errorf("published message %+v", data.Message)
		}
		do(t, "POST", chat.URL+messagesPath, `{"role":"support","text":"Hi"}`)
		for after, want := range map[string]int{"": 2, "?after=0": 2, "?after=1": 1, "?after=2": 0, "?after=99": 0} {
			_, answer := do(t, "GET", chat.URL+messagesPath+after, "")
			if len(answer["messages"].([]any)) != want || answer["realtime"] != true {
				t.Errorf("%q: got %v, want %d messages, and realtime", after, answer, want)
			}
		}
	}
}

func TestSendWithoutBelfryKeepsTheMessage(t *testing.T) {
	refuse := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) }
	}
	tests := []struct {
		name   string
		belfry http.HandlerFunc // nil: nobody listens
		log    string
	}{
		{"down", nil, "out of reach"},
		{"draining", refuse(http.StatusServiceUnavailable), "503 Service Unavailable: no"},
		{"refusing", refuse(http.StatusUnauthorized), "401 Unauthorized: no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			belfry := httptest.NewServer(tt.belfry)
			defer belfry.Close()
			if tt.belfry == nil {
				belfry.Close()
			}
			var log bytes.Buffer
			defer slog.SetDefault(slog.Default())
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))

			app := &application{belfry: newPublisher(parse(t, belfry.URL), "app-id", creds), messages: &conversation{}}
			chat := httptest.NewServer(app.routes(fstest.MapFS{}))
			status, answer := do(t, "POST", chat.URL+messagesPath, `{"role":"visitor","text":"Hello"}`)
			if status != http.StatusCreated || answer["delivered"] != false {
				t.Errorf("the sender got %d %v", status, answer)
			}
			_, answer = do(t, "GET", chat.URL+messagesPath+"?after=0", "")
			if len(answer["messages"].([]any)) != 1 || answer["realtime"] != false {
				t.Errorf("who polls got %v", answer)
			}
			chat.Close() // waits for what writes to the log
			if !strings.Contains(log.String(), tt.log) || strings.Contains(log.String(), "auth_signature") {
				t.Errorf("the log has %q, want %q and no signature", log.String(), tt.log)
			}
		})
	}
}

// A page that was closed after "Send" has sent.
func TestSendIsBroadcastWithoutItsSender(t *testing.T) {
	chat, published := newChat(t, "")
	ctx, leave := context.WithCancel(t.Context())
	leave()
	request := httptest.NewRequestWithContext(ctx, "POST", messagesPath, strings.NewReader(`{"role":"visitor","text":"Bye"}`))
	recorder := httptest.NewRecorder()
	chat.Config.Handler.ServeHTTP(recorder, request)
	if !strings.Contains(recorder.Body.String(), `"delivered":true`) {
		t.Fatalf("got %d %s", recorder.Code, recorder.Body)
	}
	if e := <-published; !strings.Contains(e.Data, "Bye") {
		t.Errorf("published %+v", e)
	}
}

// roundTrip is an http.RoundTripper in memory, where synctest has the time.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return f(r), nil
}

// Any number of pages that poll ask Belfry once a second, and one that has gone
// does not spoil the answer for the others.
func TestReadyIsAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(parse(t, "http://belfry/ws/"), "app-id", creds)
		var asked atomic.Int32
		status := http.StatusOK
		p.client.Transport = roundTrip(func(r *http.Request) *http.Response {
			if r.Method != http.MethodGet || r.URL.Path != "/ws/ready" {
				t.Errorf("asked %s %s", r.Method, r.URL.Path)
			}
			asked.Add(1)
			return &http.Response{StatusCode: status, Body: http.NoBody}
		})
		gone, leave := context.WithCancel(t.Context())
		leave()
		for round, want := range []bool{true, false, true} {
			status = http.StatusOK
			if !want {
				status = http.StatusServiceUnavailable
			}
			var pages sync.WaitGroup
			for range 10 {
				pages.Go(func() {
					if got := p.ready(gone); got != want {
						t.Errorf("round %d: ready is %v, want %v", round, got, want)
					}
				})
			}
			pages.Wait()
			if n := int(asked.Load()); n != round+1 {
				t.Errorf("round %d: asked %d times, want once a round", round, n)
			}
			time.Sleep(readyAge)
		}
	})
}

func TestSendRefuses(t *testing.T) {
	chat, _ := newChat(t, "")
	tests := []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"another conversation", "POST", "/api/conversations/2/messages", `{"role":"visitor","text":"a"}`, nil, http.StatusNotFound},
		{"no JSON", "POST", messagesPath, `role=visitor`, nil, http.StatusBadRequest},
		{"no text", "POST", messagesPath, `{"role":"visitor","text":"  "}`, nil, http.StatusUnprocessableEntity},
		{"long text", "POST", messagesPath, `{"role":"visitor","text":"` + strings.Repeat("é", maxText+1) + `"}`, nil, http.StatusUnprocessableEntity},
		{"large body", "POST", messagesPath, `{"text":"` + strings.Repeat("a", maxBody) + `"}`, nil, http.StatusRequestEntityTooLarge},
		{"unknown role", "POST", messagesPath, `{"role":"admin","text":"a"}`, nil, http.StatusUnprocessableEntity},
		{"bad socket id", "POST", messagesPath, `{"role":"visitor","text":"a"}`, []string{"X-Socket-ID: 1.1:x"}, http.StatusBadRequest},
		{"from another site", "POST", messagesPath, `{"role":"visitor","text":"a"}`, []string{"Sec-Fetch-Site: cross-site"}, http.StatusForbidden},
		{"list of another conversation", "GET", "/api/conversations/2/messages", "", nil, http.StatusNotFound},
		{"list after nonsense", "GET", messagesPath + "?after=x", "", nil, http.StatusBadRequest},
		{"list by DELETE", "DELETE", messagesPath, "", nil, http.StatusMethodNotAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status, answer := do(t, tt.method, chat.URL+tt.path, tt.body, tt.headers...); status != tt.status {
				t.Errorf("got %d %v, want %d", status, answer, tt.status)
			}
		})
	}
}

func TestAuthorise(t *testing.T) {
	chat, _ := newChat(t, "")
	const form, asJSON = "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json; charset=utf-8"
	tests := []struct {
		name, kind, body string
		status           int
	}{
		{"form", form, "socket_id=1234.1234&channel_name=private-chat.conversation.1", http.StatusOK},
		{"json", asJSON, `{"socket_id":"1234.1234","channel_name":"private-chat.conversation.1"}`, http.StatusOK},
		{"another conversation", form, "socket_id=1234.1234&channel_name=private-chat.conversation.2", http.StatusForbidden},
		{"presence", form, "socket_id=1234.1234&channel_name=presence-chat.conversation.1", http.StatusForbidden},
		{"public", form, "socket_id=1234.1234&channel_name=chat", http.StatusForbidden},
		{"socket id that names a channel", form, "socket_id=1.1:private-secret&channel_name=private-chat.conversation.1", http.StatusBadRequest},
		{"nothing", form, "", http.StatusBadRequest},
		{"no JSON", asJSON, "socket_id=1", http.StatusBadRequest},
		{"large body", form, "socket_id=" + strings.Repeat("1", maxBody+1), http.StatusRequestEntityTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, answer := do(t, "POST", chat.URL+"/broadcasting/auth", tt.body, tt.kind)
			if status != tt.status {
				t.Fatalf("got %d %v, want %d", status, answer, tt.status)
			}
			if status != http.StatusOK {
				return
			}
			if err := creds.VerifyChannel(answer["auth"].(string), "1234.1234", "private-chat.conversation.1", ""); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		belfry, host string
		port         float64
		path         string
		tls          bool
	}{
		{"http://127.0.0.1:8080", "127.0.0.1", 8080, "", false},
		{"https://ws.example.com", "ws.example.com", 443, "", true},
		{"http://[::1]/ws/", "::1", 80, "/ws", false},
	}
	for _, tt := range tests {
		app := &application{belfry: newPublisher(parse(t, tt.belfry), "app-id", creds), messages: &conversation{}}
		chat := httptest.NewServer(app.routes(fstest.MapFS{}))
		_, got := do(t, "GET", chat.URL+"/api/config", "")
		chat.Close()
		if got["key"] != "app-key" || got["wsHost"] != tt.host || got["wsPort"] != tt.port || got["wsPath"] != tt.path || got["forceTLS"] != tt.tls {
			t.Errorf("%s: got %v", tt.belfry, got)
		}
		if strings.Contains(fmt.Sprint(got), creds.Secret) {
			t.Errorf("the secret is in %v", got)
		}
	}
}

func TestPageMayTalkToBelfryOnly(t *testing.T) {
	chat, _ := newChat(t, "")
	response, err := http.Get(chat.URL + "/?role=support")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	policy := response.Header.Get("Content-Security-Policy")
	if response.StatusCode != http.StatusOK || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, " ws://127.0.0.1:") {
		t.Errorf("got %s with policy %q", response.Status, policy)
	}
}

func TestConversationIsBounded(t *testing.T) {
	var c conversation
	for range maxMessages + 10 {
		c.add(message{})
	}
	stored := c.after(0)
	if len(stored) != maxMessages || stored[0].ID != 11 || stored[maxMessages-1].ID != maxMessages+10 {
		t.Errorf("got %d messages from id %d", len(stored), stored[0].ID)
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	built := t.TempDir()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--belfry", "127.0.0.1:8080", "--dist", built}, "not an http or https URL"},
		{[]string{"--dist", built}, "npm ci && npm run build"},
	} {
		err := run(context.Background(), tt.args)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt.args, err, tt.want)
		}
	}
}
