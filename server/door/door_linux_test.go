//go:build !blocking

package door

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"belfry/server/bugs"
	"belfry/server/capacity"
	"belfry/server/keepalive"
)

// A connection goes on, here and at net/http, until it is the client's last
// request.
func TestRequests(t *testing.T) {
	where := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%t %s %s %s %v", direct(w), r.Method, r.URL, body, err)
	})
	h := open(t, where)
	c := h.dial(t)
	for range 3 {
		c.send(request("1/events?a=b", "x"))
		c.expect("true POST /apps/1/events?a=b x <nil>")
		c.send(request("slow", "y"))
		c.expect("true POST /apps/slow y <nil>")
	}
	c.send(request("last", "", "Connection: close"))
	if !c.expect("true POST /apps/last  <nil>") {
		t.Error("the last answer does not say so")
	}
	c.expectEnd()

	c = h.dial(t)
	c.send(request("1/events", "x"))
	c.expect("true POST /apps/1/events x <nil>")
	for range 2 { // what comes behind stays in its order
		c.send(lines("GET /up HTTP/1.1", "Host: a") + request("1/events", "x"))
		c.expect("false GET /up  <nil>")
		c.expect("false POST /apps/1/events x <nil>")
	}
	c.send(lines("GET /up HTTP/1.1", "Host: a", "Connection: close"))
	c.expect("false GET /up  <nil>")
	c.expectEnd()

	c = h.dial(t)
	half := request("1/events", "xy")
	eventually(t, "only it is there", func() bool { return h.visiting() == 1 })
	c.send(half[:len(half)-1])
	eventually(t, "the half is read", func() bool { return h.visiting() == 0 })
	c.send(half[len(half)-1:])
	c.expect("false POST /apps/1/events xy <nil>")
}

// visiting is how many are at the door.
func (d *Door) visiting() int { return d.capacity.Count(capacity.Visitor) }

// visitAll calls f with each visitor.
func (d *Door) visitAll(f func(*visitor)) {
	d.watch.All(func(w keepalive.Watched) { f(w.(*visitor)) })
}

// An answer waits for what the handler says; the poller serves others meanwhile,
// and the client's next request has its turn behind it.
func TestAwait(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 8)
	h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/full") {
			w.(*answer).Await(release)
			w.(*answer).Await(release)
			entered <- struct{}{}
		}
		echo(w, r)
	}))
	waiting := make([]*client, cap(entered)) // some at each poller
	for i := range waiting {
		waiting[i] = h.dial(t)
		waiting[i].send(request("full", "a"))
		<-entered
		waiting[i].send(request("next", "b"))
	}
	for range waiting {
		c := h.dial(t)
		c.send(request("1/events", "c"))
		c.expect("c")
	}
	close(release)
	for _, c := range waiting {
		c.expect("a")
		c.expect("b")
	}
}

// A handler that may wait has a goroutine.
func TestSlowHandler(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{})
	h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/slow") {
			entered <- struct{}{}
			<-release
		}
		echo(w, r)
	}))
	var waiting []*client
	for range 8 {
		c := h.dial(t)
		c.send(request("slow", "a"))
		<-entered
		waiting = append(waiting, c)
	}
	for range waiting {
		c := h.dial(t)
		c.send(request("1/events", "c"))
		c.expect("c")
	}
	close(release)
	for _, c := range waiting {
		c.expect("a")
	}
}

const longAnswer = 16 << 20 // bytes: more than sockets keep

func long(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/long") {
		_, _ = io.WriteString(w, strings.Repeat("x", longAnswer))
		return
	}
	fmt.Fprint(w, direct(w))
}

// A client that takes its time gets all of a long answer, from a goroutine, and
// what comes behind it is net/http's.
func TestLongAnswer(t *testing.T) {
	h := open(t, http.HandlerFunc(long))
	c, other := h.dial(t), h.dial(t)
	c.send(request("long", ""))
	c.send(request("next", ""))
	for range 4 {
		other.send(request("1/events", ""))
		other.expect("true")
	}
	c.expect(strings.Repeat("x", longAnswer))
	c.expect("false")
}

// A long answer that is to be the connection's last is.
func TestLongLastAnswer(t *testing.T) {
	h := open(t, http.HandlerFunc(long))
	h.http.ReadHeaderTimeout = time.Hour // net/http would wait for another request
	c := h.dial(t)
	c.send(request("long", "", "Connection: close"))
	c.expect(strings.Repeat("x", longAnswer))
	c.expectEnd()
}

