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
	"belfry/server/config"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/session"
	"belfry/server/webhooks"
)

const places = 10

// fixture is a handler within a bubble, whose time is the test's.
type fixture struct {
	*Handler
	t        *testing.T
	registry *apps.Registry
	app      *apps.App
	mux      *http.ServeMux
	requests sync.WaitGroup
}

// inBubble runs a test with an application, and looks at what is left.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := config.DefaultApp()
		a.ID, a.Key, a.Secret = "1", "key", "secret"
		counts := metrics.New("", "", "")
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		broker := channels.NewBroker(2)
		hooks, err := webhooks.New(webhooks.Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		registry := apps.NewRegistry([]config.App{a}, broker, hooks, counts)
		f := &fixture{
			Handler: &Handler{
				Gate:           &session.Gate{Apps: registry, Metrics: counts, Log: log},
				Watch:          keepalive.New(),
				Metrics:        counts,
				Log:            log,
				MaxOutboxBytes: 100_000,
				Places:         session.NewPlaces(places, 0),
			},
			t: t, registry: registry, app: registry.ByID("1"), mux: http.NewServeMux(),
		}
		f.mux.Handle("/pusher/app/{key}/{server}/{session}/{transport}", f.Handler)
		defer func() {
			f.end()
			f.Watch.Close()
			broker.Close()
			hooks.Close(context.Background())
		}()
		test(t, f)
	})
}

// end drains, and looks at what is left.
func (f *fixture) end() {
	grace, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f.Drain(grace)
	f.requests.Wait()
	if n, m := len(f.all()), f.app.Connections(); n != 0 || m != 0 {
		f.t.Errorf("%d sessions are left, %d connections are counted", n, m)
	}
	for range places {
		if e := f.Places.Take(files); e != nil {
			f.t.Error("a place was not given back")
		}
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

func (r *response) SetReadDeadline(time.Time) error { return nil }

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
	f.app.Channels.Publish(protocol.Event{Name: "e", Channel: "a", Data: protocol.AppendString(nil, strings.Repeat("x", size))}, protocol.SocketID{})
}

func (f *fixture) subscriptions() int { return f.app.Channels.Subscriptions() }

// A stream on which nothing happens has a heartbeat every 25 seconds, for ever
// if it is answered, and the session ends if it is not.
func TestHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		r := f.stream("s")
		for range 100 {
			start := time.Now()
			var lines []string
			for len(lines) == 0 {
				time.Sleep(time.Second)
				lines = r.lines()
			}
			if d := time.Since(start); !slices.Equal(lines, []string{"h"}) || d < 24*time.Second || d > 27*time.Second {
				t.Fatalf("after %v comes %q", d, lines)
			}
			f.send("s", "[]")
			if lines := r.lines(); !slices.Equal(lines, []string{"a[]"}) {
				t.Fatalf("a sign of life is answered with %q", lines)
			}
		}
		time.Sleep(180 * time.Second)
		lines := r.lines()
		if n := len(lines); n < 5 || !strings.Contains(lines[n-2], "4201") || !strings.HasPrefix(lines[n-1], "c[4201,") || !r.over() {
			t.Fatalf("without answers, the stream ends with %q", lines)
		}
	})
}

// A busy stream is asked for a sign of life all the same.
func TestProbeAmidEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		r := f.stream("s")
		for range 125 {
			f.publish(10)
			time.Sleep(time.Second)
		}
		if lines := r.lines(); !slices.Contains(lines, "h") {
			t.Errorf("no heartbeat among %d lines", len(lines))
		}
		time.Sleep(40 * time.Second)
		if !r.over() {
			t.Error("the session goes on without a sign of life")
		}
	})
}

// What a stream has is sent at once; the answer to a poll with its end, which
// takes one system call less.
func TestFlush(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		for transport, want := range map[string]bool{"xhr_streaming": true, "xhr": false} {
			r := f.post(transport+"/"+transport, "")
			if lines := r.lines(); !slices.Contains(lines, "o") {
				t.Fatalf("%s is answered with %q", transport, lines)
			}
			r.mu.Lock()
			if r.flushed != want {
				t.Errorf("%s: flushed is %v", transport, r.flushed)
			}
			r.mu.Unlock()
		}
	})
}

