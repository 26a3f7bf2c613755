package refusals

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// output keeps what is logged, for any goroutine.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// take returns what was logged since the last call.
func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.b.Reset()
	return o.b.String()
}

func TestManyOfAKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		for range 1000 {
			l.Add(Refusal{What: "refused", App: "1", Code: 4009, Reason: "wrong signature"})
		}
		l.Add(Refusal{What: "refused", App: "2", Code: 4009, Reason: "of another app"})
		l.Add(Refusal{What: "refused", App: "1", Code: 4301, Reason: "with another code"})
		if got := out.take(); strings.Count(got, "\n") != Burst+2 {
			t.Errorf("not %d lines:\n%s", Burst+2, got)
		}
		time.Sleep(Window)
		synctest.Wait()
		if got := out.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "more=990") || !strings.Contains(got, "app=1 code=4009") {
			t.Errorf("at the end of the window:\n%s", got)
		}
		l.Add(Refusal{What: "refused", App: "1", Code: 4009, Reason: "wrong signature"})
		if got := out.take(); strings.Count(got, "\n") != 1 {
			t.Errorf("not one line in the next window:\n%s", got)
		}
		time.Sleep(Window)
		synctest.Wait()
		if got := out.take(); got != "" {
			t.Errorf("a summary of nothing:\n%s", got)
		}
	})
}

func TestDebugHasEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		for range 100 {
			l.Add(Refusal{What: "refused"})
		}
		if n := strings.Count(out.String(), "level=DEBUG"); n != 100-Burst {
			t.Errorf("%d lines at debug, want %d", n, 100-Burst)
		}
	})
}

func TestValuesAreClipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		l.Add(Refusal{What: "refused", Reason: strings.Repeat("r", 1e6)}, slog.String("path", strings.Repeat("p", 1e6)), slog.Int("n", 5))
		if n := out.Len(); n > maxReason+maxValue+200 {
			t.Errorf("the line has %d bytes", n)
		}
		if !strings.Contains(out.String(), "n=5") {
			t.Errorf("the line is %s", &out)
		}
	})
}
