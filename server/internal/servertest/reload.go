package servertest

import (
	"slices"
	"testing"

	"belfry/server/config"
)

// Reconfigure reloads the configuration with a change on top of those before
// that were not refused.
// edit must replace what it changes inside of a list of an app, not overwrite it.
func (s *Server) Reconfigure(t testing.TB, edit func(*config.Config)) {
	t.Helper()
	if s.latest == nil {
		s.latest = &s.Config
	}
	c := *s.latest
	c.Apps = slices.Clone(c.Apps)
	edit(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(&c); err != nil {
		s.ReloadFailed(err)
		return
	}
	s.latest = &c
}
