package server

import (
	"log"
	"log/slog"
	"strings"

	"belfry/protocol"
	"belfry/server/refusals"
)

// httpErrors takes what net/http logs: faults of clients mostly.
type httpErrors struct {
	log      *slog.Logger
	refusals *refusals.Log
}

// Write implements io.Writer.
func (e httpErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.Contains(text, "client sent an HTTP request to an HTTPS server") {
		e.refusals.Add(refusals.Refusal{What: "connection refused",
			Reason: "a client speaks plain HTTP (http or ws) to this port, which is TLS: have it use https or wss, or remove server.tls"})
	} else {
		e.log.Debug(protocol.Clip(text, 500))
	}
	return len(line), nil
}

func (e httpErrors) logger() *log.Logger { return log.New(e, "", 0) }
