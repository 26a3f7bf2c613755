package refusals

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyOfAKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		for range 1000 {
			l.Add(Refusal{What: "refused", App: "1", Code: 4009, Reason: "wrong signature"})
		}
		l.Add(Refusal{What: "refused", App: "2", Code: 4009, Reason: "of another app"})
		l.Add(Refusal{What: "refused", App: "1", Code: 4301, Reason: "with another code"})
		if n := strings.Count(out.String(), "\n"); n != Burst+2 {
			t.Errorf("%d lines, want %d:\n%s", n, Burst+2, &out)
		}
		out.Reset()
		time.Sleep(Window)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "more=990") || !strings.Contains(got, "app=1 code=4009") {
			t.Errorf("at the end of the window:\n%s", got)
		}
		out.Reset()
		l.Add(Refusal{What: "refused", App: "1", Code: 4009, Reason: "wrong signature"})
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%d lines in the next window:\n%s", n, &out)
		}
		time.Sleep(Window)
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n != 1 {
			t.Errorf("%d lines, want no summary of nothing:\n%s", n, &out)
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
