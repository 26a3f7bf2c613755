package server

import (
	"crypto/tls"
	"fmt"
	"iter"
	"net"
	"net/http"
	"path"

	"belfry/server/console"
	"belfry/server/door"
	"belfry/server/session"
)

// newConsole returns nil if the console is not enabled.
func (s *Server) newConsole(build Build) *console.Console {
	if !s.config.Console.Enabled || s.exposed() != nil {
		return nil
	}
	return console.New(console.Options{
		Config:     s.config,
		Log:        s.log,
		Apps:       s.apps,
		Broker:     s.broker,
		Metrics:    s.metrics,
		Refusals:   s.refusals,
		Trace:      s.trace,
		Sessions:   s.sessions,
		Watch:      s.watch,
		Changes:    &s.changes,
		Nodes:      s.nodes,
		Version:    build.Version,
		Revision:   build.Revision,
		GoVersion:  build.GoVersion,
		Address:    s.consoleAddr(),
		Clients:    s.listener.Addr(),
		Authorized: door.Authorized,
	})
}

// sessions yields those of all transports.
func (s *Server) sessions() iter.Seq[*session.Session] {
	return func(yield func(*session.Session) bool) {
		for _, of := range []iter.Seq[*session.Session]{s.websocket.Sessions(), s.fallback.Sessions()} {
			for each := range of {
				if !yield(each) {
					return
				}
			}
		}
	}
}

// consoleAddr is where the console is, if it is enabled.
func (s *Server) consoleAddr() net.Addr {
	if s.consoleListener != nil {
		return s.consoleListener.Addr()
	}
	return s.listener.Addr()
}

// exposed is the address of a console that has no password at one that is no loopback
// address; else nil. An inherited socket may have another address than what is configured.
func (s *Server) exposed() net.Addr {
	at := s.consoleAddr()
	tcp, ok := at.(*net.TCPAddr)
	if k := s.config.Console; !k.Enabled || k.Password != "" || ok && tcp.IP.IsLoopback() {
		return nil
	}
	return at
}

// checkConsole refuses a console that is exposed, if it was asked for.
func (s *Server) checkConsole() error {
	if at := s.exposed(); at != nil && !s.config.Generated {
		return fmt.Errorf("console.password: it is missing or empty, and the console's socket has %s, which is no loopback address: give a password, or set console.listen to an address such as 127.0.0.1:8081", at)
	}
	return nil
}

// mountConsole serves the console below a path. The redirect to the page is relative, as a
// proxy may have taken a prefix away.
func (s *Server) mountConsole(mux *http.ServeMux, at string) {
	mux.Handle(at+"/", http.StripPrefix(at, s.console))
	mux.Handle("GET "+at, redirect(path.Base(at)+"/"))
}

func redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

// consoleRoutes are those of a listener for the console alone.
func (s *Server) consoleRoutes() http.Handler {
	mux := http.NewServeMux()
	s.mountConsole(mux, s.config.Console.Path)
	mux.Handle("GET /{$}", redirect(s.config.Console.Path[1:]+"/"))
	return s.recovered(trust(s.config.Server.TrustedProxies, mux))
}

// consoleListen speaks TLS if the main listener does.
func (s *Server) consoleListen() net.Listener {
	l := s.counted(s.consoleListener, s.secured())
	if !s.secured() {
		return l
	}
	return tls.NewListener(l, s.tlsConfig())
}

// endConsole ends the streams of the console, which would keep the server waiting.
func (s *Server) endConsole() {
	if s.console != nil {
		s.console.Close()
	}
}

// ConsoleURL is where the console is: with the token that signs in, if there is no
// password. It is empty if the console is not enabled.
func (s *Server) ConsoleURL() string {
	if s.console == nil {
		return ""
	}
	scheme, at := "http", s.consoleAddr().String()
	if s.secured() {
		scheme = "https"
	}
	url := scheme + "://" + at + s.config.Console.Path + "/"
	if token := s.console.Token(); token != "" {
		url += "#token=" + token
	}
	return url
}
