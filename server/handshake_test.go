package server_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// expectRefusal reads what a refused client is told, both ways, and the end.
func expectRefusal(t *testing.T, c *wstest.Conn, code int) (message string) {
	t.Helper()
	text := c.ReadText()
	e, err := wstest.ParseEvent([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, message := e.Error()
	if got != code || message == "" {
		t.Fatalf("got %s, want a pusher:error %d", text, code)
	}
	if want := fmt.Sprintf(`{"event":"pusher:error","data":{"code":%d,"message":%s}}`, code, servertest.Quote(message)); text != want {
		t.Fatalf("got %s, want %s", text, want)
	}
	reason := c.ExpectClose(code)
	// A close frame has room for 123 bytes of it.
	if !strings.Contains(message, "\ufffd") && reason != message && (len(message) <= 123 || len(reason) < 100 || !strings.HasPrefix(message, reason)) {
		t.Errorf("closed with reason %q, want %q", reason, message)
	}
	return message
}

func TestGreeting(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].ActivityTimeout = 77e9 })
	form := regexp.MustCompile(`^\{"event":"pusher:connection_established","data":"\{\\"socket_id\\":\\"(\d+\.\d+)\\",\\"activity_timeout\\":77\}"\}$`)
	seen := make(map[string]bool)
	for _, query := range []string{
		"protocol=7&client=js&version=8.6.0&flash=false",
		"client=java-client&protocol=5&version=2.4.4",
		"protocol=6",
		"protocol=7&protocol=4",
	} {
		c := wstest.Dial(t, s.Addr().String(), "/app/key-1?"+query)
		text := c.ReadText()
		m := form.FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s: greeted with %s", query, text)
		}
		if seen[m[1]] {
			t.Errorf("socket id %s was given twice", m[1])
		}
		seen[m[1]] = true
		c.Sync()
	}
}

