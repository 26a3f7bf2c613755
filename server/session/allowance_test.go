package session

import (
	"testing"
	"time"
)

func TestAllowance(t *testing.T) {
	const rate = 5
	start := time.Unix(1e9, 0)
	var a allowance
	for _, tt := range []struct {
		after  time.Duration
		n      int
		within bool
	}{
		{0, 1, true},
		{0, rate*allowanceSeconds - 1, true},
		{0, 1, false},
		{time.Second, rate, true},
		{time.Second, 1, false},
		{2 * time.Second, rate + 1, false}, // and the second is used up
		{2 * time.Second, 1, false},
		{3 * time.Second, 1, true},
		{time.Hour, rate*allowanceSeconds + 1, false},
		{2 * time.Hour, rate * allowanceSeconds, true},
	} {
		if got := a.take(tt.n, rate, start.Add(tt.after)); got != tt.within {
			t.Errorf("%d after %v: within is %v", tt.n, tt.after, got)
		}
	}
}