// A poll is held until something comes, or for 25 seconds.
func TestPollIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("s")
		for range 20 {
			start := time.Now()
			lines := f.answer("s")
			if d := time.Since(start); !slices.Equal(lines, []string{"h"}) || d < 24*time.Second || d > 27*time.Second {
				t.Fatalf("after %v comes %q", d, lines)
			}
		}
		r := f.post("s/xhr", "")
		time.Sleep(7 * time.Second)
		if r.over() {
			t.Fatal("the poll was not held")
		}
		f.publish(1)
		if lines := r.lines(); len(lines) != 1 || !r.over() {
			t.Errorf("answered with %q", lines)
		}
	})
}

// A client that does not come back within seconds leaves its channels; one
// that does has lost nothing.
func TestClientThatIsAway(t *testing.T) {
	tests := []struct {
		name     string
		away     func(f *fixture)
		receiver string
	}{
		{"stream dropped", func(f *fixture) { f.stream("s").cancel() }, "xhr_streaming"},
		{"between polls", func(f *fixture) { f.poll("s") }, "xhr"},
		{"poll dropped", func(f *fixture) {
			f.poll("s")
			r := f.post("s/xhr", "")
			synctest.Wait()
			r.cancel()
		}, "xhr"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				tt.away(f)
				synctest.Wait()
				f.publish(1)
				time.Sleep(returnWait*time.Second - time.Millisecond)
				f.publish(2)
				r := f.post("s/"+tt.receiver, "")
				lines := slices.DeleteFunc(r.lines(), func(s string) bool { return s[0] == 'h' })
				if len(lines) != 2 || !strings.Contains(lines[0], `\"x\"`) || !strings.Contains(lines[1], `\"xx\"`) {
					t.Errorf("back in time, it gets %q", lines)
				}
				r.cancel()
				synctest.Wait()
				time.Sleep((returnWait + 3) * time.Second)
				synctest.Wait()
				if f.subscriptions() != 0 || f.app.Connections() != 0 {
					t.Error("it is still subscribed")
				}
				if status := f.send("s", "[]"); status != http.StatusNotFound {
					t.Errorf("its messages are answered with %d", status)
				}
				again := f.post("s/xhr_streaming", "")
				if lines := again.lines(); len(lines) != 3 || lines[1] != "o" {
					t.Errorf("back too late, it gets %.100q", lines)
				}
			})
		})
	}
}

// A polling client that has much to read has longer to come back.
func TestLongAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("s")
		for range 6 {
			f.publish(16_000)
		}
		if n := len(f.answer("s")); n != 6 {
			t.Fatalf("%d events came", n)
		}
		time.Sleep((returnWait + 4) * time.Second)
		if lines := f.answer("s"); !slices.Equal(lines, []string{"h"}) {
			t.Errorf("then it gets %q", lines)
		}
	})
}

// A client that has read its fill and does not ask for another response is cut
// off; heartbeats come until then.
func TestStreamIsNotRestarted(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		r := f.stream("s")
		for range 30 { // a session that reads takes any number
			f.publish(10_000)
			synctest.Wait()
		}
		// What it was sent before the events: its beginning, two answers.
		if n := len(r.lines()); n < restartLength/10_100 || n > restartLength/10_000+1 {
			t.Errorf("got %d events", n)
		}
		time.Sleep(30 * time.Second)
		if lines := r.lines(); !slices.Equal(lines, []string{"h"}) {
			t.Errorf("then comes %q", lines)
		}
		f.send("s", "[]")
		time.Sleep((restartWait + heartbeatAfter) * time.Second)
		if !r.over() || f.subscriptions() != 0 {
			t.Error("it is still there")
		}
		if lines := r.lines(); slices.ContainsFunc(lines, func(s string) bool { return s != "h" }) {
			t.Errorf("then comes %.100q", lines)
		}
	})
}

