package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// transports are the two ways of receiving, by the name that metrics have.
var transports = map[string]string{"xhr_streaming": servertest.Streaming, "xhr_polling": servertest.Polling}

// overTransports runs a test for each.
func overTransports(t *testing.T, test func(t *testing.T, transport string)) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, transport)
		})
	}
}

func TestFallbackGreeting(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].ActivityTimeout = 77e9 })
	for _, transport := range transports {
		f := s.Fallback(t, "1", transport)
		f.Header.Set("Origin", "https://example.com")
		r := f.Receive(transport)
		for name, want := range map[string]string{
			"Content-Type":                "application/javascript; charset=UTF-8",
			"Cache-Control":               "no-store, no-cache, no-transform, must-revalidate, max-age=0",
			"X-Accel-Buffering":           "no",
			"Access-Control-Allow-Origin": "*",
			"Content-Encoding":            "",
		} {
			if got := r.Header.Get(name); got != want || r.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d, %s %q, want %q", transport, r.StatusCode, name, got, want)
			}
		}
		r.Drop()
	}

	// The stream begins with what fills the buffers on the way.
	f := s.Fallback(t, "1", servertest.Streaming)
	read := bufio.NewReader(f.Receive(servertest.Streaming).Body)
	for _, want := range []string{strings.Repeat("h", 2048) + "\n", "o\n", `a["{\"event\":\"pusher:connection_established\",`} {
		got, err := read.ReadString('\n')
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("the stream has %q, error %v; want %q", got, err, want)
		}
	}
	// The first poll is answered with nothing but the beginning.
	f = s.Fallback(t, "1", servertest.Polling)
	lines, err := f.Receive(servertest.Polling).ReadAll()
	if err != nil || len(lines) != 1 || lines[0] != "o" {
		t.Errorf("the first poll is answered with %q, error %v", lines, err)
	}
	if e := f.ReadEvent(); e.Event != "pusher:connection_established" || !strings.HasSuffix(e.String(), `,"activity_timeout":77}`) {
		t.Errorf("the second poll is answered with %+v", e)
	}
}

func TestFallbackPaths(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.Path = "/ws" })
	for path, want := range map[string]int{
		"/pusher/app/key-1/12/abcdefgh/xhr":       200,
		"/ws/pusher/app/key-1/13/abcdefgh/xhr":    200,
		"//pusher//app/key-1/14/abcdefgh/xhr":     200,
		"/pusher/app/key-1/15/a-Z_0/xhr":          200,
		"/pusher/app/key-1/12/abcdefgh/other":     404,
		"/pusher/app/key-1/1.2/abcdefgh/xhr":      404,
		"/pusher/app/key-1/12/abc.defgh/xhr":      404,
		"/pusher/app/key-1/12/abcdefgh":           404,
		"/pusher/app/key-1/12/abcdefgh/xhr/":      404,
		"/other/pusher/app/key-1/12/abcdefgh/xhr": 404,
	} {
		if a := s.HTTP(t, http.MethodPost, path+"?protocol=7", nil, nil); a.Status != want {
			t.Errorf("%s: %d %s, want %d", path, a.Status, a.Body, want)
		}
	}
	for path, want := range map[string]int{
		"/pusher/app/key-1/12/abcdefgh/xhr_send":    204,
		"/ws/pusher/app/key-1/12/abcdefgh/xhr_send": 204, // the same session
		"/pusher/app/key-1/12/unknown/xhr_send":     404,
		"/pusher/app/key-2/12/abcdefgh/xhr_send":    404,
	} {
		a := s.HTTP(t, http.MethodPost, path, nil, []byte("[]"))
		if a.Status != want || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %s, want %d", path, a.Status, a.Body, want)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		a := s.HTTP(t, method, "/pusher/app/key-1/12/abcdefgh/xhr", nil, nil)
		if a.Status != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST, OPTIONS" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %s", method, a.Status, a.Body)
		}
	}
}

