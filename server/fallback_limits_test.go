package server_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
)

// Who comes with the path of another's session finds none, and does not
// disturb the one whose it is.
func TestFallbackTakeover(t *testing.T) {
	header := func(name, value string) func(*servertest.Fallback) *servertest.Fallback {
		return func(f *servertest.Fallback) *servertest.Fallback {
			thief := f.From("127.0.0.1")
			thief.Header.Set(name, value)
			return thief
		}
	}
	thieves := map[string]func(*servertest.Fallback) *servertest.Fallback{
		"another address": func(f *servertest.Fallback) *servertest.Fallback { return f.From("127.0.0.2") },
		"another origin":  header("Origin", "https://example.org"),
		"no origin":       header("Origin", ""),
		"another browser": header("User-Agent", "other"),
		"a claimed address": func(f *servertest.Fallback) *servertest.Fallback {
			thief := f.From("127.0.0.2")
			thief.Header.Set("X-Forwarded-For", "127.0.0.1")
			return thief
		},
		"another app": func(f *servertest.Fallback) *servertest.Fallback {
			thief := f.From("127.0.0.1")
			thief.URL = strings.Replace(f.URL, "key-1", "key-2", 1)
			return thief
		},
	}
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t, func(c *config.Config) { c.Apps = append(c.Apps, servertest.App("2")) })
		for what, steal := range thieves {
			f := s.Fallback(t, "1", transport)
			f.Header.Set("Origin", "https://example.com")
			f.Open()
			f.Subscribe("private-a")

			thief := steal(f)
			if a := thief.Post(`["{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":\"private-a\"}}"]`); a.Status != http.StatusNotFound {
				t.Errorf("%s: a message is answered with %d %s", what, a.Status, a.Body)
			}
			thief.Open() // a session of its own
			if thief.SocketID == f.SocketID {
				t.Errorf("%s: got the session", what)
			}
			thief.Sync()
			s.Publish(t, "1", "e", what, "private-a")
			f.Expect(servertest.EventText("e", "private-a", what))
			thief.Sync()
			f.Sync()
		}
	})
}

// Behind a proxy that is trusted, the client's address is what the proxy says.
func TestFallbackBehindProxy(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Server.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	f := s.Fallback(t, "1", servertest.Polling)
	f.Header.Set("X-Forwarded-For", "2001:db8:1:2::1")
	f.Open()
	for address, want := range map[string]int{
		"2001:db8:1:2::1":         204,
		"2001:db8:1:2:aaaa::ffff": 204, // an address that the host has made up
		"2001:db8:1:3::1":         404,
		"192.0.2.1":               404,
	} {
		g := f.From("127.0.0.3") // the proxy's own does not matter
		g.Header.Set("X-Forwarded-For", address)
		if a := g.Post("[]"); a.Status != want {
			t.Errorf("%s: %d, want %d", address, a.Status, want)
		}
	}
}

// Sessions take the same places as WebSocket connections.
func TestFallbackMaxConnections(t *testing.T) {
	for name, limit := range map[string]struct {
		edit func(*config.Config)
		code int
	}{
		"of an app":     {func(c *config.Config) { c.Apps[0].MaxConnections = 2 }, 4004},
		"of the server": {func(c *config.Config) { c.Server.MaxConnections = 2 }, 4100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, limit.edit)
			ws := s.Connect(t, "1")
			s.ConnectFallback(t, "1", servertest.Streaming)
			for _, transport := range transports {
				f := s.Fallback(t, "1", transport)
				if line := f.Line(); line != "o" {
					t.Fatalf("got %q", line)
				}
				f.ExpectClose(limit.code)
			}
			c := s.Dialer().Dial(t, servertest.Path("1"))
			expectRefusal(t, c, limit.code)
			c.Drop()

			if err := ws.Leave(); err != nil {
				t.Fatal(err)
			}
			servertest.Eventually(t, "a place is free", func() bool {
				return s.Metric(t, `belfry_connections{transport="websocket"}`) == 0
			})
			var f *servertest.Fallback
			servertest.Eventually(t, "a place is given", func() bool {
				f = s.Fallback(t, "1", servertest.Polling)
				lines, err := f.Receive(servertest.Polling).ReadAll()
				return err == nil && len(lines) == 1
			})
			if e := f.ReadEvent(); e.Event != "pusher:connection_established" {
				t.Errorf("got %+v", e)
			}
			expectRefusal(t, s.Dialer().Dial(t, servertest.Path("1")), limit.code)
		})
	}
}

