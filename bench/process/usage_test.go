//go:build linux

package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestCPU(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	other := exec.CommandContext(ctx, "sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		_ = other.Wait() // it was killed
	}()
	for used := time.Duration(0); used == 0; {
		var err error
		if used, err = CPU(other.Process.Pid); err != nil || used > time.Minute {
			t.Fatalf("a process that sleeps has used %v, error %v", used, err)
		}
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for used := before; used < before+time.Millisecond; {
		if used, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := CPU(1 << 28); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("of a process that there is not: %v", err)
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