func TestFallbackPreflight(t *testing.T) {
	s := servertest.Start(t)
	for _, transport := range []string{"xhr_streaming", "xhr", "xhr_send"} {
		a := s.HTTP(t, http.MethodOptions, "/pusher/app/key-1/12/abcdefgh/"+transport, nil, nil,
			"Origin: https://example.com", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,x-other")
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin":  "*",
			"Access-Control-Allow-Methods": "POST, OPTIONS",
			"Access-Control-Allow-Headers": "content-type,x-other",
			"Access-Control-Max-Age":       "86400",
		} {
			if got := a.Header.Get(name); a.Status != http.StatusNoContent || got != want {
				t.Errorf("%s: %d, %s %q, want %q", transport, a.Status, name, got, want)
			}
		}
	}
	if got := s.Metric(t, `belfry_connections_opened_total{app="1"}`); got != 0 {
		t.Errorf("preflights opened %v sessions", got)
	}
}

// Whoever is refused is told why in the one response that it has.
func TestFallbackRefusals(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		disabled, closed := servertest.App("2"), servertest.App("3")
		disabled.Enabled = false
		closed.AllowedOrigins = []string{"*.example.com"}
		full := servertest.App("4")
		full.MaxConnections = 1
		c.Apps = append(c.Apps, disabled, closed, full)
	})
	s.Connect(t, "4")
	tests := []struct {
		app, query, origin string
		code               int
	}{
		{"9", "?protocol=7", "", 4001},
		{"2", "?protocol=7", "", 4003},
		{"4", "?protocol=7", "", 4004},
		{"1", "?protocol=x", "", 4006},
		{"1", "?protocol=8", "", 4007},
		{"1", "", "", 4008},
		{"3", "?protocol=7", "https://example.org", 4009},
		{"3", "?protocol=7", "null", 4009},
	}
	for _, transport := range transports {
		for _, tt := range tests {
			f := s.Fallback(t, tt.app, transport)
			f.Query = tt.query
			if tt.origin != "" {
				f.Header.Set("Origin", tt.origin)
			}
			r := f.Receive(transport)
			lines, err := r.ReadAll()
			if err != nil || len(lines) != 3 || lines[0] != "o" || r.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("%+v: got %q, error %v", tt, lines, err)
			}
			text, err := servertest.LineText(lines[1])
			if err != nil {
				t.Fatal(err)
			}
			e, err := wstest.ParseEvent([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			code, message := e.Error()
			if want := fmt.Sprintf("c[%d,%s]", tt.code, servertest.Quote(message)); code != tt.code || message == "" || lines[2] != want {
				t.Errorf("%+v: got %q", tt, lines)
			}
			if a := f.Post("[]"); a.Status != http.StatusNotFound {
				t.Errorf("%+v: there is a session: %d", tt, a.Status)
			}
		}
	}
	if got := s.Metric(t, `belfry_rejected_handshakes_total{app="3",code="4009"}`); got != 4 {
		t.Errorf("%v refusals are counted, want 4", got)
	}
	if got := s.Metric(t, `belfry_connections{app="1"}`); got != 0 {
		t.Errorf("%v connections are counted", got)
	}
	f := s.Fallback(t, "3", servertest.Polling)
	f.Header.Set("Origin", "https://www.example.com")
	f.Open()
}

