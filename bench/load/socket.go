//go:build linux

package load

import (
	"fmt"
	"net"
	"net/netip"
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
	// Transport is how subscribers connect.
	Transport protocol.Transport

	address  netip.AddrPort
	loopback bool // an IPv4 one
}

// NewTarget resolves host:port.
func NewTarget(app App, host string, exact bool) (*Target, error) {
	tcp, err := net.ResolveTCPAddr("tcp", host)
	if err != nil {
		return nil, err
	}
	address := tcp.AddrPort()
	address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
	ip := address.Addr()
	return &Target{App: app, Host: host, Exact: exact, address: address, loopback: ip.Is4() && ip.IsLoopback()}, nil
}

// sockaddr is made anew for each call: calling writes to it.
func (t *Target) sockaddr() (family int, addr unix.Sockaddr) {
	ip, port := t.address.Addr(), int(t.address.Port())
	if ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: ip.As16()}
}

// dial begins to connect. connected is false when the socket will become
// writable, or fail, later.
func (t *Target) dial(number int) (fd int, connected bool, err error) {
	family, addr := t.sockaddr()
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, false, os.NewSyscallError("socket", err)
	}
	connected, err = t.connect(fd, addr, number)
	if err != nil {
		unix.Close(fd)
		return -1, false, fmt.Errorf("connect to %s: %w", t.Host, err)
	}
	return fd, connected, nil
}

func (t *Target) connect(fd int, addr unix.Sockaddr, number int) (connected bool, err error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return false, os.NewSyscallError("setsockopt", err)
	}
	if t.loopback {
		// The port is chosen by connect, which knows all four numbers.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return false, os.NewSyscallError("setsockopt", err)
		}
		source := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(1 + number%sources)}}
		if err := unix.Bind(fd, source); err != nil {
			return false, os.NewSyscallError("bind", err)
		}
	}
	switch err := unix.Connect(fd, addr); err {
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