// A client that does not read is cut off, and nobody else notices.
func TestFallbackSlowConsumer(t *testing.T) {
	for name, secure := range map[string]func(*config.Config){"plain": func(*config.Config) {}, "TLS": servertest.Secure(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, secure, func(c *config.Config) { c.Server.MaxOutboxBytes = config.MinOutboxBytes })
			slow := s.ConnectFallback(t, "1", servertest.Streaming)
			slow.Subscribe("a")
			slow.Drop()
			r := slow.Receive(servertest.Streaming) // and never read
			defer r.Drop()
			healthy := s.ConnectFallback(t, "1", servertest.Streaming)
			healthy.Subscribe("a")
			ws := s.Connect(t, "1")
			ws.Subscribe("a")

			const slowConsumers = `belfry_slow_consumers_total{app="1"}`
			payload := strings.Repeat("x", 10_000)
			for published := 0; s.Metric(t, slowConsumers) == 0; published++ {
				if published > 1000 {
					t.Fatal("the client that does not read is still there")
				}
				s.Publish(t, "1", "n", fmt.Sprint(published)+" "+payload, "a")
				if got, _, _ := strings.Cut(healthy.ReadEvent().String(), " "); got != fmt.Sprint(published) {
					t.Fatalf("got event %s, want %d", got, published)
				}
				ws.ReadEvent()
			}
			healthy.Sync()
			ws.Sync()
			for series, want := range map[string]float64{
				slowConsumers: 1,
				`belfry_connections{transport="xhr_streaming"}`:           1,
				`belfry_subscriptions{app="1"}`:                           2,
				`belfry_connections_closed_total{reason="slow_consumer"}`: 1,
			} {
				if got := s.Metric(t, series); got != want {
					t.Errorf("%s is %v, want %v", series, got, want)
				}
			}
		})
	}
}

// A stream is told to reconnect, and does not hold up the end.
func TestFallbackDrain(t *testing.T) {
	for name, secure := range map[string]func(*config.Config){"plain": func(*config.Config) {}, "TLS": servertest.Secure(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, secure)
			var clients []*servertest.Fallback
			for range 10 {
				f := s.ConnectFallback(t, "1", servertest.Streaming)
				f.Subscribe("a")
				clients = append(clients, f)
			}
			for range 20 {
				s.Publish(t, "1", "e", "x", "a")
			}
			s.Stop()
			for _, f := range clients {
				for range 20 {
					f.Expect(servertest.EventText("e", "a", "x"))
				}
				f.ExpectClose(4200)
				if line, err := f.TryLine(); err == nil {
					t.Errorf("%q comes behind the goodbye", line)
				}
			}
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A client that does not read does not hold up the end for longer than
// shutdown_grace.
func TestFallbackDrainCuts(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.ShutdownGrace = 100 * time.Millisecond })
	f := s.ConnectFallback(t, "1", servertest.Streaming)
	f.Subscribe("a")
	f.Drop()
	r := f.Receive(servertest.Streaming)
	defer r.Drop()
	publishBursts(t, s, "a", 50, 8000) // more than a response may have
	s.Stop()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
}

