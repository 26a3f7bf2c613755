package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// publishBursts publishes numbered events in batches, as fast as the server
// takes them, each padded with what takes two or four bytes, or an escape.
func publishBursts(t *testing.T, s *servertest.Server, channel string, events, padding int) {
	pad := strings.Repeat("é😀\"\\\u2028", padding/12)
	for i := 0; i < events; i += 10 {
		var batch []string
		for n := range 10 {
			batch = append(batch, fmt.Sprintf(`{"name":"n","channel":%q,"data":%s}`, channel, servertest.Quote(fmt.Sprint(i+n)+" "+pad)))
		}
		if a := s.Post(t, "1", "batch_events", `{"batch":[`+strings.Join(batch, ",")+`]}`); a.Status != http.StatusOK {
			t.Errorf("publish was answered with %d %s", a.Status, a.Body)
		}
	}
}

// expectNumbered reads events from first on, and stops before last.
func expectNumbered(t *testing.T, f *servertest.Fallback, first, last int) {
	t.Helper()
	for i := first; i < last; i++ {
		if got, _, _ := strings.Cut(f.ReadEvent().String(), " "); got != fmt.Sprint(i) {
			t.Fatalf("got event %s, want %d", got, i)
		}
	}
}

// A streaming client restarts its response every 256 KiB, and a polling one all
// the time. Neither misses an event, nor gets one twice, nor another beginning.
func TestFallbackBursts(t *testing.T) {
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t, func(c *config.Config) { c.Server.MaxOutboxBytes = 16 << 20 })
		f := s.ConnectFallback(t, "1", transport)
		f.Subscribe("a")
		const events = 1500
		var publishing sync.WaitGroup
		publishing.Go(func() { publishBursts(t, s, "a", events, 1000) })
		expectNumbered(t, f, 0, events)
		publishing.Wait()
		f.Sync()
		if transport == servertest.Streaming && f.Restarts < 3 {
			t.Errorf("the stream was restarted only %d times", f.Restarts)
		}
		if got := s.Metric(t, `belfry_connections_opened_total{app="1"}`); got != 1 {
			t.Errorf("%v sessions were opened", got)
		}
	})
}

// Nothing follows the line with which the client restarts, and everything goes
// before.
func TestFallbackStreamStops(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.MaxOutboxBytes = 16 << 20 })
	f := s.ConnectFallback(t, "1", servertest.Streaming)
	f.Subscribe("a")
	f.Drop() // and back, with a response whose length we know
	r := f.Receive(servertest.Streaming)
	const events = 100
	publishBursts(t, s, "a", events, 8000)

	next := 0
	for r.Units() <= servertest.RestartLength {
		lines, err := r.ReadSome()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if line[0] == 'a' {
				next++
			}
		}
	}
	if next == 0 || next >= events {
		t.Fatalf("%d of %d events came first", next, events)
	}
	if !r.AtLineEnd() {
		t.Error("the response goes on behind the line with which the client restarts")
	}
	// What is sent now waits, although this response is still there.
	f.Send(`{"event":"pusher:ping"}`)
	again := f.Receive(servertest.Streaming)
	defer again.Drop()
	if rest, err := r.ReadAll(); err != nil || len(rest) > 0 {
		t.Errorf("the old response has %.100q more, error %v", rest, err)
	}
	f.Adopt(again)
	expectNumbered(t, f, next, events)
	f.Expect(wstest.PongText)
	f.Sync()
}

