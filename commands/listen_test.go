package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"belfry/auth"
	"belfry/commands/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server's end of a connection.
type peer struct {
	t   *testing.T
	ctx context.Context
	*websocket.Conn
}

func (p *peer) send(format string, args ...any) {
	if err := p.Write(p.ctx, websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Error(err)
	}
}

func (p *peer) greet() {
	p.send(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.%d\",\"activity_timeout\":120}"}`, 2)
}

// expect reads a message that has all of these parts.
func (p *peer) expect(parts ...string) {
	_, text, err := p.Read(p.ctx)
	if err != nil {
		p.t.Errorf("instead of %q: %v", parts, err)
		return
	}
	for _, part := range parts {
		if !strings.Contains(string(text), part) {
			p.t.Errorf("the client sent %s, without %q", text, part)
		}
	}
}

func (p *peer) succeed(channel string) {
	p.send(`{"event":"pusher_internal:subscription_succeeded","channel":%q,"data":"{}"}`, channel)
}

// serve is a server that does these things with its connections, one after another.
func serve(t *testing.T, connections ...func(p *peer)) *client.Client {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if len(connections) == 0 {
			t.Errorf("another connection")
			return
		}
		next := connections[0]
		connections = connections[1:]
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		next(&peer{t, context.Background(), conn})
	}))
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &client.Client{WebSocket: at, API: at, AppID: "1", Credentials: auth.Credentials{Key: "k", Secret: "hunter2"}}
}

// listen runs l on it, and returns what it printed, and what it waited before it
// connected again.
func listen(t *testing.T, c *client.Client, l *Listen) (out, told string, waits []time.Duration, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	l.Client, l.Out, l.Err = c, &stdout, &stderr
	l.pause = func(_ context.Context, d time.Duration) { waits = append(waits, d) }
	err = l.Run(t.Context())
	return stdout.String(), stderr.String(), waits, err
}

func TestReconnect(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		err      error
		worked   bool
		failures int
		wait     time.Duration
		again    bool
	}{
		{&client.CloseError{Code: 4000}, true, 0, 0, false},
		{&client.CloseError{Code: 4099}, true, 0, 0, false},
		{&client.CloseError{Code: 4100}, true, 5, time.Second, true},
		{&client.CloseError{Code: 4199}, false, 5, time.Second, true},
		{&client.CloseError{Code: 4200}, true, 0, 0, true},
		{&client.CloseError{Code: 4200}, false, 2, 4 * time.Second, true},
		{&client.CloseError{Code: 4300}, true, 0, 0, false},
		{&client.CloseError{Code: 1006}, true, 0, time.Second, true},
		{broken, false, 0, time.Second, true},
		{fmt.Errorf("at: %w", &client.CloseError{Code: 4001}), true, 0, 0, false},
		{broken, false, 3, 8 * time.Second, true},
		{broken, false, 1000, maxWait, true},
	} {
		wait, again := (&lost{tt.err, tt.worked}).reconnect(tt.failures)
		if wait != tt.wait && tt.again || again != tt.again {
			t.Errorf("%v, worked %v, %d failures: again %v after %v", tt.err, tt.worked, tt.failures, again, wait)
		}
	}
}

// It is back after a close, asks for what it has missed, and ends for good at last.
func TestListenComesBack(t *testing.T) {
	c := serve(t,
		func(p *peer) {
			p.greet()
			p.expect(`"event":"pusher:subscribe"`, `"channel":"news"`)
			p.succeed("news")
			p.send(`{"event":"a","channel":"news","data":"{\"n\":1}","serial":"e-1"}`)
			p.Close(4200, "restart")
		},
		func(p *peer) { p.greet(); p.expect("recover"); p.expect("subscribe"); p.Close(4200, "at once") },
		func(p *peer) { p.Close(4100, "full") },
		func(p *peer) { p.send(`{"event":"pusher:error","data":{"code":4200,"message":"not now"}}`) },
		func(p *peer) {
			p.greet()
			p.expect(`"event":"pusher:recover"`, `"news":"e-1"`, `"socket_ids":["1.2","1.2"]`)
			p.expect(`"event":"pusher:subscribe"`)
			p.send(`{"event":"pusher_internal:subscription_succeeded","channel":"news","data":"{\"recovered\":false}","serial":"e-7"}`)
			p.send(`{"event":"client-b","channel":"news","data":"text\u001b[31m","user_id":"7"}`)
			p.CloseNow()
		},
		func(p *peer) {
			p.greet()
			p.expect(`"news":"e-7"`)
			p.Close(4001, "no such key")
		},
	)
	out, told, waits, err := listen(t, c, &Listen{Channels: []string{"news"}})
	if closed := (*client.CloseError)(nil); !errors.As(err, &closed) || closed.Code != 4001 {
		t.Errorf("ended with %v", err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 3 || lines[0][12:] != ` news a {"n":1}` || lines[1][12:] != " news client-b text\ufffd[31m user_id=7" {
		t.Errorf("printed\n%q", out)
	}
	if want := []time.Duration{0, 2 * time.Second, time.Second, 8 * time.Second, time.Second}; !slices.Equal(waits, want) {
		t.Errorf("waited for %v, not %v", waits, want)
	}
	for _, want := range []string{
		"belfry: subscribed to news\n", "belfry: closed with 4200: restart; connecting again\n", "closed with 4100: full; connecting again\n",
		"closed with 4200: not now; ", "belfry: news: events are missing that the server does not have any more\n", "the connection broke: ",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("did not tell %q:\n%s", want, told)
		}
	}
}

// Servers refuse subscriptions in three ways.
func TestListenRefused(t *testing.T) {
	const subscriptionError = `{"event":"pusher:subscription_error","channel":"%s","data":"{\"type\":\"AuthError\",\"error\":\"no\",\"status\":401}"}`
	const pusherError = `{"event":"pusher:error","data":{"code":null,"message":"Invalid signature"}}`
	for name, refuse := range map[string]func(*peer){
		"belfry": func(p *peer) {
			for _, channel := range []string{"private-a", "private-b"} {
				p.send(subscriptionError, channel)
				p.send(pusherError)
			}
		},
		"soketi": func(p *peer) { p.send(subscriptionError, "private-a"); p.send(subscriptionError, "private-b") },
		"pusher": func(p *peer) { p.send(pusherError); p.send(pusherError) },
		"reverb": func(p *peer) {
			p.send(`{"event":"pusher:error","data":"{\"code\":4009,\"message\":\"Connection is unauthorized\"}"}`)
			p.send(pusherError)
		},
	} {
		for _, third := range []bool{false, true} {
			connection := func(p *peer) {
				p.greet()
				p.expect(`"auth":"k:`, `"channel":"private-a"`)
				p.expect(`"auth":"k:`, `"channel":"private-b"`)
				if third {
					p.expect(`"channel":"c"`)
				}
				refuse(p)
				if third {
					p.succeed("c")
					p.send(`{"event":"a","channel":"c","data":"1"}`)
				}
				_, _, _ = p.Read(p.ctx) // until the client leaves
			}
			l := &Listen{Channels: []string{"private-a", "private-b"}, Count: 1}
			if third {
				l.Channels = append(l.Channels, "c")
			}
			_, told, _, err := listen(t, serve(t, connection), l)
			if third != (err == nil) || !third && !errors.Is(err, errNone) {
				t.Errorf("%s, another channel %v: %v", name, third, err)
			}
			for _, channel := range []string{"private-a", "private-b"} {
				if strings.Count(told, "belfry: "+channel+": refused: ") != 1 {
					t.Errorf("%s: told\n%s", name, told)
				}
			}
		}
	}
}

