package servertest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"belfry/server/internal/wstest"
)

// The HTTP transports, as they are in a receiver's path.
const (
	Streaming = "xhr_streaming"
	Polling   = "xhr"
)

// RestartLength is how much of a response pusher-js reads before it asks for
// another one.
const RestartLength = 256 << 10

// Fallback is a client of an HTTP transport that behaves as pusher-js does.
type Fallback struct {
	SocketID string
	URL      string      // of the session, without the last part
	Query    string      // of receivers
	Header   http.Header // of all requests
	Restarts int         // of the stream, so far

	t         testing.TB
	app       string
	transport string
	client    *http.Client
	ctx       context.Context // of all receivers: ends with the test
	stream    *Response
	lines     []string // received, not yet taken
}

var sessions atomic.Int64

// Fallback makes a client, which sends nothing yet.
func (s *Server) Fallback(t testing.TB, app, transport string) *Fallback {
	return FallbackAt(t, s.URL(""), s.tls, app, transport)
}

// FallbackAt makes a client of the server that has that URL.
func FallbackAt(t testing.TB, server string, secure *tls.Config, app, transport string) *Fallback {
	tr := &http.Transport{TLSClientConfig: secure.Clone(), TLSHandshakeTimeout: wstest.Patience, ForceAttemptHTTP2: secure != nil}
	f := &Fallback{
		URL:       server + fmt.Sprintf("/pusher/app/key-%s/%d/session%d", app, sessions.Add(1)%1000, sessions.Load()),
		Query:     "?protocol=7&client=test&version=1",
		Header:    http.Header{"Content-Type": {"application/json"}, "User-Agent": {"test"}},
		t:         t,
		app:       app,
		transport: transport,
		client:    &http.Client{Transport: tr, Timeout: wstest.Patience},
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = ctx
	t.Cleanup(func() {
		cancel()
		if f.SocketID != "" {
			go f.listenToEnd() // while the server stops
		}
	})
	return f
}

// listenToEnd receives until the session ends, so that the server need not wait for a client
// that may come back.
func (f *Fallback) listenToEnd() {
	defer f.client.CloseIdleConnections()
	for {
		r, err := f.post(context.Background(), "/"+Polling+f.Query, "")
		if err != nil {
			return
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || strings.Contains(string(text), "c[") {
			return
		}
	}
}

// ConnectFallback connects a client of an HTTP transport and reads the
// greeting.
func (s *Server) ConnectFallback(t testing.TB, app, transport string) *Fallback {
	t.Helper()
	f := s.Fallback(t, app, transport)
	f.Open()
	return f
}

// Open reads what a session begins with.
func (f *Fallback) Open() {
	f.t.Helper()
	if line := f.Line(); line != "o" {
		f.t.Fatalf("the session begins with %.100q", line)
	}
	e := f.ReadEvent()
	var data struct {
		SocketID string `json:"socket_id"`
	}
	if err := json.Unmarshal([]byte(e.String()), &data); err != nil || e.Event != "pusher:connection_established" {
		f.t.Fatalf("greeted with %+v", e)
	}
	f.SocketID = data.SocketID
}

// From is the same client at another address of the loopback network.
func (f *Fallback) From(address string) *Fallback {
	g := *f
	g.stream, g.lines = nil, nil
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	tr := &http.Transport{DialContext: dialer.DialContext}
	g.client = &http.Client{Transport: tr, Timeout: wstest.Patience}
	g.Header = f.Header.Clone()
	f.t.Cleanup(tr.CloseIdleConnections)
	return &g
}

// Response is one that is being received.
type Response struct {
	*http.Response

	cancel func()
	text   []byte // read so far
	taken  int    // of text, in whole lines
}

// Receive asks for a response of a transport.
func (f *Fallback) Receive(transport string) *Response {
	f.t.Helper()
	r, err := f.TryReceive(transport)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// TryReceive is Receive for a server that may be gone.
func (f *Fallback) TryReceive(transport string) (*Response, error) {
	ctx, cancel := context.WithCancel(f.ctx)
	r, err := f.post(ctx, "/"+transport+f.Query, "")
	if err != nil {
		cancel()
		return nil, err
	}
	return &Response{Response: r, cancel: cancel}, nil
}

func (f *Fallback) post(ctx context.Context, path, body string) (*http.Response, error) {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+path, reader)
	if err != nil {
		return nil, err
	}
	r.Header = f.Header.Clone()
	return f.client.Do(r)
}

// Drop gives the response up.
func (r *Response) Drop() {
	r.cancel()
	r.Body.Close()
}

// ReadSome reads once and returns the whole lines that have come. io.EOF may
// come with them.
func (r *Response) ReadSome() (lines []string, err error) {
	var chunk [32 << 10]byte
	n, err := r.Body.Read(chunk[:])
	r.text = append(r.text, chunk[:n]...)
	for {
		n := bytes.IndexByte(r.text[r.taken:], '\n')
		if n < 0 {
			return lines, err
		}
		lines = append(lines, string(r.text[r.taken:r.taken+n]))
		r.taken += n + 1
	}
}

// ReadAll returns all lines of a response that ends.
func (r *Response) ReadAll() (lines []string, err error) {
	for {
		more, err := r.ReadSome()
		lines = append(lines, more...)
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
	}
}

// Units is how much was read, as JavaScript counts.
func (r *Response) Units() int { return len(utf16.Encode([]rune(string(r.text)))) }

// AtLineEnd reports that nothing of another line was read.
func (r *Response) AtLineEnd() bool { return r.taken == len(r.text) }

// Adopt makes r the client's stream.
func (f *Fallback) Adopt(r *Response) {
	f.Drop()
	f.stream = r
}

// Drop gives the client's stream up without a word.
func (f *Fallback) Drop() {
	if f.stream != nil {
		f.stream.Drop()
		f.stream = nil
	}
}

// TryLine is the next line, but heartbeats. io.EOF is the end of a stream.
func (f *Fallback) TryLine() (string, error) {
	for {
		for len(f.lines) > 0 {
			line := f.lines[0]
			f.lines = f.lines[1:]
			if line[0] != 'h' && line != "a[]" {
				return line, nil
			}
		}
		if err := f.more(); err != nil {
			return "", err
		}
	}
}

func (f *Fallback) more() (err error) {
	if f.stream == nil {
		if f.stream, err = f.TryReceive(f.transport); err != nil {
			f.stream = nil
			return err
		}
		if f.stream.StatusCode != http.StatusOK {
			return fmt.Errorf("a receiver is answered with status %d", f.stream.StatusCode)
		}
	}
	if f.transport == Polling {
		f.lines, err = f.stream.ReadAll()
		f.Drop()
		return err
	}
	f.lines, err = f.stream.ReadSome()
	if r := f.stream; r.taken == len(r.text) && len(r.text) > RestartLength && r.Units() > RestartLength {
		f.Drop()
		f.Restarts++
		return nil
	}
	if len(f.lines) > 0 {
		return nil // the error comes again
	}
	return err
}

// Line is the next line, but heartbeats.
func (f *Fallback) Line() string {
	f.t.Helper()
	line, err := f.TryLine()
	if err != nil {
		f.t.Fatal(err)
	}
	return line
}

// LineText is the message of a line.
func LineText(line string) (string, error) {
	var list []string
	if !strings.HasPrefix(line, "a") || json.Unmarshal([]byte(line[1:]), &list) != nil || len(list) != 1 {
		return "", fmt.Errorf("line %.200q has no message", line)
	}
	return list[0], nil
}

// ReadText is the next message.
func (f *Fallback) ReadText() string {
	f.t.Helper()
	text, err := LineText(f.Line())
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

// ReadEvent is the next message, parsed.
func (f *Fallback) ReadEvent() wstest.Event {
	f.t.Helper()
	e, err := wstest.ParseEvent([]byte(f.ReadText()))
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

// Expect reads these messages.
func (f *Fallback) Expect(messages ...string) {
	f.t.Helper()
	for _, want := range messages {
		if got := f.ReadText(); got != want {
			f.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

// ExpectClose reads an error event and the close of the same code.
func (f *Fallback) ExpectClose(code int) (message string) {
	f.t.Helper()
	got, message := f.ReadEvent().Error()
	if got != code || message == "" {
		f.t.Fatalf("got error %d %q, want %d", got, message, code)
	}
	if line, want := f.Line(), fmt.Sprintf("c[%d,%s]", code, Quote(message)); line != want {
		f.t.Fatalf("got %q, want %q", line, want)
	}
	return message
}

// Post sends a body to xhr_send and returns the answer.
func (f *Fallback) Post(body string) Answer {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	r, err := f.post(ctx, "/xhr_send?t="+url.QueryEscape(time.Now().String()), body)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return Answer{r.StatusCode, r.Header, string(text)}
}

// Send sends one message.
func (f *Fallback) Send(text string) {
	f.t.Helper()
	if a := f.Post("[" + Quote(text) + "]"); a.Status != http.StatusNoContent || a.Body != "" {
		f.t.Fatalf("a message is answered with %d %s", a.Status, a.Body)
	}
}

// Subscribe subscribes to a channel that is no presence channel.
func (f *Fallback) Subscribe(channel string) (serial string) {
	f.t.Helper()
	f.Send(subscribeText(f.app, f.SocketID, channel, ""))
	rest, ok := strings.CutPrefix(f.ReadText(), succeeded(channel))
	if !ok {
		f.t.Fatalf("not subscribed to %s", channel)
	}
	return serialIn(rest)
}

// Join subscribes to a presence channel and returns the roster it is told.
func (f *Fallback) Join(channel, userID string) (roster string) {
	f.t.Helper()
	f.Send(subscribeText(f.app, f.SocketID, channel, `{"user_id":`+Quote(userID)+`}`))
	return f.ReadEvent().String()
}

// Sync makes sure that nothing is on its way but what was read.
func (f *Fallback) Sync() {
	f.t.Helper()
	f.Send(`{"event":"pusher:ping","data":{}}`)
	f.Expect(wstest.PongText)
}
