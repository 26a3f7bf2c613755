//go:build !blocking

package websocket

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Once the last records have gone out, the poller does not look for room any more:
// a socket that is shut for writing has it always.
func TestLastRecords(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(fds[1]), "peer")
	defer peer.Close()
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	const records = 1 << 20 // more than a socket takes at once
	s := &tlsSocket{parked: true, fd: fds[0], out: make([]byte, records)}
	defer s.close()
	p := &parked{fd: fds[0], sealed: &sealed{socket: s}, shutAfterFlush: true}
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
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(fds[1]), "peer")
	defer peer.Close()
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	s := &tlsSocket{parked: true, fd: fds[0]}
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
