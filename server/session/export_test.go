package session

// For tests.
const (
	EnoughDeferred   = enoughDeferred
	MaxDeferred      = maxDeferred
	MaxDeferredBytes = maxDeferredBytes
)