// A client that does not read its answer is cut.
func TestUnreadAnswer(t *testing.T) {
	entered := make(chan struct{}, 1)
	h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		long(w, r)
	}), func(d *Door) { d.Write = time.Nanosecond })
	c := h.dial(t)
	c.send(request("long", ""))
	<-entered
	eventually(t, "it is gone", func() bool { return h.visiting() == 0 })
	if n, err := io.Copy(io.Discard, c); n >= longAnswer {
		t.Errorf("%d bytes were sent, error %v", n, err)
	}
}

// A bug at the door ends the connection that meets it, and no other.
func TestBugs(t *testing.T) {
	bug := func(r *http.Request, where string) {
		if strings.HasSuffix(r.URL.Path, "/"+where) {
			panic("a bug")
		}
	}
	count := prometheus.NewCounter(prometheus.CounterOpts{})
	h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bug(r, "serving")
		echo(w, r)
	}), func(d *Door) {
		quick := d.Quick
		d.Quick = func(r *http.Request) bool {
			bug(r, "choosing")
			return quick(r)
		}
		d.Bugs = bugs.New(d.log, count)
	})
	before := descriptors(t)
	other := h.dial(t)
	for i, path := range []string{"choosing", "serving", "slow/serving", "choosing"} {
		c := h.dial(t)
		c.send(request("before", "a"))
		c.expect("a")
		c.send(request(path, ""))
		c.expectEnd()
		c.Close()
		other.send(request("after", "b"))
		other.expect("b")
		var m dto.Metric
		if err := count.Write(&m); err != nil || m.Counter.GetValue() != float64(i+1) {
			t.Errorf("%v bugs are counted, error %v; want %d", m.Counter.GetValue(), err, i+1)
		}
	}
	eventually(t, "only the other one is left", func() bool { return h.visiting() == 1 && descriptors(t) <= before+2 })
}

// The sweep cuts who sends nothing, at first and later.
func TestSilence(t *testing.T) {
	h := open(t, echo)
	silent, idle := h.dial(t), h.dial(t)
	idle.send(request("1/events", "a"))
	idle.expect("a")
	eventually(t, "both are there", func() bool { return h.visiting() == 2 })
	head := h.watch.Now() + seconds(h.Head) + 1
	h.visitAll(func(v *visitor) { v.Due(head) })
	silent.expectEnd()
	idle.send(request("1/events", "b"))
	idle.expect("b")
	late := h.watch.Now() + seconds(h.Idle) + 1
	h.visitAll(func(v *visitor) { v.Due(late) })
	idle.expectEnd()
	eventually(t, "both are gone", func() bool { return h.visiting() == 0 })
}

// Who is idle is cut, whose request is being served is answered first, and nobody
// else comes in.
func TestDrain(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 2)
	h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/slow"):
			entered <- struct{}{}
			<-release
		case strings.HasSuffix(r.URL.Path, "/full"):
			w.(*answer).Await(release)
			entered <- struct{}{}
		}
		echo(w, r)
	}))
	silent, idle, slow, full := h.dial(t), h.dial(t), h.dial(t), h.dial(t)
	idle.send(request("1/events", "a"))
	idle.expect("a")
	slow.send(request("slow", "b"))
	<-entered
	full.send(request("full", "c"))
	<-entered
	eventually(t, "all are there", func() bool { return h.visiting() == 4 })
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		h.Drain(t.Context())
		if n := h.visiting(); n != 0 {
			t.Errorf("the door did not wait for %d visitors", n)
		}
	}()
	silent.expectEnd()
	idle.expectEnd()
	if nc, err := net.Dial("tcp", h.address); err == nil {
		nc.Close()
		t.Error("a connection was accepted")
	}
	close(release)
	for c, want := range map[*client]string{slow: "b", full: "c"} {
		if !c.expect(want) {
			t.Error("the last answer does not say so")
		}
		c.expectEnd()
	}
	<-drained
}

// A door that was never open closes.
func TestDrainUnopened(t *testing.T) { build(t, echo).stop() }

// When there is no descriptor, connections wait, and idle ones make room.
func TestNoDescriptors(t *testing.T) {
	h := build(t, echo)
	c := h.dial(t)
	c.send(request("1/events", "a"))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 1
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	err := h.Open()
	for deadline := time.Now().Add(10 * time.Second); h.acceptErrors() < 2 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if err := errors.Join(err, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)); err != nil {
		t.Fatal(err)
	}
	if h.acceptErrors() < 2 {
		t.Error("no errors are counted")
	}
	c.expect("a")

	other := h.dial(t)
	other.send(lines("GET /up HTTP/1.1", "Host: a"))
	other.expect("")
	eventually(t, "idle connections make room", func() bool {
		h.capacity.MakeRoom(acceptAtOnce)
		return h.visiting() == 0 && h.capacity.Count(capacity.HTTP) == 0
	})
	c.expectEnd()
	other.expectEnd()
	c = h.dial(t)
	c.send(request("1/events", "b"))
	c.expect("b")
}

