package server

import (
	"log/slog"
	"strings"

	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/systemd"
)

// transport is a way for clients to connect.
type transport interface {
	// Evict closes the connections of applications that were disabled or
	// removed, and waits for none of them.
	Evict()
}

func (s *Server) transports() []transport { return []transport{s.websocket, s.fallback} }

// LogLevel has reloads set the level of the log that the server was given.
func (s *Server) LogLevel(level *slog.LevelVar) { s.logLevel = level }

// Reload puts the apps of another valid configuration in force: their settings
// are read at each use, so connections stay, except those of apps that it does
// not have (4009) or disables (4003). Besides, log.level, see
// [Server.LogLevel], and server.max_history_bytes change, and nothing else while the
// server runs; what would have to is logged.
//
// A certificate in files is read again, whether these have other names or not. An
// error is about that: then nothing of the configuration is in force. With an authority,
// the list of domains changes.
func (s *Server) Reload(cfg *config.Config) error {
	renewed := false
	mode := cfg.Server.TLS.Mode()
	if mode == config.TLSFiles && s.config.Server.TLS.Mode() == mode {
		var err error
		if renewed, err = s.certificate.load(cfg.Server.TLS); err != nil {
			return err
		}
	}
	if s.logLevel != nil {
		s.logLevel.Set(cfg.Log.Level)
	}
	if s.acme != nil && mode == config.TLSACME {
		s.acme.Configure(cfg.Server.TLS.ACME.Domains)
	}
	s.broker.LimitHistories(cfg.Server.MaxHistoryBytes)
	changes := s.change(cfg.Apps)
	s.apps.Refresh()
	if s.console != nil {
		s.console.Configured(cfg)
	}
	s.reloaded(true)
	s.log.Info("configuration reloaded", "apps", len(cfg.Apps),
		listed("added", changes.Added), listed("changed", changes.Changed), listed("removed", changes.Removed), "certificate_changed", renewed)
	keys := s.config.NeedRestart(cfg)
	if mode != s.config.Server.TLS.Mode() {
		keys = append(keys, "server.tls")
	}
	if len(keys) > 0 {
		s.log.Warn("configuration has changes that need a restart", "keys", strings.Join(keys, " "))
	}
	return nil
}

// change puts apps in force.
func (s *Server) change(list []config.App) apps.Changes {
	s.changes.Begin()
	defer s.changes.End()
	changes := s.apps.Update(list)
	s.evict()
	return changes
}

// evict closes the connections of apps that were removed or disabled.
func (s *Server) evict() {
	for _, t := range s.transports() {
		t.Evict()
	}
}

// Reloading says that a configuration is being read; Reload or ReloadFailed follows.
func (s *Server) Reloading() { systemd.Notify(s.log, systemd.Reloading()) }

// reloaded is the end of a reload.
func (s *Server) reloaded(applied bool) {
	s.metrics.Reloaded(applied)
	systemd.Notify(s.log, systemd.Ready)
}

// ReloadFailed tells of a configuration that cannot be put in force. err says
// why, one problem a line.
func (s *Server) ReloadFailed(err error) {
	s.reloaded(false)
	s.log.Error("configuration not reloaded, the one before stays in force",
		"problems", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// maxListed bounds how many apps of a kind a log line names.
const maxListed = 20

func listed(name string, list []*apps.App) slog.Attr {
	var ids []string
	for i, a := range list {
		if i == maxListed {
			ids = append(ids, "…")
			break
		}
		ids = append(ids, a.ID)
	}
	return slog.Group(name, "count", len(list), "ids", strings.Join(ids, " "))
}
