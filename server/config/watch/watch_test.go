package watch

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

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

// expectChange looks until the change is settled: at the second look that finds
// it, and at no other.
func expectChange(t *testing.T, f *Files) {
	t.Helper()
	for look, want := range []bool{false, true, false, false} {
		if got := f.Changed(); got != want {
			t.Fatalf("look %d: changed is %v, want %v", look+1, got, want)
		}
	}
}

// Each is done to a directory with a file c, which then has to be noticed, again
// and again.
func TestChangesAreNoticed(t *testing.T) {
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
			dir := directory(t)
			write(t, filepath.Join(dir, "c"), "0")
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			path := tt.path
			if path == "" {
				path = "c"
			}
			f := New(filepath.Join(dir, filepath.FromSlash(path)))
			for _, text := range []string{"1", "2", "3"} {
				tt.change(t, dir, text)
				expectChange(t, f)
			}
		})
	}
}

// The second file is as good as the first, and one that is gone is a change.
func TestSeveralFiles(t *testing.T) {
	dir, other := directory(t), directory(t)
	one, two := filepath.Join(dir, "one"), filepath.Join(other, "two")
	write(t, one, "0")
	f := New(one, two)
	write(t, two, "1")
	expectChange(t, f)
	must(t, os.Remove(one))
	expectChange(t, f)
}

func TestTheSameContentsAreNoChange(t *testing.T) {
	path := filepath.Join(directory(t), "c")
	write(t, path, "0")
	f := New(path)
	write(t, path, "0")
	for range 3 {
		if f.Changed() {
			t.Fatal("the same contents are a change")
		}
	}
}

// What is being written is left alone, and what was written and taken back too.
func TestOnlySettledContentsAreAChange(t *testing.T) {
	path := filepath.Join(directory(t), "c")
	write(t, path, "0")
	f := New(path)
	for _, text := range []string{"1", "12", "123", "0", "0", "0", "1"} {
		write(t, path, text)
		if f.Changed() {
			t.Fatalf("%q was taken amid the writing", text)
		}
	}
	if !f.Changed() {
		t.Error("not taken when it was settled")
	}
}

// While one file is still being written, another may belong to it.
func TestFilesSettleTogether(t *testing.T) {
	dir := directory(t)
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	f := New(one, two)
	write(t, one, "1")
	for _, text := range []string{"1", "12", "123"} {
		write(t, two, text)
		if f.Changed() {
			t.Fatal("taken amid the writing of the other")
		}
	}
	if !f.Changed() || f.Changed() {
		t.Error("not taken once when both were settled")
	}
}

func TestOtherFilesAreWatched(t *testing.T) {
	dir := directory(t)
	one, two, three := filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "three")
	f := New(one, two)
	write(t, one, "1")
	write(t, two, "1")
	write(t, three, "1")
	f.Watch(two, three)
	expectChange(t, f) // of two: one is not watched any more, three was never otherwise
	write(t, one, "2")
	for range 2 {
		if f.Changed() {
			t.Error("a change of a file that is not watched any more")
		}
	}
	write(t, three, "2")
	expectChange(t, f)
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
	New(link).Changed()
	if b, err := io.ReadAll(r); string(b) != "secret" || err != nil {
		t.Errorf("what was in the pipe is %q, error %v", b, err)
	}
}
