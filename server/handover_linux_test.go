//go:build !blocking

package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
	"belfry/server/poller"
)

// upgrade has another process take over.
func (p *program) upgrade() error {
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	pid, err := handover.Upgrade(ctx, p.pid)
	if err == nil {
		p.pid = pid
	}
	return err
}

func (p *program) mustUpgrade() {
	p.t.Helper()
	if err := p.upgrade(); err != nil {
		p.t.Fatalf("%v\n%s", err, &p.log)
	}
}

// A client does not notice that its server is replaced.
func TestHandover(t *testing.T) {
	p := start(t)
	a, b := p.connect(), p.connect()
	a.Subscribe("private-a")
	a.Join("presence-a", "1")
	b.Join("presence-a", "2")
	a.Expect(`{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"2\"}"}`)
	p.publish("e", "before", "private-a")
	a.Expect(servertest.EventText("e", "private-a", "before"))
	before := p.pid
	p.mustUpgrade()
	if p.pid == before {
		t.Fatal("the process is the same")
	}
	p.publish("e", "after", "private-a")
	a.Expect(servertest.EventText("e", "private-a", "after"))
	a.Send(`{"event":"client-x","channel":"private-a","data":"1"}`)
	a.Sync()
	b.Drop()
	a.Expect(`{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"2\"}"}`)
}

// reader reads what a client gets until the event last comes.
type reader struct {
	*servertest.Client
	events map[string][]string // data by channel and name
	err    error
	done   chan struct{}
}

func read(c *servertest.Client, last string) *reader {
	r := &reader{Client: c, events: make(map[string][]string), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			var f wstest.ReceivedFrame
			if f, r.err = c.TryReadFrame(); r.err != nil {
				return
			}
			if f.Opcode != wstest.Text {
				r.err = fmt.Errorf("got %v", f)
				return
			}
			var e wstest.Event
			if e, r.err = wstest.ParseEvent(f.Payload); r.err != nil {
				return
			}
			key := e.Channel + " " + e.Event
			r.events[key] = append(r.events[key], e.String())
			if e.Event == last {
				return
			}
		}
	}()
	return r
}

// numbers are those from 0.
func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}

// hooks is a backend that keeps the events of webhooks.
type hooks struct {
	*httptest.Server
	mu     sync.Mutex // guards events
	events []string   // name, channel, and what else there is
}

