//go:build !linux

// Package poller tells when descriptors are ready, where there is epoll. Here
// there is not.
package poller

// Pollers have nothing to do.
type Pollers struct{}

// Start returns pollers that have nothing to do.
func Start() (*Pollers, error) { return new(Pollers), nil }

// Close does nothing.
func (*Pollers) Close() {}
