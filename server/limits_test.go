package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// met is how often a limit of the first application was met.
func met(t *testing.T, s *servertest.Server, limit string) float64 {
	t.Helper()
	return s.Metric(t, fmt.Sprintf(`belfry_limits_met_total{app="1",limit=%q}`, limit))
}

// An honest client that subscribes to all its channels at once is within the
// default limits; one that sends without end is told, and its subscriptions are
// answered on their channels.
func TestMessageRate(t *testing.T) {
	s := servertest.Start(t)
	honest := s.Connect(t, "1")
	var burst []byte
	for i := range config.DefaultMaxChannelsPerConnection {
		burst = append(burst, wstest.TextFrame(subscribe(fmt.Sprintf("c%d", i)))...)
	}
	go honest.TryWrite(burst)
	for i := range config.DefaultMaxChannelsPerConnection {
		honest.Expect(servertest.Succeeded(fmt.Sprintf("c%d", i)))
	}
	honest.Send(subscribe("one-more"))
	if e := honest.ReadEvent(); e.Event != "pusher:subscription_error" || e.Channel != "one-more" {
		t.Errorf("one channel more is answered with %+v", e)
	}
	if code, message := honest.ReadError(); code != 4100 || !strings.Contains(message, "max_channels_per_connection") {
		t.Errorf("one channel more is answered with %d %s", code, message)
	}

	s.Reconfigure(t, func(c *config.Config) { c.Apps[0].MessageRate = 1 })
	flooder := s.Connect(t, "1")
	const n = 50
	go flooder.TryWrite([]byte(strings.Repeat(string(wstest.TextFrame(subscribe("a"))), n) + strings.Repeat(string(wstest.TextFrame(`{"event":"x"}`)), n)))
	succeeded, refused := 0, 0
	for range n {
		switch e := flooder.ReadEvent(); {
		case e.Event == "pusher_internal:subscription_succeeded":
			succeeded++
		case e.Event == "pusher:subscription_error" && e.Channel == "a" && strings.Contains(string(e.Data), `429`):
			refused++
			if code, message := flooder.ReadError(); code != 4301 || !strings.Contains(message, "message_rate") {
				t.Errorf("told %d %s", code, message)
			}
		default:
			t.Fatalf("got %+v", e)
		}
	}
	if succeeded < 10 || refused == 0 {
		t.Errorf("%d subscriptions succeeded, %d were refused", succeeded, refused)
	}
	if got := met(t, s, "message_rate"); got < n/2 {
		t.Errorf("message_rate was met %v times", got)
	}
	honest.Sync()
}

func subscribe(channel string) string {
	return `{"event":"pusher:subscribe","data":{"channel":"` + channel + `"}}`
}

// Pings and fragments count like messages, and whoever goes on sending is read
// more slowly, but still answered.
func TestFramesWithoutMessages(t *testing.T) {
	fragment := wstest.Frame(wstest.Continuation, nil)
	for name, frames := range map[string][]byte{
		"pings":     []byte(strings.Repeat(string(wstest.Frame(wstest.Fin|wstest.Ping, nil)), 3000)),
		"fragments": append(append(wstest.Frame(wstest.Text, nil), strings.Repeat(string(fragment), 3000)...), wstest.Frame(wstest.Fin|wstest.Continuation, []byte("x"))...),
	} {
		for _, tt := range forms(t) {
			t.Run(name+" "+tt.name, func(t *testing.T) {
				s := servertest.Start(t, tt.edit, func(c *config.Config) {
					c.Apps[0].MessageRate = 100
					c.Server.ShutdownGrace = 3 * time.Second // less than a client has to close its side
				})
				c := s.Connect(t, "1")
				go c.TryWrite(append(append([]byte{}, frames...), wstest.TextFrame(`{"event":"pusher:ping"}`)...))
				for {
					f := c.ReadFrame()
					if string(f.Payload) == wstest.PongText || strings.Contains(string(f.Payload), "message_rate") {
						break
					}
				}
				if met(t, s, "message_rate") == 0 {
					t.Error("the limit was not met")
				}
				servertest.Eventually(t, "it is answered again", func() bool {
					c.Send(`{"event":"pusher:ping"}`)
					return string(c.ReadFrame().Payload) == wstest.PongText
				})
				// It is closed as any other, also while it is not read.
				go c.TryWrite(frames)
				s.Stop()
				if err := s.Wait(); err != nil {
					t.Error(err)
				}
				if s.Log.Contains("took longer") {
					t.Error("the server did not drain")
				}
			})
		}
	}
}

