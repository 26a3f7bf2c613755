// Package directory is what Belfry needs of a directory that it writes to.
package directory

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrLocked is the error of [Lock] for a file that another process, or another part of this
// one, has locked.
var ErrLocked = errors.New("another process has it locked")

// halfFile ends the names of files that are of no use yet.
const halfFile = ".tmp"

// Check reports what keeps a directory from being written to. It may be in use by another
// process, or not be there yet. Check leaves nothing behind.
func Check(dir string) error {
	var missing []string // the deepest directory first
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
		missing = append(missing, at)
	}
	defer func() {
		for _, made := range missing {
			_ = os.Remove(made) // it may not have been made
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, "check-*"+halfFile)
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// RemoveHalves removes what a crash amid [Write] has left in a directory. Nobody may be
// writing there.
func RemoveHalves(dir string) error {
	entries, err := os.ReadDir(dir)
	errs := []error{err}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), halfFile) && entry.Type().IsRegular() {
			errs = append(errs, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// Write writes a file that nobody else may read, in the place of what is there: a reader
// finds the one or the other, whole. It makes the file's directory if that is missing.
func Write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-*"+halfFile) // with 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync() // a crash must not leave an empty file behind
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
