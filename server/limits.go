package server

// reservedFiles are the descriptors kept for listeners, the HTTP API and
// connections that are being admitted.
const reservedFiles = 128

// maxConnections is the configured limit, or what the descriptors allow: one
// client more than that is told to come back (4100), where without a
// descriptor it could be told nothing, and a publish could not come in.
func (s *Server) maxConnections() int {
	limit := fileLimit()
	if limit > 2*reservedFiles {
		limit -= reservedFiles
	}
	if n := s.config.Server.MaxConnections; n > 0 && (limit == 0 || n < limit) {
		limit = n
	}
	s.log.Info("connections are limited", "to", limit, "file_descriptors", fileLimit(), "max_connections", s.config.Server.MaxConnections)
	return limit
}