func TestRefusals(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		off := servertest.App("2")
		off.Enabled = false
		strict := servertest.App("3")
		strict.AllowedOrigins = []string{"example.com"}
		c.Apps = append(c.Apps, off, strict)
	})
	tests := []struct {
		name, path string
		header     []string
		code       int
		message    string // a part of it
	}{
		{"unknown key", "/app/nobody?protocol=7", nil, 4001, "nobody"},
		{"key of another case", "/app/KEY-1?protocol=7", nil, 4001, ""},
		{"secret for key", "/app/secret-1?protocol=7", nil, 4001, ""},
		{"long key", "/app/" + strings.Repeat("k", 4000) + "?protocol=7", nil, 4001, ""},
		{"key that is no UTF-8", "/app/%ff%fe%80?protocol=7", nil, 4001, ""},
		{"long key in two-byte characters", "/app/k" + strings.Repeat("%C3%A9", 200) + "?protocol=7", nil, 4001, ""},
		{"long key in four-byte characters", "/app/" + strings.Repeat("%F0%9F%94%94", 200) + "?protocol=7", nil, 4001, ""},
		{"key with control characters", "/app/a%00%0a%22b?protocol=7", nil, 4001, ""},
		{"disabled", "/app/key-2?protocol=7", nil, 4003, "disabled"},
		{"unknown path", "/nowhere?protocol=7", nil, 4005, "/app/"},
		{"root", "/?protocol=7", nil, 4005, ""},
		{"no key", "/app/?protocol=7", nil, 4005, ""},
		{"more behind the key", "/app/key-1/more?protocol=7", nil, 4005, ""},
		{"version is a word", "/app/key-1?protocol=seven", nil, 4006, "seven"},
		{"version is a fraction", "/app/key-1?protocol=7.0", nil, 4006, ""},
		{"version with a space", "/app/key-1?protocol=+7", nil, 4006, ""},
		{"version that is no UTF-8", "/app/key-1?protocol=%ff", nil, 4006, ""},
		{"version 4", "/app/key-1?protocol=4", nil, 4007, "4"},
		{"version 8", "/app/key-1?protocol=8", nil, 4007, "8"},
		{"version 0", "/app/key-1?protocol=0", nil, 4007, ""},
		{"version -7", "/app/key-1?protocol=-7", nil, 4007, ""},
		{"version of twenty digits", "/app/key-1?protocol=77777777777777777777", nil, 4007, ""},
		{"no version", "/app/key-1", nil, 4008, ""},
		{"empty version", "/app/key-1?protocol=", nil, 4008, ""},
		{"version in another case", "/app/key-1?Protocol=7", nil, 4008, ""},
		{"origin", "/app/key-3?protocol=7", []string{"Origin: https://example.org"}, 4009, "allowed_origins"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := wstest.Dial(t, s.Addr().String(), tt.path, tt.header...)
			message := expectRefusal(t, c, tt.code)
			if !strings.Contains(message, tt.message) {
				t.Errorf("message is %q, want %q in it", message, tt.message)
			}
			if strings.Contains(message, "secret-") && !strings.Contains(tt.path, "secret-") {
				t.Errorf("message %q has a secret", message)
			}
			if strings.Contains(message, "\ufffd") && !strings.Contains(tt.path, "%ff") {
				t.Errorf("message %q has half a character", message)
			}
		})
	}
	for _, series := range []string{
		`belfry_rejected_handshakes_total{app="2",code="4003"} 1`,
		`belfry_rejected_handshakes_total{app="",code="4005"} 4`,
		`belfry_rejected_handshakes_total{app="3",code="4009"} 1`,
		`belfry_connections{app="1"} 0`,
		`belfry_connections_opened_total{app="1"} 0`,
	} {
		name, want, _ := strings.Cut(series, " ")
		if got := fmt.Sprint(s.Metric(t, name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// A refused client's own messages must not be looked at.
func TestRefusedClientIsNotServed(t *testing.T) {
	s := servertest.Start(t)
	d := s.Dialer()
	d.Early = wstest.TextFrame(`{"event":"pusher:ping"}`)
	c := d.Dial(t, "/app/nobody?protocol=7")
	expectRefusal(t, c, 4001)
}

func TestOrigins(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Apps[0].AllowedOrigins = []string{"example.com", "*.wild.example", "192.0.2.1"}
		any := servertest.App("2")
		c.Apps = append(c.Apps, any)
	})
	tests := []struct {
		origin  string
		allowed bool
	}{
		{"", true}, // no browser
		{"https://example.com", true},
		{"http://example.com", true},
		{"https://example.com:8443", true},
		{"https://EXAMPLE.com", true},
		{"http://192.0.2.1:3000", true},
		{"https://a.wild.example", true},
		{"https://b.a.wild.example:1", true},
		{"https://A.Wild.Example", true},
		{"https://example.com.evil.org", false},
		{"https://notexample.com", false},
		{"https://sub.example.com", false},
		{"https://example.org", false},
		{"https://example.com@evil.org", false},
		{"https://evil.org/example.com", false},
		{"https://evil.org#example.com", false},
		{"https://evil.org?example.com", false},
		{"https://evil.org\\example.com", false},
		{"https://evil.org#.wild.example", false},
		{"https://evil.org%2f.wild.example", false},
		{"https://wild.example", false},
		{"https://.wild.example", false},
		{"https://notwild.example", false},
		{"https://a.wild.example.evil.org", false},
		{"https://192.0.2.10", false},
		{"example.com", false}, // an origin has a scheme
		{"null", false},
		{"file://", false},
		{"*", false},
		{"https://*", false},
	}
	for _, tt := range tests {
		t.Run(tt.origin, func(t *testing.T) {
			var header []string
			if tt.origin != "" {
				header = []string{"Origin: " + tt.origin}
			}
			c := wstest.Dial(t, s.Addr().String(), servertest.Path("1"), header...)
			if tt.allowed {
				if _, err := servertest.Greeted("1", c); err != nil {
					t.Error(err)
				}
			} else {
				expectRefusal(t, c, 4009)
			}
			c = wstest.Dial(t, s.Addr().String(), servertest.Path("2"), header...)
			if _, err := servertest.Greeted("2", c); err != nil {
				t.Errorf("an app for any origin: %v", err)
			}
		})
	}
}

func TestSubprotocol(t *testing.T) {
	s := servertest.Start(t)
	tests := []struct {
		name  string
		offer []string
		want  string
	}{
		{"none", nil, ""},
		{"ours", []string{"pusher-channels-protocol-7"}, "pusher-channels-protocol-7"},
		{"older", []string{"pusher-channels-protocol-5"}, "pusher-channels-protocol-5"},
		{"another", []string{"chat"}, ""},
		{"in a list", []string{"chat, pusher-channels-protocol-7"}, "pusher-channels-protocol-7"},
		{"in a second line", []string{"chat", "pusher-channels-protocol-7"}, "pusher-channels-protocol-7"},
		{"nothing offered", []string{""}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			for _, offer := range tt.offer {
				header = append(header, "Sec-WebSocket-Protocol: "+offer)
			}
			c := wstest.Dial(t, s.Addr().String(), servertest.Path("1"), header...)
			got := c.Response.Header.Values("Sec-WebSocket-Protocol")
			if strings.Join(got, ",") != tt.want {
				t.Errorf("answered with %q, want %q", got, tt.want)
			}
			if _, err := servertest.Greeted("1", c); err != nil {
				t.Error(err)
			}
		})
	}
}

// No compression is offered, and none is used.
func TestNoExtension(t *testing.T) {
	s := servertest.Start(t)
	c := wstest.Dial(t, s.Addr().String(), servertest.Path("1"),
		"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
	if got := c.Response.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("extension %q was accepted", got)
	}
	if _, err := servertest.Greeted("1", c); err != nil {
		t.Error(err)
	}
}

// A handshake that fails costs nothing: the one connection there may be is
// still free behind it.
func TestFailedHandshakes(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.MaxConnections = 1 })
	path := servertest.Path("1")
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	tests := []struct {
		name, request string
		status        int
	}{
		{"no upgrade", "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusUpgradeRequired},
		{"no version", "GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + key + "\r\n", http.StatusBadRequest},
		{"version 12", "GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n" + key + "\r\n", http.StatusBadRequest},
		{"no key", "GET " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", http.StatusBadRequest},
		{"POST", "POST " + path + " HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key + "\r\n", http.StatusMethodNotAllowed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := s.Dialer().Request(t, tt.request)
			if err != nil {
				t.Fatal(err)
			}
			if c.Response.StatusCode != tt.status {
				t.Errorf("answered with %s, want %d", c.Response.Status, tt.status)
			}
			c.Drop()
		})
	}
	s.Connect(t, "1").Sync()
}

func TestPathPrefix(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.Path = "/ws" })
	for _, path := range []string{servertest.Path("1"), "/ws" + servertest.Path("1")} {
		c := wstest.Dial(t, s.Addr().String(), path)
		if _, err := servertest.Greeted("1", c); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	expectRefusal(t, wstest.Dial(t, s.Addr().String(), "/other"+servertest.Path("1")), 4005)
}
