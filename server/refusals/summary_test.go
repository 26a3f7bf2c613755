package refusals

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// The reason in the line that sums up a window is cut and cleaned like all others.
func TestSummaryIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		for range Burst {
			l.Add(Refusal{What: "refused"})
		}
		digest := strings.Repeat("0123456789abcdef", 4)
		l.Add(Refusal{What: "refused", Reason: "got " + digest + strings.Repeat(" r", maxReason)})
		out.Reset()
		l.Flush()
		if got := out.String(); strings.Contains(got, digest) || !strings.Contains(got, "got [signature] r r") || len(got) > maxReason+300 {
			t.Errorf("the summary is %s", got)
		}
	})
}
