package webhooks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"belfry/protocol"
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

// spool is a directory with one for each endpoint, a shelf.
type spool struct {
	dir  string
	lock *os.File

	mu      sync.Mutex      // guards shelves
	shelves map[string]bool // in use, by name
}

// openSpool makes the directory if it is not there, and takes it for this
// process.
func openSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockDirectory(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	s := &spool{dir: dir, lock: lock, shelves: make(map[string]bool)}
	probe := filepath.Join(dir, "probe"+halfFile)
	if err := errors.Join(os.WriteFile(probe, nil, 0o600), os.Remove(probe)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *spool) close() { s.lock.Close() }

// shelf is the part of one endpoint. Its name tells the application, and not
// the URL.
func (s *spool) shelf(app, url string) *shelf {
	sum := sha256.Sum256([]byte(app + "\x00" + url))
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, app)
	name := plain[:min(len(plain), 40)] + "-" + hex.EncodeToString(sum[:16])
	s.mu.Lock()
	s.shelves[name] = true
	s.mu.Unlock()
	return &shelf{spool: s, name: name, dir: filepath.Join(s.dir, name)}
}

// tellOrphans logs batches on shelves that are not in use.
func (s *spool) tellOrphans(log *slog.Logger) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		log.Warn("the spool of webhooks cannot be listed", "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		dir := filepath.Join(s.dir, entry.Name())
		if !entry.IsDir() || !shelfName.MatchString(entry.Name()) || s.shelves[entry.Name()] || os.Remove(dir) == nil { // it was empty
			continue
		}
		files, _ := os.ReadDir(dir)
		log.Warn("webhooks in the spool are for an endpoint that is not configured: configure it again, or delete them",
			"directory", dir, "files", len(files))
	}
}

var shelfName = regexp.MustCompile(`^[A-Za-z0-9_-]+-[0-9a-f]{32}$`)

// shelf holds the batches of one endpoint, each in a file named by its number.
// load comes first; write and remove may then be called concurrently with each
// other.
type shelf struct {
	spool *spool
	name  string
	dir   string
	last  uint64 // number of a batch; owned by write
}

// close forgets the shelf, which is empty unless something went wrong.
func (s *shelf) close() {
	_ = os.Remove(s.dir)
	s.spool.mu.Lock()
	delete(s.spool.shelves, s.name)
	s.spool.mu.Unlock()
}

// load returns the batches in their order, with a fresh time to be delivered
// in, and removes what a crash has left half written. The error tells of what
// could not be read; batches are returned all the same.
func (s *shelf) load() (batches []*batch, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, entry := range entries {
		path := filepath.Join(s.dir, entry.Name())
		if strings.HasSuffix(entry.Name(), halfFile) {
			errs = append(errs, os.Remove(path))
			continue
		}
		number, err := strconv.ParseUint(strings.TrimSuffix(entry.Name(), batchFile), 10, 64)
		if err != nil || entry.Name() != batchName(number) {
			continue
		}
		s.last = max(s.last, number)
		b, err := readBatch(path, entry)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		batches = append(batches, b)
	}
	return batches, errors.Join(errs...)
}

func batchName(number uint64) string { return fmt.Sprintf("%020d%s", number, batchFile) }

// readBatch reads a file. One that is no batch is put aside.
func readBatch(path string, entry fs.DirEntry) (*batch, error) {
	info, err := entry.Info()
	if err != nil {
		return nil, err
	}
	if info.Size() > 2*maxQueuedBytes {
		return nil, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
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
	for _, event := range body.Events {
		if !bytes.HasPrefix(event, []byte("{")) {
			return nil, errors.New("an event is not an object")
		}
		b.events = append(b.events, event)
		b.bytes += len(event)
	}
	return b, nil
}

// write saves a batch as the last one. Without an error, the batch has a file.
func (s *shelf) write(b *batch) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	s.last++
	path := filepath.Join(s.dir, batchName(s.last))
	half := strings.TrimSuffix(path, batchFile) + halfFile
	err := os.WriteFile(half, protocol.WebhookBody(b.timeMS, b.events), 0o600)
	if err == nil {
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
func (s *shelf) remove(b *batch) error {
	if err := os.Remove(b.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