// What comes with the handshake counts, and a client that is over the rate with that
// is read again a second later.
func TestMessageRateOfEarlyFrames(t *testing.T) {
	flood := bytes.Repeat(wstest.Frame(wstest.Fin|wstest.Ping, nil), 50)
	ping := wstest.TextFrame(`{"event":"pusher:ping"}`)
	expectPong := func(c *wstest.Conn) {
		for c.Write(ping); ; {
			switch f := c.ReadFrame(); {
			case string(f.Payload) == wstest.PongText:
				return
			case bytes.Contains(f.Payload, []byte("message_rate")):
				c.Write(ping)
			}
		}
	}
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, func(c *config.Config) { c.Apps[0].MessageRate = 1 })
			d := s.Dialer()
			d.Early = flood
			early, err := servertest.Greeted("1", d.Dial(t, servertest.Path("1")))
			if err != nil {
				t.Fatal(err)
			}
			// Once this one is read again, the other one is, too.
			late := s.Connect(t, "1")
			late.Write(flood)
			expectPong(late.Conn)
			expectPong(early.Conn)
		})
	}
}

// The connections of one address are limited over all transports, and those of
// other addresses and other applications are not.
func TestConnectionsPerAddress(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Apps[0].MaxConnectionsPerAddress = 2
		c.Apps = append(c.Apps, servertest.App("2"))
	})
	first := s.Connect(t, "1")
	s.ConnectFallback(t, "1", servertest.Streaming)
	third := s.Dialer().Dial(t, servertest.Path("1"))
	if code, message := third.ReadError(); code != 4100 || !strings.Contains(message, "max_connections_per_address") {
		t.Errorf("told %d %s", code, message)
	}
	elsewhere := s.Dialer()
	elsewhere.From = "127.0.0.2"
	if _, err := servertest.Greeted("1", elsewhere.Dial(t, servertest.Path("1"))); err != nil {
		t.Errorf("from another address: %v", err)
	}
	// Who was there when a limit was set counts.
	for range 4 {
		s.Connect(t, "2").Sync() // and has been admitted
	}
	s.Reconfigure(t, func(c *config.Config) { c.Apps[1].MaxConnectionsPerAddress = 4 })
	late := s.Dialer().Dial(t, servertest.Path("2"))
	if code, message := late.ReadError(); code != 4100 || !strings.Contains(message, "4 are open") {
		t.Errorf("told %d %s", code, message)
	}
	if got := met(t, s, "max_connections_per_address"); got != 1 {
		t.Errorf("the limit was met %v times", got)
	}
	first.Drop()
	servertest.Eventually(t, "the address has room again", func() bool {
		c, err := s.Open(t, "1")
		if err == nil {
			c.Drop()
		}
		return err == nil
	})
}

func TestConnectRatePerAddress(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].ConnectRatePerAddress = 3 })
	servertest.Eventually(t, "more than three in a second", func() bool {
		for range 6 {
			c := s.Dialer().Dial(t, servertest.Path("1"))
			e := c.ReadEvent()
			c.Drop()
			if code, message := e.Error(); code == 4100 && strings.Contains(message, "connect_rate_per_address") {
				return true
			}
		}
		return false
	})
	servertest.Eventually(t, "the next second", func() bool {
		c, err := s.Open(t, "1")
		if err == nil {
			c.Drop()
		}
		return err == nil
	})
	if got := met(t, s, "connect_rate_per_address"); got < 1 {
		t.Errorf("the limit was met %v times", got)
	}
}

