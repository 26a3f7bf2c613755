package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"belfry/auth"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
)

// world is a Sender and the hosts that it can reach, over pipes: in it, time
// passes only when everybody waits.
type world struct {
	*Sender
	log     *log
	metrics *metrics.Metrics
	ended   bool

	mu    sync.Mutex // guards hosts
	hosts map[string]*host
}

var credentials = auth.Credentials{Key: "key-1", Secret: "secret-1"}

// within runs a test in a world of its own.
func within(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "")
		f(t, w)
	})
}

// newWorld is for a test in a bubble.
func newWorld(t *testing.T, spool string) *world {
	t.Helper()
	return newWorldOf(t, Options{Spool: spool})
}

func newWorldOf(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{log: new(log), metrics: metrics.New("", "", ""), hosts: make(map[string]*host)}
	transport := newTransport()
	transport.Proxy = nil
	transport.DialContext = w.dial
	o.UserAgent, o.Log = "Belfry/test", slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := newSender(o, transport)
	if err != nil {
		t.Fatal(err)
	}
	w.Sender = s
	t.Cleanup(func() {
		w.end()
		w.checkLosses(t)
		for _, h := range w.hosts {
			h.server.Close()
		}
		w.transport.CloseIdleConnections()
	})
	return w
}

// end closes without patience, once.
func (w *world) end() {
	if !w.ended {
		w.ended = true
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.Close(ctx)
	}
}

// sum adds up the series whose names begin so.
func (w *world) sum(prefix string) (sum int) {
	r := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(r, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(r.Body.String()) {
		if strings.HasPrefix(line, "belfry_webhooks_"+prefix) {
			n, _ := strconv.Atoi(strings.TrimSpace(line[strings.LastIndex(line, " "):]))
			sum += n
		}
	}
	return sum
}

// checkLosses holds the log against the metrics: the events in its lines add up,
// and nobody is left in a queue's books without an event in it.
func (w *world) checkLosses(t *testing.T) {
	t.Helper()
	logged := make(map[string]int) // by series
	for line := range strings.Lines(w.log.String()) {
		if m := lossLine.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[3])
			logged[fmt.Sprintf("{app=%q,reason=%q} ", m[1], m[2])] += n
		}
	}
	r := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(r, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(r.Body.String()) {
		for _, name := range []string{"belfry_webhooks_failed_total", "belfry_webhooks_dropped_total"} {
			if series, ok := strings.CutPrefix(line, name); ok {
				labels, value, _ := strings.Cut(strings.TrimSpace(series), "} ")
				if n := strconv.Itoa(logged[labels+"} "]); n != value {
					t.Errorf("%s%s} is %s, the log says %s", name, labels, value, n)
				}
			}
		}
	}
	for _, a := range w.all() {
		for _, e := range a.list() {
			q := &e.queue
			if n := len(e.undelivered()); n != q.events {
				t.Errorf("%d events are undelivered, the queue counts %d", n, q.events)
			}
			if q.events == 0 && (q.bytes != 0 || len(q.sources) != 0 || q.minor != 0 || q.bulkEvents != 0 || q.bulkBytes != 0 || len(q.bulkChannels) != 0 ||
				len(e.delivering.held) != 0 || len(e.delivering.waiting) != 0 || e.delivering.next != nil) {
				t.Errorf("an empty queue counts %+v, and there are %d waiting for %d channels", q, len(e.delivering.waiting), len(e.delivering.held))
			}
		}
	}
}

var lossLine = regexp.MustCompile(`app=(\S+) .* reason=(\w+) events=(\d+)`)