// All that a session does works over every transport, and between them.
func TestFallbackSession(t *testing.T) {
	for name, transport := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t)
			ws := s.Connect(t, "1")
			f := s.ConnectFallback(t, "1", transport)
			f.Sync()

			for _, channel := range []string{"a", "private-a"} {
				ws.Subscribe(channel)
				f.Subscribe(channel)
			}
			s.Publish(t, "1", `App\Events\X`, `{"a":"é😀\"\\"}`, "a", "private-a")
			for _, channel := range []string{"a", "private-a"} {
				want := servertest.EventText(`App\Events\X`, channel, `{"a":"é😀\"\\"}`)
				ws.Expect(want)
				f.Expect(want)
			}

			// Client events reach the others only.
			event := `{"event":"client-x","channel":"private-a","data":"y"}`
			f.Send(event)
			ws.Expect(event)
			f.Sync()
			ws.Send(event)
			f.Expect(event)
			ws.Sync()

			// As does an event whose socket_id is this one's.
			body := `{"name":"e","data":"w","channel":"a","socket_id":"` + f.SocketID + `"}`
			if a := s.Post(t, "1", "events", body); a.Status != http.StatusOK {
				t.Errorf("answered with %d %s", a.Status, a.Body)
			}
			ws.Expect(servertest.EventText("e", "a", "w"))
			f.Sync()

			// Presence.
			ws.Join("presence-a", "1")
			if got, want := f.Join("presence-a", "2"), `{"presence":{"count":2,"ids":["1","2"],"hash":{"1":null,"2":null}}}`; got != want {
				t.Errorf("the roster is %s, want %s", got, want)
			}
			if e := ws.ReadEvent(); e.Event != "pusher_internal:member_added" || e.String() != `{"user_id":"2"}` {
				t.Errorf("the others are told %+v", e)
			}

			// Cache channels.
			f.Send(`{"event":"pusher:subscribe","data":{"channel":"cache-a"}}`)
			f.Expect(servertest.Succeeded("cache-a"), `{"event":"pusher:cache_miss","channel":"cache-a","data":"{}"}`)
			s.Publish(t, "1", "e", "x", "cache-a")
			f.Expect(servertest.EventText("e", "cache-a", "x"))
			f.Send(`{"event":"pusher:unsubscribe","data":{"channel":"cache-a"}}`)
			s.Publish(t, "1", "e", "y", "cache-a")
			f.Send(`{"event":"pusher:subscribe","data":{"channel":"cache-a"}}`)
			f.Expect(servertest.Succeeded("cache-a"), servertest.EventText("e", "cache-a", "y"))

			// Refusals.
			f.Send(`{"event":"pusher:subscribe","data":{"channel":"private-b","auth":"key-1:no"}}`)
			if e := f.ReadEvent(); e.Event != "pusher:subscription_error" {
				t.Errorf("a bad signature is answered with %+v", e)
			}
			if code, _ := f.ReadEvent().Error(); code != 4009 {
				t.Errorf("a bad signature is answered with %d", code)
			}
			f.Sync()

			for series, want := range map[string]float64{
				`belfry_connections{app="1",transport="websocket"}`:                 1,
				fmt.Sprintf(`belfry_connections{app="1",transport=%q}`, name):       1,
				fmt.Sprintf(`belfry_connections_opened_total{transport=%q}`, name):  1,
				`belfry_connections{app="1"}`:                                       2,
				`belfry_connections_opened_total{app="1"}`:                          2,
				`belfry_connections_closed_total{app="1"}`:                          0,
				fmt.Sprintf(`belfry_connections_closed_total{transport=%q}`, name):  0,
				`belfry_channels{app="1",kind="presence"}`:                          1,
				`belfry_subscriptions{app="1"}`:                                     7,
				`belfry_errors_total{app="1",code="4009"}`:                          1,
				`belfry_events_published_total{app="1",source="client"}`:            2,
				`belfry_delivery_delay_seconds_count{app="1",transport="anything"}`: 0,
			} {
				if got := s.Metric(t, series); got != want {
					t.Errorf("%s is %v, want %v", series, got, want)
				}
			}
		})
	}
}

