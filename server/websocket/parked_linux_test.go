//go:build !blocking

package websocket

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// pair returns a descriptor that does not block, and its peer.
func pair(t *testing.T) (fd int, peer *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer = os.NewFile(uintptr(fds[1]), "peer")
	t.Cleanup(func() { peer.Close() })
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	return fds[0], peer
}

// Once the last records have gone out, the poller does not look for room any more:
// a socket that is shut for writing has it always.
func TestLastRecords(t *testing.T) {
	fd, peer := pair(t)
	const records = 1 << 20 // more than a socket takes at once
	s := &tlsSocket{parked: true, fd: fd, out: make([]byte, records)}
	defer s.close()
	p := &parked{fd: fd, sealed: &sealed{socket: s}, shutAfterFlush: true}
	p.flush()
	if !p.wantsOut {
		t.Fatal("the poller does not look for room while records are left")
	}
	got := 0
	for buffer := make([]byte, 64<<10); ; {
		n, err := peer.Read(buffer)
		got += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p.flush()
	}
	if got != records || p.wantsOut {
		t.Errorf("%d bytes of %d came; the poller looks for room: %v", got, records, p.wantsOut)
	}
}

// A client that has TLS answer it without reading that is found out.
func TestUnreadRecords(t *testing.T) {
	fd, _ := pair(t)
	s := &tlsSocket{parked: true, fd: fd}
	defer s.close()
	record := make([]byte, 1<<10)
	for n := 0; !s.stuffed(); n++ {
		if _, err := s.Write(record); err != nil {
			t.Fatal(err)
		}
		if len(s.out) > maxUnsentRecords+len(record) {
			t.Fatalf("%d bytes wait", len(s.out))
		}
	}
	if _, err := s.Write(record); err == nil {
		t.Error("one more is taken")
	}
}
