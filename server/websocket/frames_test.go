package websocket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/coder/websocket"

	"belfry/server/internal/wstest"
)

// events records what is read of a client's bytes, and what it is answered.
type events []string

func (e *events) add(kind string, payload []byte) {
	*e = append(*e, fmt.Sprintf("%s %x", kind, payload))
}
func (e *events) text(m []byte)   { e.add("text", m) }
func (e *events) binary(m []byte) { e.add("binary", m) }
func (e *events) ping(p []byte)   { e.add("pong", p) }

func (e *events) end(code int) { *e = append(*e, fmt.Sprintf("close %d", code)) }

// ours reads a client's bytes by frames, in pieces: each cut is the length of
// one.
func ours(data, cuts []byte, limit int) (e events) {
	var f frames
	for data = bytes.Clone(data); len(data) > 0; {
		n := len(data)
		if len(cuts) > 0 {
			n, cuts = min(n, int(cuts[0])+1), cuts[1:]
		}
		if end := f.push(data[:n:n], limit, &e); end != nil {
			e.end(end.code)
			return e
		}
		data = data[n:]
	}
	return e
}

// peer is the network of the library's connection.
type peer struct {
	net.Conn // nil: other methods are not called
	in       *bytes.Reader
	events   *events
}

// Read does not end with io.EOF, which the library takes for the end of a message.
func (p *peer) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	if err != nil {
		err = net.ErrClosed
	}
	return n, err
}

// Write takes control frames, each of which is one write.
func (p *peer) Write(b []byte) (int, error) {
	switch payload := b[2:]; b[0] & 0x0f {
	case opPong:
		p.events.add("pong", payload)
	case opClose:
		code := 0
		if len(payload) > 0 {
			code = int(binary.BigEndian.Uint16(payload))
		}
		if len(payload) > 2 && !utf8.Valid(payload[2:]) {
			code = closeInvalidText // the library returns any reason
		}
		p.events.end(code)
	}
	return len(b), nil
}

func (p *peer) Close() error { return nil }

func (p *peer) Header() http.Header { return make(http.Header) }
func (p *peer) WriteHeader(int)     {}
func (p *peer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return p, bufio.NewReadWriter(bufio.NewReader(p), bufio.NewWriter(p)), nil
}

