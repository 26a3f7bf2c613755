//go:build linux

package load

import (
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ClientTLS is how clients speak TLS: like a browser that meets the server for
// the first time. They do not check the certificate, which is work of theirs and
// not of the server.
func ClientTLS() *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true,
		ServerName:         "localhost",
		ClientSessionCache: forgetful{},
	}
}

// forgetful makes clients ask for session tickets, and keeps none.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

// stream is a connection, over TCP or over TLS.
type stream struct {
	fd     int
	secure *tls.Conn // nil: over TCP
}

// read takes what has come: EAGAIN when that is nothing, no bytes and no error
// at the end. When there are as many bytes as b holds, more may have come that
// the descriptor is no longer ready for.
func (s *stream) read(b []byte) (n int, err error) {
	if s.secure == nil {
		n, err = unix.Read(s.fd, b)
		if err == unix.EAGAIN || err == unix.EINTR {
			return 0, unix.EAGAIN
		}
		return max(n, 0), os.NewSyscallError("read", err)
	}
	for n < len(b) {
		record, err := s.secure.Read(b[n:])
		n += record
		switch {
		case err == nil:
		case n > 0:
			return n, nil // the next read returns any other error again
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, unix.EAGAIN
		case err == io.EOF:
			return 0, nil
		default:
			return 0, err
		}
	}
	return n, nil
}

// write writes what is certain to fit: see writeAll.
func (s *stream) write(b []byte) error {
	if s.secure == nil {
		return writeAll(s.fd, b)
	}
	_, err := s.secure.Write(b)
	return err
}

// beginTLS prepares the handshake. step, to be called at first and then whenever
// bytes have come, goes on with it until done is true.
func (s *stream) beginTLS(config *tls.Config) (step func() (done bool, err error)) {
	below := &ciphertext{fd: s.fd}
	s.secure = tls.Client(below, config)
	var err error
	// The handshake blocks. As a coroutine, it stays on the loop's thread.
	next, _ := iter.Pull(func(yield func(struct{}) bool) {
		below.wait = func() error { yield(struct{}{}); return nil }
		err = s.secure.Handshake()
		below.wait = nil
	})
	return func() (done bool, _ error) {
		_, waits := next()
		return !waits, err
	}
}

// blockForTLS does the whole handshake.
func (s *stream) blockForTLS(config *tls.Config) error {
	below := &ciphertext{fd: s.fd}
	below.wait = func() error { return awaitReady(s.fd, unix.POLLIN) }
	s.secure = tls.Client(below, config)
	err := s.secure.Handshake()
	below.wait = nil
	return err
}

// ciphertext is the bytes that TLS sends and receives.
type ciphertext struct {
	net.Conn // nil: a handshake, Read and Write call nothing else
	fd       int
	wait     func() error // for bytes; nil: a read returns at once, like one after its deadline
}

func (c *ciphertext) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(c.fd, b)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && c.wait == nil:
			return 0, os.ErrDeadlineExceeded
		case err == unix.EAGAIN:
			if err := c.wait(); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (c *ciphertext) Write(b []byte) (int, error) {
	if err := writeAll(c.fd, b); err != nil {
		return 0, err
	}
	return len(b), nil
}
