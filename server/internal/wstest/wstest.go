// Package wstest is a WebSocket client for tests that owns every byte it
// sends, so that it can break the rules, and that is strict about every byte
// it receives (RFC 6455).
//
// Every wait is bounded by [Patience]; a test that waits longer has failed.
package wstest

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long anything that must happen may take.
const Patience = 30 * time.Second

// Dialer says how to connect.
type Dialer struct {
	Addr   string
	TLS    *tls.Config // nil: plain TCP
	Header []string    // further lines of the request
	Early  []byte      // goes out in the same write as the request
	// ReadBuffer bounds what the kernel takes for a client that does not read,
	// in bytes; 0 leaves it.
	ReadBuffer int
	From       string // IP address to connect from; empty: any
}

// Conn is one connection. Methods that take no error as an answer end the
// test; they are for its goroutine.
type Conn struct {
	Response *http.Response // to the handshake

	t  testing.TB
	nc net.Conn
	br *bufio.Reader
}

// Dial connects with further header lines, and expects the handshake to be
// accepted.
func Dial(t testing.TB, addr, path string, header ...string) *Conn {
	t.Helper()
	return Dialer{Addr: addr, Header: header}.Dial(t, path)
}

const nonce = "dGhlIHNhbXBsZSBub25jZQ=="

// Dial connects and expects the handshake to be accepted.
func (d Dialer) Dial(t testing.TB, path string) *Conn {
	t.Helper()
	c, err := d.Open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Open is Dial for any goroutine.
func (d Dialer) Open(t testing.TB, path string) (*Conn, error) {
	lines := append([]string{
		"GET " + path + " HTTP/1.1",
		"Host: " + d.Addr,
		"Upgrade: websocket",
		"Connection: Upgrade",
		"Sec-WebSocket-Key: " + nonce,
		"Sec-WebSocket-Version: 13",
	}, d.Header...)
	c, err := d.Request(t, strings.Join(lines, "\r\n")+"\r\n\r\n")
	if err != nil {
		return nil, err
	}
	if c.Response.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake for %s answered with %s", path, c.Response.Status)
	}
	sum := sha1.Sum([]byte(nonce + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if got, want := c.Response.Header.Get("Sec-WebSocket-Accept"), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		return nil, fmt.Errorf("Sec-WebSocket-Accept is %q, not %q", got, want)
	}
	return c, nil
}

// Request connects, sends a request as it is, and reads the head of the
// answer, whatever its status.
func (d Dialer) Request(t testing.TB, request string) (_ *Conn, err error) {
	dialer := net.Dialer{Timeout: Patience}
	if d.From != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(d.From)}
	}
	nc, err := dialer.Dial("tcp", d.Addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { nc.Close() })
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	if d.ReadBuffer > 0 {
		if err := nc.(*net.TCPConn).SetReadBuffer(d.ReadBuffer); err != nil {
			return nil, err
		}
	}
	c := &Conn{t: t, nc: nc}
	if d.TLS != nil {
		c.nc = tls.Client(nc, d.TLS)
	}
	c.br = bufio.NewReader(c.nc)
	if err := c.write(append([]byte(request), d.Early...)); err != nil {
		return nil, err
	}
	c.nc.SetReadDeadline(time.Now().Add(Patience))
	c.Response, err = http.ReadResponse(c.br, nil)
	return c, err
}

func (c *Conn) write(b []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(Patience))
	_, err := c.nc.Write(b)
	return err
}

// In is the same connection for another test, such as one of a fuzz target.
func (c *Conn) In(t testing.TB) *Conn {
	other := *c
	other.t = t
	return &other
}

// Write sends bytes as they are.
func (c *Conn) Write(b []byte) {
	c.t.Helper()
	if err := c.write(b); err != nil {
		c.t.Fatal(err)
	}
}

// TryWrite is Write for a connection that may be gone, from any goroutine.
func (c *Conn) TryWrite(b []byte) error { return c.write(b) }

// WriteBytewise sends every byte as a segment of its own.
func (c *Conn) WriteBytewise(b []byte) {
	c.t.Helper()
	for i := range b {
		c.Write(b[i : i+1])
	}
}

// Send sends a text message in one frame.
func (c *Conn) Send(text string) {
	c.t.Helper()
	c.Write(TextFrame(text))
}

// TryReadFrame reads a frame, from any goroutine. The error is io.EOF when the
// server ended the stream behind a whole frame.
func (c *Conn) TryReadFrame() (ReceivedFrame, error) {
	c.nc.SetReadDeadline(time.Now().Add(Patience))
	return readFrame(c.br)
}

// ReadFrame reads a frame.
func (c *Conn) ReadFrame() ReceivedFrame {
	c.t.Helper()
	f, err := c.TryReadFrame()
	if err != nil {
		c.t.Fatalf("reading a frame: %v", err)
	}
	return f
}

