package bugs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func TestRecover(t *testing.T) {
	for _, tt := range []struct {
		name       string
		do         func(end func())
		ends, told int
	}{
		{"no bug", func(func()) {}, 0, 0},
		{"a bug", func(func()) { panic("first" + strings.Repeat("x", 100_000)) }, 1, 1},
		{"a bug in what ends it", func(end func()) {
			end()
			panic("first")
		}, 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var text bytes.Buffer
			count := prometheus.NewCounter(prometheus.CounterOpts{})
			l := New(slog.New(slog.NewTextHandler(&text, nil)), count)
			ends := 0
			end := func() {
				if ends++; ends > 1 {
					panic("second")
				}
			}
			func() {
				defer l.Recover(end)
				tt.do(end)
			}()
			var m dto.Metric
			if err := count.Write(&m); err != nil {
				t.Fatal(err)
			}
			if n := int(m.Counter.GetValue()); n != tt.told || ends != tt.ends {
				t.Errorf("%d bugs are counted, end was called %d times", n, ends)
			}
			lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
			if tt.told == 0 {
				lines = lines[1:] // an empty one
			}
			if len(lines) != tt.told {
				t.Fatalf("%d lines are logged", len(lines))
			}
			for i, line := range lines {
				if !strings.Contains(line, []string{"panic=first", "panic=second"}[i]) || !strings.Contains(line, "TestRecover") || len(line) > 2*maxStack {
					t.Errorf("line %d is %q", i, line)
				}
			}
		})
	}
}
