package fallback

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
	"belfry/server/refusals"
)

// bomb is a log handler that panics at a message.
type bomb struct {
	slog.Handler
	message string
}

func (bomb) Enabled(context.Context, slog.Level) bool { return true }

func (b bomb) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == b.message {
		panic("a bug")
	}
	return nil
}

// A bug ends the one session, or the one request, that meets it.
func TestPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.Admission.Refusals = refusals.New(slog.New(bomb{f.Admission.Log.Handler(), "refused"}))
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
		f.Admission.Log = slog.New(bomb{f.Admission.Log.Handler(), "connection opened"})
		r := f.post("s/xhr_streaming", "")
		if lines := r.lines(); len(lines) != 3 || lines[0] != "o" || !strings.HasPrefix(lines[2], "c[1011,") || !r.over() {
			t.Errorf("got %q", lines)
		}
	})
}

// barrier is a log handler that holds up whoever logs a message.
type barrier struct {
	slog.Handler
	message string
	open    chan struct{}
}

func (barrier) Enabled(context.Context, slog.Level) bool { return true }

func (b barrier) Handle(_ context.Context, r slog.Record) error {
	if r.Message == b.message {
		<-b.open
	}
	return nil
}

// holdUp makes clients wait within their admission until the channel closes.
func (f *fixture) holdUp() chan struct{} {
	b := barrier{f.Admission.Log.Handler(), "connection opened", make(chan struct{})}
	f.Admission.Log = slog.New(b)
	return b.open
}

// Two requests that open the same session at once open one; the second one is
// its receiver.
func TestOpenAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		open := f.holdUp()
		first := f.post("s/xhr_streaming", "")
		second := f.post("s/xhr_streaming", "")
		synctest.Wait()
		close(open)
		lines := append(first.lines(), second.lines()...)
		if n := len(f.all()); n != 1 || f.app.Connections() != 1 || first.over() == second.over() {
			t.Errorf("%d sessions, %d connections are counted", n, f.app.Connections())
		}
		if lines = slices.DeleteFunc(lines, func(s string) bool { return s[0] == 'h' }); len(lines) != 2 || lines[0] != "o" {
			t.Errorf("got %q", lines)
		}
	})
}

// A client that was being admitted when the server began to drain is told to
// reconnect like all others.
func TestDrainAmidAdmission(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		open := f.holdUp()
		r := f.post("s/xhr_streaming", "")
		synctest.Wait()
		grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		drained := make(chan struct{})
		go func() {
			f.drain(grace)
			close(drained)
		}()
		synctest.Wait()
		close(open)
		if lines := r.lines(); len(lines) < 2 || !strings.HasPrefix(lines[len(lines)-1], "c[4200,") {
			t.Errorf("got %q", lines)
		}
		<-drained
	})
}

// frame is one whose message is this text.
func frame(text string) []byte {
	return protocol.Event{Name: text, Data: []byte(`""`)}.Frame()
}

func frames(texts ...string) (frames []byte) {
	for _, text := range texts {
		frames = append(frames, frame(text)...)
	}
	return frames
}

// expectNames looks at the names of the events on these lines.
func expectNames(t *testing.T, lines []string, names ...string) {
	t.Helper()
	ok := len(lines) == len(names)
	for i := 0; ok && i < len(lines); i++ {
		ok = strings.Contains(lines[i], `\"event\":\"`+names[i]+`\"`)
	}
	if !ok {
		t.Errorf("got %q, want %q", lines, names)
	}
}

// An answer goes ahead of what came while it was made, and behind all else.
func TestHold(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		r := f.stream("s")
		c := f.all()[0]
		c.Hold()
		c.Send(frames("c", "d"))
		expectNames(t, r.lines())
		c.Release(frames("a", "b"))
		expectNames(t, r.lines(), "a", "b", "c", "d")
		c.Hold()
		c.Release(nil)
		expectNames(t, r.lines())
		c.Send(frame("e"))
		expectNames(t, r.lines(), "e")
	})
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("s")
		c := f.all()[0]
		c.Send(frame("a"))
		c.Hold()
		c.Send(frame("d"))
		c.Release(frames("b", "c"))
		expectNames(t, f.answer("s"), "a", "b", "c", "d")
		c.Hold()
		c.Send(frame("e"))
		c.Close(&protocol.Error{Code: 4200, Message: "x"})
		c.Release(frame("late"))
		lines := f.answer("s")
		if n := len(lines); n != 3 || lines[n-1] != `c[4200,"x"]` {
			t.Errorf("got %q", lines)
		}
	})
}

// What a subscription was delivered too late does not arrive.
func TestDeliverNothingOnceLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		r := f.stream("s")
		c := f.all()[0]
		sub, _, err := f.app.Channels.Subscribe(c.session, "b", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Release(nil)
		line := protocol.AppendLines(nil, frame("a"))
		c.Deliver(sub, line)
		f.app.Channels.Unsubscribe(sub)
		c.Deliver(sub, line)
		expectNames(t, r.lines(), "a")
	})
}

// However often a client asks for a sign of life, it gets one.
func TestSignsOfLifeDoNotPileUp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		f.poll("s")
		for _, events := range []int{0, 1} { // of which one is a sign of life
			for range 100 {
				f.send("s", "[]")
			}
			for range events {
				f.publish(1)
			}
			if lines := f.answer("s"); len(lines) != 1 || (lines[0] == "a[]") != (events == 0) {
				t.Errorf("with %d events, it gets %q", events, lines)
			}
		}
	})
}

// Requests that come while Drain ends all sessions, again and again, are answered.
func TestRequestsWhileAllSessionsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture) {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					f.End()
					runtime.Gosched()
				}
			}
		}()
		for i := range 20_000 {
			r := f.post(fmt.Sprintf("s%d/xhr", i), "")
			<-r.done
		}
		close(stop)
		<-stopped
	})
}
