//go:build !blocking

package server

import (
	"os"
	"path/filepath"
	"testing"
)

// A container must not end with the process that hands over.
func TestEndsContainer(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		pid, parent int
		init        string
		want        bool
	}{
		{1, 0, "belfry", true},
		{7, 1, "tini", true},
		{7, 1, "docker-init", true},
		{7, 0, "pause", true},
		{7, 1, "sh", true},
		{7, 1, "tini-static", true},
		{7, 1, "systemd", false},
		{7, 1, "init", false},
		{70, 7, "tini", false},
		{70, 1, "", false},
	} {
		path := filepath.Join(dir, "comm")
		if err := os.WriteFile(path, []byte(tt.init+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := endsContainer(tt.pid, tt.parent, path); got != tt.want {
			t.Errorf("process %d, child of %d, below %s: %v", tt.pid, tt.parent, tt.init, got)
		}
	}
	if endsContainer(7, 1, filepath.Join(dir, "none")) {
		t.Error("a process ends its container below nobody knows whom")
	}
}
