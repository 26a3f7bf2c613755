package door

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/refusals"
)

// Without a door, too, no more connections are accepted than may be open, and
// strangers make room.
func TestListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	counted := capacity.New(capacity.Limits{Descriptors: 3})
	watch := keepalive.New()
	defer watch.Close()
	intake := NewIntake(counted, watch, log, refusals.New(log), prometheus.NewCounter(prometheus.CounterOpts{}))
	entered, release := make(chan struct{}), make(chan struct{})
	server := &http.Server{ConnContext: ConnContext, Handler: Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			Authorized(w, r)
			entered <- struct{}{}
			<-release
		}
		if n := counted.Count(capacity.HTTP); n > 3 {
			t.Errorf("%d connections are open", n)
		}
	}))}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(intake.Listen(l, false))
	}()
	get := func(path string) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(nc, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return nc
	}
	expect := func(nc net.Conn) {
		t.Helper()
		a, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
	}
	waiting := get("/wait")
	<-entered
	for range 6 { // each of which stays
		expect(get("/"))
	}
	close(release)
	expect(waiting)
	server.Close()
	<-ended
	if n := counted.Count(capacity.HTTP); n != 0 {
		t.Errorf("%d places are left", n)
	}
}
