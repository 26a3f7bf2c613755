//go:build linux

package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the user and system time that a process has used, all of its threads together.
// The kernel counts it in nanoseconds; /proc has it in hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	const scheduler = 2 // CPUCLOCK_SCHED: what a process has been running
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &used); err != nil {
		return 0, fmt.Errorf("the time of process %d: %w", pid, os.NewSyscallError("clock_gettime", err))
	}
	return time.Duration(used.Nano()), nil
}

// Busy is the time that all processors together have spent on processes, and
// that the hypervisor has kept from them.
func Busy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(stat)
}

// parseBusy reads user, nice, system and steal of the first line.
func parseBusy(stat []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 {
		return 0, errors.New("/proc/stat has too few fields")
	}
	return ticks(fields[1], fields[2], fields[3], fields[8])
}

// tick is the unit of times in /proc: USER_HZ, which is 100 on all of Linux.
const tick = 10 * time.Millisecond

func ticks(fields ...[]byte) (sum time.Duration, err error) {
	for _, f := range fields {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// Memory is what a process occupies, in bytes: its share of the pages in
// memory, or all of them where the kernel does not tell the share.
func Memory(pid int) (int64, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err == nil {
		return kilobytes(rollup, "Pss:")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return kilobytes(status, "VmRSS:")
}

// kilobytes reads a line like "Pss:    1234 kB".
func kilobytes(b []byte, name string) (int64, error) {
	for line := range bytes.Lines(b) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == name {
			n, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc has no line %s", name)
}
