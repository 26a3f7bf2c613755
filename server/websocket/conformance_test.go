package websocket_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

const maxMessage = 1000

// eachForm runs a test against a server of each form of connection: parked
// (plain TCP, on Linux) and blocking (TLS).
func eachForm(t *testing.T, test func(t *testing.T, s *servertest.Server)) {
	limit := func(c *config.Config) { c.Apps[0].MaxMessageBytes, c.Apps[0].MessageRate = maxMessage, 0 }
	t.Run("plain", func(t *testing.T) { test(t, servertest.Start(t, limit)) })
	t.Run("TLS", func(t *testing.T) { test(t, servertest.Start(t, limit, servertest.Secure(t))) })
}

// echo is a message of its size that is answered, and the answer: an error
// that names the event.
func echo(name string, size int) (message, answer string) {
	message = `{"event":"` + name + `"` + strings.Repeat(" ", max(0, size-len(name)-12)) + `}`
	return message, `Unknown event "` + name + `"`
}

// expectEcho reads the answer to a message of echo.
func expectEcho(t *testing.T, c *servertest.Client, answer string) {
	t.Helper()
	if code, got := c.ReadError(); code != 0 || !strings.HasPrefix(got, answer) {
		t.Fatalf("got error %d %q, want %q", code, got, answer)
	}
}

func frames(fs ...[]byte) []byte { return slices.Concat(fs...) }

func text(first byte, payload string) []byte { return wstest.Frame(first, []byte(payload)) }