// theirs reads a client's bytes by the library.
func theirs(t *testing.T, data []byte, limit int) (e events) {
	p := &peer{in: bytes.NewReader(data), events: &e}
	ws, err := websocket.Accept(p, &http.Request{
		Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Connection":            {"Upgrade"},
			"Upgrade":               {"websocket"},
			"Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key":     {"AAAAAAAAAAAAAAAAAAAAAA=="},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	ws.SetReadLimit(int64(limit))
	for {
		kind, message, err := ws.Read(context.Background())
		switch {
		case err != nil:
			if p.in.Len() > 0 && !ended(e) {
				e.end(closeProtocolError) // the library leaves some without a word
			}
			return e
		case kind == websocket.MessageBinary:
			e.binary(message)
		case !utf8.Valid(message):
			e.end(closeInvalidText)
			return e
		default:
			e.text(message)
		}
	}
}

func ended(e events) bool { return len(e) > 0 && strings.HasPrefix(e[len(e)-1], "close") }

// stricter says whether a rule is broken that the library does not hold clients
// to: that a control frame's length is in its shortest form.
func stricter(data []byte) bool {
	for {
		h, ok := parseHeader(data)
		if !ok || h.payload < 0 || h.payload > int64(len(data)-h.length) {
			return ok && h.control && h.payload <= maxControlPayload && h.length > 2+len(h.mask)
		}
		if h.control && h.payload <= maxControlPayload && h.length > 2+len(h.mask) {
			return true
		}
		data = data[h.length+int(h.payload):]
	}
}

// FuzzFrames holds frames to the library: messages, answers and close codes are
// the same, however the bytes are cut.
func FuzzFrames(f *testing.F) {
	text := func(first byte, s string) []byte { return wstest.Frame(first, []byte(s)) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, seed := range [][]byte{
		text(wstest.Fin|wstest.Text, "hello"),
		join(text(wstest.Fin|wstest.Text, ""), text(wstest.Fin|wstest.Binary, "x")),
		join(text(wstest.Text, "a"), text(wstest.Fin|wstest.Ping, "p"), text(wstest.Continuation, "b"), text(wstest.Fin|wstest.Continuation, "c")),
		join(text(wstest.Text, ""), text(wstest.Continuation, ""), text(wstest.Fin|wstest.Continuation, "")),
		join(text(wstest.Text, "\xe2\x82"), text(wstest.Fin|wstest.Continuation, "\xac")),
		text(wstest.Fin|wstest.Text, "\xff"),
		text(wstest.Fin|wstest.Text, strings.Repeat("x", 126)),
		text(wstest.Fin|wstest.Text, strings.Repeat("x", 70000)),
		text(wstest.Fin|wstest.Close, ""), text(wstest.Fin|wstest.Close, "\x03"), text(wstest.Fin|wstest.Close, "\x03\xe8bye"),
		text(wstest.Fin|wstest.Close, "\x03\xed"), text(wstest.Fin|wstest.Close, "\x0f\xa0\xff"), text(wstest.Fin|wstest.Close, "\x03\xf7"),
		text(wstest.Continuation, "x"), join(text(wstest.Text, "a"), text(wstest.Fin|wstest.Text, "b")),
		text(wstest.Ping, "x"), text(wstest.Fin|3, "x"), text(wstest.Fin|11, "x"), text(0x40|wstest.Fin|wstest.Text, "x"),
		{0x81, 0x01, 'x'}, {0x89, 0xfe, 0, 126, 0, 0, 0, 0}, {0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {0x81, 0xfe, 0, 1, 0, 0, 0, 0, 'x'},
	} {
		f.Add(seed, []byte(nil))
		f.Add(seed, bytes.Repeat([]byte{0}, len(seed)))
		f.Add(seed, []byte{2, 3, 1})
	}
	f.Fuzz(func(t *testing.T, data, cuts []byte) {
		const limit = 1 << 20
		got, want := ours(data, cuts, limit), theirs(t, data, limit)
		if stricter(data) {
			return
		}
		if !equal(got, want) {
			t.Fatalf("% x cut at %v:\n%v\nthe library:\n%v", data, cuts, got, want)
		}
	})
}

// equal compares what was read. Of a frame that breaks the rules, the library
// sees only so much before it gives up, and it does not close behind bytes that
// have ended within a frame.
func equal(got, want events) bool {
	if len(got) == len(want)+1 && ended(got) && !ended(want) {
		got = got[:len(want)] // all has come that the library would wait for
	}
	return fmt.Sprint(got) == fmt.Sprint(want)
}

// A message is refused by its first byte too much, and no byte of it is kept.
func TestLimit(t *testing.T) {
	for name, data := range map[string][]byte{
		"one frame":      wstest.Frame(wstest.Fin|wstest.Text, make([]byte, 11))[:6],
		"fragments":      append(wstest.Frame(wstest.Text, []byte("0123456789")), wstest.Frame(wstest.Fin|wstest.Continuation, []byte("x"))[:6]...),
		"64-bit length":  {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"within a frame": append(wstest.Frame(wstest.Text, []byte("0123456789")), 0x80, 0xfe, 0xff, 0xff, 0, 0, 0, 0),
	} {
		for _, cuts := range [][]byte{nil, bytes.Repeat([]byte{0}, len(data))} {
			if got := ours(data, cuts, 10); fmt.Sprint(got) != "[close 1009]" {
				t.Errorf("%s: %v", name, got)
			}
		}
	}
	if got := ours(wstest.Frame(wstest.Fin|wstest.Binary, []byte("0123456789")), nil, 10); len(got) != 1 || ended(got) {
		t.Errorf("at the limit: %v", got)
	}
}

// What has come of a message is the same part from its first byte to its last,
// wherever it is cut: its time, see message_timeout, does not begin again.
func TestOnePartForEachMessage(t *testing.T) {
	for name, message := range map[string][]byte{
		"one frame": wstest.Frame(wstest.Fin|wstest.Text, []byte(strings.Repeat("x", 200))),
		"fragments": slices.Concat(wstest.Frame(wstest.Text, []byte("01")), wstest.Frame(wstest.Fin|wstest.Ping, []byte("p")),
			wstest.Frame(wstest.Continuation, nil), wstest.Frame(wstest.Fin|wstest.Continuation, []byte("23"))),
	} {
		var f frames
		var first *part
		for range 2 {
			for i := range message {
				if f.push(bytes.Clone(message[i:i+1]), 1000, nothing{}) != nil {
					t.Fatal("refused")
				}
				switch last := i == len(message)-1; {
				case i == 0:
					first = f.part
				case last && f.part != nil:
					t.Errorf("%s: a part is left behind its end", name)
				case !last && f.part != first:
					t.Fatalf("%s: another part from byte %d on", name, i)
				}
			}
		}
	}
}

// A message in one piece costs no allocation, and one of many pieces no more than
// a few for its growing buffer: the cost is in proportion to the bytes.
func TestFramesAllocate(t *testing.T) {
	message := wstest.Frame(wstest.Fin|wstest.Text, []byte(strings.Repeat("x", 1000)))
	var f frames
	in := make([]byte, len(message))
	if n := testing.AllocsPerRun(100, func() {
		copy(in, message)
		if f.push(in, 1<<20, nothing{}) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a message in one piece", n)
	}
	large := wstest.Frame(wstest.Fin|wstest.Text, []byte(strings.Repeat("x", 1<<20)))
	if n := testing.AllocsPerRun(3, func() {
		for r := bytes.NewReader(large); ; {
			n, err := r.Read(in)
			if err == io.EOF {
				break
			}
			if f.push(in[:n], 1<<20, nothing{}) != nil {
				t.Fatal("refused")
			}
		}
	}); n > 60 {
		t.Errorf("%v allocations for a message of a mebibyte", n)
	}
}

type nothing struct{}

func (nothing) text([]byte)   {}
func (nothing) binary([]byte) {}
func (nothing) ping([]byte)   {}

func BenchmarkFrames(b *testing.B) {
	message := wstest.Frame(wstest.Fin|wstest.Text, []byte(`{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}`))
	in := make([]byte, len(message))
	var f frames
	b.ReportAllocs()
	for b.Loop() {
		copy(in, message)
		f.push(in, 1<<16, nothing{})
	}
}
