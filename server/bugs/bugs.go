// Package bugs recovers from panics, counts and logs them: the request or connection
// that has met one ends, and all others go on.
package bugs

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"

	"belfry/protocol"
	"belfry/server/refusals"
)

// maxStack bounds what is logged of a stack, in bytes.
const maxStack = 16 << 10

// Log counts bugs and logs them. Its methods may be called concurrently.
type Log struct {
	log   *slog.Logger
	count prometheus.Counter
}

// New returns a Log that counts by count and writes to log.
func New(log *slog.Logger, count prometheus.Counter) *Log { return &Log{log, count} }

// Recover is deferred around everything that a client can reach. When that panics,
// Recover tells of it and calls end, which ends what has panicked. It tells of a
// panic in end, too.
func (l *Log) Recover(end func()) {
	p := recover()
	if p == nil {
		return
	}
	defer l.Recover(func() {})
	l.Tell(p)
	end()
}

// Tell tells of a panic, in the function that has recovered from it.
func (l *Log) Tell(p any, attrs ...slog.Attr) {
	l.count.Inc()
	l.log.LogAttrs(context.Background(), slog.LevelError, "panic while serving a client: its request or connection ends", append(attrs,
		slog.String("panic", refusals.Clean(fmt.Sprint(p))),
		slog.String("stack", protocol.Clip(string(debug.Stack()), maxStack)))...)
}
