package handover

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"
)

const (
	// maxRecord bounds a record, in bytes. The largest has what waits for one client, or
	// the members of one channel.
	maxRecord = 256 << 20
	// maxFiles is how many descriptors come with one record: SCM_MAX_FD of the kernel.
	maxFiles = 253
	// headBytes is the length of a record's head: its kind, and how many bytes follow.
	headBytes = 5
)

// Link is one side of the connection between the two processes. One goroutine uses it,
// but SetDeadline may be called by any.
type Link struct {
	conn *net.UnixConn
	out  *bufio.Writer
	in   *records
}

func newLink(conn *net.UnixConn) *Link {
	in := &incoming{conn: conn, rights: make([]byte, unix.CmsgSpace(maxFiles*4))}
	return &Link{conn: conn, out: bufio.NewWriterSize(conn, 64<<10), in: &records{r: bufio.NewReaderSize(in, 64<<10), files: in}}
}

// Close closes the connection, and the descriptors that have come and were not asked
// for.
func (l *Link) Close() {
	l.conn.Close()
	l.in.files.close()
}

// SetDeadline sets the time at which Send and Receive fail. The zero time is never.
func (l *Link) SetDeadline(t time.Time) { _ = l.conn.SetDeadline(t) } // an error shows at the next use

// Send sends a record, soon or with Flush.
func (l *Link) Send(k Kind, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %q: %w", k, err)
	}
	if len(text) > maxRecord {
		return fmt.Errorf("record %q has %d bytes, more than %d", k, len(text), maxRecord)
	}
	if _, err := l.out.Write(head(k, len(text))); err != nil {
		return err
	}
	_, err = l.out.Write(text)
	return err
}

// Flush sends what Send has buffered.
func (l *Link) Flush() error { return l.out.Flush() }

// SendFiles sends descriptors ahead of the records that are about them. They stay open
// here, too.
func (l *Link) SendFiles(fds ...int) error {
	if err := l.Flush(); err != nil {
		return err
	}
	for len(fds) > 0 {
		n := min(len(fds), maxFiles)
		if _, _, err := l.conn.WriteMsgUnix(head(descriptors, 0), unix.UnixRights(fds[:n]...), nil); err != nil {
			return err
		}
		fds = fds[n:]
	}
	return nil
}

func head(k Kind, length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(length))
}

// Receive returns the next record. The error is that of the connection, io.EOF among
// others, [ErrRecord], [ErrDescriptors], or [ErrRefused] with the other side's reason.
func (l *Link) Receive() (Kind, []byte, error) {
	k, text, err := l.in.next()
	if err != nil || k != Failed {
		return k, text, err
	}
	var reason string
	if err := Read(text, &reason); err != nil {
		return k, nil, err
	}
	return k, nil, fmt.Errorf("%w: %s", ErrRefused, reason)
}

// Expect receives a record of that kind into v, which may be nil.
func (l *Link) Expect(k Kind, v any) error {
	got, text, err := l.Receive()
	switch {
	case err != nil:
		return err
	case got != k:
		return fmt.Errorf("%w: %q where %q is due", ErrRecord, got, k)
	case v == nil:
		return nil
	}
	return Read(text, v)
}

// NextFile returns the next of the descriptors that have come, which is the caller's
// from here on.
func (l *Link) NextFile() (fd int, err error) { return l.in.files.next() }

// Read decodes a record. The error is [ErrRecord].
func Read(text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return nil
}

// files are descriptors that come beside records.
type files interface {
	next() (fd int, err error)
	close()
}

// records reads records.
type records struct {
	r     io.Reader
	files files
}

// next returns the next record. It skips those that only carry descriptors.
func (in *records) next() (Kind, []byte, error) {
	for {
		var h [headBytes]byte
		if _, err := io.ReadFull(in.r, h[:]); err != nil {
			return 0, nil, err
		}
		k, length := Kind(h[0]), int64(binary.BigEndian.Uint32(h[1:]))
		if length > maxRecord || k == descriptors && length > 0 {
			return 0, nil, fmt.Errorf("%w: a record %q of %d bytes", ErrRecord, k, length)
		}
		if k == descriptors {
			continue
		}
		// The buffer grows with what comes, whatever the head says.
		var text bytes.Buffer
		if n, err := io.CopyN(&text, in.r, length); err != nil {
			return 0, nil, fmt.Errorf("%w: a record %q ends after %d bytes of %d", ErrRecord, k, n, length)
		}
		return k, text.Bytes(), nil
	}
}

// incoming reads a connection, and keeps the descriptors that come with its bytes.
type incoming struct {
	conn   *net.UnixConn
	fds    []int
	rights []byte // room for maxFiles descriptors
}

// Read implements io.Reader.
func (in *incoming) Read(p []byte) (int, error) {
	n, rights, flags, _, err := in.conn.ReadMsgUnix(p, in.rights)
	if err != nil {
		return 0, err // n may be negative
	}
	lost := flags&unix.MSG_CTRUNC != 0
	if rights > 0 {
		messages, parseErr := unix.ParseSocketControlMessage(in.rights[:rights])
		lost = lost || parseErr != nil
		for _, m := range messages {
			fds, parseErr := unix.ParseUnixRights(&m)
			lost = lost || parseErr != nil
			in.fds = append(in.fds, fds...)
		}
	}
	switch {
	case lost:
		return 0, ErrDescriptors
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (in *incoming) next() (fd int, err error) {
	if len(in.fds) == 0 {
		return -1, ErrDescriptors
	}
	fd, in.fds = in.fds[0], in.fds[1:]
	return fd, nil
}

func (in *incoming) close() {
	for _, fd := range in.fds {
		unix.Close(fd)
	}
	in.fds = nil
}

// connect makes a connection of a socket's descriptor, which it closes.
func connect(fd int) (*Link, error) {
	nc, err := fileConn(fd)
	if err != nil {
		return nil, err
	}
	conn, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, errors.New("the inherited descriptor is no Unix socket")
	}
	return newLink(conn), nil
}
