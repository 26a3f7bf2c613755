package fallback

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
)

// A stream on which nothing happens has a heartbeat every 25 seconds, for ever
// if it is answered, and the session ends if it is not.
func TestHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		r := f.stream("s")
		if !r.patient {
			t.Error("net/http would end the stream when reading it has taken too long")
		}
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

// A poll is asked for a sign of life when it is due, and answered with that.
func TestProbeOfPoll(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("s")
		for range 10 {
			start := time.Now()
			lines := f.answer("s")
			if d := time.Since(start); !slices.Equal(lines, []string{"h"}) || d > 5*time.Second {
				t.Fatalf("after %v comes %q", d, lines)
			}
		}
	}, func(a *config.App) { a.ActivityTimeout = 3 * time.Second })
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

// What answers add for a client that asks without end and does not read is
// bounded, whichever answers they are.
func TestSlowConsumerOfAnswers(t *testing.T) {
	const cached = 10_000
	for name, message := range map[string]string{
		"subscriptions": `"{\"event\":\"pusher:subscribe\",\"data\":{\"channel\":\"cache-a\"}}","{\"event\":\"pusher:unsubscribe\",\"data\":{\"channel\":\"cache-a\"}}"`,
		"pings":         `"{\"event\":\"pusher:ping\"}"`,
		"errors":        `"{\"event\":\"no such event\"}"`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fixture) {
				e := protocol.Event{Name: "e", Channel: "cache-a", Data: protocol.AppendString(nil, strings.Repeat("x", cached))}
				if err := f.app.Channels.Publish(channels.Publication{Event: e}); err != nil {
					t.Fatal(err)
				}
				f.stream("blocked").block()
				for range 50 {
					f.send("blocked", "["+strings.Repeat(message+",", 299)+message+"]")
				}
				if n, most := f.Budget.Bytes(), outboxBytes+4*cached; n > most {
					t.Errorf("%d bytes wait, more than %d", n, most)
				}
				time.Sleep(writeTimeout) // until its request is over
				synctest.Wait()
				if n := len(f.all()); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
			}, func(a *config.App) { a.MessageRate = 0 })
		})
	}
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
		if len(lines) != 3 || !strings.Contains(lines[0], `\"x\"`) || !strings.Contains(lines[1], "4003") || lines[2] != `c[4003,"Application is disabled: enabled is false"]` {
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
		f.drain(grace)
		if lines := stream.lines(); len(lines) != 3 || lines[2] != `c[4200,"Server is restarting: reconnect"]` {
			t.Errorf("the stream ends with %q", lines)
		}
		if lines := poll.lines(); len(lines) != 2 || lines[1] != `c[4200,"Server is restarting: reconnect"]` {
			t.Errorf("the poll is answered with %q", lines)
		}
		if n := len(f.all()); n != 0 || !stream.over() || !poll.over() || !blocked.over() {
			t.Errorf("%d sessions are left, or a request", n)
		}
		if lines := f.answer("late"); len(lines) != 3 || !strings.HasPrefix(lines[2], "c[4200,") {
			t.Errorf("who comes later gets %q", lines)
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
		drained := make(chan struct{})
		go func() {
			f.drain(grace)
			close(drained)
		}()
		synctest.Wait()
		lines := f.answer("late")
		if len(lines) != 3 || lines[0] != "o" || !strings.HasPrefix(lines[2], "c[4200,") {
			t.Errorf("got %q", lines)
		}
		<-drained
	})
}