// What comes between two polls is kept, and comes in order, in answers of a
// bounded size.
func TestFallbackPollGaps(t *testing.T) {
	s := servertest.Start(t)
	f := s.ConnectFallback(t, "1", servertest.Polling)
	f.Subscribe("a")
	const events = 50
	publishBursts(t, s, "a", events, 8000)
	f.Send(`{"event":"pusher:ping"}`)
	next := 0
	for polls := 0; next < events; polls++ {
		lines, err := f.Receive(servertest.Polling).ReadAll()
		if err != nil || len(lines) == 0 {
			t.Fatalf("got %d lines, error %v", len(lines), err)
		}
		size := 0
		for _, line := range lines {
			size += len(line) + 1
			if strings.Contains(line, "pusher:pong") {
				continue
			}
			if want := fmt.Sprintf(`\"data\":\"%d `, next); !strings.Contains(line, want) {
				t.Fatalf("got %.100q, want event %d", line, next)
			}
			next++
		}
		if size > 128<<10 {
			t.Errorf("an answer has %d bytes", size)
		}
		if polls > events {
			t.Fatal("the polls do not end")
		}
	}
	f.Sync()

	// An event that is longer than an answer should be goes alone.
	long := servertest.Start(t, func(c *config.Config) { c.Apps[0].MaxEventBytes = 300_000 })
	f = long.ConnectFallback(t, "1", servertest.Polling)
	f.Subscribe("a")
	for i := range 3 {
		long.Publish(t, "1", "n", fmt.Sprint(i)+" "+strings.Repeat("x", 200_000), "a")
	}
	expectNumbered(t, f, 0, 3)
	f.Sync()
}

// A second receiver takes the place of the first, which ends without a word
// that the client could misunderstand.
func TestFallbackSecondReceiver(t *testing.T) {
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t)
		f := s.ConnectFallback(t, "1", transport)
		f.Subscribe("a")
		f.Drop()
		for range 3 {
			var first, second *servertest.Response
			got := make(chan []string, 1)
			if transport == servertest.Streaming {
				first = f.Receive(transport)
				second = f.Receive(transport)
				lines, err := first.ReadAll()
				if err != nil || len(lines) != 1 || lines[0][0] != 'h' {
					t.Errorf("the first receiver has %.100q, error %v", lines, err)
				}
				f.Adopt(second)
				s.Publish(t, "1", "e", "x", "a")
				f.Expect(servertest.EventText("e", "a", "x"))
				continue
			}
			// Which of two polls was first is seen by which one is answered.
			for range 2 {
				go func() {
					var lines []string
					r, err := f.TryReceive(transport)
					if err == nil {
						lines, err = r.ReadAll()
					}
					if err != nil {
						t.Error(err)
					}
					got <- lines
				}()
			}
			if lines := <-got; len(lines) != 0 {
				t.Errorf("the first poll is answered with %q", lines)
			}
			s.Publish(t, "1", "e", "x", "a")
			if lines := <-got; len(lines) != 1 || !strings.Contains(lines[0], `\"data\":\"x\"`) {
				t.Errorf("the second poll is answered with %q", lines)
			}
		}
		f.Sync()
		if got := s.Metric(t, `belfry_connections_opened_total{app="1"}`); got != 1 {
			t.Errorf("%v sessions were opened", got)
		}
	})
}

// Many that open the same session at once get one session.
func TestFallbackOpenAtOnce(t *testing.T) {
	overTransports(t, func(t *testing.T, transport string) {
		s := servertest.Start(t)
		f := s.Fallback(t, "1", transport)
		const receivers = 20
		var responses sync.WaitGroup
		opened := make(chan bool, receivers)
		for range receivers {
			responses.Go(func() {
				r, err := f.TryReceive(transport)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Drop()
				for begun := false; ; {
					lines, err := r.ReadSome()
					for _, line := range lines {
						begun = begun || line == "o"
					}
					if len(lines) > 0 && lines[0][0] == 'a' || err != nil {
						opened <- begun
						return
					}
				}
			})
		}
		// All but the last are answered; that one hears of a ping.
		servertest.Eventually(t, "all but one are over", func() bool { return len(opened) >= receivers-1 })
		f.Post("[]")
		responses.Wait()
		n := 0
		for range len(opened) {
			if <-opened {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d responses begin a session", n)
		}
		if got := s.Metric(t, `belfry_connections{app="1"}`); got != 1 {
			t.Errorf("there are %v sessions", got)
		}
	})
}
