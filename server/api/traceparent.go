package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"belfry/protocol"
	"belfry/server/refusals"
)

// lenTraceparent is the length of version, trace id, parent id and flags, in bytes.
const lenTraceparent = len("00-") + 32 + len("-") + 16 + len("-01")

// traceparent returns the traceparent header of a request, without what a later version
// may have behind the flags, or "" if there is none or one that is not valid (W3C Trace
// Context, section 3.2).
func traceparent(header http.Header) string {
	values := header["Traceparent"]
	if len(values) != 1 || len(values[0]) < lenTraceparent {
		return ""
	}
	s, more := values[0][:lenTraceparent], values[0][lenTraceparent:]
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:]
	switch {
	case s[2] != '-' || s[35] != '-' || s[52] != '-':
		return ""
	case !lowerHex(version) || !lowerHex(trace) || !lowerHex(parent) || !lowerHex(flags):
		return ""
	case version == "ff" || strings.Trim(trace, "0") == "" || strings.Trim(parent, "0") == "":
		return ""
	case more != "" && (version == "00" || more[0] != '-'):
		return ""
	}
	return s
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// logTraced logs, at level debug, what was published by a request that is part of a trace.
func (r request) logTraced(ps []protocol.Publication) {
	ctx := context.Background()
	if r.traceparent == "" || !r.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for _, p := range ps {
		r.log.LogAttrs(ctx, slog.LevelDebug, "published", slog.String("app", r.app.ID), slog.String("event", refusals.Clean(p.Name)),
			slog.String("channels", refusals.Clean(strings.Join(p.Channels, " "))), slog.String("traceparent", r.traceparent))
	}
}