func backend(t *testing.T) *hooks {
	t.Helper()
	h := new(hooks)
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Events []struct {
				Name, Channel, Event, Data string
				UserID                     string `json:"user_id"`
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, e := range body.Events {
			h.events = append(h.events, strings.Join(strings.Fields(strings.Join([]string{e.Name, e.Channel, e.UserID, e.Event, e.Data}, " ")), " "))
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// of are the events that begin with that.
func (h *hooks) of(prefix string) (events []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if strings.HasPrefix(e, prefix) {
			events = append(events, e)
		}
	}
	return events
}

func (h *hooks) app() string {
	return `apps: [{id: 1, key: key-1, secret: secret-1, client_event_rate: 0, message_rate: 0, webhooks: [{url: '` + h.URL +
		`', events: [channel_occupied, channel_vacated, member_added, member_removed, client_event, cache_miss]}]}]`
}

// Ten handovers in a row under load: no client is disconnected, no event is lost, doubled
// or out of order, no publish is refused, nobody is told that a member has gone, and each
// webhook comes once.
func TestHandoversUnderLoad(t *testing.T) {
	h := backend(t)
	p := start(t, h.app())
	const clients, handovers = 40, 10
	var readers []*reader
	sender := p.connect()
	sender.Subscribe("private-whispers")
	for i := range clients {
		c := p.connect()
		c.Subscribe("a")
		c.Subscribe("private-whispers")
		c.Join("presence-x", strconv.Itoa(i))
		readers = append(readers, read(c, "last"))
	}

	var stop atomic.Bool
	var load sync.WaitGroup
	var counts [3]atomic.Int64
	// The last one has bodies that the door leaves to net/http.
	for i, filling := range []string{"", "", strings.Repeat(" ", 20<<10)} {
		client := &http.Client{Transport: new(http.Transport), Timeout: wstest.Patience}
		load.Go(func() {
			defer client.CloseIdleConnections()
			for n := 0; !stop.Load(); n++ {
				name := "e" + strconv.Itoa(i)
				if err := p.post(client, "events", append(eventBody(name, strconv.Itoa(n), "a"), filling...)); err != nil {
					t.Errorf("publisher %d: %v", i, err)
					return
				}
				counts[i].Add(1)
			}
		})
	}
	load.Go(func() { // clients that come and go
		for !stop.Load() {
			conn, err := wstest.Dialer{Addr: p.address}.Open(t, servertest.Path("1"))
			if err == nil {
				_, err = servertest.Greeted("1", conn)
				conn.Drop()
			}
			if err != nil {
				t.Errorf("a newcomer: %v", err)
				return
			}
		}
	})
	whispers := 0
	load.Go(func() {
		for ; !stop.Load(); whispers++ {
			if err := sender.TryWrite(wstest.TextFrame(`{"event":"client-w","channel":"private-whispers","data":"` + strconv.Itoa(whispers) + `"}`)); err != nil {
				t.Errorf("a client event: %v", err)
				return
			}
			runtime.Gosched()
			if whispers%10 == 0 { // no faster than they are taken
				if err := sender.TryWrite(wstest.TextFrame(`{"event":"pusher:ping","data":{}}`)); err != nil {
					t.Error(err)
				}
				if f, err := sender.TryReadFrame(); err != nil || !strings.Contains(string(f.Payload), "pusher:pong") {
					t.Errorf("the sender has got %v, error %v", f, err)
					return
				}
			}
		}
	})
	for range handovers {
		for i := range counts {
			n := counts[i].Load()
			servertest.Eventually(t, "publishing goes on", func() bool { return t.Failed() || counts[i].Load() >= n+10 })
		}
		p.mustUpgrade()
	}
	stop.Store(true)
	load.Wait()
	sender.Sync()
	p.publish("last", "", "a")
	for i, r := range readers {
		<-r.done
		if r.err != nil {
			t.Fatalf("client %d: %v\n%s", i, r.err, &p.log)
		}
		for publisher := range counts {
			n := int(counts[publisher].Load())
			if got := r.events["a e"+strconv.Itoa(publisher)]; !slices.Equal(got, numbers(n)) {
				t.Errorf("client %d has %d events of publisher %d, which has published %d", i, len(got), publisher, n)
			}
		}
		if got := r.events["private-whispers client-w"]; !slices.Equal(got, numbers(whispers)) {
			t.Errorf("client %d has %d of %d client events", i, len(got), whispers)
		}
		if got := r.events["presence-x pusher_internal:member_added"]; len(got) != clients-1-i {
			t.Errorf("client %d was told of %d new members behind itself", i, len(got))
		}
		if got := r.events["presence-x pusher_internal:member_removed"]; len(got) != 0 {
			t.Errorf("client %d was told that members have gone: %q", i, got)
		}
	}
	servertest.Eventually(t, "all webhooks of client events", func() bool { return len(h.of("client_event ")) >= whispers })
	for i, e := range h.of("client_event ") {
		if want := fmt.Sprint("client_event private-whispers client-w ", i); e != want {
			t.Fatalf("webhook %d is %q, not %q", i, e, want)
		}
	}
	if gone := append(h.of("member_removed"), h.of("channel_vacated")...); len(gone) > 0 {
		t.Errorf("the backend was told of %q", gone)
	}
	if added, occupied := len(h.of("member_added")), len(h.of("channel_occupied")); added != clients || occupied != 3 {
		t.Errorf("the backend was told of %d members and %d channels", added, occupied)
	}
}

// A new process that does not come to take over changes nothing.
func TestFailedHandovers(t *testing.T) {
	p := start(t)
	c := p.connect()
	c.Subscribe("a")
	r := read(c, "last")
	script := func(text string) func() {
		return func() {
			if err := os.Remove(p.path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p.path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	pid := p.pid
	for _, tt := range []struct {
		name   string
		change func()
		want   string
	}{
		{"exits at once", script("exit 3"), "exit status 3"},
		{"is no program", func() {
			if err := os.WriteFile(p.path, []byte("x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "cannot be started"},
		{"is not there", func() {
			if err := os.Remove(p.path); err != nil {
				t.Fatal(err)
			}
		}, "cannot be started"},
		{"hangs", func() {
			if err := os.WriteFile(p.path, nil, 0o700); err != nil {
				t.Fatal(err)
			}
			script("exec sleep 1000")()
		}, "has not answered in time"},
		{"speaks another version", script(`printf 'R\0\0\0\033{"version":99,"apps":["1"]}' >&3; exec sleep 1000`), "another version"},
		{"ends when it is ready", script(`printf 'R\0\0\0\032{"version":2,"apps":["1"]}' >&3; exit 1`), "exit status 1"},
		{"ends in the middle", script(`printf 'R\0\0\0\032{"version":2,"apps":["1"]}' >&3; head -c 100 <&3 >/dev/null; exit 1`), "exit status 1"},
		{"sends what is no record", script(`printf 'RRRRRRRR' >&3; exec sleep 1000`), "something else"},
		{"refuses", script(`printf 'X\0\0\0\011"no room"' >&3; exec sleep 1000`), "no room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.change()
			if err := p.upgrade(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	// One that is ready and then hangs. What is published while all is frozen waits.
	script(`printf 'R\0\0\0\032{"version":2,"apps":["1"]}' >&3; exec sleep 1000`)()
	late := make(chan error, 1)
	go func() { late <- p.upgrade() }()
	const waiting = 20
	published := make(chan error, waiting)
	for range waiting {
		go func() { published <- p.post(http.DefaultClient, "events", eventBody("frozen", "x", "a")) }()
	}
	for range waiting {
		if err := <-published; err != nil {
			t.Errorf("a publish: %v", err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := <-late; err == nil || !strings.Contains(err.Error(), "has not answered in time") {
		t.Errorf("a new process that is late: error %v", err)
	}

	// A configuration that it cannot use.
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, p.path)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.configure("127.0.0.1:0", "nonsense: 1")
	if err := p.upgrade(); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a broken configuration: error %v", err)
	}
	p.configure("127.0.0.1:0")
	if p.pid != pid {
		t.Error("another process has taken over")
	}
	p.publish("e", "1", "a")
	p.mustUpgrade()
	p.publish("last", "2", "a")
	<-r.done
	if r.err != nil || !slices.Equal(r.events["a e"], []string{"1"}) || len(r.events["a frozen"]) != waiting {
		t.Errorf("the client has got %v, error %v", r.events, r.err)
	}
}

// Clients of TLS are told to reconnect, and are served at once when they do. Publishes
// that come to the old process are passed on.
func TestHandoverWithTLS(t *testing.T) {
	var c config.Config
	servertest.Secure(t)(&c)
	pem, err := os.ReadFile(c.Server.TLS.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "  tls: {cert_file: '"+c.Server.TLS.CertFile+"', key_file: '"+c.Server.TLS.KeyFile+"'}")
	p.secure = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	p.secure.RootCAs.AppendCertsFromPEM(pem)
	publisher := &http.Client{Transport: &http.Transport{TLSClientConfig: p.secure}, Timeout: wstest.Patience}
	defer publisher.CloseIdleConnections()
	var sent atomic.Int64
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			if err := p.post(publisher, "events", eventBody("e", "x", "a")); err != nil {
				stopped <- err
				return
			}
			sent.Add(1)
		}
	}()
	for range 3 {
		client := p.connect()
		p.mustUpgrade()
		again := p.connect()
		expectRefusal(t, client.Conn, 4200)
		client.Drop()
		n := sent.Load()
		servertest.Eventually(t, "publishing goes on", func() bool { return len(stopped) > 0 || sent.Load() > n+10 })
		again.Sync()
		again.Drop()
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A client of the fallback is told to reconnect. Others see that it has gone, and its
// backend hears of it if it stays away.
func TestHandoverWithFallback(t *testing.T) {
	h := backend(t)
	p := start(t, h.app())
	stays := p.connect()
	stays.Join("presence-x", "1")
	f := servertest.FallbackAt(t, "http://"+p.address, nil, "1", servertest.Streaming)
	f.Open()
	f.Join("presence-x", "2")
	stays.Expect(`{"event":"pusher_internal:member_added","channel":"presence-x","data":"{\"user_id\":\"2\"}"}`)
	p.mustUpgrade()
	stays.Expect(`{"event":"pusher_internal:member_removed","channel":"presence-x","data":"{\"user_id\":\"2\"}"}`)
	f.ExpectClose(4200)
	servertest.Eventually(t, "the webhook", func() bool { return len(h.of("member_removed presence-x 2")) == 1 })
	if gone := append(h.of("member_removed presence-x 1"), h.of("channel_vacated")...); len(gone) > 0 {
		t.Errorf("the backend was told of %q", gone)
	}
}

// hang makes the program one that never answers.
func (p *program) hang() {
	p.t.Helper()
	if err := os.Remove(p.path); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		p.t.Fatal(err)
	}
}

// A new process that may not have enough descriptors takes over nothing.
func TestHandoverWithoutDescriptors(t *testing.T) {
	p := start(t)
	var clients []*servertest.Client
	for range 150 { // more than the limit, which is more than a process has at its start
		clients = append(clients, p.connect())
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.hang()
	if err := os.WriteFile(p.path, []byte("#!/bin/sh\nulimit -n 100\nexec "+self+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	// The old process may meet the end of the new one before it has the reason.
	const reason = "descriptors were lost"
	if err := p.upgrade(); err == nil || !strings.Contains(err.Error(), reason) && !p.log.Contains(reason) {
		t.Errorf("error %v", err)
	}
	for _, c := range clients {
		c.Sync()
	}
}

// A new process that is a node of a cluster does not take over from a single server.
func TestHandoverToCluster(t *testing.T) {
	p := start(t)
	c := p.connect()
	c.Join("presence-a", "1")
	p.configure("127.0.0.1:0", "apps: [{id: 1, key: key-1, secret: secret-1}]", `cluster: {driver: redis, redis: {url: "redis://127.0.0.1:1"}}`)
	if err := p.upgrade(); err == nil || !strings.Contains(err.Error(), "node of a cluster") {
		t.Errorf("error %v", err)
	}
	c.Sync()
}

// A probe is answered that the server is ready, by whichever process.
func TestReadyAcrossHandovers(t *testing.T) {
	p := start(t)
	probe := func() {
		t.Helper()
		answer, err := http.Get("http://" + p.address + "/ready")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("status %d, %v", answer.StatusCode, err)
		}
	}
	for range 3 {
		probe() // keeps its connection
		p.mustUpgrade()
		probe()
	}
}

// Clients of an app that the new configuration does not have are told to reconnect, and
// are refused then. Those of one that it disables are told so.
func TestHandoverToOtherApps(t *testing.T) {
	const first, second, third = "{id: 1, key: key-1, secret: secret-1}", "{id: 2, key: key-2, secret: secret-2}", "{id: 2, key: key-2, secret: secret-2, enabled: false}"
	p := start(t, "apps: ["+first+", "+second+"]")
	connect := func(app string) *servertest.Client {
		t.Helper()
		c, err := servertest.Greeted(app, wstest.Dial(t, p.address, servertest.Path(app)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := connect("1"), connect("2")
	two.Join("presence-a", "1")
	p.configure("127.0.0.1:0", "apps: ["+second+"]")
	p.mustUpgrade()
	expectRefusal(t, one.Conn, 4200)
	one.Drop()
	expectRefusal(t, wstest.Dial(t, p.address, servertest.Path("1")), 4001)
	two.Sync()
	p.configure("127.0.0.1:0", "apps: ["+third+"]")
	p.mustUpgrade()
	expectRefusal(t, two.Conn, 4003)
	two.Drop()
	p.configure("127.0.0.1:0", "apps: ["+first+"]")
	p.mustUpgrade()
	connect("1").Subscribe("a")
}

// A node of a cluster hands over, but not while it does not reach the cluster.
func TestHandoverOfANode(t *testing.T) {
	p := start(t, "cluster: {driver: redis, redis: {url: 'redis://127.0.0.1:1'}}")
	if err := p.upgrade(); err == nil || !strings.Contains(err.Error(), cluster.ErrUnavailable.Error()) {
		t.Errorf("error %v", err)
	}
}

// SIGTERM ends a handover, and then the server as always.
func TestStopDuringHandover(t *testing.T) {
	p := start(t)
	c := p.connect()
	p.hang()
	failed := make(chan error, 1)
	go func() { failed <- p.upgrade() }()
	servertest.Eventually(t, "the handover begins", func() bool { return p.log.Contains("handing over") })
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "is stopping") {
		t.Errorf("error %v", err)
	}
	expectRefusal(t, c.Conn, 4200)
	c.Drop()
}

// SIGUSR2 does the same as belfry upgrade.
func TestHandoverBySignal(t *testing.T) {
	p := start(t)
	c := p.connect()
	c.Subscribe("a")
	if err := syscall.Kill(p.pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, "the handover", func() bool { return p.log.Contains(`msg="handed over" pid=`) })
	p.pid, _ = strconv.Atoi(regexp.MustCompile(`msg="handed over" pid=(\d+)`).FindStringSubmatch(p.log.String())[1])
	p.publish("e", "x", "a")
	c.Expect(servertest.EventText("e", "a", "x"))
}

// Everything that a session has goes with it: what is not finished, what waits to be
// sent, limits, and the time in which it must sign in.
func TestHandoverKeeps(t *testing.T) {
	p := start(t, `apps: [{id: 1, key: key-1, secret: secret-1, message_rate: 0, client_event_rate: 2, subscription_count: true, max_event_bytes: 100000, history: [{channels: kept}]}]`)
	c := p.connect()
	c.Subscribe("private-a")
	c.Expect(`{"event":"pusher_internal:subscription_count","channel":"private-a","data":"{\"subscription_count\":1}"}`)
	c.SignIn("u")
	watcher := p.connect()
	watchlist := `{"id":"w","watchlist":["u","v"]}`
	watcher.Send(watcher.SignInText(watchlist))
	watcher.Expect(servertest.SignedIn(watchlist),
		`{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"u\"]},{\"name\":\"offline\",\"user_ids\":[\"v\"]}]}"}`)
	p.publish("last", "kept", "cache-c")
	p.publish("first", "1", "kept")

	// More waits for a client that does not read than its socket takes.
	slow, err := wstest.Dialer{Addr: p.address, ReadBuffer: 32 << 10}.Open(t, servertest.Path("1"))
	if err != nil {
		t.Fatal(err)
	}
	slowClient, err := servertest.Greeted("1", slow)
	if err != nil {
		t.Fatal(err)
	}
	slowClient.Subscribe("big")
	slowClient.Expect(`{"event":"pusher_internal:subscription_count","channel":"big","data":"{\"subscription_count\":1}"}`)
	big := strings.Repeat("x", 50_000)
	const many = 12
	for i := range many {
		p.publish("e", strconv.Itoa(i)+big, "big")
	}

	// A message in two frames, and half of the second.
	half := []byte(`{"event":"pusher:ping",`)
	rest := wstest.Frame(wstest.Fin|wstest.Continuation, []byte(`"data":{}}`))
	c.Write(append(wstest.Frame(wstest.Text, half), rest[:7]...))
	for range 2 {
		watcher.Sync()
	}
	p.mustUpgrade()

	c.Write(rest[7:])
	c.Expect(`{"event":"pusher:pong","data":"{}"}`)
	for i := range many {
		slowClient.Expect(servertest.EventText("e", "big", strconv.Itoa(i)+big))
	}
	c.Subscribe("cache-c")
	c.Expect(servertest.EventText("last", "cache-c", "kept"),
		`{"event":"pusher_internal:subscription_count","channel":"cache-c","data":"{\"subscription_count\":1}"}`)
	p.publish("hello", "u", "#server-to-user-u")
	c.Expect(servertest.EventText("hello", "#server-to-user-u", "u"))
	p.publish("second", "2", "kept")
	events := regexp.MustCompile(`"serial":"(\w+)-\d+","name":"(\w+)"`).FindAllStringSubmatch(p.get("channels/kept/history"), -1)
	if len(events) != 2 || events[0][2] != "first" || events[1][2] != "second" || events[0][1] != events[1][1] {
		t.Errorf("the history has %q", events)
	}
	c.Drop()
	watcher.Expect(`{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"u\"]}]}"}`)
}

// version2 is the state of version 2 of the protocol, which every later program that
// claims to know it must understand: kinds and records.
var version2 = []string{
	"t 1000",
	`a {"id":"1","sources":"AAECAwQFBgcICQoLDA0ODw==","requests":{"burst":5,"left":3.5}}`,
	`c {"name":"presence-x","members":[{"user_id":"1","info":"{\"name\":\"Ann\"}"},{"user_id":"2"}]}`,
	`c {"name":"cache-c","last":{"frame":"gQJ7fQ==","data":"Int9Ig==","expires":"2000-01-01T00:00:00Z"},"counted":"2000-01-01T00:00:00Z","count":1,"counting":true,"missed":"2000-01-01T00:00:00Z"}`,
	`d [{"name":"member_removed","channel":"presence-x","user_id":"3","source":7,"due":"2100-01-01T00:00:00Z"}]`,
	`f "gQF6"`,
	`s {"session":{"app":"1","id":"123.456","source":7,"authorized":true,"opened":900,"pinged":950,"messages_left":5,"messages_at":1700000000,"last_refusal":1700000000,
	   "client_events":{"burst":10,"left":9.5},"subscriptions":[{"channel":"private-a"},{"channel":"presence-x","user_id":"1"}],
	   "user":{"id":"u","info":"e30=","watchlist":["u","v"],"online":["u"]}},
	  "outbox":{"segments":[{"frames":"gQF4gQF5"},{"number":0}],"sent":1,"largest":3,"stalled":2},"part":{"opcode":1,"message":"eyJldmVudCI6InB1c2hlcjpwaW5nIiwi","head":"gA=="},"seen":960,"begun":999}`,
	`n {"app":"1","id":"7.8","source":9,"transport":1,"subscriptions":[{"channel":"presence-x","user_id":"2"}]}`,
}

// The new process has all of a client of version 2, and begins without Go when the old
// one has ended behind Adopted.
func TestVersion2(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	nc, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(wstest.Patience)); err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, socket := range []syscall.Conn{listener.(*net.TCPListener), accepted.(*net.TCPConn)} {
		fd, err := poller.Duplicate(socket)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	accepted.Close()
	p := &program{t: t, config: filepath.Join(t.TempDir(), "config.yaml"), address: listener.Addr().String()}
	p.configure("127.0.0.1:0")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(serveVariable, p.config)
	successor, err := handover.Program{Path: self, Args: []string{self}}.Start()
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			_ = successor.End(err)
			t.Fatal(err)
		}
	}
	successor.SetDeadline(time.Now().Add(wstest.Patience))
	must(successor.SendFiles(fds[0]))
	must(successor.Send(handover.Hello, json.RawMessage(`{"version":2,"metrics":false,"outlive":false}`)))
	must(successor.Flush())
	var ready struct {
		Version int      `json:"version"`
		Apps    []string `json:"apps"`
	}
	must(successor.Expect(handover.Ready, &ready))
	if ready.Version != 2 || !slices.Equal(ready.Apps, []string{"1"}) {
		t.Errorf("the new process is ready with %v", ready)
	}
	must(successor.SendFiles(fds[1]))
	for _, record := range version2 {
		must(successor.Send(handover.Kind(record[0]), json.RawMessage(record[2:])))
	}
	must(successor.Send(handover.Complete, nil))
	must(successor.Flush())
	must(successor.Expect(handover.Adopted, nil))
	for _, fd := range fds {
		must(syscall.Close(fd))
	}
	successor.Close() // the old process has ended

	// The rest of what waits, then what the absent client's end is to the others, and the
	// answer to the message whose rest comes.
	if _, err := nc.Write(wstest.Frame(wstest.Fin|wstest.Continuation, []byte(`data":{}}`))[1:]); err != nil {
		t.Fatal(err)
	}
	want := "\x01x\x81\x01y\x81\x01z" +
		string(protocol.MemberRemovedFrame("presence-x", "2")) + string(protocol.PongFrame)
	got := make([]byte, len(want))
	n, err := io.ReadFull(nc, got)
	sorted := func(s string) string { b := []byte(s); slices.Sort(b); return string(b) } // the last two in any order
	if err != nil || sorted(string(got)) != sorted(want) || !strings.HasPrefix(string(got), want[:8]) {
		t.Errorf("the client has got %q, error %v", got[:n], err)
	}
	must(syscall.Kill(successor.Pid(), syscall.SIGTERM))
	if _, err := io.ReadAll(nc); err != nil {
		t.Error(err)
	}
	nc.Close()
	must(successor.Wait())
}

// postText is the text of a publish to channel a, by way of that prefix, which is signed
// as well.
func postText(prefix, event string) string {
	body := eventBody(event, "x", "a")
	path := prefix + "/apps/1/events"
	query := servertest.SignedQuery("1", http.MethodPost, path, nil, body, time.Now())
	return fmt.Sprintf("POST %s?%s HTTP/1.1\r\nHost: belfry\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, query.Encode(), len(body), body)
}

// open connects to the server without a request.
func (p *program) open() net.Conn {
	p.t.Helper()
	nc, err := net.Dial("tcp", p.address)
	if err == nil {
		err = nc.SetDeadline(time.Now().Add(wstest.Patience))
	}
	if err == nil && p.secure != nil {
		nc = tls.Client(nc, p.secure)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { nc.Close() })
	return nc
}

// finish sends the rest of a request, and expects that it is answered with that status.
func finish(t *testing.T, nc net.Conn, rest string, status int) *http.Response {
	t.Helper()
	if _, err := io.WriteString(nc, rest); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != status {
		t.Errorf("answered with %s %s, error %v", a.Status, text, err)
	}
	return a
}

// When the new configuration has TLS and the old one not, or the other way round, or
// another path or secret, then requests on connections that are there are answered.
func TestHandoverToAnotherEntrance(t *testing.T) {
	var c config.Config
	servertest.Secure(t)(&c)
	pem, err := os.ReadFile(c.Server.TLS.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	secure.RootCAs.AppendCertsFromPEM(pem)
	withTLS := "  tls: {cert_file: '" + c.Server.TLS.CertFile + "', key_file: '" + c.Server.TLS.KeyFile + "'}"
	for _, tt := range []struct {
		name, before, after string
		secure              *tls.Config // before
		prefix              string
	}{
		{"TLS on", "", withTLS, nil, ""},
		{"TLS off", withTLS, "", secure, ""},
		{"another path", "  path: /old", "  path: /new", nil, "/old"},
		{"no path", "  path: /old", "", nil, "/old"},
		{"another secret", "", "apps: [{id: 1, key: key-1, secret: another}]", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.before)
			p.secure = tt.secure
			var client *servertest.Client // which stays, if it has no TLS
			if p.secure == nil {
				client = p.connect()
				client.Subscribe("a")
			}
			kept := p.open() // and has had a request
			finish(t, kept, postText(tt.prefix, "before"), http.StatusOK)
			fresh := p.open()
			begun := p.open()
			text := postText(tt.prefix, "e")
			if _, err := io.WriteString(begun, text[:len(text)-5]); err != nil {
				t.Fatal(err)
			}
			if p.secure != nil { // else it is the new process's
				finish(t, fresh, postText(tt.prefix, "before"), http.StatusOK)
			}
			p.configure("127.0.0.1:0", tt.after)
			p.mustUpgrade()
			finish(t, begun, text[len(text)-5:], http.StatusOK)
			if tt.name == "another secret" { // the new process has the others: who signs by the old secret is refused
				finish(t, kept, text, http.StatusUnauthorized)
			} else {
				finish(t, kept, text, http.StatusOK)
				finish(t, fresh, text, http.StatusOK)
			}
			if client != nil {
				client.Expect(servertest.EventText("before", "a", "x"), servertest.EventText("e", "a", "x"))
			}
		})
	}
}

// A request whose body does not come while the old process ends is answered.
func TestHandoverWithSlowBody(t *testing.T) {
	p := start(t)
	slow := p.open()
	text := postText("", "e")
	if _, err := io.WriteString(slow, text[:len(text)-5]); err != nil {
		t.Fatal(err)
	}
	p.mustUpgrade()
	if a := finish(t, slow, "", http.StatusServiceUnavailable); !a.Close {
		t.Error("the connection is not closed behind the answer")
	}
}