// What waits for a session is bounded.
func TestSlowConsumer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("away")
		blocked := f.stream("blocked")
		blocked.block()
		reads := f.stream("reads")
		for range 20 {
			f.publish(10_000)
			synctest.Wait() // for the one that reads
		}
		if n := len(reads.lines()); n != 20 {
			t.Errorf("who reads got %d events", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := f.subscriptions(); n != 1 {
			t.Errorf("%d are subscribed, want the one that reads", n)
		}
		// Who comes in time is told why, and gets nothing with a gap in it.
		lines := f.answer("away")
		if len(lines) != 2 || !strings.Contains(lines[0], "4100") || !strings.HasPrefix(lines[1], "c[4100,") {
			t.Errorf("who was away gets %.200q", lines)
		}
		time.Sleep(writeTimeout)
		if !blocked.over() {
			t.Error("the request of who does not read is still there")
		}
	})
}

// A goodbye waits for who is between two polls, but not for long.
func TestGoodbyeBetweenPolls(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("one")
		f.poll("two")
		f.publish(1)
		disabled := f.app.Settings().App
		disabled.Enabled = false
		f.registry.Update([]config.App{disabled})
		f.Evict()
		if n := f.subscriptions(); n != 0 {
			t.Errorf("%d are still subscribed", n)
		}
		lines := f.answer("one")
		if len(lines) != 3 || !strings.Contains(lines[0], `\"x\"`) || !strings.Contains(lines[1], "4003") || lines[2] != `c[4003,"Application is disabled"]` {
			t.Errorf("got %q", lines)
		}
		time.Sleep((returnWait + 2) * time.Second)
		if lines := f.answer("two"); len(lines) != 3 || lines[0] != "o" || !strings.Contains(lines[1], "4003") {
			t.Errorf("who comes too late gets %q", lines)
		}
	})
}

// All that are being served are told to reconnect, and nobody is waited for
// in vain.
func TestDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		stream := f.stream("stream")
		f.poll("poll")
		poll := f.post("poll/xhr", "")
		f.poll("away")
		blocked := f.stream("blocked")
		blocked.block()
		f.publish(1)
		if n := len(poll.lines()); n != 1 {
			t.Fatalf("%d lines", n)
		}
		poll = f.post("poll/xhr", "")
		synctest.Wait()

		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		f.Drain(grace)
		if lines := stream.lines(); len(lines) != 3 || lines[2] != `c[4200,"Server is restarting: reconnect"]` {
			t.Errorf("the stream ends with %q", lines)
		}
		if lines := poll.lines(); len(lines) != 2 || lines[1] != `c[4200,"Server is restarting: reconnect"]` {
			t.Errorf("the poll is answered with %q", lines)
		}
		if n := len(f.all()); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		for _, path := range []string{"late/xhr", "late/xhr_send"} {
			r := f.post(path, "")
			<-r.done
			if r.status != http.StatusServiceUnavailable {
				t.Errorf("%s is answered with %d", path, r.status)
			}
		}
	})
}

// While the server drains, newcomers are told to come again.
func TestNewcomerWhileDraining(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		blocked := f.stream("blocked")
		blocked.block()
		f.publish(1)
		synctest.Wait()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		f.requests.Go(func() { f.Drain(grace) })
		synctest.Wait()
		lines := f.answer("late")
		if len(lines) != 3 || lines[0] != "o" || !strings.HasPrefix(lines[2], "c[4200,") {
			t.Errorf("got %q", lines)
		}
	})
}

// bomb is a log handler that panics at a message.
type bomb struct {
	slog.Handler
	message string
}

func (b bomb) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == b.message {
		panic("a bug")
	}
	return nil
}

// A bug ends the one session, or the one request, that meets it.
func TestPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.Gate.Log = slog.New(bomb{f.Log.Handler(), "refused"})
		other, stream := f.stream("other"), f.stream("s")
		f.poll("p")
		for _, name := range []string{"s", "p"} {
			if status := f.send(name, `["{}"]`); status != http.StatusInternalServerError {
				t.Errorf("answered with %d", status)
			}
		}
		if !stream.over() || f.subscriptions() != 1 {
			t.Error("the session goes on")
		}
		f.publish(1)
		if lines := other.lines(); len(lines) != 1 {
			t.Errorf("another session got %q", lines)
		}
	})
	inBubble(t, func(t *testing.T, f *fixture) {
		f.Gate.Apps = nil // a bug
		r := f.post("s/xhr_streaming", "")
		if lines := r.lines(); len(lines) != 3 || lines[0] != "o" || !strings.HasPrefix(lines[2], "c[1011,") || !r.over() {
			t.Errorf("got %q", lines)
		}
	})
}
