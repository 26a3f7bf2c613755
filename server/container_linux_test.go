//go:build !blocking

package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A container must not end with the process that hands over.
func TestEndsContainer(t *testing.T) {
	for _, tt := range []struct {
		ancestors string // names of the processes 1 to the parent, each of which has started the next
		outside   bool   // the first of them has no parent here: it is not process 1
		want      bool
	}{
		{"", false, true},
		{"tini", false, true},
		{"docker-init", false, true},
		{"sh", false, true},
		{"tini sh", false, true},
		{"dumb-init bash sh", false, true},
		{"sh", true, true},
		{"tini supervisor", false, false},
		{"tini sh supervisor", false, false},
		{"systemd", false, false},
		{"init", false, false},
		{"systemd sh", false, false},
		{"systemd sshd bash", false, false},
		{"() sh", false, true},
	} {
		proc := t.TempDir()
		pid := 1
		if tt.outside {
			pid = 70
		}
		parent := 0
		for name := range strings.FieldsSeq(tt.ancestors) {
			dir := filepath.Join(proc, strconv.Itoa(pid))
			err := os.Mkdir(dir, 0o700)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "stat"), fmt.Appendf(nil, "%d (%s) S %d 1 1 0", pid, name, parent), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			pid, parent = pid+1, pid
		}
		if got := endsContainer(pid, parent, proc); got != tt.want {
			t.Errorf("process %d below %q: %v", pid, tt.ancestors, got)
		}
	}
	if endsContainer(7, 1, t.TempDir()) {
		t.Error("a process ends its container below nobody knows whom")
	}
}
