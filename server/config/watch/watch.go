// Package watch finds out whether the contents of files have changed, however
// they were changed: written in place, replaced by a rename as editors do, or
// behind a symbolic link that was pointed elsewhere, as Kubernetes does with
// ConfigMaps and deployments with releases.
//
// It reads the files again and again: they are small, and unlike notifications
// that works on network file systems and in containers too.
package watch

import (
	"crypto/sha256"
	"io"
	"os"
	"time"
)

// Interval is the usual time between two looks.
const Interval = time.Second

// maxBytes of a file are compared. It is more than a configuration may have.
const maxBytes = 2 << 20

// Files are being watched. They are for one goroutine at a time.
type Files struct {
	files []file
	read  func(path string) digest
}

type file struct {
	path  string
	taken digest // when it was last reported, or first watched
	last  digest // at the last look
}

// digest is of a file's contents; zero for one that cannot be read.
type digest [sha256.Size]byte

// New begins to watch files as they are now. They need not be there yet.
func New(paths ...string) *Files {
	f := &Files{read: read}
	f.Watch(paths...)
	return f
}

// Watch watches these files instead. What it has seen of those that were watched
// before stays; others are watched as they are now.
func (f *Files) Watch(paths ...string) {
	before := f.files
	f.files = nil
next:
	for _, path := range paths {
		for _, old := range before {
			if old.path == path {
				f.files = append(f.files, old)
				continue next
			}
		}
		now := f.read(path)
		f.files = append(f.files, file{path: path, taken: now, last: now})
	}
}

// Changed looks at the files and reports whether one has other contents than
// when it was last reported. It does so at the second look that finds the same,
// so that a file amid being written is left alone.
func (f *Files) Changed() bool {
	changed, settled := false, true
	for i := range f.files {
		file := &f.files[i]
		now := f.read(file.path)
		settled = settled && now == file.last
		file.last = now
		changed = changed || now != file.taken
	}
	if !changed || !settled {
		return false
	}
	for i := range f.files {
		f.files[i].taken = f.files[i].last
	}
	return true
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
