//go:build !linux || blocking

package server

import (
	"context"
	"net"

	"belfry/server/door"
)

// entrance is what the system has of the door: nothing, as it needs epoll.
type entrance struct{}

// prepareDoor leaves everything to net/http.
func (s *Server) prepareDoor(intake *door.Intake) (net.Listener, error) {
	return intake.Listen(s.listener, false), nil
}

func (entrance) openDoor() error { return nil }

func (entrance) drainDoor(context.Context) {}
