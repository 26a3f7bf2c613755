package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long what must happen may take.
const patience = 30 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// directory has no symbolic link in its path.
func directory(t *testing.T) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	return path
}

// start watches until the test ends.
func start(t *testing.T, paths ...string) *Files {
	t.Helper()
	f, err := New(paths...)
	must(t, err)
	var running sync.WaitGroup
	running.Go(func() { f.Run(t.Context(), slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() {
		f.Close()
		running.Wait()
	})
	return f
}

func expectChange(t *testing.T, f *Files) {
	t.Helper()
	select {
	case <-f.Changes():
	case <-time.After(patience):
		t.Fatal("a change was not noticed")
	}
}

// Each is done to a directory with a file c, which then has to be noticed, again
// and again.
func TestChangesAreNoticed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		path    string // to watch, c if empty
		prepare func(t *testing.T, dir string)
		change  func(t *testing.T, dir, text string)
	}{
		{"written in place", "", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "c"), text)
		}},
		{"replaced", "", nil, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "c.new"), text)
			must(t, os.Rename(filepath.Join(dir, "c.new"), filepath.Join(dir, "c")))
		}},
		{"moved away and made again", "", nil, func(t *testing.T, dir, text string) {
			must(t, os.Rename(filepath.Join(dir, "c"), filepath.Join(dir, "c~")))
			write(t, filepath.Join(dir, "c"), text)
		}},
		{"a ConfigMap", "map/c", func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Join(dir, "map", "..0"), 0o700))
			write(t, filepath.Join(dir, "map", "..0", "c"), "0")
			must(t, os.Symlink("..0", filepath.Join(dir, "map", "..data")))
			must(t, os.Symlink(filepath.Join("..data", "c"), filepath.Join(dir, "map", "c")))
		}, func(t *testing.T, dir, text string) {
			at := filepath.Join(dir, "map")
			before, err := os.Readlink(filepath.Join(at, "..data"))
			must(t, err)
			must(t, os.Mkdir(filepath.Join(at, ".."+text), 0o700))
			write(t, filepath.Join(at, ".."+text, "c"), text)
			must(t, os.Symlink(".."+text, filepath.Join(at, "..data_tmp")))
			must(t, os.Rename(filepath.Join(at, "..data_tmp"), filepath.Join(at, "..data")))
			must(t, os.RemoveAll(filepath.Join(at, before)))
		}},
		{"a link's target", "link", func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "shared"), 0o700))
			write(t, filepath.Join(dir, "shared", "c"), "0")
			must(t, os.Symlink(filepath.Join(dir, "shared", "c"), filepath.Join(dir, "link")))
		}, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "shared", "c"), text)
		}},
		{"a directory's link", "current/c", func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "0"), 0o700))
			write(t, filepath.Join(dir, "0", "c"), "0")
			must(t, os.Symlink("0", filepath.Join(dir, "current")))
		}, func(t *testing.T, dir, text string) {
			must(t, os.Mkdir(filepath.Join(dir, text), 0o700))
			write(t, filepath.Join(dir, text, "c"), text)
			must(t, os.Remove(filepath.Join(dir, "current")))
			must(t, os.Symlink(text, filepath.Join(dir, "current")))
		}},
		{"a directory replaced", "sub/c", func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
			write(t, filepath.Join(dir, "sub", "c"), "0")
		}, func(t *testing.T, dir, text string) {
			must(t, os.RemoveAll(filepath.Join(dir, "sub")))
			must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
			write(t, filepath.Join(dir, "sub", "c"), text)
		}},
		{"a directory that was not there", "new/sub/c", nil, func(t *testing.T, dir, text string) {
			must(t, os.MkdirAll(filepath.Join(dir, "new", "sub"), 0o700))
			write(t, filepath.Join(dir, "new", "sub", "c"), text)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			write(t, filepath.Join(dir, "c"), "0")
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			path := tt.path
			if path == "" {
				path = "c"
			}
			f := start(t, filepath.Join(dir, filepath.FromSlash(path)))
			for _, text := range []string{"1", "2", "3"} {
				tt.change(t, dir, text)
				expectChange(t, f)
			}
		})
	}
}