// ReadText reads a message.
func (c *Conn) ReadText() string {
	c.t.Helper()
	f := c.ReadFrame()
	if f.Opcode != Text {
		c.t.Fatalf("got %v, want a text message", f)
	}
	return string(f.Payload)
}

// Expect reads messages that must be these, byte for byte.
func (c *Conn) Expect(messages ...string) {
	c.t.Helper()
	for _, want := range messages {
		if got := c.ReadText(); got != want {
			c.t.Fatalf("got message\n%s, want\n%s", got, want)
		}
	}
}

// ExpectStart reads a message that begins so, and returns the rest.
func (c *Conn) ExpectStart(start string) (rest string) {
	c.t.Helper()
	got := c.ReadText()
	rest, ok := strings.CutPrefix(got, start)
	if !ok {
		c.t.Fatalf("got message\n%s, want one that begins with\n%s", got, start)
	}
	return rest
}

// ReadEvent reads a message.
func (c *Conn) ReadEvent() Event {
	c.t.Helper()
	e, err := ParseEvent([]byte(c.ReadText()))
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

// ReadError reads a pusher:error.
func (c *Conn) ReadError() (code int, message string) {
	c.t.Helper()
	e := c.ReadEvent()
	if e.Event != "pusher:error" {
		c.t.Fatalf("got event %+v, want a pusher:error", e)
	}
	code, message = e.Error()
	if code < 0 || message == "" {
		c.t.Fatalf("pusher:error has data %s", e.Data)
	}
	return code, message
}

// ReadClose reads a close frame; code is 0 when it is empty.
func (c *Conn) ReadClose() (code int, reason string) {
	c.t.Helper()
	f := c.ReadFrame()
	if f.Opcode != Close {
		c.t.Fatalf("got %v, want a close frame", f)
	}
	if len(f.Payload) == 0 {
		return 0, ""
	}
	return int(binary.BigEndian.Uint16(f.Payload)), string(f.Payload[2:])
}

// ExpectClose reads a close frame with this code, and the end of the stream.
func (c *Conn) ExpectClose(code int) (reason string) {
	c.t.Helper()
	got, reason := c.ReadClose()
	if got != code {
		c.t.Fatalf("closed with %d %q, want %d", got, reason, code)
	}
	c.ReadEOF()
	return reason
}

// ReadEOF expects the server to end the stream.
func (c *Conn) ReadEOF() {
	c.t.Helper()
	if f, err := c.TryReadFrame(); err != io.EOF {
		c.t.Fatalf("got %v and error %v, want the end of the stream", f, err)
	}
}

// ReadEnd expects the connection to end, politely or not, and returns what
// came before that.
func (c *Conn) ReadEnd() (frames []ReceivedFrame) {
	c.t.Helper()
	for {
		f, err := c.TryReadFrame()
		if err == nil {
			frames = append(frames, f)
			continue
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			return frames
		}
		c.t.Fatalf("connection did not end: %v", err)
	}
}

const (
	ping = `{"event":"pusher:ping","data":{}}`
	// PongText is the answer to a pusher:ping.
	PongText = `{"event":"pusher:pong","data":"{}"}`
)

// Sync sends a pusher:ping, whose answer must be the next that comes: the
// connection works, and nothing else was sent to it.
func (c *Conn) Sync() {
	c.t.Helper()
	c.Send(ping)
	c.Expect(PongText)
}

// ReadUntilPong sends a pusher:ping and returns the messages ahead of its
// answer.
func (c *Conn) ReadUntilPong() (messages []string) {
	c.t.Helper()
	c.Send(ping)
	for {
		m := c.ReadText()
		if m == PongText {
			return messages
		}
		messages = append(messages, m)
	}
}

// Leave closes politely: close frames both ways, then the socket.
func (c *Conn) Leave() error {
	if err := c.write(Frame(Fin|Close, ClosePayload(1000, ""))); err != nil {
		return err
	}
	for {
		f, err := c.TryReadFrame()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if f.Opcode == Close && !bytes.Equal(f.Payload, ClosePayload(1000, "")) {
			return fmt.Errorf("close was answered with %v", f)
		}
	}
	return c.nc.Close()
}

// Raw is the TCP connection, beneath TLS.
func (c *Conn) Raw() net.Conn {
	if secure, ok := c.nc.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return c.nc
}

// Drop closes the socket without a word.
func (c *Conn) Drop() { c.nc.Close() }

// Reset makes the server see a reset, at once and with nothing delivered.
func (c *Conn) Reset() {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// CloseWrite ends our half of the stream. The error is for a connection that
// may be gone.
func (c *Conn) CloseWrite() error {
	return c.nc.(interface{ CloseWrite() error }).CloseWrite()
}
