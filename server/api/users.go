package api

import (
	"belfry/channels"
	"belfry/server/session"
)

// terminate is POST users/{id}/terminate_connections: it closes the
// connections that signed in as the user and, if the app says so, those by
// which the user is on a presence channel.
func terminate(r request) (any, error) {
	end := func(connections []channels.Subscriber) {
		for _, c := range connections {
			if s, ok := c.(*session.Session); ok {
				s.Terminate()
			}
		}
	}
	end(r.app.Channels.Connections(r.name))
	if r.app.Settings().TerminatePresenceUsers {
		end(r.app.Channels.Members(r.name))
	}
	return done, nil
}
