package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"belfry/server/config"
)

// listen listens for clients and backends, for http that is sent to https, and for metrics and
// the console if these have listeners of their own. A socket that the process has inherited
// takes the place of what is configured.
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
	m, k := s.config.Metrics, s.config.Console
	redirect := s.config.Server.RedirectHTTP
	if s.metricsListener, err = s.listenApart(apart{"metrics", "metrics.listen", "metrics.enabled is false", sockets.Metrics, m.Enabled, m.Listen}); err != nil {
		return err
	}
	if s.consoleListener, err = s.listenApart(apart{"console", "console.listen", "console.enabled is false", sockets.Console, k.Enabled, k.Listen}); err != nil {
		return err
	}
	if s.redirectListener, err = s.listenApart(apart{"redirect", redirectKey, redirectKey + " is empty", sockets.Redirect, redirect != "", redirect}); err != nil {
		return err
	}
	return s.checkConsole()
}

const redirectKey = "server.redirect_http"

// listenersApart are those beside the main one; nil for one that there is not.
func (s *Server) listenersApart() []net.Listener {
	return []net.Listener{s.metricsListener, s.consoleListener, s.redirectListener}
}

// apart is what may have a listener beside the main one.
type apart struct {
	what      string // its name, also that of an inherited socket
	key       string // that has its address
	off       string // why an inherited socket is not used
	inherited *net.TCPListener
	enabled   bool
	address   string
}

// listenApart listens for what has a listener beside the main one, and returns nil for what
// has none. A socket that the process has inherited takes the place of what is configured.
func (s *Server) listenApart(a apart) (net.Listener, error) {
	switch {
	case a.inherited != nil && !a.enabled:
		s.log.Warn(fmt.Sprintf("the inherited socket for %s is not used: %s", a.what, a.off))
		a.inherited.Close()
	case a.inherited != nil:
		s.log.Info(fmt.Sprintf("serving %s on an inherited socket, not at %s", a.what, a.key), "address", a.inherited.Addr().String(), a.key, a.address)
		return a.inherited, nil
	case a.enabled && a.address != "":
		l, err := net.Listen("tcp", a.address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.key, err)
		}
		return l, nil
	}
	return nil, nil
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
	taken := []named{{"server.listen", cfg.Server.Listen, main}}
	for _, apart := range []struct {
		name, address string
		enabled       bool
	}{
		{redirectKey, cfg.Server.RedirectHTTP, true},
		{"metrics.listen", cfg.Metrics.Listen, cfg.Metrics.Enabled},
		{"console.listen", cfg.Console.Listen, cfg.Console.Enabled},
	} {
		if !apart.enabled || apart.address == "" {
			continue
		}
		found, err := checkAddress(apart.address)
		if err != nil {
			return fmt.Errorf("%s: %w", apart.name, err)
		}
		for _, other := range taken {
			if at := other.at; at.Port == found.Port && at.Port != 0 && (at.IP.Equal(found.IP) || wildcard(at) || wildcard(found)) {
				return fmt.Errorf("%s: %s has the port of %s, %s, at the same address: leave it empty, or give another port",
					apart.name, apart.address, other.name, other.address)
			}
		}
		taken = append(taken, named{apart.name, apart.address, found})
	}
	return nil
}

// named is an address with the key that has it.
type named struct {
	name, address string
	at            *net.TCPAddr
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
