package session

// For tests.
const (
	MaxDeferred      = maxDeferred
	MaxDeferredBytes = maxDeferredBytes
)
