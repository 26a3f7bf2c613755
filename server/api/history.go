package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"belfry/channels"
	"belfry/protocol"
)

// Bounds of how many events an answer has.
const (
	defaultHistoryLimit = 100
	maxHistoryLimit     = 1000
)

// pastEvent is an entry of GET channels/{c}/history.
type pastEvent struct {
	Serial string          `json:"serial"`
	Name   json.RawMessage `json:"name"`
	Data   json.RawMessage `json:"data"`
	TimeMS int64           `json:"time_ms"`
}

// showHistory is GET channels/{c}/history: without since the last events, with since those
// that followed, from the first.
func showHistory(r request) (any, error) {
	if err := protocol.CheckChannel(r.name, r.app.Settings().MaxChannelName); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	limit := defaultHistoryLimit
	if text := r.query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxHistoryLimit {
			return nil, fail(http.StatusBadRequest, "limit %q is not a whole number from 1 to %d", clip(text), maxHistoryLimit)
		}
		limit = n
	}
	var since *protocol.Serial
	if text := r.query.Get("since"); text != "" {
		serial, ok := protocol.ParseSerial(text)
		if !ok {
			return nil, fail(http.StatusBadRequest, "since %q is not a serial: give one as messages have it, such as \"e-41\"", clip(text))
		}
		since = &serial
	}
	h, err := r.app.Channels.History(r.name, since, limit)
	if errors.Is(err, channels.ErrNoHistory) {
		return nil, fail(http.StatusNotFound, "channel %q has no history: no entry of apps[].history in the server's configuration matches it", clip(r.name))
	}
	if err != nil {
		return nil, err
	}
	events := make([]pastEvent, len(h.Events))
	for i, e := range h.Events {
		events[i] = pastEvent{e.Serial.String(), e.Name, e.Data, e.At.UnixMilli()}
	}
	return historyAnswer{events, h.Complete}, nil
}

type historyAnswer struct {
	Events   []pastEvent `json:"events"`
	Complete bool        `json:"complete"`
}