func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	h := w.hosts[strings.TrimSuffix(strings.ToLower(addr), ":80")]
	w.mu.Unlock()
	if h == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	ours, theirs := net.Pipe()
	select {
	case h.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// live is what metrics ask for at a scrape.
type live struct{ *App }

func (live) Connections(protocol.Transport) int { return 0 }
func (live) OccupiedChannels(protocol.Kind) int { return 0 }
func (live) Subscriptions() int                 { return 0 }
func (l live) WebhooksQueued() int              { return l.Queued() }

// application has endpoints; its credentials are those of App "1".
func (w *world) application(id string, endpoints ...config.Webhook) *App {
	m := w.metrics.App(id)
	a := w.App(id, m.Webhooks)
	m.Show(live{a})
	a.Configure(credentials, endpoints)
	return a
}

// metric is the value of a series, as text; empty when there is none.
func (w *world) metric(series string) string {
	r := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(r, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(r.Body.String()) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			return value
		}
	}
	return ""
}

// expect compares series with their values, empty for none.
func (w *world) expect(t *testing.T, series ...string) {
	t.Helper()
	for i := 0; i < len(series); i += 2 {
		if got := w.metric("belfry_webhooks_" + series[i]); got != series[i+1] {
			t.Errorf("%s is %q, want %q", series[i], got, series[i+1])
		}
	}
}

// host is a backend that keeps what it is sent.
type host struct {
	server *http.Server
	conns  chan net.Conn

	mu     sync.Mutex // guards the following
	got    []delivered
	opened int // connections
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

// delivered is a request as it came.
type delivered struct {
	at     time.Time
	url    string
	header http.Header
	user   string
	body   string
}

// host starts one. answer is called with the number of the request, from 0; nil
// is 200.
func (w *world) host(name string, answer func(n int, w http.ResponseWriter, r *http.Request)) *host {
	h := &host{conns: make(chan net.Conn), answer: answer}
	h.server = &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	w.mu.Lock()
	w.hosts[name] = h
	w.mu.Unlock()
	go h.server.Serve(&pipes{h, make(chan struct{})})
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	user, password, _ := r.BasicAuth()
	h.mu.Lock()
	n, answer := len(h.got), h.answer
	h.got = append(h.got, delivered{time.Now(), r.URL.String(), r.Header.Clone(), user + ":" + password, string(body)})
	h.mu.Unlock()
	if answer != nil {
		answer(n, w, r)
	}
}

// requests are those that have come.
func (h *host) requests() []delivered {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got
}

// answers replaces how requests are answered.
func (h *host) answers(answer func(n int, w http.ResponseWriter, r *http.Request)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// events are those of all requests, as name:channel:user.
func (h *host) events(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, r := range h.requests() {
		all = append(all, r.events(t)...)
	}
	return all
}

func (r delivered) events(t *testing.T) (all []string) {
	t.Helper()
	var body struct {
		TimeMS int64 `json:"time_ms"`
		Events []struct {
			Name, Channel string
			UserID        string `json:"user_id"`
		}
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	for _, e := range body.Events {
		all = append(all, strings.TrimSuffix(e.Name+":"+e.Channel+":"+e.UserID, ":"))
	}
	return all
}

// pipes is a host as a net.Listener.
type pipes struct {
	*host
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		p.mu.Lock()
		p.opened++
		p.mu.Unlock()
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// status answers each request with the next status, and with the last one from
// then on.
func status(codes ...int) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(codes[min(n, len(codes)-1)]) }
}

// stall answers nothing until the request is given up.
func stall(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// to is the endpoint of a host, which gets everything.
func to(url string) config.Webhook {
	w := config.DefaultWebhook()
	w.URL = url
	return w
}

// happening is the reverse of host.events.
func happening(s string) protocol.WebhookEvent {
	parts := strings.Split(s+"::", ":")
	return protocol.WebhookEvent{Name: parts[0], Channel: parts[1], UserID: parts[2], Event: "client-e", Data: []byte(`"x"`)}
}

// happens makes events happen, name:channel:user each.
func (a *App) happens(events ...string) {
	for _, e := range events {
		a.Happened(happening(e), nil)
	}
}

// pass lets time pass, which costs none, and everything happen that is due.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// log keeps what is logged.
type log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines counts those with a part.
func (l *log) lines(part string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}
