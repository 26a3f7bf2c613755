package webhooks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"belfry/server/directory"
)

// ErrSpoolInUse: another process has the spool.
var ErrSpoolInUse = errors.New("another server uses the directory: give every server its own")

// Names in the spool.
const (
	lockFile   = "lock"
	batchFile  = ".json" // after its number
	halfFile   = ".tmp"  // a batch that is being written
	brokenFile = ".bad"  // a batch that cannot be read
)

// spool is a directory that has one of its own for each endpoint.
type spool struct {
	dir  string
	lock *os.File

	mu   sync.Mutex      // guards used
	used map[string]bool // directories of endpoints, by name
}

// openSpool makes the directory if it is not there, and takes it for this
// process.
func openSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, notRegular(path, info.Mode())
	}
	lock, err := directory.Lock(path)
	if errors.Is(err, directory.ErrLocked) {
		err = &os.PathError{Op: "lock", Path: path, Err: ErrSpoolInUse}
	}
	if err != nil {
		return nil, err
	}
	s := &spool{dir: dir, lock: lock, used: make(map[string]bool)}
	if err := directory.Check(dir); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *spool) close() { s.lock.Close() }

// use returns the directory of one endpoint, which is nobody else's until it is
// released. Its name shows the application, and not the URL, of which name is
// all or a part.
func (s *spool) use(app, name string) *spoolDir {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, app)
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := app + "\x00" + name; ; key += "\x00" {
		sum := sha256.Sum256([]byte(key))
		file := plain[:min(len(plain), 40)] + "-" + hex.EncodeToString(sum[:16])
		if !s.used[file] {
			s.used[file] = true
			return &spoolDir{spool: s, name: file, dir: filepath.Join(s.dir, file)}
		}
	}
}

// logUnused logs batches in directories that are not in use, and what is no
// directory.
func (s *spool) logUnused(log *slog.Logger) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		log.Warn("the spool of webhooks cannot be listed", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		if !entry.IsDir() && !entry.Type().IsRegular() {
			log.Warn("the spool of webhooks has a file that is not read", "error", notRegular(path, entry.Type()))
		}
		if !entry.IsDir() || !dirName.MatchString(entry.Name()) || s.used[entry.Name()] || os.Remove(path) == nil { // it was empty
			continue
		}
		files, _ := os.ReadDir(path)
		log.Warn("webhooks in the spool are for an endpoint that is not configured: configure it again, or delete them",
			"directory", path, "files", len(files))
	}
}

var dirName = regexp.MustCompile(`^[A-Za-z0-9_-]+-[0-9a-f]{32}$`)

// notRegular is the error of what is neither read nor followed.
func notRegular(path string, mode fs.FileMode) error {
	what := "a device or a socket"
	switch {
	case mode.IsDir():
		what = "a directory"
	case mode&fs.ModeSymlink != 0:
		what = "a link"
	case mode&fs.ModeNamedPipe != 0:
		what = "a pipe"
	case mode.IsRegular():
		what = "a file"
	}
	return fmt.Errorf("%s is %s, which the spool does not use", path, what)
}

// spoolDir holds the batches of one endpoint, each in a file named by its number.
// load comes first; write and remove may then be called concurrently, but not for
// one batch.
type spoolDir struct {
	spool *spool
	name  string
	dir   string
}

// release lets somebody else use the directory.
func (s *spoolDir) release() {
	_ = os.Remove(s.dir) // if it is empty
	s.spool.mu.Lock()
	delete(s.spool.used, s.name)
	s.spool.mu.Unlock()
}

// load hands over the batches in their order, with a fresh time to be delivered
// in, and removes what a crash has left half written. It returns the highest
// number in use; the error names what could not be read.
func (s *spoolDir) load(add func(*batch)) (last uint64, err error) {
	if info, err := os.Lstat(s.dir); err == nil && !info.IsDir() {
		return 0, notRegular(s.dir, info.Mode())
	}
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	errs := []error{err}
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		number, err := strconv.ParseUint(strings.TrimSuffix(entry.Name(), batchFile), 10, 64)
		isBatch := err == nil && entry.Name() == batchName(number)
		if isBatch {
			last = max(last, number)
		}
		switch {
		case !entry.Type().IsRegular():
			errs = append(errs, notRegular(path, entry.Type()))
		case strings.HasSuffix(entry.Name(), halfFile):
			errs = append(errs, os.Remove(path))
		case isBatch:
			b, err := readBatch(path)
			errs = append(errs, err)
			if err == nil {
				b.number = number
				add(b)
			}
		}
	}
	return last, errors.Join(errs...)
}

func batchName(number uint64) string { return fmt.Sprintf("%020d%s", number, batchFile) }

// maxBatchFile is what is read of one file: the largest queue in one batch, with
// room for what is around its events.
const maxBatchFile = 2 * maxQueuedBytes

// readBatch reads a regular file. One that is no batch is put aside.
func readBatch(path string) (*batch, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBatchFile+1))
	f.Close()
	if err != nil {
		return nil, err
	}
	if len(data) > maxBatchFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxBatchFile)
	}
	b, err := parseBatch(data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no batch: %w", path, err), os.Rename(path, path+brokenFile))
	}
	b.made, b.file = time.Now(), path
	return b, nil
}

// parseBatch reads the body of a request.
func parseBatch(data []byte) (*batch, error) {
	var body struct {
		TimeMS int64             `json:"time_ms"`
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, err
	}
	if len(body.Events) == 0 {
		return nil, errors.New("it has no events")
	}
	b := &batch{timeMS: body.TimeMS}
	for _, text := range body.Events {
		var of struct {
			Channel string `json:"channel"`
		}
		if !bytes.HasPrefix(text, []byte("{")) || json.Unmarshal(text, &of) != nil {
			return nil, errors.New("an event is not an object with a channel")
		}
		b.events = append(b.events, &event{json: text, channel: of.Channel, batch: b})
		b.bytes += len(text)
	}
	return b, nil
}

// write saves events of a batch in its file, in place of what is there. Without an
// error, the batch has a file.
func (s *spoolDir) write(b *batch, events []*event) error {
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		if info, statErr := os.Lstat(s.dir); statErr != nil {
			return err
		} else if !info.IsDir() {
			return notRegular(s.dir, info.Mode())
		}
	}
	path := filepath.Join(s.dir, batchName(b.number))
	half := strings.TrimSuffix(path, batchFile) + halfFile
	f, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body(events))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		_ = os.Remove(half)
		return err
	}
	b.file = path
	return nil
}

// remove deletes a batch's file. That somebody else has is no error.
func (s *spoolDir) remove(b *batch) error {
	if err := os.Remove(b.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
