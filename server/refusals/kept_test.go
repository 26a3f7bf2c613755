package refusals

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/server/trace"
)

func keeping() *Log {
	l := New(slog.New(slog.DiscardHandler))
	l.Keep()
	return l
}

func TestLastRefusalsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := keeping()
		for i := range MaxKept + 10 {
			l.Add(Refusal{What: "refused", App: "1", Code: i, Reason: "because"}, slog.String("origin", "https://a.example"), slog.Int("n", i), slog.String("none", ""))
			time.Sleep(time.Second)
		}
		l.Add(Refusal{What: "refused", Reason: "unknown key"})
		last := l.Last("1")
		if len(last) != MaxKept || last[0].Code != MaxKept+9 || last[MaxKept-1].Code != 10 || !last[0].At.After(last[1].At) {
			t.Errorf("%d are kept: %+v", len(last), last)
		}
		if a := last[0].Attributes; len(a) != 2 || a["origin"] != "https://a.example" || a["n"] != fmt.Sprint(MaxKept+9) {
			t.Errorf("the attributes are %v", a)
		}
		if last := l.Last(""); len(last) != 1 || last[0].Reason != "unknown key" {
			t.Errorf("of no app: %+v", last)
		}
		if last := l.Last("2"); len(last) != 0 {
			t.Errorf("of another app: %+v", last)
		}
	})
}

func TestKeptRefusalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := keeping()
		long, digest := strings.Repeat("r", 1e6), strings.Repeat("0123456789abcdef", 4)
		l.Add(Refusal{What: "refused", App: "0", Reason: digest + long}, slog.String("origin", digest+long))
		k := l.Last("0")[0]
		if text := fmt.Sprint(k); len(text) > maxReason+maxValue+200 || strings.Contains(text, digest) {
			t.Errorf("kept with %d bytes: %s", len(text), text[:200])
		}
		for i := range 2 * maxApps {
			time.Sleep(time.Second)
			l.Add(Refusal{What: "refused", App: fmt.Sprint(i)})
		}
		if len(l.kept.apps) != maxApps || len(l.Last("0")) != 0 || len(l.Last(fmt.Sprint(2*maxApps-1))) != 1 {
			t.Errorf("%d apps are kept", len(l.kept.apps))
		}
	})
}

func TestNothingIsKeptUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(slog.New(slog.DiscardHandler))
		l.Add(Refusal{What: "refused", App: "1"})
		if last := l.Last("1"); len(last) != 0 {
			t.Errorf("%+v", last)
		}
	})
}

func TestWatchersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trace.Trace
		l := New(slog.New(slog.DiscardHandler))
		l.TraceTo(&tr)
		w, err := tr.Watch(trace.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		digest := strings.Repeat("0123456789abcdef", 4)
		l.Add(Refusal{What: "refused", App: "1", Code: 4009, Reason: "got " + digest},
			slog.String("socket_id", "1.2"), slog.String("channel", "private-"+digest), slog.String("origin", "o"))
		records, _, err := w.Next(context.Background())
		if err != nil || len(records) != 1 {
			t.Fatalf("%+v, %v", records, err)
		}
		if r := records[0]; r.Kind != trace.Refusal || r.App != "1" || r.Code != 4009 || r.SocketID != "1.2" || r.Reason != "got [signature]" || r.Channel != "private-[signature]" || r.Origin != "o" {
			t.Errorf("the record is %+v", r)
		}
	})
}
