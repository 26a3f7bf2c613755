package console

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"belfry/protocol"
	"belfry/server/keepalive"
)

// Bounds of a request.
const (
	defaultLimit = 50
	maxLimit     = 500     // rows of a page
	maxOffset    = 1 << 30 // rows before it
	maxSearch    = 200     // bytes
)

// page is the part of a list that a request asks for.
type page struct {
	query         string // in lower case; empty for all
	offset, limit int
}

// pageOf reads q, sort, offset and limit. by is the one of the orders that sort names;
// without sort, that called otherwise.
func pageOf[T any](query url.Values, orders map[string]T, otherwise string) (p page, by T, err error) {
	p.query = strings.ToLower(strings.TrimSpace(query.Get("q")))
	if len(p.query) > maxSearch {
		return p, by, fail(http.StatusBadRequest, "q is longer than %d bytes", maxSearch)
	}
	name := cmp.Or(query.Get("sort"), otherwise)
	by, known := orders[name]
	if !known {
		return p, by, fail(http.StatusBadRequest, "no such sort: %q", protocol.Clip(name, 60))
	}
	p.offset, p.limit, err = rangeOf(query)
	return p, by, err
}

// rangeOf reads offset and limit.
func rangeOf(query url.Values) (offset, limit int, err error) {
	if offset, err = number(query, "offset", 0, 0, maxOffset); err == nil {
		limit, err = number(query, "limit", defaultLimit, 1, maxLimit)
	}
	return offset, limit, err
}

func number(query url.Values, name string, otherwise, least, most int) (int, error) {
	text := query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fail(http.StatusBadRequest, "%s %q is not a whole number from %d to %d", name, protocol.Clip(text, 60), least, most)
	}
	return n, nil
}

// cut returns the rows of a page.
func cut[T any](rows []T, offset, limit int) []T {
	offset = min(offset, len(rows))
	return rows[offset:min(offset+limit, len(rows))]
}

// change runs what a request changes, unless a handover has moved the state to another
// process.
func (c *Console) change(f func() (any, error)) (any, error) {
	moved := c.Changes.Begin()
	defer c.Changes.End()
	if moved {
		return nil, fail(http.StatusServiceUnavailable, "moved: another process has taken over; reload the page")
	}
	return f()
}

// userOf returns who makes a request.
func userOf(r *http.Request) string { return accountOf(r).User }

// accountOf returns the account that a request was signed in with.
func accountOf(r *http.Request) account {
	a, _ := r.Context().Value(accountKey{}).(account)
	return a
}

// millis converts a time of the watch, which counts seconds, to milliseconds since 1970.
// now and at are the same moment by the watch and by the clock.
func millis(t, now keepalive.Time, at time.Time) int64 {
	return (at.Unix() - int64(now) + int64(t)) * 1000
}

// millisOf returns milliseconds since 1970, and 0 for no time.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
