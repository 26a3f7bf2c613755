package webhooks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckSpool reports whether a directory could be the spool, for one that may be
// in use by another process, or not be there yet. It leaves nothing behind. An
// empty name is no spool.
func CheckSpool(dir string) error {
	if dir == "" {
		return nil
	}
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