func TestBreaches(t *testing.T) {
	const (
		fin  = wstest.Fin
		ping = `{"event":"pusher:ping"}`
	)
	type breach struct {
		name  string
		bytes []byte
		codes []int
	}
	protocolError := []int{1002}
	breaches := []breach{
		{"unmasked", append(wstest.Header(fin|wstest.Text, false, uint64(len(ping))), ping...), protocolError},
		{"unmasked and empty", wstest.Header(fin|wstest.Text, false, 0), protocolError},
		{"unmasked ping", wstest.Header(fin|wstest.Ping, false, 0), protocolError},
		{"reserved bit 1", text(fin|0x40|wstest.Text, ping), protocolError},
		{"reserved bit 2", text(fin|0x20|wstest.Text, ping), protocolError},
		{"reserved bit 3", text(fin|0x10|wstest.Text, ping), protocolError},
		{"reserved bit on a ping", text(fin|0x40|wstest.Ping, ""), protocolError},
		{"reserved bit on a fragment", frames(text(wstest.Text, "{"), text(fin|0x40, "}")), protocolError},
		{"fragmented ping", text(wstest.Ping, "a"), protocolError},
		{"fragmented pong", text(wstest.Pong, "a"), protocolError},
		{"fragmented close", text(wstest.Close, string(wstest.ClosePayload(1000, ""))), protocolError},
		{"ping of 126 bytes", text(fin|wstest.Ping, strings.Repeat("a", 126)), protocolError},
		{"pong of 126 bytes", text(fin|wstest.Pong, strings.Repeat("a", 126)), protocolError},
		{"close of 126 bytes", text(fin|wstest.Close, string(wstest.ClosePayload(1000, strings.Repeat("a", 124)))), protocolError},
		{"ping of 65536 bytes", text(fin|wstest.Ping, strings.Repeat("a", 1<<16)), protocolError},
		{"continuation of nothing", text(fin|wstest.Continuation, "a"), protocolError},
		{"unfinished continuation of nothing", text(wstest.Continuation, "a"), protocolError},
		{"continuation behind a whole message", frames(text(fin|wstest.Text, ping), text(fin|wstest.Continuation, "a")), protocolError},
		{"text amid fragments", frames(text(wstest.Text, "{"), text(fin|wstest.Text, ping)), protocolError},
		{"unfinished text amid fragments", frames(text(wstest.Text, "{"), text(wstest.Text, ping)), protocolError},
		{"binary amid fragments", frames(text(wstest.Text, "{"), text(fin|wstest.Binary, "a")), protocolError},
		{"length with its highest bit set", append(wstest.Header(fin|wstest.Text, true, 1<<63), 1, 2, 3, 4), protocolError},
		{"not WebSocket at all", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), protocolError},

		{"invalid UTF-8", text(fin|wstest.Text, "{\"event\":\"\xff\"}"), []int{1007}},
		{"UTF-8 cut at the end", text(fin|wstest.Text, "{\"event\":\"\xc3"), []int{1007}},
		{"surrogate in UTF-8", text(fin|wstest.Text, "{\"event\":\"\xed\xa0\x80\"}"), []int{1007}},
		{"overlong UTF-8", text(fin|wstest.Text, "{\"event\":\"\xc0\xaf\"}"), []int{1007}},
		{"UTF-8 beyond the last character", text(fin|wstest.Text, "{\"event\":\"\xf4\x90\x80\x80\"}"), []int{1007}},
		{"invalid UTF-8 over fragments", frames(text(wstest.Text, "{\"event\":\"\xf0\x9f"), text(fin|wstest.Continuation, "\x94\"}")), []int{1007}},

		{"one byte too many", text(fin|wstest.Text, strings.Repeat(" ", maxMessage+1)), []int{1009}},
		{"far too many bytes", text(fin|wstest.Text, strings.Repeat(" ", 100*maxMessage)), []int{1009}},
		{"one byte too many over fragments", frames(text(wstest.Text, strings.Repeat(" ", maxMessage)), text(fin|wstest.Continuation, " ")), []int{1009}},
		{"one byte too many, unfinished", frames(text(wstest.Text, strings.Repeat(" ", maxMessage/2)), text(wstest.Continuation, strings.Repeat(" ", maxMessage/2+1))), []int{1009}},
		{"too many bytes of binary", text(fin|wstest.Binary, strings.Repeat(" ", maxMessage+1)), []int{1009}},
		// The client pretends that more will come: enough of it does.
		{"huge length", append(wstest.Header(fin|wstest.Text, true, 1<<63-1), make([]byte, maxMessage+5)...), []int{1009}},
		{"huge length of a fragment", frames(text(wstest.Text, "{"), wstest.Header(fin|wstest.Continuation, true, 1<<63-1), make([]byte, maxMessage+5)), []int{1009}},
		{"huge length of an unfinished fragment", frames(text(wstest.Text, "{"), wstest.Header(wstest.Continuation, true, 1<<63-1), make([]byte, maxMessage+5)), []int{1009}},
		{"length that wraps to the start", frames(text(wstest.Text, "{"), wstest.Header(wstest.Continuation, true, 1<<63-15), make([]byte, maxMessage+5)), []int{1009}},

		{"close of one byte", text(fin|wstest.Close, "\x03"), protocolError},
		{"close with invalid UTF-8", text(fin|wstest.Close, string(wstest.ClosePayload(1000, "\xff"))), []int{1002, 1007}},
		{"close with half a character", text(fin|wstest.Close, string(wstest.ClosePayload(4000, strings.Repeat("a", 122)+"\xc3"))), []int{1002, 1007}},
	}
	for _, opcode := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		breaches = append(breaches,
			breach{fmt.Sprintf("opcode %d", opcode), text(fin|opcode, ""), protocolError},
			breach{fmt.Sprintf("opcode %d amid fragments", opcode), frames(text(wstest.Text, "{"), text(fin|opcode, "a")), protocolError})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		breaches = append(breaches,
			breach{fmt.Sprintf("close with code %d", code), text(fin|wstest.Close, string(wstest.ClosePayload(code, ""))), protocolError})
	}
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		for _, tt := range breaches {
			for _, bytewise := range []bool{false, true} {
				if bytewise && len(tt.bytes) > 200 {
					continue
				}
				t.Run(fmt.Sprintf("%s, bytewise %v", tt.name, bytewise), func(t *testing.T) {
					c := s.Connect(t, "1")
					c.Subscribe("a")
					if bytewise {
						for _, b := range tt.bytes {
							if c.TryWrite([]byte{b}) != nil {
								break // refused before its end
							}
						}
					} else {
						c.Write(tt.bytes)
					}
					f := c.ReadFrame()
					if f.Opcode == wstest.Text && string(f.Payload) == wstest.PongText {
						f = c.ReadFrame() // to what was whole
					}
					if f.Opcode != wstest.Close || len(f.Payload) < 2 {
						t.Fatalf("got %v, want a close frame", f)
					}
					if code := int(f.Payload[0])<<8 | int(f.Payload[1]); !slices.Contains(tt.codes, code) {
						t.Errorf("got %v, want code %v", f, tt.codes)
					}
					// Nothing behind it counts any more.
					if c.TryWrite(frames(wstest.TextFrame(ping), wstest.Frame(fin|wstest.Ping, nil))) == nil {
						c.ReadEOF()
					}
					c.Drop()
				})
			}
		}
		for _, series := range []string{`belfry_connections{app="1"}`, `belfry_subscriptions{app="1"}`} {
			servertest.Eventually(t, series+" is 0", func() bool { return s.Metric(t, series) == 0 })
		}
		if n := s.Metric(t, "belfry_panics_total"); n != 0 {
			t.Errorf("%v panics", n)
		}
	})
}

