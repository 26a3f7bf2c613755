package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// bug panics once, when the server logs a message: it stands in for any bug that
// a client reaches.
type bug struct {
	slog.Handler
	message string
	met     *atomic.Bool
}

func (b bug) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == b.message && b.met.CompareAndSwap(false, true) {
		panic("a bug")
	}
	return b.Handler.Handle(ctx, r)
}

func (b bug) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bug{b.Handler.WithAttrs(attrs), b.message, b.met}
}

func (b bug) WithGroup(name string) slog.Handler {
	return bug{b.Handler.WithGroup(name), b.message, b.met}
}

// A panic behind an accepted connection frees its descriptor, its place, its
// quota and its session, and the server still drains.
func TestPanicFreesEverything(t *testing.T) {
	const badMessage = "not json"
	dial := func(s *servertest.Server, path, early string) {
		d := s.Dialer()
		if early != "" {
			d.Early = wstest.TextFrame(early)
		}
		c, err := d.Open(t, path)
		if err != nil {
			return // cut before it was answered
		}
		defer c.Drop()
		_ = c.TryWrite(wstest.TextFrame(badMessage))
		for err == nil {
			_, err = c.TryReadFrame()
		}
	}
	poll := func(transport string) func(*servertest.Server) {
		return func(s *servertest.Server) {
			session := s.URL("/pusher/app/key-1/1/abc/")
			post := func(path, body string) {
				resp, err := s.Client.Post(session+path, "application/json", strings.NewReader(body))
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
			received := make(chan struct{})
			go func() {
				post(transport+"?protocol=7", "")
				close(received)
			}()
			if transport == "xhr" {
				<-received
			} else {
				servertest.Eventually(t, "the session is there", func() bool { return s.Metric(t, "belfry_connections") == 1 || s.Panicked() })
			}
			post("xhr_send", `["`+badMessage+`"]`)
			<-received
		}
	}
	for _, tt := range []struct {
		name, message string
		secure        bool
		provoke       func(*servertest.Server)
	}{
		{"message", "refused", false, func(s *servertest.Server) { dial(s, servertest.Path("1"), "") }},
		{"early message", "refused", false, func(s *servertest.Server) { dial(s, servertest.Path("1"), badMessage) }},
		{"admission", "connection opened", false, func(s *servertest.Server) { dial(s, servertest.Path("1"), "") }},
		{"refusal", "connection refused", false, func(s *servertest.Server) { dial(s, "/nowhere", "") }},
		{"refused admission", "connection refused", false, func(s *servertest.Server) { dial(s, "/app/nobody", "") }},
		{"end", "connection closed", false, func(s *servertest.Server) { s.Connect(t, "1").Drop() }},
		{"TLS message", "refused", true, func(s *servertest.Server) { dial(s, servertest.Path("1"), "") }},
		{"TLS early message", "refused", true, func(s *servertest.Server) { dial(s, servertest.Path("1"), badMessage) }},
		{"TLS admission", "connection opened", true, func(s *servertest.Server) { dial(s, servertest.Path("1"), "") }},
		{"TLS end", "connection closed", true, func(s *servertest.Server) { s.Connect(t, "1").Drop() }},
		{"streaming", "refused", false, poll("xhr_streaming")},
		{"streaming admission", "connection opened", false, poll("xhr_streaming")},
		{"streaming end", "connection closed", false, func(s *servertest.Server) {
			ctx, leave := context.WithCancel(t.Context())
			r, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL("/pusher/app/key-1/1/abc/xhr_streaming?protocol=7"), nil)
			if resp, err := s.Client.Do(r); err == nil {
				defer resp.Body.Close()
			}
			leave()
		}},
		{"polling", "refused", false, poll("xhr")},
		{"API", "request refused", false, func(s *servertest.Server) {
			if a := s.HTTP(t, http.MethodGet, "/apps/1/channels", nil, nil); a.Status != http.StatusInternalServerError {
				t.Errorf("answered with %d", a.Status)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			edits := []func(*config.Config){func(c *config.Config) {
				c.Server.MaxConnections = 1
				c.Apps[0].MaxConnections = 1
			}}
			if tt.secure {
				edits = append(edits, servertest.Secure(t))
			}
			s := servertest.StartWith(t, func(h slog.Handler) slog.Handler { return bug{h, tt.message, new(atomic.Bool)} }, edits...)
			before := descriptors(t)
			tt.provoke(s)
			servertest.Eventually(t, "the bug is met", s.Panicked)
			servertest.Eventually(t, "no connection is left", func() bool { return s.Metric(t, "belfry_connections") == 0 })
			s.Client.CloseIdleConnections()
			servertest.Eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= before })
			servertest.Eventually(t, "a place is free", func() bool {
				c, err := s.Dialer().Open(t, servertest.Path("1"))
				if err != nil {
					return false
				}
				defer c.Drop()
				f, err := c.TryReadFrame()
				return err == nil && strings.Contains(string(f.Payload), "connection_established")
			})
			if panics := s.Metric(t, "belfry_panics_total"); panics != 1 {
				t.Errorf("%v panics were counted", panics)
			}
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

// The length of a control frame is in its first seven bits (RFC 6455 sections
// 5.2 and 5.5), amid fragments too, and with the handshake.
func TestLongControlFrame(t *testing.T) {
	s := servertest.Start(t)
	fragment := []byte{0x01, 0x81, 0, 0, 0, 0, 'a'}
	for _, length := range []int{0, 1, 125} {
		for _, header := range [][]byte{{0x89, 0xfe, 0, byte(length)}, {0x89, 0xff, 0, 0, 0, 0, 0, 0, 0, byte(length)}, {0x88, 0xfe, 0, byte(length)}, {0x8a, 0xfe, 0, byte(length)}} {
			frame := append(append(header, 0, 0, 0, 0), strings.Repeat("p", length)...)
			for _, early := range []bool{true, false} {
				for _, amid := range []bool{true, false} {
					sent := frame
					if amid {
						sent = append(append([]byte{}, fragment...), frame...)
					}
					t.Run(fmt.Sprintf("%x %v early %v amid fragments %v", header, length, early, amid), func(t *testing.T) {
						d := s.Dialer()
						if early {
							d.Early = sent
						}
						c := d.Dial(t, servertest.Path("1"))
						if !early {
							c.Write(sent)
						}
						for {
							f := c.ReadFrame()
							if f.Opcode == wstest.Close {
								if code := int(f.Payload[0])<<8 | int(f.Payload[1]); code != 1002 {
									t.Errorf("closed with %d", code)
								}
								break
							}
						}
						c.Drop()
					})
				}
			}
		}
	}
	servertest.Eventually(t, "no connection is left", func() bool { return s.Metric(t, "belfry_connections") == 0 })
}

// stuck is a bug that never returns.
type stuck struct {
	slog.Handler
	message string
	entered chan<- struct{}
	until   <-chan struct{}
}

func (h stuck) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.entered <- struct{}{}
		<-h.until
	}
	return h.Handler.Handle(ctx, r)
}

func (h stuck) WithAttrs(a []slog.Attr) slog.Handler {
	return stuck{h.Handler.WithAttrs(a), h.message, h.entered, h.until}
}

// A server in which something never ends stops all the same.
func TestDrainEndsWhateverIsStuck(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := servertest.StartWith(t, func(h slog.Handler) slog.Handler { return stuck{h, "refused", entered, release} },
		func(c *config.Config) { c.Server.ShutdownGrace = 100 * time.Millisecond })
	c := s.Connect(t, "1")
	c.Send("not json")
	<-entered
	s.Stop()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	if !s.Log.Contains("took longer than shutdown_grace") || !s.Log.Contains("connections=1") {
		t.Errorf("the log does not say what was left:\n%s", s.Log)
	}
	close(release)
	c.ReadEnd()
}

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("descriptors are counted on Linux only")
	}
	return len(entries)
}
