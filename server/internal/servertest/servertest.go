// Package servertest runs a real server for tests, and is its clients and its
// backend.
package servertest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/server"
	"belfry/server/config"
	"belfry/server/internal/wstest"
	"belfry/server/webhooks"
)

// App is an application with default limits, key-ID and secret-ID.
func App(id string) config.App {
	a := config.DefaultApp()
	a.ID, a.Key, a.Secret = id, "key-"+id, "secret-"+id
	return a
}

// Webhooks delivers for tests that make applications without a server.
func Webhooks(t testing.TB) *webhooks.Sender {
	t.Helper()
	s, err := webhooks.New(webhooks.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// Server is a running server.
type Server struct {
	*server.Server
	Config config.Config
	Client *http.Client
	Log    *Log

	t      testing.TB
	tls    *tls.Config
	stop   context.CancelFunc
	done   chan error
	latest *config.Config // after Reconfigure
}

// Start runs a server with one application, App("1"), until the test ends.
// edit may change the configuration first.
func Start(t testing.TB, edit ...func(*config.Config)) *Server {
	t.Helper()
	var s *Server
	t.Cleanup(func() { // when the server has ended
		if s != nil && s.Panicked() {
			t.Errorf("the server had a panic:\n%s", s.Log)
		}
	})
	s = StartWith(t, func(h slog.Handler) slog.Handler { return h }, edit...)
	return s
}

// Panicked reports whether the server has logged a panic.
func (s *Server) Panicked() bool { return s.Log.Contains("msg=\"panic") }

// StartWith is [Start] with what logging makes of the handler of the server's
// log, and without the check that nothing has panicked.
func StartWith(t testing.TB, logging func(slog.Handler) slog.Handler, edit ...func(*config.Config)) *Server {
	t.Helper()
	c := config.Default()
	c.Server.Listen = "127.0.0.1:0"
	c.Apps = []config.App{App("1")}
	for _, f := range edit {
		f(&c)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s := &Server{Config: c, Log: new(Log), t: t, done: make(chan error, 1)}
	transport := &http.Transport{TLSHandshakeTimeout: wstest.Patience}
	if c.Server.TLS.CertFile != "" {
		pem, err := os.ReadFile(c.Server.TLS.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		s.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
		s.tls.RootCAs.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = s.tls
	}
	s.Client = &http.Client{Transport: transport, Timeout: wstest.Patience}
	var err error
	log := slog.New(logging(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if s.Server, err = server.New(&s.Config, log, server.Build{Version: "test"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { s.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.Stop()
		if err := s.Wait(); err != nil {
			t.Errorf("the server ended with error %v", err)
		}
	})
	return s
}

// Stop asks the server to drain.
func (s *Server) Stop() { s.stop() }

// Wait is for the server to end, and returns its error.
func (s *Server) Wait() error {
	select {
	case err := <-s.done:
		s.done <- err
		return err
	case <-time.After(wstest.Patience):
		return fmt.Errorf("the server did not end")
	}
}

// Secure gives a configuration a certificate made up for 127.0.0.1.
func Secure(t testing.TB) func(*config.Config) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	dir := t.TempDir()
	files := config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	must(os.WriteFile(files.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	must(os.WriteFile(files.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return func(c *config.Config) { c.Server.TLS.CertFile, c.Server.TLS.KeyFile = files.CertFile, files.KeyFile }
}

// Log keeps what the server logs.
type Log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Contains looks for a part of what was logged so far.
func (l *Log) Contains(part string) bool { return strings.Contains(l.String(), part) }

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(wstest.Patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("did not come true: %s", what)
		}
	}
}

// Dialer connects to the server.
func (s *Server) Dialer(header ...string) wstest.Dialer {
	return wstest.Dialer{Addr: s.Addr().String(), TLS: s.tls, Header: header}
}

// Path is where an application's clients connect.
func Path(app string) string { return "/app/key-" + app + "?protocol=7&client=test&version=1" }

// Client is a connected client of an application.
type Client struct {
	*wstest.Conn
	SocketID string

	app string
}

// Connect connects a client and reads the greeting.
func (s *Server) Connect(t testing.TB, app string) *Client {
	t.Helper()
	c, err := s.Open(t, app)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Open is Connect for any goroutine.
func (s *Server) Open(t testing.TB, app string) (*Client, error) {
	conn, err := s.Dialer().Open(t, Path(app))
	if err != nil {
		return nil, err
	}
	c, err := Greeted(app, conn)
	if err != nil {
		conn.Drop()
	}
	return c, err
}

// Greeted reads the greeting of a new connection to an application.
func Greeted(app string, conn *wstest.Conn) (*Client, error) {
	f, err := conn.TryReadFrame()
	if err != nil {
		return nil, err
	}
	e, err := wstest.ParseEvent(f.Payload)
	if err != nil {
		return nil, err
	}
	var data struct {
		SocketID string `json:"socket_id"`
	}
	if err := json.Unmarshal([]byte(e.String()), &data); err != nil || e.Event != "pusher:connection_established" {
		return nil, fmt.Errorf("greeted with %q", f.Payload)
	}
	return &Client{Conn: conn, SocketID: data.SocketID, app: app}, nil
}

// Sign is the auth token that an application's backend gives a client.
func Sign(app, text string) string {
	return "key-" + app + ":" + digest(app, text)
}

func digest(app, text string) string {
	mac := hmac.New(sha256.New, []byte("secret-"+app))
	io.WriteString(mac, text)
	return hex.EncodeToString(mac.Sum(nil))
}

// Quote is s as a JSON string.
func Quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always can be
	}
	return string(b)
}

// SubscribeText is the message that subscribes, signed where that is needed.
// channelData is that of a presence channel.
func (c *Client) SubscribeText(channel, channelData string) string {
	return subscribeText(c.app, c.SocketID, channel, channelData)
}

func subscribeText(app, socketID, channel, channelData string) string {
	data := `"channel":` + Quote(channel)
	text := socketID + ":" + channel
	if channelData != "" {
		text += ":" + channelData
		data += `,"channel_data":` + Quote(channelData)
	}
	if strings.HasPrefix(channel, "private-") || strings.HasPrefix(channel, "presence-") {
		data += `,"auth":` + Quote(Sign(app, text))
	}
	return `{"event":"pusher:subscribe","data":{` + data + `}}`
}

// Subscribe subscribes to a channel that is no presence channel. It returns the serial that
// the answer has if the channel has a history.
func (c *Client) Subscribe(channel string) (serial string) {
	c.Send(c.SubscribeText(channel, ""))
	return serialIn(c.ExpectStart(succeeded(channel)))
}

// succeeded is how the answer to a subscription begins, and serialIn the serial in what
// follows that.
func succeeded(channel string) string { return strings.TrimSuffix(Succeeded(channel), "}") }

func serialIn(rest string) (serial string) {
	if rest == "}" {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(rest, `,"serial":"`), `"}`)
}

// Join subscribes to a presence channel and returns the roster it is told.
func (c *Client) Join(channel, userID string) (roster string) {
	c.Send(c.SubscribeText(channel, `{"user_id":`+Quote(userID)+`}`))
	return c.ReadEvent().String()
}

// SignInText is the message that signs in as the user of userData.
func (c *Client) SignInText(userData string) string {
	return `{"event":"pusher:signin","data":{"auth":` + Quote(Sign(c.app, c.SocketID+"::user::"+userData)) + `,"user_data":` + Quote(userData) + `}}`
}

// SignIn signs in as a user.
func (c *Client) SignIn(userID string) {
	userData := `{"id":` + Quote(userID) + `}`
	c.Send(c.SignInText(userData))
	c.Expect(SignedIn(userData))
}

// SignedIn is the answer to a client that signed in.
func SignedIn(userData string) string {
	return `{"event":"pusher:signin_success","data":` + Quote(`{"user_data":`+Quote(userData)+`}`) + `}`
}

// Succeeded is the answer to a subscription to any but a presence channel.
func Succeeded(channel string) string {
	return `{"event":"pusher_internal:subscription_succeeded","channel":` + Quote(channel) + `,"data":"{}"}`
}

// EventText is what a published event looks like to a subscriber, when its
// data is a string.
func EventText(name, channel, data string) string {
	return `{"event":` + Quote(name) + `,"channel":` + Quote(channel) + `,"data":` + Quote(data) + `}`
}

// SignedQuery is the query of a signed request: the parameters of query, and
// those that authenticate it.
func SignedQuery(app, method, path string, query url.Values, body []byte, at time.Time) url.Values {
	signed := url.Values{
		"auth_key":       {"key-" + app},
		"auth_timestamp": {strconv.FormatInt(at.Unix(), 10)},
		"auth_version":   {"1.0"},
	}
	if len(body) > 0 {
		sum := md5.Sum(body)
		signed.Set("body_md5", hex.EncodeToString(sum[:]))
	}
	for name, values := range query {
		signed[name] = values
	}
	signed.Set("auth_signature", digest(app, method+"\n"+path+"\n"+signedText(signed)))
	return signed
}

func signedText(query url.Values) string {
	var pairs []string
	for name, values := range query {
		pairs = append(pairs, name+"="+strings.Join(values, ","))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// Answer is that to an HTTP request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// URL of a path of the server.
func (s *Server) URL(path string) string {
	scheme := "http://"
	if s.tls != nil {
		scheme = "https://"
	}
	return scheme + s.Addr().String() + path
}

// HTTP sends a request as it is.
func (s *Server) HTTP(t testing.TB, method, path string, query url.Values, body []byte, header ...string) Answer {
	t.Helper()
	target := s.URL(path)
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequest(method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	resp, err := s.Client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// Get sends a signed GET. route is what follows /apps/{id}/, as in a URL; it
// may have a query.
func (s *Server) Get(t testing.TB, app, route string) Answer {
	t.Helper()
	route, raw, _ := strings.Cut(route, "?")
	query, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	path := "/apps/" + app + "/" + route
	return s.HTTP(t, http.MethodGet, path, SignedQuery(app, http.MethodGet, path, query, nil, time.Now()), nil)
}

// Post sends a signed POST.
func (s *Server) Post(t testing.TB, app, route, body string) Answer {
	t.Helper()
	path := "/apps/" + app + "/" + route
	return s.HTTP(t, http.MethodPost, path, SignedQuery(app, http.MethodPost, path, nil, []byte(body), time.Now()), []byte(body))
}

// Publish publishes one event, whose data is a string.
func (s *Server) Publish(t testing.TB, app, name, data string, channels ...string) {
	t.Helper()
	list, err := json.Marshal(channels)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"name":` + Quote(name) + `,"data":` + Quote(data) + `,"channels":` + string(list) + `}`
	if a := s.Post(t, app, "events", body); a.Status != http.StatusOK || a.Body != "{}" {
		t.Fatalf("publish was answered with %d %s", a.Status, a.Body)
	}
}

// Metric is the sum of all series of that name that have these labels, and
// maybe others: belfry_connections{app="1"}; 0 when there is none.
func (s *Server) Metric(t testing.TB, series string) float64 {
	t.Helper()
	a := s.HTTP(t, http.MethodGet, s.Config.Metrics.Path, nil, nil)
	name, labels, labelled := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	wanted := strings.Split(labels, ",")
	sum := 0.0
	for line := range strings.Lines(a.Body) {
		found, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		got, labels, _ := strings.Cut(strings.TrimSuffix(found, "}"), "{")
		if got != name || labelled && !containsAll(strings.Split(labels, ","), wanted) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func containsAll(list, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(s string) bool { return !slices.Contains(list, s) })
}
