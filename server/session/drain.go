package session

import (
	"context"
	"time"

	"belfry/protocol"
)

// What transports tell clients by themselves.
var (
	Restarting = &protocol.Error{Code: protocol.CodeReconnect, Message: "Server is restarting: reconnect"}
	// Stopping is for who comes to a server that nobody else stands in for, until it is
	// back: clients wait a second after it.
	Stopping = &protocol.Error{Code: protocol.CodeOverCapacity, Message: "Server is restarting: reconnect in a second"}
	TooSlow  = &protocol.Error{Code: protocol.CodeOverCapacity, Message: "Connection does not read fast enough: too much is waiting to be sent"}
)

// The longest pauses between two clients being told to go.
const (
	// Spread leaves others, who take the clients, time for each. A server with few
	// clients does not take its whole grace.
	Spread = 10 * time.Millisecond
	// Together is as close as is safe: a client that comes back at once costs some 0.1 ms
	// of a processor.
	Together = 200 * time.Microsecond
)

// CloseAll tells clients to reconnect, with pauses of that length at most, so that all
// are told when four fifths of the time until the context's deadline are over: the rest
// is for the last ones to read their goodbye.
func CloseAll(ctx context.Context, sessions []*Session, pause time.Duration) {
	if deadline, ok := ctx.Deadline(); ok && len(sessions) > 0 {
		pause = min(pause, time.Until(deadline)*4/5/time.Duration(len(sessions)))
	}
	pace := time.NewTicker(max(pause, time.Microsecond))
	defer pace.Stop()
	for _, s := range sessions {
		s.Close(Drain, Restarting)
		select {
		case <-pace.C:
		case <-ctx.Done():
		}
	}
}
