package server

import (
	"net"

	"belfry/server/door"
	"belfry/server/websocket"
)

// counted returns a listener beside the main one, whose connections are counted with all
// others, and make room for them.
func (s *Server) counted(l net.Listener, secure bool) net.Listener {
	return door.NewIntake(s.capacity, s.watch, s.log, s.refusals, s.metrics.AcceptErrors).Listen(l, secure)
}

// accept returns the listener of the connections that net/http serves: those that
// the door does not, or all.
func (s *Server) accept() (net.Listener, error) {
	intake := door.NewIntake(s.capacity, s.watch, s.log, s.refusals, s.metrics.AcceptErrors)
	s.intake = intake
	if s.secured() {
		return websocket.ListenTLS(intake.Listen(s.listener, true), s.tlsConfig()), nil
	}
	return s.prepareDoor(intake)
}
