package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"belfry/server/config"
)

// listen listens for clients and backends, and for those who scrape metrics if that
// is configured to be elsewhere. A socket that the process has inherited takes the
// place of what is configured.
func (s *Server) listen() (err error) {
	sockets, outlive, err := s.inherit()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			sockets.Close()
		}
	}()
	if l := sockets.Main; l != nil {
		s.log.Info("listening on an inherited socket, not at server.listen", "address", l.Addr().String(), "server.listen", s.config.Server.Listen)
		raw, err := l.SyscallConn()
		if err == nil {
			err = prepareListener(raw)
		}
		if err != nil {
			return fmt.Errorf("inherited socket: %w", err)
		}
		s.listener, s.inherited = l, outlive
	} else if s.listener, err = listen(s.config.Server.Listen); err != nil {
		return fmt.Errorf("server.listen: %w", err)
	}
	switch l := sockets.Metrics; {
	case l != nil && !s.config.Metrics.Enabled:
		s.log.Warn("the inherited socket for metrics is not used: metrics.enabled is false")
		l.Close()
	case l != nil:
		s.log.Info("serving metrics on an inherited socket, not at metrics.listen", "address", l.Addr().String(), "metrics.listen", s.config.Metrics.Listen)
		s.metricsListener = l
	case s.config.Metrics.Enabled && s.config.Metrics.Listen != "":
		if s.metricsListener, err = net.Listen("tcp", s.config.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
	}
	return nil
}

// listen listens for clients and backends. What is set on the listener, its
// connections inherit, at no cost for each. TCP's own keep-alive is off:
// clients are asked for a sign of life, and requests have timeouts.
func listen(address string) (net.Listener, error) {
	l := net.ListenConfig{
		KeepAlive: -1,
		Control:   func(_, _ string, raw syscall.RawConn) error { return prepareListener(raw) },
	}
	l.SetMultipathTCP(false) // whose sockets lack options on some kernels
	return l.Listen(context.Background(), "tcp", address)
}

func prepareListener(raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) { boundSendBuffer(fd, config.SendBuffer) })
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