func TestPings(t *testing.T) {
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		c := s.Connect(t, "1")
		expectPong := func(payload string) {
			t.Helper()
			if f := c.ReadFrame(); f.Opcode != wstest.Pong || string(f.Payload) != payload {
				t.Fatalf("got %v, want a pong %q", f, payload)
			}
		}
		all := make([]byte, 125)
		for i := range all {
			all[i] = byte(255 - i)
		}
		for n := range len(all) + 1 {
			c.Write(wstest.Frame(wstest.Fin|wstest.Ping, all[:n]))
			expectPong(string(all[:n]))
		}
		// All at once.
		var many []byte
		for n := range 500 {
			many = append(many, text(wstest.Fin|wstest.Ping, fmt.Sprint(n))...)
		}
		c.Write(many)
		for n := range 500 {
			expectPong(fmt.Sprint(n))
		}
		// Pongs that nobody asked for are fine.
		c.Write(frames(text(wstest.Fin|wstest.Pong, ""), text(wstest.Fin|wstest.Pong, "a")))
		c.Sync()

		// Amid the fragments of a message, whose rest has not come yet.
		message, answer := echo("fragmented", 100)
		c.Write(text(wstest.Text, message[:5]))
		c.Write(text(wstest.Fin|wstest.Ping, "one"))
		expectPong("one")
		c.Write(frames(text(wstest.Continuation, message[5:7]), text(wstest.Fin|wstest.Ping, "two"), text(wstest.Continuation, ""), text(wstest.Fin|wstest.Ping, "three")))
		expectPong("two")
		expectPong("three")
		c.Write(text(wstest.Fin|wstest.Pong, "ignored"))
		c.Write(text(wstest.Fin|wstest.Continuation, message[7:]))
		expectEcho(t, c, answer)
		c.Sync()

		// In one packet with all of it.
		c.Write(frames(text(wstest.Text, message[:5]), text(wstest.Fin|wstest.Ping, string(all)), text(wstest.Fin|wstest.Continuation, message[5:])))
		expectPong(string(all))
		expectEcho(t, c, answer)
		c.Sync()
	})
}

// What comes in the same packet as the handshake is not lost, nor is what is
// cut by its end.
func TestEarlyData(t *testing.T) {
	message, answer := echo("early", 300)
	whole := frames(
		text(wstest.Fin|wstest.Ping, "early"),
		text(wstest.Text, message[:100]), text(wstest.Fin|wstest.Continuation, message[100:]),
		text(wstest.Fin|wstest.Ping, "late"),
	)
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		for _, cut := range []int{1, 2, 5, 11, 12, 40, 120, len(whole) - 1, len(whole)} {
			d := s.Dialer()
			d.Early = whole[:cut]
			c, err := servertest.Greeted("1", d.Dial(t, servertest.Path("1")))
			if err != nil {
				t.Fatal(err)
			}
			c.Write(whole[cut:])
			if f := c.ReadFrame(); f.Opcode != wstest.Pong || string(f.Payload) != "early" {
				t.Fatalf("cut at %d: got %v", cut, f)
			}
			expectEcho(t, c, answer)
			if f := c.ReadFrame(); f.Opcode != wstest.Pong || string(f.Payload) != "late" {
				t.Fatalf("cut at %d: got %v", cut, f)
			}
			c.Sync()
		}
	})
}

