package session

import (
	"context"
	"time"

	"belfry/protocol"
)

// What transports tell clients by themselves.
var (
	Restarting = &protocol.Error{Code: protocol.CodeReconnect, Message: "Server is restarting: reconnect"}
	TooSlow    = &protocol.Error{Code: protocol.CodeOverCapacity, Message: "Connection does not read fast enough: too much is waiting to be sent"}
)

// drainPace is the longest pause between two clients being told to go: a server
// with few does not take its whole grace.
const drainPace = 10 * time.Millisecond

// CloseAll tells clients to reconnect, spread over the time that is left until
// the context's deadline.
func CloseAll(ctx context.Context, sessions []*Session) {
	pause := drainPace
	if deadline, ok := ctx.Deadline(); ok && len(sessions) > 0 {
		// A fifth of the time is for the last ones to read their goodbye.
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
