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

func TestRemoveHalves(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.pem", "a.pem-123.tmp", "b.challenge-7.tmp", "tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveHalves(dir); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "a.pem" || left[1].Name() != "tmp" {
		t.Errorf("%v, %v", left, err)
	}
	if err := RemoveHalves(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
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