func TestFragments(t *testing.T) {
	message, answer := echo("größe-🔔", 200)
	halves := func(i int) []byte {
		return frames(text(wstest.Text, message[:i]), text(wstest.Fin|wstest.Continuation, message[i:]))
	}
	bytewise := text(wstest.Text, "")
	for i := range len(message) {
		bytewise = append(bytewise, text(wstest.Continuation, message[i:i+1])...)
	}
	bytewise = append(bytewise, text(wstest.Fin|wstest.Continuation, "")...)
	tests := map[string][]byte{
		"one frame":           text(wstest.Fin|wstest.Text, message),
		"two":                 halves(20),
		"cut in a character":  halves(strings.Index(message, "ö") + 1),
		"cut in another":      halves(strings.Index(message, "🔔") + 3),
		"first one empty":     halves(0),
		"last one empty":      halves(len(message)),
		"one for every byte":  bytewise,
		"many empty ones":     frames(text(wstest.Text, ""), bytes.Repeat(text(wstest.Continuation, ""), 200), text(wstest.Fin|wstest.Continuation, message)),
		"lengths not minimal": frames(long(wstest.Text, message[:30]), long(wstest.Fin|wstest.Continuation, message[30:])),
	}
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		c := s.Connect(t, "1")
		for name, data := range tests {
			t.Run(name, func(t *testing.T) {
				c.Write(data)
				expectEcho(t, c, answer)
				c.WriteBytewise(data)
				expectEcho(t, c, answer)
				c.Write(frames(data, data, data))
				for range 3 {
					expectEcho(t, c, answer)
				}
				c.Sync()
			})
		}
	})
}

// long is a frame whose length is not in its shortest form, which RFC 6455
// section 5.2 forbids and receivers take.
func long(first byte, payload string) []byte {
	b := []byte{first, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, byte(len(payload)), 0, 0, 0, 0}
	return append(b, payload...)
}

func TestMessageSize(t *testing.T) {
	message, answer := echo("large", maxMessage)
	if len(message) != maxMessage {
		t.Fatalf("message has %d bytes", len(message))
	}
	var fragments []byte
	for i := 0; i < maxMessage; i += 10 {
		first := byte(wstest.Continuation)
		if i == 0 {
			first = wstest.Text
		}
		if i == maxMessage-10 {
			first |= wstest.Fin
		}
		fragments = append(fragments, text(first, message[i:i+10])...)
	}
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		c := s.Connect(t, "1")
		// Between two that are at the limit, nothing adds up.
		c.Write(frames(text(wstest.Fin|wstest.Text, message), text(wstest.Fin|wstest.Text, message)))
		expectEcho(t, c, answer)
		expectEcho(t, c, answer)
		c.Write(fragments)
		expectEcho(t, c, answer)
		c.Write(frames(text(wstest.Text, message), text(wstest.Fin|wstest.Continuation, "")))
		expectEcho(t, c, answer)
		c.Sync()
	})
}

// The largest message that the default allows is larger than what is read at a
// time, and so is a pile of small ones.
func TestLargeMessages(t *testing.T) {
	message, answer := echo("large", config.DefaultMaxMessageBytes)
	small, smallAnswer := echo("small", 20)
	for name, edit := range map[string]func(*config.Config){"plain": func(*config.Config) {}, "TLS": servertest.Secure(t)} {
		t.Run(name, func(t *testing.T) {
			s := servertest.Start(t, edit, func(c *config.Config) { c.Apps[0].MessageRate = 0 })
			c := s.Connect(t, "1")
			for range 3 {
				c.Write(text(wstest.Fin|wstest.Text, message))
				expectEcho(t, c, answer)
			}
			c.Write(bytes.Repeat(text(wstest.Fin|wstest.Text, small), 5000))
			c.Write(text(wstest.Fin|wstest.Text, message))
			for range 5000 {
				expectEcho(t, c, smallAnswer)
			}
			expectEcho(t, c, answer)
			c.Sync()
		})
	}
}

func TestBinary(t *testing.T) {
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		c := s.Connect(t, "1")
		for _, data := range [][]byte{
			text(wstest.Fin|wstest.Binary, `{"event":"pusher:ping"}`),
			text(wstest.Fin|wstest.Binary, ""),
			text(wstest.Fin|wstest.Binary, "\xff\xfe"),
			frames(text(wstest.Binary, "\xff"), text(wstest.Fin|wstest.Continuation, "\xfe")),
		} {
			c.Write(data)
			if code, message := c.ReadError(); code != 0 || !strings.Contains(strings.ToLower(message), "binary") {
				t.Errorf("got error %d %q", code, message)
			}
			c.Sync()
		}
	})
}

