package server

import "belfry/server/capacity"

// Of the process's descriptors, ownFiles are for listeners, pollers, the log, webhooks
// and the cluster, but no more than an eighth of all. Clients also leave requestFiles,
// but no more than a quarter, to requests and to connections that are being admitted.
const (
	ownFiles     = 32
	requestFiles = 96
)

// limits is what is configured, or what the descriptors allow: one client more than
// that is told to come back (4100), where without a descriptor it could be told
// nothing, and a publish could not come in.
func (s *Server) limits() capacity.Limits {
	files, most := fileLimit(), s.config.Server.MaxConnections
	limits := capacity.Limits{Clients: most, Descriptors: files - min(ownFiles, files/8), Reserve: min(requestFiles, files/4)}
	to := limits.Descriptors - limits.Reserve
	if most > 0 && (to == 0 || most < to) {
		to = most
	}
	s.log.Info("connections are limited", "to", to, "file_descriptors", files, "max_connections", most)
	return limits
}
