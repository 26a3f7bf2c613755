//go:build linux

package load

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"belfry/protocol"
)

// sources is how many loopback addresses clients connect from, 127.0.0.1
// upwards: one address has some 28,000 ports.
const sources = 16

// Target is the server under load. It is not changed once made.
type Target struct {
	App  App
	Host string // host:port
	// Exact says that messages must have the very bytes that Belfry sends.
	Exact bool
	// Serials says that events have one each. It matters if messages must be exact.
	Serials bool
	// Transport is how subscribers connect.
	Transport protocol.Transport
	// TLS is how WebSockets and publishers speak TLS; nil: they do not.
	TLS *tls.Config

	address unix.SockaddrInet4
}

// NewTarget resolves host:port. An address outside of 127.0.0.0/8 is an error:
// this much traffic is not for anybody else's machine.
func NewTarget(app App, host string, exact bool) (*Target, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", host)
	if err != nil {
		return nil, err
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is not an address of 127.0.0.0/8, where the server must run", host)
	}
	address := unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())}
	return &Target{App: app, Host: host, Exact: exact, address: address}, nil
}

// dial begins to connect. connected is false when the socket will become
// writable, or fail, later.
func (t *Target) dial(number int) (fd int, connected bool, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, false, os.NewSyscallError("socket", err)
	}
	connected, err = t.connect(fd, number)
	if err != nil {
		unix.Close(fd)
		return -1, false, fmt.Errorf("connect to %s: %w", t.Host, err)
	}
	return fd, connected, nil
}

func (t *Target) connect(fd int, number int) (connected bool, err error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return false, os.NewSyscallError("setsockopt", err)
	}
	// The port is chosen by connect, which knows all four numbers.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return false, os.NewSyscallError("setsockopt", err)
	}
	source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + number%sources)}}
	if err := unix.Bind(fd, source); err != nil {
		return false, os.NewSyscallError("bind", err)
	}
	address := t.address // Connect writes to it
	switch err := unix.Connect(fd, &address); err {
	case nil:
		return true, nil
	case unix.EINPROGRESS:
		return false, nil
	default:
		return false, err
	}
}

// connectError is how a pending connect ended.
func connectError(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return os.NewSyscallError("connect", unix.Errno(code))
	}
	return nil
}

// awaitReady waits until the descriptor is ready for one of the events.
func awaitReady(fd int, events int16) error {
	const limit = 5000 // milliseconds
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, limit)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("the server did nothing for %d ms", limit)
		default:
			return nil
		}
	}
}

// writeAll writes what is certain to fit: all that a client sends is a few
// hundred bytes, or one request on a connection that has no other under way.
func writeAll(fd int, b []byte) error {
	n, err := unix.Write(fd, b)
	if err == nil && n < len(b) {
		err = unix.EAGAIN
	}
	return os.NewSyscallError("write", err)
}

// abandon closes a connection at once and leaves no TIME_WAIT behind.
func abandon(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}
