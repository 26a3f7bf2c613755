package report

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 5}, 5},
		{[]float64{1, 100, 2, 3}, 2.5},
	}
	for _, tt := range tests {
		if got := Median(tt.values); got != tt.want {
			t.Errorf("%v: got %g, want %g", tt.values, got, tt.want)
		}
	}
	values := []float64{3, 1, 2}
	if Median(values); values[0] != 3 {
		t.Error("the values were sorted in place")
	}
}

func TestSlope(t *testing.T) {
	if got := Slope(Point{4000, 20e6}, Point{19000, 35e6}); got != 1000 {
		t.Errorf("15 MB for 15,000 connections: %g bytes each", got)
	}
	if got := Slope(Point{1, 2}, Point{1, 3}); got != 0 {
		t.Errorf("at the same x: %g", got)
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		goal  *Goal
		value float64
		want  string
	}{
		{AtMost(0.8), 0.8, met},
		{AtMost(0.8), 0.81, missed},
		{AtMost(1), 1.1, equal},
		{AtMost(1), 1.11, missed},
		{AtLeast(1.8), 1.8, met},
		{AtLeast(1.8), 1.79, missed},
		{&Goal{Limit: 10, Absolute: true}, 10.1, missed},
		{&Goal{Limit: 10, Absolute: true, AtLeast: true}, 10, met},
	}
	for _, tt := range tests {
		if got := tt.goal.verdict(tt.value); got != tt.want {
			t.Errorf("%s with %g: got %s, want %s", tt.goal, tt.value, got, tt.want)
		}
	}
}

func TestPrint(t *testing.T) {
	r := &Report{Servers: []string{"a", "b"}, Reference: "b", Notes: []string{"A note."}}
	for _, v := range []float64{1, 3, 2} {
		r.Add(Key{"work", "CPU µs"}, AtMost(1), "a", v)
		r.Add(Key{"work", "CPU µs"}, AtMost(1), "b", 4)
	}
	r.Add(Key{"work", "events/s"}, AtLeast(2), "a", 1234567)
	r.Add(Key{"work", "events/s"}, AtLeast(2), "b", 1e6)
	r.Add(Key{"more work", "p99 ms"}, &Goal{Limit: 10, Absolute: true}, "a", 12.34)
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `                                             a           b                 a/b  goal

work
  CPU µs                                  2.00        4.00    0.50 (0.25-0.75)  ≤ 1x      met
  events/s                           1,234,567   1,000,000                1.23  ≥ 2x      missed

more work
  p99 ms                                  12.3           -                   -  ≤ 10      missed

A note.
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestPrintGoals(t *testing.T) {
	r := &Report{Servers: []string{"a", "b"}, Reference: "b", Notes: []string{"A note."}}
	r.Add(Key{"work", "CPU µs"}, AtMost(1), "a", 2)
	r.Add(Key{"work", "CPU µs"}, AtMost(1), "b", 1)
	r.Add(Key{"work", "p50 ms"}, nil, "a", 2)
	r.Add(Key{"not measured beside b", "CPU µs"}, AtMost(1), "a", 2)
	r.Add(Key{"more work", "p99 ms"}, &Goal{Limit: 10, Absolute: true}, "a", 9)
	var b strings.Builder
	if err := r.PrintGoals(&b); err != nil {
		t.Fatal(err)
	}
	want := `
The goals

                                             a           b                 a/b  goal

work
  CPU µs                                  2.00        1.00                2.00  ≤ 1x      missed

more work
  p99 ms                                  9.00           -                   -  ≤ 10      met

`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	if err := (&Report{Servers: []string{"a"}}).PrintGoals(&b); err != nil || b.Len() > 0 {
		t.Errorf("without goals: %q, error %v", b.String(), err)
	}
}

func TestPrintWithBase(t *testing.T) {
	r := &Report{Servers: []string{"a", "b", "c"}, Base: "a"}
	for i, s := range r.Servers {
		r.Add(Key{"work", "CPU µs"}, nil, s, float64(2+2*i))
	}
	var b strings.Builder
	if err := r.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `                                             a           b           c                 b/a                 c/a  goal

work
  CPU µs                                  2.00        4.00        6.00                2.00                3.00

`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestGoalsWithBase(t *testing.T) {
	r := &Report{Servers: []string{"a", "b", "c"}, Base: "a"}
	for round := range 3 {
		for i, s := range r.Servers {
			r.Add(Key{"work", "CPU µs"}, AtMost(float64(i)+0.5), s, float64(2+round+2*i))
		}
		r.Add(Key{"work", "events/s"}, nil, "b", 1)
		r.Add(Key{"work", "events/s"}, AtLeast(1), "c", 1) // there is nothing to compare with
	}
	var b strings.Builder
	if err := r.PrintGoals(&b); err != nil {
		t.Fatal(err)
	}
	want := `
The goals

                                             a           b           c                 b/a                 c/a  goal

work
  CPU µs                                  3.00        5.00        7.00    1.67 (1.50-2.00)    2.33 (2.00-3.00)  b ≤ 1.5x missed, c ≤ 2.5x met

`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestWriteJSON(t *testing.T) {
	r := &Report{Servers: []string{"a"}}
	r.Add(Key{"work", "CPU µs"}, nil, "a", 1.5)
	var b strings.Builder
	if err := WriteJSON(&b, []*Report{r, {Servers: []string{"b"}}}); err != nil {
		t.Fatal(err)
	}
	var tables []struct {
		Servers []string
		Rows    []struct {
			Workload, Metric string
			Values           map[string][]float64
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &tables); err != nil {
		t.Fatal(err)
	}
	if len(tables) != 2 || tables[1].Servers[0] != "b" || len(tables[0].Rows) != 1 || tables[0].Rows[0].Values["a"][0] != 1.5 {
		t.Errorf("got %s", b.String())
	}
}