// A message that is begun has to be finished, on any kind of connection; what
// comes beside it is no excuse.
func TestMessageTimeout(t *testing.T) {
	whole := wstest.TextFrame(`{"event":"pusher:ping"}`)
	for _, tt := range forms(t) {
		for name, begin := range map[string][]byte{"frame": whole[:5], "fragments": {0x01, 0x81, 0, 0, 0, 0, 'a'}} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				s := servertest.Start(t, tt.edit, func(c *config.Config) { c.Apps[0].MessageTimeout = time.Second })
				idle, slow := s.Connect(t, "1"), s.Connect(t, "1")
				slow.Write(begin)
				code, message := slow.ReadError()
				if code != 4202 || !strings.Contains(message, "message_timeout") {
					t.Errorf("told %d %s", code, message)
				}
				slow.ExpectClose(4202)
				if got := met(t, s, "message_timeout"); got != 1 {
					t.Errorf("the limit was met %v times", got)
				}
				idle.Sync()
			})
		}
	}
}

// An idle connection is probed as often as proxies want traffic, whatever the
// client is told.
func TestPingInterval(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, func(c *config.Config) { c.Apps[0].PingInterval = time.Second })
			c := s.Connect(t, "1")
			for range 2 {
				if f := c.ReadFrame(); f.Opcode != wstest.Ping {
					t.Fatalf("got %v", f)
				}
				c.Write([]byte{0x8a, 0x80, 0, 0, 0, 0})
			}
			c.Sync()
		})
	}
	if config.DefaultPingInterval >= 55*time.Second {
		t.Errorf("the default, %s, is not below what proxies allow", config.DefaultPingInterval)
	}
}

func TestAPIRequestRate(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Apps[0].APIRequestRate = 2 })
	servertest.Eventually(t, "more than two in a second", func() bool {
		for range 5 {
			a := s.Get(t, "1", "channels")
			if a.Status == http.StatusTooManyRequests {
				if a.Header.Get("Retry-After") != "1" || !strings.Contains(a.Body, "api_request_rate") {
					t.Errorf("answered with %q and %s", a.Header.Get("Retry-After"), a.Body)
				}
				return true
			}
		}
		return false
	})
	// Requests that are not signed cost nobody's allowance.
	for range 20 {
		s.HTTP(t, http.MethodGet, "/apps/1/channels", nil, nil)
	}
	servertest.Eventually(t, "the next second", func() bool { return s.Get(t, "1", "channels").Status == http.StatusOK })
	if got := met(t, s, "api_request_rate"); got < 1 {
		t.Errorf("the limit was met %v times", got)
	}
}

// A refused client event names its channel, as pusher-js tells the channel's
// handlers of such an error.
func TestRefusedClientEventNamesItsChannel(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	c.Send(`{"event":"client-x","channel":"public","data":"{}"}`)
	e := c.ReadEvent()
	if code, _ := e.Error(); e.Channel != "public" || code != 4301 {
		t.Errorf("got %+v", e)
	}
	c.Send(`{"event":"client-x","channel":"no channel\u0000","data":"{}"}`)
	e = c.ReadEvent()
	if code, _ := e.Error(); e.Channel != "" || code != 4301 {
		t.Errorf("got %+v", e)
	}
}

// A subscription whose data is of the wrong type is refused on its channel too.
func TestSubscriptionOfWrongTypes(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	for _, data := range []string{`"auth":{}`, `"auth":5`, `"auth":["k"]`, `"channel_data":{"user_id":1}`, `"channel_data":1`, `"channel_data":true`} {
		for _, channel := range []string{"a", "private-a", "presence-a"} {
			c.Send(`{"event":"pusher:subscribe","data":{"channel":"` + channel + `",` + data + `}}`)
			e := c.ReadEvent()
			var text string
			if json.Unmarshal(e.Data, &text) != nil || e.Event != "pusher:subscription_error" || e.Channel != channel || !strings.Contains(text, `"status":400`) {
				t.Errorf("%s on %s: %+v", data, channel, e)
			}
			c.ReadError()
		}
	}
	c.Sync()
}