func TestCloseHandshake(t *testing.T) {
	payloads := map[string][]byte{
		"empty":              {},
		"1000":               wstest.ClosePayload(1000, ""),
		"1000 with a reason": wstest.ClosePayload(1000, "größe 🔔"),
		"1001":               wstest.ClosePayload(1001, "going away"),
		"1011":               wstest.ClosePayload(1011, ""),
		"3000":               wstest.ClosePayload(3000, ""),
		"4000":               wstest.ClosePayload(4000, "private"),
		"4999":               wstest.ClosePayload(4999, strings.Repeat("a", 123)),
	}
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		for name, payload := range payloads {
			t.Run(name, func(t *testing.T) {
				c := s.Connect(t, "1")
				c.Subscribe("private-a")
				// Data behind a close frame is ignored.
				c.Write(frames(
					wstest.TextFrame(`{"event":"pusher:ping"}`),
					wstest.Frame(wstest.Fin|wstest.Close, payload),
					wstest.TextFrame(`{"event":"pusher:ping"}`),
					wstest.Frame(wstest.Fin|wstest.Ping, nil),
					wstest.Frame(wstest.Fin|wstest.Close, payload)))
				c.Expect(wstest.PongText)
				f := c.ReadFrame()
				if f.Opcode != wstest.Close || len(f.Payload) != 0 && len(payload) == 0 || len(payload) > 0 && !bytes.HasPrefix(f.Payload, payload[:2]) {
					t.Errorf("answered with %v", f)
				}
				c.ReadEOF()
				c.Drop()
			})
		}
		t.Run("amid fragments", func(t *testing.T) {
			c := s.Connect(t, "1")
			c.Write(frames(text(wstest.Text, "{"), wstest.Frame(wstest.Fin|wstest.Close, wstest.ClosePayload(1000, ""))))
			c.ExpectClose(1000)
			c.Drop()
		})
		t.Run("close behind our close", func(t *testing.T) {
			c := s.Dialer().Dial(t, "/app/nobody?protocol=7")
			c.ReadError()
			c.ReadClose()
			c.Write(wstest.Frame(wstest.Fin|wstest.Close, wstest.ClosePayload(4001, "")))
			c.ReadEOF()
			c.Drop()
		})
		servertest.Eventually(t, "all connections are gone", func() bool {
			return s.Metric(t, `belfry_connections{app="1"}`) == 0 && s.Metric(t, `belfry_subscriptions{app="1"}`) == 0
		})
	})
}

// A client that ends only its half of the stream has gone as well, in the
// middle of a frame or between two.
func TestAbruptEnds(t *testing.T) {
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		beginnings := map[string][]byte{
			"between frames": nil,
			"in a header":    {wstest.Fin | wstest.Text},
			"in a payload":   text(wstest.Fin|wstest.Text, "abc")[:7],
			"amid fragments": text(wstest.Text, "abc"),
		}
		for name, beginning := range beginnings {
			t.Run(name, func(t *testing.T) {
				half, gone, reset := s.Connect(t, "1"), s.Connect(t, "1"), s.Connect(t, "1")
				for _, c := range []*servertest.Client{half, gone, reset} {
					c.Subscribe("private-a")
					c.Write(beginning)
				}
				if err := half.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				half.ReadEnd()
				gone.Drop()
				reset.Reset()
				servertest.Eventually(t, "all are gone", func() bool {
					return s.Metric(t, `belfry_connections{app="1"}`) == 0
				})
			})
		}
		if n := s.Metric(t, "belfry_panics_total"); n != 0 {
			t.Errorf("%v panics", n)
		}
	})
}

// A client that is told to go and stays is cut.
func TestClientThatStaysIsCut(t *testing.T) {
	eachForm(t, func(t *testing.T, s *servertest.Server) {
		t.Parallel()
		c := s.Connect(t, "1")
		c.Write(wstest.Header(wstest.Fin|wstest.Text, false, 0))
		c.ReadClose()
		c.ReadEOF()
		// Our half is open: only now does the server end its reading.
		servertest.Eventually(t, "the socket is closed", func() bool {
			return c.TryWrite([]byte{0}) != nil
		})
	})
}
