package certificates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"belfry/server/directory"
)

// Storage keeps keys, certificates and answers to challenges, for all nodes that share it.
// Values are small and whole: a Get that begins when a Put has returned finds its value, on
// any node, and one that comes meanwhile the old value or the new one. Names have the form
// AUTHORITY/NAME, and only who has a lock of the authority puts something there. Its methods
// may be called concurrently.
type Storage interface {
	// Get returns the value of a name; ok is false if there is none.
	Get(ctx context.Context, name string) (value []byte, ok bool, err error)
	// Put sets the value of a name. Get may not find it any more after keep; 0: it stays.
	Put(ctx context.Context, name string, value []byte, keep time.Duration) error
	// Delete removes a name. That there is none is no error.
	Delete(ctx context.Context, name string) error
	// Lock takes a lock by its name. It does not wait: ok is false if somebody else has the
	// lock. The lock is free again when unlock has returned, which takes seconds at most,
	// whether ctx has ended or not; when the process ends; or, where the end of a process goes
	// unnoticed, when most is over, even if the holder still works.
	Lock(ctx context.Context, name string, most time.Duration) (unlock func(), ok bool, err error)
	// Close gives back what the storage holds. Calls behind it fail.
	Close()
}

// maxStored bounds what is read of one file, in bytes.
const maxStored = 1 << 20

// files is a [Storage] in a directory that processes of one machine share. It forgets
// nothing.
type files struct{ dir string }

// Directory returns a storage that keeps everything in files below dir, which only the
// process's user may read. Names have slashes.
func Directory(dir string) Storage { return files{dir} }

func (f files) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// Get implements [Storage].
func (f files) Get(_ context.Context, name string) ([]byte, bool, error) {
	path := f.path(name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err == nil && !info.Mode().IsRegular() { // to open a pipe might take for ever
		err = fmt.Errorf("%s is no regular file: remove it", path)
	}
	if err != nil {
		return nil, false, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	value, err := io.ReadAll(io.LimitReader(file, maxStored+1))
	if err == nil && len(value) > maxStored {
		err = fmt.Errorf("%s has more than %d bytes", file.Name(), maxStored)
	}
	return value, err == nil, err
}

// Put implements [Storage].
func (f files) Put(_ context.Context, name string, value []byte, _ time.Duration) error {
	return directory.Write(f.path(name), value)
}

// Delete implements [Storage].
func (f files) Delete(_ context.Context, name string) error {
	err := os.Remove(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Lock implements [Storage].
func (f files) Lock(_ context.Context, name string, _ time.Duration) (unlock func(), ok bool, err error) {
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, false, err
	}
	lock, err := directory.Lock(path)
	if errors.Is(err, directory.ErrLocked) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	_ = directory.RemoveHalves(filepath.Dir(path)) // of holders that have crashed: there may be keys in them
	return func() { lock.Close() }, true, nil
}

// Close implements [Storage].
func (files) Close() {}

// names are those of what is stored. They begin with the authority, as what one has issued
// is of no use to another:
//
//	AUTHORITY/account.key       the account's private key
//	AUTHORITY/DOMAIN.pem        the certificate's private key, the certificate and its chain
//	AUTHORITY/DOMAIN.challenge  the answer to the authority's challenge, while there is one
//	AUTHORITY/DOMAIN.failure    how the last order has failed, until one succeeds
//	AUTHORITY/lock              is locked by whoever orders
type names struct{ authority string }

// namesOf is for the authority with a directory.
func namesOf(directory string) names {
	text := directory
	if u, err := url.Parse(directory); err == nil {
		text = u.Host + u.Path
	}
	plain := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}
	return names{strings.Trim(strings.Map(plain, text), ".-")}
}

func (n names) account() string                  { return n.authority + "/account.key" }
func (n names) certificate(domain string) string { return n.authority + "/" + domain + ".pem" }
func (n names) challenge(domain string) string   { return n.authority + "/" + domain + ".challenge" }
func (n names) failure(domain string) string     { return n.authority + "/" + domain + ".failure" }
func (n names) lock() string                     { return n.authority + "/lock" }
