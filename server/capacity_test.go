package server_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// connectEventually connects once a slot is free.
func connectEventually(t *testing.T, s *servertest.Server) (c *servertest.Client) {
	t.Helper()
	servertest.Eventually(t, "a slot becomes free", func() bool {
		var err error
		c, err = s.Open(t, "1")
		return err == nil
	})
	return c
}

func TestMaxConnections(t *testing.T) {
	tests := []struct {
		name string
		edit func(*config.Config)
		code int
	}{
		{"of an app", func(c *config.Config) { c.Apps[0].MaxConnections = 2 }, 4004},
		{"of the server", func(c *config.Config) { c.Server.MaxConnections = 2 }, 4100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit)
			// Neither subscribes to anything: both count.
			first, second := s.Connect(t, "1"), s.Connect(t, "1")
			third := s.Dialer().Dial(t, servertest.Path("1"))
			expectRefusal(t, third, tt.code)
			third.Drop()

			if err := first.Leave(); err != nil {
				t.Fatal(err)
			}
			first = connectEventually(t, s)
			second.Reset()
			second = connectEventually(t, s)
			first.Sync()
			second.Sync()
			expectRefusal(t, s.Dialer().Dial(t, servertest.Path("1")), tt.code)
			if got := s.Metric(t, `belfry_connections{app="1"}`); got != 2 {
				t.Errorf("belfry_connections is %v, want 2", got)
			}
		})
	}
}

// A client that was refused, and has not closed its side yet, takes nobody's
// place.
func TestRefusedTakeNoPlace(t *testing.T) {
	for name, edit := range map[string]func(*config.Config){
		"of an app":     func(c *config.Config) { c.Apps[0].MaxConnections = 1 },
		"of the server": func(c *config.Config) { c.Server.MaxConnections = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, edit)
			first := s.Connect(t, "1")
			refused := s.Dialer().Dial(t, servertest.Path("1"))
			refused.ReadError()
			refused.ReadClose()
			if err := first.Leave(); err != nil {
				t.Fatal(err)
			}
			next := connectEventually(t, s)
			for range 2 { // the first write at most finds out
				if err := refused.TryWrite([]byte{0}); err != nil {
					t.Fatalf("a place became free only when the refused client was cut: %v", err)
				}
				next.Sync()
			}
		})
	}
}

// Nor does one that was refused for another reason.
func TestUnknownKeyTakesNoPlace(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, func(c *config.Config) { c.Server.MaxConnections = 1 })
	refused := s.Dialer().Dial(t, "/app/nobody?protocol=7")
	refused.ReadError()
	refused.ReadClose()
	next := connectEventually(t, s)
	for range 2 {
		if err := refused.TryWrite([]byte{0}); err != nil {
			t.Fatalf("a place became free only when the refused client was cut: %v", err)
		}
		next.Sync()
	}
}

// What is no handshake is told so on a full server too, and is no client refused.
func TestFullServerRefusesHandshakesOnly(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.MaxConnections = 1 })
	s.Connect(t, "1")
	if a := s.HTTP(t, http.MethodGet, "/app/key-1", nil, nil); a.Status != http.StatusUpgradeRequired {
		t.Errorf("answered with %d %s", a.Status, a.Body)
	}
	const series = `belfry_rejected_handshakes_total{code="4100"}`
	if got := s.Metric(t, series); got != 0 {
		t.Errorf("%s is %v", series, got)
	}
	expectRefusal(t, s.Dialer().Dial(t, servertest.Path("1")), 4100)
	if got := s.Metric(t, series); got != 1 {
		t.Errorf("%s is %v after a client was refused", series, got)
	}
}

// Once many clients are being told that the server is full, others get a plain 503.
func TestTooManyToRefuse(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.MaxConnections = 1 })
	s.Connect(t, "1")
	for range 64 {
		s.Dialer().Dial(t, servertest.Path("1")).ReadError()
	}
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /app/key-1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	a, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Upgrade") != "" || a.Header.Get("Sec-WebSocket-Accept") != "" {
		t.Errorf("answered with %s %v", a.Status, a.Header)
	}
}

// The connections of one app are no burden to another.
func TestMaxConnectionsIsPerApp(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Apps[0].MaxConnections = 1
		c.Apps = append(c.Apps, servertest.App("2"))
	})
	s.Connect(t, "1")
	s.Connect(t, "2")
	s.Connect(t, "2").Sync()
	expectRefusal(t, s.Dialer().Dial(t, servertest.Path("1")), 4004)
}

func TestSilence(t *testing.T) {
	short := func(c *config.Config) {
		c.Apps[0].ActivityTimeout, c.Apps[0].PongTimeout = 1e9, 1e9
	}
	expectPing := func(t *testing.T, c *servertest.Client) {
		t.Helper()
		if f := c.ReadFrame(); f.Opcode != wstest.Ping {
			t.Fatalf("got %v, want a ping", f)
		}
	}
	for _, subscribed := range []bool{false, true} {
		name := map[bool]string{false: "silent", true: "silent and subscribed"}[subscribed]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, short)
			c := s.Connect(t, "1")
			if subscribed {
				c.Subscribe("private-a")
			}
			expectPing(t, c)
			expectRefusal(t, c.Conn, 4201)
			c.Drop()
			servertest.Eventually(t, "the connection is gone", func() bool {
				return s.Metric(t, `belfry_connections{app="1"}`) == 0
			})
			for _, series := range []string{
				`belfry_connections_closed_total{app="1",reason="pong_timeout"}`,
				`belfry_errors_total{app="1",code="4201"}`,
			} {
				if got := s.Metric(t, series); got != 1 {
					t.Errorf("%s is %v, want 1", series, got)
				}
			}
		})
	}
	signs := map[string][]byte{
		"answers with a pong":          wstest.Frame(wstest.Fin|wstest.Pong, nil),
		"answers with a pusher:pong":   wstest.TextFrame(`{"event":"pusher:pong","data":{}}`),
		"sends what is ignored":        wstest.TextFrame(`{"event":"pusher:unsubscribe","data":{"channel":"nowhere"}}`),
		"is amid a fragmented message": wstest.Frame(wstest.Text, nil),
	}
	for name, sign := range signs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, short)
			c := s.Connect(t, "1")
			// Three pings: without the answers, the first was the last.
			for range 3 {
				expectPing(t, c)
				c.Write(sign)
				if sign[0] == wstest.Text {
					sign = wstest.Frame(wstest.Continuation, nil)
				}
			}
			if err := c.Leave(); err != nil {
				t.Error(err)
			}
		})
	}
}
