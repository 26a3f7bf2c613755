//go:build !blocking

package server

import (
	"context"
	"net"
	"net/http"

	"belfry/server/api"
	"belfry/server/door"
)

// entrance is what the system has of the door: nothing with TLS.
type entrance struct{ door *door.Door }

// prepareDoor has the door take the listener over, and returns the listener of
// what it leaves to net/http.
func (s *Server) prepareDoor(intake *door.Intake) (net.Listener, error) {
	s.door = &door.Door{
		Intake:  intake,
		Handler: s.http.Handler,
		Prefix:  s.config.Server.Path,
		Pollers: s.pollers,
		Bugs:    s.bugs,
		Quick:   s.quick,
		Head:    readHeaderTimeout,
		Idle:    idleTimeout,
		Write:   writeTimeout,
	}
	s.intake = s.door
	return s.door.Prepare(s.listener)
}

// quick says whether nothing in a request to the HTTP API has to wait: on a node of
// a cluster, or when another process is to answer, all of them may.
func (s *Server) quick(r *http.Request) bool {
	return !s.clustered() && !s.hasMoved() && api.Quick(r)
}

func (e entrance) openDoor() error {
	if e.door == nil {
		return nil
	}
	return e.door.Open()
}

// drainDoor closes the door, and returns when nobody is at it any more, or ctx ends.
func (e entrance) drainDoor(ctx context.Context) {
	if e.door != nil {
		e.door.Drain(ctx)
	}
}
