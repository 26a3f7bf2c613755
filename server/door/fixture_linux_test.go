//go:build !blocking

package door

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/poller"
	"belfry/server/refusals"
)

// house is a door and the net/http server behind it.
type house struct {
	*Door
	http    *http.Server
	address string
	stop    func() // drains; once or more often
}

// build serves with a handler. Requests to paths with /slow may wait.
func build(t testing.TB, handler http.Handler, edit ...func(*Door)) *house {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pollers, err := poller.Start()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h := &house{address: l.Addr().String(), http: &http.Server{Handler: Serve(handler), ConnContext: ConnContext, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second}}
	h.Door = &Door{
		Intake:  NewIntake(capacity.New(capacity.Limits{}), keepalive.New(), log, refusals.New(log), prometheus.NewCounter(prometheus.CounterOpts{})),
		Handler: handler, Quick: func(r *http.Request) bool { return !strings.Contains(r.URL.Path, "/slow") },
		Pollers: pollers,
		Head:    10 * time.Second, Idle: time.Minute, Write: 30 * time.Second,
	}
	for _, f := range edit {
		f(h.Door)
	}
	left, err := h.Prepare(l)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = h.http.Serve(left) })
	h.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		h.Drain(ctx)
		if ctx.Err() != nil {
			t.Error("visitors are left after 10 s")
		}
		if err := h.http.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := h.capacity.Wait(ctx, capacity.Kinds...); err != nil {
			t.Error("places are left")
		}
		serving.Wait()
		pollers.Close()
		h.watch.Close()
		h.refusals.Flush()
	})
	t.Cleanup(h.stop)
	return h
}

// open is build with the door open.
func open(t testing.TB, handler http.Handler, edit ...func(*Door)) *house {
	t.Helper()
	h := build(t, handler, edit...)
	if err := h.Open(); err != nil {
		t.Fatal(err)
	}
	return h
}

// client is a connection to a door.
type client struct {
	*net.TCPConn
	t       testing.TB
	answers *bufio.Reader
}

func (h *house) dial(t testing.TB) *client {
	t.Helper()
	nc, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{nc.(*net.TCPConn), t, bufio.NewReader(nc)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// expect reads an answer of status 200 and returns whether it is the last.
func (c *client) expect(body string) (last bool) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || string(got) != body {
		c.t.Fatalf("status %d, %.200q, error %v; want %.200q", resp.StatusCode, got, err, body)
	}
	return resp.Close
}

// expectEnd reads nothing but the end.
func (c *client) expectEnd() {
	c.t.Helper()
	if b, err := c.answers.ReadByte(); err != io.EOF {
		c.t.Fatalf("got byte %q, error %v; want the end", b, err)
	}
}

// request is an API request with a body.
func request(path, body string, header ...string) string {
	return lines(append([]string{"POST /apps/" + path + " HTTP/1.1", "Host: a", "Content-Length: " + strconv.Itoa(len(body))}, header...)...) + body
}

// echo answers with the body. A request to the API counts as authorized.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/apps/") {
		Authorized(w, r)
	}
	_, _ = io.Copy(w, r.Body)
})

// direct says whether the door serves a request itself.
func direct(w http.ResponseWriter) bool {
	_, ok := w.(*answer)
	return ok
}

// descriptors are how many the process has.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
