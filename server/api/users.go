package api

// terminate is POST users/{id}/terminate_connections: it closes the
// connections that signed in as the user and, if the app says so, those by
// which the user is on a presence channel.
func terminate(r request) (any, error) {
	if err := r.app.Channels.Terminate(r.name, r.app.Settings().TerminatePresenceUsers); err != nil {
		return nil, err
	}
	return done, nil
}
