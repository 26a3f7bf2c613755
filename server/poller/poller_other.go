//go:build !linux

package poller

// Pollers have nothing to do.
type Pollers struct{}

// Start returns pollers that have nothing to do.
func Start() (*Pollers, error) { return new(Pollers), nil }

// Close does nothing.
func (*Pollers) Close() {}
