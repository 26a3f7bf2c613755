package webhooks

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzBatch gives the spool files that it has not written: they are refused, or
// make a body with just these events.
func FuzzBatch(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBatch(data)
		if err != nil {
			return
		}
		text := body(b.events)
		again, err := parseBatch(text)
		same := func(a, b *event) bool { return bytes.Equal(a.json, b.json) && a.channel == b.channel }
		if err != nil || !json.Valid(text) || again.timeMS != max(b.timeMS, 0) || !slices.EqualFunc(again.events, b.events, same) {
			t.Errorf("%s becomes %s: %v", data, text, err)
		}
	})
}

// FuzzRetryAfter holds the pause that an endpoint asks for within its bounds.
func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string) {
		if d := retryAfter(header, now); d < 0 || d > giveUp {
			t.Errorf("%q: %v", header, d)
		}
	})
}

// FuzzRedirect holds redirects to the host and, but for TLS, the port that is
// configured.
func FuzzRedirect(f *testing.F) {
	from := &url.URL{Scheme: "http", Host: "backend.example", Path: "/hook", RawQuery: "x"}
	f.Fuzz(func(t *testing.T, location string) {
		next := redirect(from, &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {location}}})
		if next == nil {
			return
		}
		if !strings.EqualFold(next.Hostname(), "backend.example") || next.Scheme+port(next) != "http80" && next.Scheme+port(next) != "https443" {
			t.Errorf("%q leads to %s", location, next)
		}
	})
}