// Clients that come just when the server begins to drain hold up nothing.
func TestFallbackDrainAmidConnects(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.ShutdownGrace = 2 * time.Second })
	connected := make(chan struct{}, 1000)
	ended := make(chan error, 8)
	for i := range cap(ended) {
		transport := []string{servertest.Streaming, servertest.Polling}[i%2]
		go func() {
			for {
				f := s.Fallback(t, "1", transport)
				line, err := f.TryLine()
				if err == nil && line == "o" {
					line, err = f.TryLine()
				}
				if err == nil && strings.Contains(line, "pusher:error") {
					if line, err = f.TryLine(); err == nil && !strings.HasPrefix(line, "c[4200,") && !strings.HasPrefix(line, "c[4100,") {
						ended <- fmt.Errorf("the end of a client is %q", line)
						return
					}
				}
				f.Drop()
				if err != nil {
					ended <- nil // no more is accepted
					return
				}
				select {
				case connected <- struct{}{}:
				default:
				}
			}
		}()
	}
	for range 50 {
		<-connected
	}
	s.Stop()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// A client that is cut off leaves, unless it comes back in time.
func TestFallbackPresenceLeaves(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	observer := s.Connect(t, "1")
	observer.Join("presence-a", "1")
	stays := s.ConnectFallback(t, "1", servertest.Streaming)
	leaves := s.ConnectFallback(t, "1", servertest.Streaming)
	for id, f := range map[string]*servertest.Fallback{"2": stays, "3": leaves} {
		f.Join("presence-a", id)
		if e := observer.ReadEvent(); e.Event != "pusher_internal:member_added" || e.String() != `{"user_id":"`+id+`"}` {
			t.Fatalf("got %+v", e)
		}
	}
	leaves.Drop()
	stays.Drop()
	stays.Send(`{"event":"client-x","channel":"presence-a","data":"y"}`)
	observer.ReadText()
	back := stays.Receive(servertest.Streaming)
	defer back.Drop()
	if e := observer.ReadEvent(); e.Event != "pusher_internal:member_removed" || e.String() != `{"user_id":"3"}` {
		t.Errorf("got %+v", e)
	}
	const streams = `{transport="xhr_streaming"}`
	servertest.Eventually(t, "the session is gone", func() bool { return s.Metric(t, "belfry_connections"+streams) == 1 })
	if got := s.Metric(t, "belfry_connections_closed_total"+streams); got != 1 {
		t.Errorf("%v sessions were closed", got)
	}
	if a := leaves.Post("[]"); a.Status != http.StatusNotFound {
		t.Errorf("there still is a session: %d", a.Status)
	}
}

// A stream that sends nothing is asked for a sign of life, and ended without.
func TestFallbackSilence(t *testing.T) {
	short := func(c *config.Config) { c.Apps[0].ActivityTimeout, c.Apps[0].PongTimeout = 1e9, 1e9 }
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		s := servertest.Start(t, short)
		f := s.ConnectFallback(t, "1", servertest.Streaming)
		f.ExpectClose(4201)
		if got := s.Metric(t, `belfry_connections_closed_total{reason="pong_timeout",transport="xhr_streaming"}`); got != 1 {
			t.Errorf("%v sessions were closed for it", got)
		}
	})
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		s := servertest.Start(t, short)
		f := s.ConnectFallback(t, "1", servertest.Streaming)
		f.Drop()
		r := f.Receive(servertest.Streaming)
		for heartbeats := 0; heartbeats < 4; { // one is the prelude; without the answers, the second was the last
			lines, err := r.ReadSome()
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if line[0] == 'h' {
					heartbeats++
					f.Post("[]")
				}
			}
		}
		f.Adopt(r)
		f.Sync()
	})
	t.Run("polls", func(t *testing.T) {
		t.Parallel()
		s := servertest.Start(t, short)
		f := s.ConnectFallback(t, "1", servertest.Polling)
		for heartbeats := 0; heartbeats < 3; {
			lines, err := f.Receive(servertest.Polling).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range lines {
				if line != "h" {
					t.Fatalf("got %q", line)
				}
				heartbeats++
			}
		}
		f.Sync()
	})
}