func TestListenJSON(t *testing.T) {
	c := serve(t, func(p *peer) {
		p.greet()
		p.expect(`"pusher:signin"`, `"auth":"k:`, `\"id\":\"7\"`)
		p.expect(`#server-to-user-7`)
		p.send(`{"event":"pusher:signin_success","data":"{}"}`)
		p.succeed("#server-to-user-7")
		p.send(`{"event":"pusher:ping","data":{}}`)
		p.expect("pusher:pong")
		p.send(`{"event":"a","channel":"#server-to-user-7","data":"{\"html\": \"<b>\",\n\"n\": 12345678901234567890}"}`)
		p.send(`{"event":"b","channel":"#server-to-user-7","data":{"object":true},"user_id":"7","serial":"e-1"}`)
		p.send(`{"event":"c","channel":"#server-to-user-7","data":"no JSON"}`)
		_, _, _ = p.Read(p.ctx)
	})
	before := time.Now()
	out, _, _, err := listen(t, c, &Listen{Channels: []string{"#server-to-user-7"}, JSON: true, Count: 3, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"channel":"#server-to-user-7","event":"a","data":{"html":"<b>","n":12345678901234567890},"received":"`,
		`{"channel":"#server-to-user-7","event":"b","data":{"object":true},"user_id":"7","serial":"e-1","received":"`,
		`{"channel":"#server-to-user-7","event":"c","data":"no JSON","received":"`,
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != len(want) {
		t.Fatalf("printed\n%s", out)
	}
	for i, line := range lines {
		var r Received
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Received.Before(before.Truncate(time.Second)) || !strings.HasPrefix(line, want[i]) {
			t.Errorf("printed %s, error %v", line, err)
		}
	}
}

// The end of the context and of the time are no errors, unless events were counted.
func TestListenEnds(t *testing.T) {
	wait := func(p *peer) { _, _, _ = p.Read(p.ctx) }
	if _, _, _, err := listen(t, serve(t, wait), &Listen{Channels: []string{"news"}, Timeout: time.Millisecond}); err != nil {
		t.Error(err)
	}
	_, _, _, err := listen(t, serve(t, wait), &Listen{Channels: []string{"news"}, Timeout: time.Millisecond, Count: 2})
	if err == nil || err.Error() != "0 of 2 events came within 1ms" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	subscribe := func(p *peer) {
		p.greet()
		p.expect("news")
		p.succeed("news")
		_, _, _ = p.Read(p.ctx)
	}
	l := &Listen{Client: serve(t, subscribe), Channels: []string{"news"}, Count: 1, Out: new(bytes.Buffer), Err: writer(func() { cancel() })}
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
}

type writer func()

func (w writer) Write(p []byte) (int, error) {
	w()
	return len(p), nil
}

// A server that says nothing is asked for a sign of life.
func TestListenPings(t *testing.T) {
	c := serve(t, func(p *peer) {
		p.send(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":0.001}"}`)
		p.expect("pusher:subscribe")
		p.expect("pusher:ping")
		p.send(`{"event":"pusher:pong","data":"{}"}`)
		p.expect("pusher:ping")
		p.succeed("news")
		p.send(`{"event":"pusher_internal:subscription_count","channel":"news","data":"{\"subscription_count\":1}"}`)
		p.send(`{"event":"a","channel":"news","data":"{}"}`)
		for err := error(nil); err == nil; {
			_, _, err = p.Read(p.ctx)
		}
	})
	out, _, _, err := listen(t, c, &Listen{Channels: []string{"news"}, Count: 1})
	if err != nil || !strings.Contains(out, "subscription_count") || !strings.Contains(out, " a {}") {
		t.Errorf("printed\n%s\nerror %v", out, err)
	}
}

// What is wrong from the start is not tried again.
func TestListenFirstConnection(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	at, _ := url.Parse(s.URL)
	c := &client.Client{WebSocket: at, Credentials: auth.Credentials{Key: "k"}}
	_, _, waits, err := listen(t, c, &Listen{Channels: []string{"news"}})
	if status := (*client.HandshakeError)(nil); !errors.As(err, &status) || status.Status != http.StatusNotFound || len(waits) > 0 {
		t.Errorf("%v after waits of %v", err, waits)
	}
	c = serve(t, func(p *peer) { p.greet(); _, _, _ = p.Read(p.ctx) })
	c.Credentials.Secret = ""
	if _, _, _, err := listen(t, c, &Listen{Channels: []string{"private-a"}}); !errors.Is(err, client.ErrNoSecret) {
		t.Error(err)
	}
	for _, greeting := range []string{`{}`, `{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}`, `no JSON`} {
		if _, _, _, err := listen(t, serve(t, func(p *peer) { p.send("%s", greeting) }), &Listen{Channels: []string{"news"}}); err == nil {
			t.Errorf("greeted with %s", greeting)
		}
	}
}
