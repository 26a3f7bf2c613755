package server

import "belfry/server/session"

// reservedFiles are the descriptors kept for listeners, the HTTP API and
// connections that are being admitted.
const reservedFiles = 128

// capacity is what is configured, or what the descriptors allow: one client more
// than that is told to come back (4100), where without a descriptor it could be
// told nothing, and a publish could not come in.
func (s *Server) capacity() *session.Capacity {
	files := fileLimit()
	if files > 2*reservedFiles {
		files -= reservedFiles
	}
	most := s.config.Server.MaxConnections
	limit := files
	if most > 0 && (files == 0 || most < files) {
		limit = most
	}
	s.log.Info("connections are limited", "to", limit, "file_descriptors", fileLimit(), "max_connections", most)
	return session.NewCapacity(most, files)
}
