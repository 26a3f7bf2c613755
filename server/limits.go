package server

import "belfry/server/capacity"

// Of the process's descriptors, ownFiles are for listeners, pollers, the log, webhooks
// and the cluster, but no more than an eighth of all. Clients also leave requestFiles,
// but no more than a quarter, to requests and to connections that are being admitted.
const (
	ownFiles     = 32
	requestFiles = 96
)

// limits leaves descriptors free beyond those of clients, so that a client over the
// limit can be told (4100) and a publish can still come in.
func (s *Server) limits() capacity.Limits {
	files, most := fileLimit(), s.config.Server.MaxConnections
	limits := capacity.Limits{Clients: most, Descriptors: files - min(ownFiles, files/8), Reserve: min(requestFiles, files/4)}
	s.log.Info("connections are limited", "to", limits.MaxClients(), "file_descriptors", files, "max_connections", most)
	return limits
}
