// Package watch tells when the contents of files have changed, however they
// were changed: written in place, replaced by a rename as editors do, or
// behind a symbolic link that was pointed elsewhere, as Kubernetes does with
// ConfigMaps and deployments with releases.
//
// It relies on the notifications of the file system. Where there are none, as on
// some network file systems, it stays silent.
package watch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Quiet is for how long nothing must have happened to the files before they are
// looked at: who writes in several steps is not to be read amid them.
const Quiet = 100 * time.Millisecond

// maxBytes of a file are compared. It is more than a configuration may have.
const maxBytes = 2 << 20

// Files are being watched.
type Files struct {
	paths   []string // absolute
	notify  *fsnotify.Watcher
	changes chan struct{}

	// Owned by New, then by Run.
	entries map[string]bool // paths whose change may change a file, and their directories
	seen    []digest        // by path
}

// digest is of a file's contents; zero for one that cannot be read.
type digest [sha256.Size]byte

// New begins to watch files, which need not be there yet. What happens from here
// on is found by Run. Without paths there is nothing to find.
func New(paths ...string) (*Files, error) {
	f := &Files{changes: make(chan struct{}, 1), seen: make([]digest, len(paths))}
	for _, path := range paths {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", path, err)
		}
		f.paths = append(f.paths, absolute)
	}
	var err error
	if f.notify, err = fsnotify.NewWatcher(); err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	if err := f.follow(); err != nil {
		f.Close()
		return nil, err
	}
	f.differ()
	return f, nil
}

// Close ends Run, or releases what it would have.
func (f *Files) Close() { _ = f.notify.Close() } // there is nothing to do about an error

// Changes has a value when the contents of a file have changed; one value for
// all that changed since the last was taken.
func (f *Files) Changes() <-chan struct{} { return f.changes }

// Run finds changes until the context ends or the files are closed. It logs what
// keeps it from doing so.
func (f *Files) Run(ctx context.Context, log *slog.Logger) {
	f.run(ctx, log, f.notify.Events, f.notify.Errors)
}

func (f *Files) run(ctx context.Context, log *slog.Logger, events <-chan fsnotify.Event, errs <-chan error) {
	quiet := time.NewTimer(Quiet)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if f.entries[e.Name] {
				quiet.Reset(Quiet)
			}
		case err, ok := <-errs:
			if !ok {
				return
			}
			log.Warn("file changes may have been missed: looking at the files", "error", err)
			quiet.Reset(Quiet)
		case <-quiet.C:
			// First the watch, then the look: a change in between is seen twice
			// rather than not at all.
			if err := f.follow(); err != nil {
				log.Warn("not all changes of files will be noticed", "error", err)
			}
			if f.differ() {
				select {
				case f.changes <- struct{}{}:
				default:
				}
			}
		}
	}
}

// follow watches the directories that the paths lead through now. Directories,
// because a file that is replaced takes its watch with it.
func (f *Files) follow() (failed error) {
	f.entries = make(map[string]bool)
	directories := make(map[string]bool)
	for _, path := range f.paths {
		for _, entry := range entries(path) {
			directory := filepath.Dir(entry)
			directories[directory] = true
			f.entries[entry], f.entries[directory] = true, true
		}
	}
	watched := f.notify.WatchList()
	for directory := range directories {
		if err := f.notify.Add(directory); err != nil {
			failed = fmt.Errorf("watch %s: %w", directory, err)
		}
	}
	for _, directory := range watched {
		if !directories[directory] {
			_ = f.notify.Remove(directory) // it may be gone by itself
		}
	}
	return failed
}

// differ looks at the files and reports whether any is not as it was.
func (f *Files) differ() bool {
	before := slices.Clone(f.seen)
	for i, path := range f.paths {
		f.seen[i] = read(path)
	}
	return !slices.Equal(before, f.seen)
}

// read leaves alone what is not a regular file: to read from a pipe would be to
// take what is in it.
func read(path string) (d digest) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return digest{}
	}
	file, err := os.Open(path)
	if err != nil {
		return digest{}
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, maxBytes)); err != nil {
		return digest{}
	}
	hash.Sum(d[:0])
	return d
}

// maxLinks is how many symbolic links a path may lead through, as on Linux.
const maxLinks = 40

// entries are the places where a change can change what an absolute path leads
// to: every symbolic link on the way, and the file, or the first thing that is
// missing. The directories they are in have no links in their paths.
func entries(path string) (found []string) {
	for path != "" && len(found) <= maxLinks {
		var entry string
		entry, path = step(path)
		found = append(found, entry)
	}
	return found
}

// step follows a path to its first symbolic link, and returns that and the path
// it makes of the whole. Without a link it returns the end, or the first thing
// that is missing, and "".
func step(path string) (entry, next string) {
	volume := filepath.VolumeName(path)
	names := strings.FieldsFunc(path[len(volume):], func(r rune) bool { return r == filepath.Separator })
	at := volume + string(filepath.Separator)
	for i, name := range names {
		directory := at
		at = filepath.Join(directory, name)
		info, err := os.Lstat(at)
		if err != nil {
			return at, ""
		}
		if info.Mode()&os.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(at)
		if err != nil {
			return at, ""
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(directory, target)
		}
		return at, filepath.Join(append([]string{target}, names[i+1:]...)...)
	}
	return at, ""
}
