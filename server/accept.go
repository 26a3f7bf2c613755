package server

import (
	"net"

	"belfry/server/websocket"
)

// accept returns the listener of the connections that net/http serves: those that
// the door does not, or all.
func (s *Server) accept() (net.Listener, error) {
	if s.secured() {
		return websocket.ListenTLS(s.listener, s.certificate.config()), nil
	}
	return s.prepareDoor()
}
