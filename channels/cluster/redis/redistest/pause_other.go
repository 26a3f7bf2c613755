//go:build !unix

package redistest

// Pause makes it stand still, until Resume. No process can here, so the test fails.
func (s *Server) Pause()  { s.t.Fatal("no process can be paused on this system") }
func (s *Server) Resume() {}
