package directory

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for _, text := range []string{"one", "two, longer", ""} {
		if err := Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q, %v; want %q", got, err, text)
		}
	}
	for at, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): fs.ModeDir | 0o700} {
		if info, err := os.Stat(at); err != nil || runtime.GOOS != "windows" && info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", at, info.Mode(), err, want)
		}
	}
	if err := Write(filepath.Join(path, "c"), nil); err == nil {
		t.Error("a file is taken for a directory")
	}
	if err := Write(filepath.Dir(path), nil); err == nil {
		t.Error("a directory is overwritten")
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s has %v, %v", dir, left, err)
		}
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(Check(dir), Check(filepath.Join(dir, "a", "b"))); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if Check(file) == nil || Check(filepath.Join(file, "a")) == nil {
		t.Error("a file is taken for a directory")
	}
}
