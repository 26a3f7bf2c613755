//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/protocol"
)

// eventLines are the events with these numbers, as a server writes them.
func eventLines(size int, numbers ...uint64) string {
	var b strings.Builder
	for _, n := range numbers {
		message, at := delivery(testChannel, size)
		appendStamp(message[:at], n, time.Duration(n)*time.Millisecond)
		fmt.Fprintf(&b, "a[\"%s\"]\n", escape(message))
	}
	return b.String()
}

func subscribedSession(size int) (*Audience, *session) {
	target := &Target{Exact: true, Transport: protocol.XHRStreaming}
	a := &Audience{Channel: testChannel, Tally: NewTally()}
	a.Expect(target, size)
	s := &Subscriber{target: target, audience: a, state: subscribed}
	a.Members = []*Subscriber{s}
	return a, &session{Subscriber: s, opened: true}
}

// However the lines are cut, the same comes out of them.
func TestSessionReadsPieces(t *testing.T) {
	whole := []byte(eventLines(130, 1, 2, 3))
	for cut := range whole {
		a, f := subscribedSession(130)
		rest, err := f.lines(whole[:cut], time.Second)
		if err == nil {
			rest, err = f.lines(slices.Concat(rest, whole[cut:]), time.Second)
		}
		if err != nil || len(rest) > 0 || f.length != len(whole) {
			t.Fatalf("cut at %d: %v, rest %q, %d characters", cut, err, rest, f.length)
		}
		if err := a.Check(3, 1+2+3); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestSessionMistakes(t *testing.T) {
	event := eventLines(130, 1)
	tests := []struct{ name, lines, want string }{
		{"opened again", "o\n", "lost the session"},
		{"closed", event + "c[4200,\"Server is restarting\"]\n", "4200 Server is restarting"},
		{"empty", "\n", "empty"},
		{"unknown", "x\n", "unexpected"},
		{"no list", "a{}\n", "not a list"},
		{"another size", eventLines(131, 1), "and not as"},
		{"another byte", strings.Replace(event, "xx", "xy", 1), "and not as"},
		{"two in one line", strings.Replace(event, "\"]\n", "\",\""+event[len(`a["`):], 1), "and not as"},
		{"an error of the protocol", `a["{\"event\":\"pusher:error\"}"]` + "\n", "sent an error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, f := subscribedSession(130)
			if _, err := f.lines([]byte(tt.lines), 0); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	a, f := subscribedSession(130)
	other := &Subscriber{audience: a, state: subscribed}
	a.Members = append(a.Members, other)
	if _, err := f.lines([]byte(eventLines(130, 1, 2, 3)), 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{1, 3, 2} {
		other.count(n, 0)
	}
	if err := a.Check(3, 1+2+3); err == nil || !strings.Contains(err.Error(), "orders") {
		t.Errorf("got %v", err)
	}
}

// transportServer is a server of one session, which begins each answer to a
// receiver with the next one of its lines.
type transportServer struct {
	lines chan string
	asked chan string // the resources of receivers
	sent  chan string

	mu   sync.Mutex // guards the following
	path string     // of the session
}

func (s *transportServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, resource := r.URL.Path[:strings.LastIndex(r.URL.Path, "/")], r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if resource == "xhr_send" {
		body, _ := io.ReadAll(r.Body)
		s.sent <- string(body)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	s.mu.Lock()
	if s.path == "" {
		s.path = path
	}
	same := s.path == path
	s.mu.Unlock()
	s.asked <- resource
	if !same {
		http.Error(w, "another session", http.StatusNotFound)
		return
	}
	for length := 0; ; {
		take := s.lines
		if length > restartLength {
			take = nil // what else there is is for the next request
		}
		select {
		case lines := <-take:
			length += len(lines)
			io.WriteString(w, lines)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
		if resource == "xhr" {
			return
		}
	}
}

// A stream begins anew once it has more than restartLength, and a poll follows
// the other, in the same session; nothing is lost in between.
func TestSessionAsksAgain(t *testing.T) {
	const size = 10_000
	large := restartLength/size + 1
	tests := []struct {
		transport protocol.Transport
		want      []string
	}{
		{protocol.XHRStreaming, []string{"xhr_streaming", "xhr_streaming"}},
		{protocol.XHRPolling, []string{"xhr", "xhr", "xhr", "xhr", "xhr", "xhr"}},
	}
	for _, tt := range tests {
		t.Run(tt.transport.String(), func(t *testing.T) {
			s := &transportServer{lines: make(chan string, 5), asked: make(chan string, 100), sent: make(chan string, 1)}
			listener := httptest.NewServer(s)
			defer listener.Close()
			target, err := NewTarget(testApp, listener.Listener.Addr().String(), true)
			if err != nil {
				t.Fatal(err)
			}
			target.Transport = tt.transport
			loop, err := NewLoop(NewClock())
			if err != nil {
				t.Fatal(err)
			}
			defer loop.Close()

			crowd := &Crowd{Target: target, Loop: loop}
			a := &Audience{Channel: testChannel, Tally: NewTally()}
			a.Expect(target, size)
			opened := make(chan error, 1)
			s.lines <- "hhhh\no\n"
			s.lines <- `a["{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":\\\"1.2\\\"}\"}"]` + "\n"
			go func() { opened <- crowd.Open(context.Background(), []*Audience{a}) }()
			if sent := <-s.sent; !strings.Contains(sent, `pusher:subscribe`) {
				t.Fatalf("the client sends %q", sent)
			}
			s.lines <- `a["{\"event\":\"pusher_internal:subscription_succeeded\",\"data\":\"{}\",\"channel\":\"c\"}"]` + "\n"
			if err := <-opened; err != nil {
				t.Fatal(err)
			}

			var sum, number uint64
			var first strings.Builder
			for range large {
				number++
				sum += number
				first.WriteString(eventLines(size, number))
			}
			s.lines <- first.String()
			number++
			sum += number
			come := func(n uint64) {
				t.Helper()
				if err := loop.Await(context.Background(), time.Minute, "events", func() bool { return a.Tally.Deliveries == n }); err != nil {
					t.Fatal(err)
				}
			}
			come(uint64(large))
			s.lines <- eventLines(size, number)
			come(number)
			if err := loop.Do(func() error { return a.Check(number, sum) }); err != nil {
				t.Error(err)
			}
			for i, want := range tt.want {
				if got := <-s.asked; got != want {
					t.Errorf("request %d is for %q, want %q", i, got, want)
				}
			}
			s.lines <- "c[4200,\"Server is restarting\"]\n"
			var closed *ClosedError
			err = loop.Await(context.Background(), time.Minute, "closing", func() bool { return false })
			if !errors.As(err, &closed) || closed.Code != 4200 {
				t.Errorf("after a goodbye, the loop ends with %v", err)
			}
			if len(s.asked) > 0 {
				t.Errorf("the client has asked for %q once more", <-s.asked)
			}
		})
	}
}
