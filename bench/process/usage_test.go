package process

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const stat = "4711 (a (odd) name) S 1 4711 4711 0 -1 4194560 100 0 0 0 123 45 0 0 20 0 5 0 100 1000 200\n"
	if got, err := parseStat([]byte(stat)); err != nil || got != 1680*time.Millisecond {
		t.Errorf("got %v, %v, want 123 and 45 ticks", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "1 (x) S 1 2 3 4 5 6 7 8 9 10 x y z"} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %v", bad, got)
		}
	}
}

func TestParseBusy(t *testing.T) {
	const stat = "cpu  100 20 30 999999 50 60 70 8 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
	if got, err := parseBusy([]byte(stat)); err != nil || got != 1580*time.Millisecond {
		t.Errorf("got %v, %v, want user, nice, system and steal", got, err)
	}
}

func TestKilobytes(t *testing.T) {
	const rollup = "00400000-7ffe rollup\nRss:  2048 kB\nPss:  1024 kB\nPss_Dirty:  1 kB\n"
	if got, err := kilobytes([]byte(rollup), "Pss:"); err != nil || got != 1<<20 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := kilobytes([]byte(rollup), "VmRSS:"); err == nil {
		t.Error("a line that is not there was found")
	}
}