// A body that is no list of messages is answered in both ways, and disturbs
// nothing.
func TestFallbackBadSends(t *testing.T) {
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t, func(c *config.Config) { c.Apps[0].MaxMessageBytes = 1024 })
		f := s.ConnectFallback(t, "1", transport)
		f.Subscribe("a")
		tests := []struct {
			body   string
			status int
		}{
			{"", 400},
			{"null", 400},
			{"{}", 400},
			{`"a"`, 400},
			{`[1]`, 400},
			{`[null]`, 400},
			{`["{}"`, 400},
			{"[\"\xff\"]", 400},
			{`["` + strings.Repeat("x", 1025) + `"]`, 413},
			{`["` + strings.Repeat(`\u0020`, 400) + `"]`, 413}, // 400 bytes, in an unusual spelling
			{strings.Repeat(" ", 10_000), 413},
			{strings.Repeat("[", 2000), 400},
		}
		for _, tt := range tests {
			a := f.Post(tt.body)
			if a.Status != tt.status || !strings.HasPrefix(a.Body, `{"error":"`) || a.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%.30q is answered with %d %s, want %d", tt.body, a.Status, a.Body, tt.status)
			}
			if code, message := f.ReadEvent().Error(); code != 0 || message == "" {
				t.Errorf("%.30q: the client is told %d %q", tt.body, code, message)
			}
		}
		// The largest message that is allowed, whatever it takes to spell.
		if a := f.Post(`["` + strings.Repeat(`\"`, 1024) + `"]`); a.Status != http.StatusNoContent {
			t.Errorf("a long message is answered with %d %s", a.Status, a.Body)
		}
		if _, message := f.ReadEvent().Error(); !strings.HasPrefix(message, "Invalid message: ") {
			t.Errorf("it is told %q", message)
		}
		// Several messages at once, in their order.
		if a := f.Post(`["{\"event\":\"pusher:ping\"}","no","{\"event\":\"pusher:ping\"}"]`); a.Status != http.StatusNoContent {
			t.Errorf("a list is answered with %d %s", a.Status, a.Body)
		}
		f.Expect(wstest.PongText)
		if code, _ := f.ReadEvent().Error(); code != 0 {
			t.Errorf("told %d", code)
		}
		f.Expect(wstest.PongText)
		s.Publish(t, "1", "e", "x", "a")
		f.Expect(servertest.EventText("e", "a", "x"))
	})
}

// The client's own ping is answered with a sign of life, but a heartbeat: to
// that a streaming client would answer with a ping, and so on.
func TestFallbackPing(t *testing.T) {
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t)
		f := s.ConnectFallback(t, "1", transport)
		if transport == servertest.Streaming {
			f.Drop() // for the response, of which every line counts, is the next one
		}
		r := make(chan []string, 1)
		go func() {
			var lines []string
			response, err := f.TryReceive(transport)
			for err == nil && (len(lines) == 0 || lines[len(lines)-1] != "a[]") {
				var more []string
				more, err = response.ReadSome()
				lines = append(lines, more...)
			}
			if response != nil {
				response.Drop()
			}
			r <- lines
		}()
		if a := f.Post("[]"); a.Status != http.StatusNoContent {
			t.Fatalf("answered with %d %s", a.Status, a.Body)
		}
		want := 1
		if transport == servertest.Streaming {
			want = 2 // with the prelude
		}
		if lines := <-r; len(lines) != want || lines[want-1] != "a[]" {
			t.Errorf("got %q", lines)
		}
	})
}

// nginx talks HTTP/1.0 to a server, unless told otherwise.
func TestFallbackOverHTTP10(t *testing.T) {
	s := servertest.Start(t)
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(wstest.Patience)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(nc, "POST /pusher/app/key-1/1/abc/xhr_streaming?protocol=7 HTTP/1.0\r\nHost: x\r\nUser-Agent: test\r\n\r\n")
	read := bufio.NewReader(nc)
	expect := func(want string) {
		t.Helper()
		for {
			line, err := read.ReadString('\n')
			if err != nil {
				t.Fatalf("no %q: %v", want, err)
			}
			if strings.HasPrefix(line, want) {
				return
			}
		}
	}
	expect("HTTP/1.0 200")
	expect("o\n")
	expect(`a["{\"event\":\"pusher:connection_established\"`)
	a := s.HTTP(t, http.MethodPost, "/pusher/app/key-1/1/abc/xhr_send", nil,
		[]byte(`["{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"a\"}}"]`), "User-Agent: test")
	if a.Status != http.StatusNoContent {
		t.Fatalf("answered with %d %s", a.Status, a.Body)
	}
	expect(`a["{\"event\":\"pusher_internal:subscription_succeeded\"`)
	s.Publish(t, "1", "e", "x", "a")
	expect(`a["{\"event\":\"e\"`)
}

// With a certificate, browsers speak HTTP/2.
func TestFallbackOverTLS(t *testing.T) {
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t, servertest.Secure(t))
		f := s.ConnectFallback(t, "1", transport)
		f.Subscribe("a")
		for i := range 10 {
			s.Publish(t, "1", "e", fmt.Sprint(i), "a")
			f.Expect(servertest.EventText("e", "a", fmt.Sprint(i)))
		}
	})
}