// Connections that are all that may be open wait until there is room. Strangers make
// it, also those who do not finish a request or do not read its answer, and not who is
// authorized.
func TestNoRoom(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/wait"):
			Authorized(w, r)
			entered <- struct{}{}
			<-release
		case strings.HasSuffix(r.URL.Path, "/long"):
			long(w, r)
			return
		}
		echo(w, r)
	}), func(d *Door) { d.capacity = capacity.New(capacity.Limits{Descriptors: 5}) })
	served, head, body, unread, silent := h.dial(t), h.dial(t), h.dial(t), h.dial(t), h.dial(t)
	served.send(lines("GET /wait HTTP/1.1", "Host: a"))
	<-entered
	head.send("POST /apps/1/events HTTP/1.1\r\n")
	body.send(lines("POST /body HTTP/1.1", "Host: a", "Content-Length: 2") + "x")
	unread.send(request("long", ""))
	eventually(t, "all places are taken", func() bool { return !h.capacity.Room() })
	next := h.dial(t)
	next.send(request("1/events", "a"))
	next.expect("a")
	for _, c := range []*client{head, silent} {
		c.expectEnd()
	}
	if n, err := io.Copy(io.Discard, unread); n >= longAnswer {
		t.Errorf("%d bytes were sent, error %v", n, err)
	}
	_, _ = io.Copy(io.Discard, body) // it ends
	if h.acceptErrors() == 0 {
		t.Error("nothing is counted")
	}
	close(release)
	served.expect("")
	eventually(t, "those who are left are counted", func() bool { return h.capacity.Count(capacity.Visitor)+h.capacity.Count(capacity.HTTP) == 2 })
}

func (d *Door) acceptErrors() float64 {
	var m dto.Metric
	_ = d.Intake.acceptErrors.Write(&m) // a counter has no error
	return m.GetCounter().GetValue()
}

// Whatever clients do, each whole answer is right, and nothing is left.
func TestRaces(t *testing.T) {
	before := descriptors(t)
	for range 10 {
		t.Run("round", func(t *testing.T) {
			room := make(chan struct{})
			close(room)
			h := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if a, ok := w.(*answer); ok && strings.HasSuffix(r.URL.Path, "/full") {
					a.Await(room)
				}
				echo(w, r)
			}))
			var clients sync.WaitGroup
			var answered atomic.Int64
			var stopping atomic.Bool
			enough := make(chan struct{})
			for i := range 16 {
				clients.Go(func() {
					for n := 0; ; n++ {
						count, err := visit(h.address, i+n)
						if err != nil && !stopping.Load() {
							t.Error(err)
						}
						if answered.Add(count) > 300 && count > 0 {
							select {
							case enough <- struct{}{}:
							default:
							}
						}
						if errors.Is(err, unix.ECONNREFUSED) {
							return
						}
						if wrong := new(wrongAnswer); errors.As(err, &wrong) {
							t.Error(err)
						}
					}
				})
			}
			<-enough
			stopping.Store(true)
			h.stop()
			clients.Wait()
		})
	}
	eventually(t, "no descriptor is left", func() bool { return descriptors(t) <= before })
}

type wrongAnswer struct{ got, want string }

func (w *wrongAnswer) Error() string { return fmt.Sprintf("got %q, want %q", w.got, w.want) }

// visit sends requests of several kinds, and leaves in several ways.
func visit(address string, n int) (answered int64, err error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	nc, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, err
	}
	c := &client{TCPConn: nc.(*net.TCPConn)}
	c.answers = bufio.NewReader(nc)
	for i := range n % 7 {
		body := fmt.Sprint(n, i)
		text := request([]string{"1/events", "slow", "full", "1/events"}[(n+i)%4], body)
		if (n+i)%11 == 10 {
			text = lines("GET /up HTTP/1.1", "Host: a", "Content-Length: "+fmt.Sprint(len(body))) + body
		}
		if _, err := io.WriteString(nc, text); err != nil {
			return answered, err
		}
		if n%13 == 0 {
			break // without the answer
		}
		resp, err := http.ReadResponse(c.answers, nil)
		if err != nil {
			return answered, err
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			return answered, err
		}
		answered++
		if string(got) != body {
			return answered, &wrongAnswer{string(got), body}
		}
		if resp.Close {
			return answered, nil
		}
	}
	if n%5 == 0 {
		return answered, c.SetLinger(0)
	}
	return answered, nil
}
