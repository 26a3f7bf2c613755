//go:build unix

package webhooks

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Only regular files are read: the others neither stop the start nor are
// followed, and each is named once.
func TestSpoolWithOtherKindsOfFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		a := w.application("1", to("http://backend"))
		a.happens("cache_miss:c")
		pass(time.Second)
		w.end()
		dir := a.endpoints["http://backend"].spool.dir
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte(`{"time_ms":1,"events":[{"name":"cache_miss","channel":"secret"}]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		paths := []string{
			filepath.Join(dir, batchName(2)), filepath.Join(dir, batchName(3)), filepath.Join(dir, batchName(4)), filepath.Join(dir, batchName(5)),
			filepath.Join(dir, "0.tmp"), filepath.Join(dir, "pipe"), filepath.Join(spool, "probe.tmp"), filepath.Join(spool, "1-"+strings.Repeat("0", 32)),
		}
		err := errors.Join(
			syscall.Mkfifo(paths[0], 0o600),
			os.Symlink(secret, paths[1]),
			os.Mkdir(paths[2], 0o700),
			os.Symlink("/dev/zero", paths[3]),
			os.Symlink(secret, paths[4]),
			syscall.Mkfifo(paths[5], 0o600),
			syscall.Mkfifo(paths[6], 0o600),
			os.Symlink(filepath.Dir(secret), paths[7]),
		)
		if err != nil {
			t.Fatal(err)
		}

		after := newWorld(t, spool)
		h := after.host("backend", nil)
		after.application("1", to("http://backend")).happens("cache_miss:new")
		after.CheckSpool()
		pass(time.Second)
		if got := h.events(t); !slices.Equal(got, []string{"cache_miss:c", "cache_miss:new"}) {
			t.Errorf("got %v", got)
		}
		for _, path := range paths {
			if n := strings.Count(after.log.String(), path+" is "); n != 1 {
				t.Errorf("%s is named %d times", path, n)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("log:\n%s", after.log)
		}
		after.end()

		// Neither a pipe in place of the lock nor a link in place of the directory.
		if err := errors.Join(os.Remove(filepath.Join(spool, lockFile)), syscall.Mkfifo(filepath.Join(spool, lockFile), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := openSpool(spool); err == nil || !strings.Contains(err.Error(), "is a pipe") {
			t.Errorf("with a pipe as the lock: %v", err)
		}
		linked := &spoolDir{dir: paths[7]}
		if _, err := linked.load(func(b *batch) { t.Errorf("read %v", b.events) }); err == nil {
			t.Error("no error for a directory that is a link")
		}
		if err := linked.write(&batch{number: 1}, nil); err == nil {
			t.Error("wrote to a directory that is a link")
		}
	})
}
