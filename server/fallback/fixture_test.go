package fallback

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/bugs"
	"belfry/server/capacity"
	"belfry/server/config"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/outbox"
	"belfry/server/refusals"
	"belfry/server/session"
	"belfry/server/webhooks"
)

const (
	places      = 10
	outboxBytes = 100_000
)

// fixture is a handler within a bubble, whose time is the test's.
type fixture struct {
	*Handler
	t        *testing.T
	registry *apps.Registry
	app      *apps.App
	mux      *http.ServeMux
	requests sync.WaitGroup
}

// inBubble runs a test with an application, which edit may change, and looks at what is left.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture), edit ...func(*config.App)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := config.DefaultApp()
		a.ID, a.Key, a.Secret = "1", "key", "secret"
		for _, f := range edit {
			f(&a)
		}
		counts := metrics.New("", "", "")
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		broker := channels.NewBroker(2, nil)
		hooks, err := webhooks.New(webhooks.Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		registry := apps.NewRegistry([]config.App{a}, broker, hooks, counts)
		f := &fixture{
			Handler: &Handler{
				Admission: &session.Admission{Apps: registry, Metrics: counts, Log: log, Refusals: refusals.New(log), Bugs: bugs.New(log, counts.Panics)},
				Watch:     keepalive.New(),
				Bugs:      bugs.New(log, counts.Panics),
				Budget:    outbox.NewBudget(outbox.Limits{Client: outboxBytes, Total: 100 * outboxBytes, Timeout: time.Minute}),
				Capacity:  capacity.New(capacity.Limits{Clients: places}),
			},
			t: t, registry: registry, app: registry.ByID("1"), mux: http.NewServeMux(),
		}
		f.mux.Handle("/pusher/app/{key}/{server}/{session}/{transport}", f.Handler)
		defer func() {
			f.end()
			f.Watch.Close()
			f.Budget.Close()
			broker.Close()
			hooks.Close(context.Background())
		}()
		test(t, f)
	})
}

// drain does what the server does around Drain: requests that are left when the
// context ends are cut, here by their deadline.
func (f *fixture) drain(ctx context.Context) {
	f.Capacity.RefuseClients(session.Restarting)
	f.Drain(ctx, session.Spread)
	served := make(chan struct{})
	go func() {
		f.requests.Wait()
		close(served)
	}()
	select {
	case <-served:
	case <-ctx.Done():
	}
	f.End()
	<-served
}

// end drains, and looks at what is left.
func (f *fixture) end() {
	grace, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f.drain(grace)
	f.requests.Wait()
	if n, m := len(f.all()), f.app.Connections(); n != 0 || m != 0 {
		f.t.Errorf("%d sessions are left, %d connections are counted", n, m)
	}
	if n := f.Capacity.Count(capacity.Session); n != 0 {
		f.t.Errorf("%d places were not given back", n)
	}
}

// response is what a request is answered with. Time out, and it blocks.
type response struct {
	cancel func()
	done   chan struct{} // closed at its end

	mu       sync.Mutex
	header   http.Header
	status   int
	text     bytes.Buffer
	blocked  bool // writes wait for their deadline
	flushed  bool
	deadline time.Time
	patient  bool // reading the request has no deadline
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *response) Write(b []byte) (int, error) {
	r.mu.Lock()
	blocked, deadline := r.blocked, r.deadline
	r.mu.Unlock()
	if blocked {
		<-time.After(time.Until(deadline))
		return 0, os.ErrDeadlineExceeded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *response) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushed = true
}

func (r *response) SetReadDeadline(d time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.patient = d.IsZero()
	return nil
}

func (r *response) SetWriteDeadline(d time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = d
	return nil
}

func (r *response) block() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = true
}

// lines are those that have come since the last call, once all is quiet.
func (r *response) lines() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.TrimSuffix(r.text.String(), "\n")
	r.text.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// over reports whether the response has ended.
func (r *response) over() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// post starts a request of a session's client.
func (f *fixture) post(path, body string) *response {
	ctx, cancel := context.WithCancel(context.Background())
	request := httptest.NewRequestWithContext(ctx, http.MethodPost, "/pusher/app/key/1/"+path+"?protocol=7", strings.NewReader(body))
	r := &response{cancel: cancel, done: make(chan struct{}), header: make(http.Header), status: http.StatusOK}
	f.requests.Go(func() {
		defer close(r.done)
		f.mux.ServeHTTP(r, request)
		cancel()
	})
	return r
}

// send sends messages and returns the status.
func (f *fixture) send(name, body string) int {
	r := f.post(name+"/xhr_send", body)
	<-r.done
	return r.status
}

// stream opens a streaming session that is subscribed to channel a.
func (f *fixture) stream(name string) *response {
	r := f.post(name+"/xhr_streaming", "")
	if lines := r.lines(); len(lines) != 3 || lines[1] != "o" {
		f.t.Fatalf("the stream begins with %.100q", lines)
	}
	f.subscribe(name)
	if lines := r.lines(); len(lines) != 1 || !strings.Contains(lines[0], "subscription_succeeded") {
		f.t.Fatalf("subscribing is answered with %q", lines)
	}
	return r
}

func (f *fixture) subscribe(name string) {
	if status := f.send(name, `["{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"a\"}}"]`); status != http.StatusNoContent {
		f.t.Fatalf("subscribing is answered with %d", status)
	}
}

// poll opens a polling session that is subscribed to channel a.
func (f *fixture) poll(name string) {
	if lines := f.answer(name); !slices.Equal(lines, []string{"o"}) {
		f.t.Fatalf("the first poll is answered with %q", lines)
	}
	f.subscribe(name)
	if lines := f.answer(name); len(lines) != 2 || !strings.Contains(lines[1], "subscription_succeeded") {
		f.t.Fatalf("the second poll is answered with %q", lines)
	}
}

// answer polls, and waits for the answer.
func (f *fixture) answer(name string) []string {
	r := f.post(name+"/xhr", "")
	<-r.done
	return r.lines()
}

// publish publishes an event of so many bytes on channel a.
func (f *fixture) publish(size int) {
	e := protocol.Event{Name: "e", Channel: "a", Data: protocol.AppendString(nil, strings.Repeat("x", size))}
	if err := f.app.Channels.Publish(channels.Publication{Event: e}); err != nil {
		f.t.Error(err)
	}
}

func (f *fixture) subscriptions() int { return f.app.Channels.Subscriptions() }