// The second file is as good as the first, and one that is gone is a change.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	dir, other := directory(t), directory(t)
	one, two := filepath.Join(dir, "one"), filepath.Join(other, "two")
	write(t, one, "0")
	f := start(t, one, two)
	write(t, two, "1")
	expectChange(t, f)
	must(t, os.Remove(one))
	expectChange(t, f)
}

// bench runs a watch over one file with events and a clock of the test's.
type bench struct {
	*Files
	path   string
	log    *bytes.Buffer
	events chan fsnotify.Event
	errs   chan error
	stop   context.CancelFunc
}

func newBench(t *testing.T) *bench {
	b := &bench{path: filepath.Join(directory(t), "c"), log: new(bytes.Buffer), events: make(chan fsnotify.Event), errs: make(chan error)}
	write(t, b.path, "0")
	var err error
	b.Files, err = New(b.path)
	must(t, err)
	b.Close() // nothing comes but what the test sends
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	go b.run(ctx, slog.New(slog.NewTextHandler(b.log, nil)), b.events, b.errs)
	return b
}

func (b *bench) event(path string) { b.events <- fsnotify.Event{Name: path, Op: fsnotify.Write} }

func (b *bench) changed() bool {
	synctest.Wait()
	select {
	case <-b.changes:
		return true
	default:
		return false
	}
}

func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		// Each write comes before the file was quiet for long enough.
		for range 10 {
			write(t, b.path, "half")
			b.event(b.path)
			<-time.After(Quiet - 1)
			if b.changed() {
				t.Fatal("looked at while it was being written")
			}
		}
		<-time.After(1)
		if !b.changed() {
			t.Fatal("not looked at when it was quiet")
		}
		<-time.After(time.Hour)
		if b.changed() {
			t.Error("one change was told twice")
		}
	})
}

func TestNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		write(t, b.path, "0")
		b.event(b.path)
		<-time.After(time.Hour)
		if b.changed() {
			t.Error("the same contents are a change")
		}
		write(t, b.path, "1")
		b.event(filepath.Join(filepath.Dir(b.path), "another"))
		<-time.After(time.Hour)
		if b.changed() {
			t.Error("looked at for another file")
		}
		b.event(b.path)
		<-time.After(Quiet)
		if !b.changed() {
			t.Error("a change was missed")
		}
	})
}

// When the kernel had to drop events, they may have been those of the file.
func TestLostEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		write(t, b.path, "1")
		b.errs <- errors.New("overflow")
		<-time.After(Quiet)
		if !b.changed() {
			t.Error("a change was missed")
		}
		b.stop()
		synctest.Wait()
		if !strings.Contains(b.log.String(), "overflow") {
			t.Errorf("logged %s", b.log)
		}
	})
}

func TestEntries(t *testing.T) {
	dir := directory(t)
	must(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700))
	write(t, filepath.Join(dir, "a", "b", "c"), "")
	must(t, os.Symlink("a", filepath.Join(dir, "relative")))
	must(t, os.Symlink(filepath.Join(dir, "relative", "b"), filepath.Join(dir, "absolute")))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	tests := []struct {
		path string
		want []string
	}{
		{"a/b/c", []string{"a/b/c"}},
		{"a/b/missing", []string{"a/b/missing"}},
		{"a/missing/c", []string{"a/missing"}},
		{"absolute/c", []string{"absolute", "relative", "a/b/c"}},
		{"relative", []string{"relative", "a"}},
		{"loop/c", slices.Repeat([]string{"loop"}, maxLinks+1)},
	}
	for _, tt := range tests {
		var want []string
		for _, path := range tt.want {
			want = append(want, filepath.Join(dir, path))
		}
		if got := entries(filepath.Join(dir, tt.path)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tt.path, got, want)
		}
	}
}

// A configuration may come through a pipe, which can be read but once.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	if _, err := w.WriteString("secret"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	link := filepath.Join(directory(t), "pipe")
	must(t, os.Symlink(fmt.Sprintf("/dev/fd/%d", r.Fd()), link))
	f, err := New(link)
	must(t, err)
	f.Close()
	if b, err := io.ReadAll(r); string(b) != "secret" || err != nil {
		t.Errorf("what was in the pipe is %q, error %v", b, err)
	}
}
