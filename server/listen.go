package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"belfry/server/config"
)

// listen listens for clients and backends. What is set on the listener, its
// connections inherit, at no cost for each. TCP's own keep-alive is off:
// clients are asked for a sign of life, and requests have timeouts.
func listen(address string) (net.Listener, error) {
	l := net.ListenConfig{
		KeepAlive: -1,
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { boundSendBuffer(fd, config.SendBuffer) })
		},
	}
	l.SetMultipathTCP(false) // whose sockets lack options on some kernels
	return l.Listen(context.Background(), "tcp", address)
}

// checkAddresses reports what keeps the server from listening, whoever has the
// ports now.
func checkAddresses(cfg *config.Config) error {
	main, err := checkAddress(cfg.Server.Listen)
	if err != nil {
		return fmt.Errorf("server.listen: %w", err)
	}
	if !cfg.Metrics.Enabled || cfg.Metrics.Listen == "" {
		return nil
	}
	metrics, err := checkAddress(cfg.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	if main.Port == metrics.Port && main.Port != 0 && (main.IP.Equal(metrics.IP) || wildcard(main) || wildcard(metrics)) {
		return fmt.Errorf("metrics.listen: %s has the port of server.listen, %s, at the same address: leave it empty to share that, or give another port",
			cfg.Metrics.Listen, cfg.Server.Listen)
	}
	return nil
}

// checkAddress finds the address and listens there for a moment, at any free port.
func checkAddress(address string) (*net.TCPAddr, error) {
	found, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: found.IP, Zone: found.Zone})
	if failed := (*net.OpError)(nil); errors.As(err, &failed) {
		failed.Addr = found
	}
	if err != nil {
		return nil, err
	}
	return found, l.Close()
}

// wildcard says whether the address is that of all, of IPv4 and of IPv6: the net
// package does not tell 0.0.0.0 from [::].
func wildcard(a *net.TCPAddr) bool { return len(a.IP) == 0 || a.IP.IsUnspecified() }
