//go:build linux

package load

import (
	"strings"
	"testing"
	"time"
)

const testChannel = "c"

// eventFrames is the events with these numbers, as a server sends them.
func eventFrames(size int, numbers ...uint64) []byte {
	var b []byte
	for _, n := range numbers {
		message, at := delivery(testChannel, size)
		appendStamp(message[:at], n, time.Duration(n)*time.Millisecond)
		b = append(b, textFrame(message)...)
	}
	return b
}

func subscriber(size int) (*Audience, *webSocket) {
	a := &Audience{Channel: testChannel, Tally: NewTally()}
	a.Expect(&Target{Exact: true}, size)
	s := &Subscriber{audience: a, state: subscribed}
	a.Members = []*Subscriber{s}
	return a, &webSocket{Subscriber: s, phase: upgraded}
}

// However the stream is cut, the same comes out of it.
func TestSubscriberReadsPieces(t *testing.T) {
	whole := eventFrames(130, 1, 2, 3)
	for cut := range whole {
		a, s := subscriber(130)
		rest, err := s.consume(whole[:cut], time.Second)
		if err == nil {
			rest, err = s.consume(append(rest[:len(rest):len(rest)], whole[cut:]...), time.Second)
		}
		if err != nil || len(rest) > 0 {
			t.Fatalf("cut at %d: %v, rest %q", cut, err, rest)
		}
		if err := a.Check(3, 1+2+3); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if a.Tally.Deliveries != 3 || a.Tally.Latency.TotalCount() != 3 {
			t.Fatalf("cut at %d: %d deliveries", cut, a.Tally.Deliveries)
		}
	}
}

func TestLatency(t *testing.T) {
	a, s := subscriber(100)
	if _, err := s.consume(eventFrames(100, 5), 12*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := a.Tally.Latency.Max(); got < 6990 || got > 7010 {
		t.Errorf("published at 5 ms and received at 12: %d µs", got)
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name     string
		received []uint64
		want     string
	}{
		{"all", []uint64{1, 2, 3}, ""},
		{"in another order", []uint64{2, 1, 3}, ""},
		{"lost", []uint64{1, 3}, "lost 1 of 3"},
		{"doubled", []uint64{1, 2, 2, 3}, "1 events more"},
		{"lost and doubled", []uint64{1, 2, 2}, "twice"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, s := subscriber(100)
			if _, err := s.consume(eventFrames(100, tt.received...), 0); err != nil {
				t.Fatal(err)
			}
			err := a.Check(3, 1+2+3)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOtherBytesAreAnError(t *testing.T) {
	_, s := subscriber(100)
	if _, err := s.consume(eventFrames(101, 1), 0); err == nil {
		t.Error("an event of another size was accepted")
	}
	changed := eventFrames(100, 1)
	changed[len(changed)-3] = 'y'
	_, s = subscriber(100)
	if _, err := s.consume(changed, 0); err == nil {
		t.Error("an event with another byte was accepted")
	}
}
