package protocol

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound what one application may publish.
type Limits struct {
	EventBytes       int // data of one event, in bytes
	Name             int // characters of a channel name and of an event name
	ChannelsPerEvent int
	BatchEvents      int
}

// RequestError is a refused HTTP API request.
type RequestError struct {
	Status  int // HTTP status: 400, or 413 when something is too large
	Message string
}

func (e *RequestError) Error() string { return e.Message }

func badRequest(format string, args ...any) error {
	return &RequestError{Status: statusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// The two statuses of a body that does not do. net/http is no import of this
// package.
const (
	statusBadRequest = 400
	statusTooLarge   = 413
)

// Info are the channel attributes that a request asks for.
type Info struct {
	UserCount         bool
	SubscriptionCount bool
	Cache             bool
}

// ParseInfo reads a comma-separated list of attributes.
func ParseInfo(s string) (Info, error) {
	var info Info
	for attribute := range strings.SplitSeq(s, ",") {
		switch strings.TrimSpace(attribute) {
		case "":
		case "user_count":
			info.UserCount = true
		case "subscription_count":
			info.SubscriptionCount = true
		case "cache":
			info.Cache = true
		default:
			return Info{}, badRequest("info: unknown attribute %q; there are user_count, subscription_count and cache", quoted(attribute))
		}
	}
	return info, nil
}

// Publication is one event to publish on one or more channels.
type Publication struct {
	Name     string
	Channels []string
	Data     []byte // the JSON text of a string, see [StringData]
	// Except is the connection that must not receive it; zero for none.
	Except SocketID
	Info   Info
	// Key is the idempotency key, empty for none. When a request is repeated, each event has
	// the key that it had. A key of the whole batch is made distinct by the event's place.
	Key string
}

// maxKey is how long an idempotency key may be, in characters.
const maxKey = 128

// publishBody is the wire form. A batch's items use channel only.
type publishBody struct {
	Name     string         `json:"name"`
	Channel  *string        `json:"channel"`
	Channels []string       `json:"channels"`
	Data     jsontext.Value `json:"data"`
	SocketID *string        `json:"socket_id"`
	Info     *string        `json:"info"`
	Key      *string        `json:"idempotency_key"`
}

// ParsePublish reads the body of POST /apps/{id}/events. key is the idempotency key of a
// body that has none, empty for none. Every error is a *[RequestError].
func ParsePublish(body []byte, key string, limits Limits) (Publication, error) {
	var b publishBody
	if err := decodeBody(body, &b); err != nil {
		return Publication{}, err
	}
	if b.Key == nil {
		b.Key = &key
	}
	if b.Channels == nil && b.Channel != nil {
		b.Channels = []string{*b.Channel}
	}
	return b.publication(limits)
}

// ParseBatch reads the body of POST /apps/{id}/batch_events. One bad event
// refuses the whole batch. key is the idempotency key of a body that has none, empty for
// none; an event may have one of its own. Every error is a *[RequestError].
func ParseBatch(body []byte, key string, limits Limits) ([]Publication, error) {
	var b struct {
		Batch []publishBody `json:"batch"`
		Key   *string       `json:"idempotency_key"`
	}
	if err := decodeBody(body, &b); err != nil {
		return nil, err
	}
	if b.Key != nil {
		key = *b.Key
	}
	if b.Batch == nil {
		return nil, badRequest("batch is missing: send {\"batch\":[{\"name\":…,\"channel\":…,\"data\":…}]}")
	}
	if len(b.Batch) > limits.BatchEvents {
		return nil, badRequest("Batch too large: batch has %d events, more than max_batch_events %d", len(b.Batch), limits.BatchEvents)
	}
	batch := make([]Publication, len(b.Batch))
	for i, item := range b.Batch {
		if item.Channel == nil {
			return nil, badRequest("batch[%d]: channel is missing", i)
		}
		item.Channels = []string{*item.Channel}
		place := ""
		if item.Key == nil && key != "" {
			item.Key = &key
			place = fmt.Sprintf("%d ", i)
		}
		p, err := item.publication(limits)
		if err != nil {
			refused := err.(*RequestError)
			message := fmt.Sprintf("batch[%d]: %s", i, refused.Message)
			if refused.Status == statusTooLarge { // whose first words programs compare
				message = fmt.Sprintf("%s (batch[%d])", refused.Message, i)
			}
			return nil, &RequestError{Status: refused.Status, Message: message}
		}
		if p.Key != "" {
			p.Key = place + p.Key
		}
		batch[i] = p
	}
	return batch, nil
}

func decodeBody(body []byte, v any) error {
	if err := ReadJSON(body, v); err != nil {
		return badRequest("body is not the expected JSON object: %v", err)
	}
	return nil
}

func (b publishBody) publication(limits Limits) (Publication, error) {
	if err := checkEventName(b.Name, limits.Name); err != nil {
		return Publication{}, err
	}
	if len(b.Channels) == 0 {
		return Publication{}, badRequest("channels is missing or empty: name 1 to %d channels", limits.ChannelsPerEvent)
	}
	if len(b.Channels) > limits.ChannelsPerEvent {
		return Publication{}, badRequest("channels has %d names, more than max_channels_per_event %d", len(b.Channels), limits.ChannelsPerEvent)
	}
	for _, channel := range b.Channels {
		if err := CheckChannel(channel, limits.Name); err != nil {
			return Publication{}, badRequest("%v", err)
		}
	}
	if b.Data == nil {
		return Publication{}, badRequest("data is missing")
	}
	data, length, err := StringData(b.Data)
	if err != nil {
		return Publication{}, badRequest("%v", err)
	}
	if length > limits.EventBytes {
		return Publication{}, &RequestError{Status: statusTooLarge, Message: fmt.Sprintf(
			"The data content of this event exceeds the allowed maximum (%[1]d bytes): data of event %[2]q is %[3]d bytes, more than max_event_bytes %[1]d",
			limits.EventBytes, quoted(b.Name), length)}
	}
	p := Publication{Name: b.Name, Channels: unique(b.Channels), Data: data}
	if b.SocketID != nil && *b.SocketID != "" {
		if !WellFormedSocketID(*b.SocketID) {
			return Publication{}, badRequest("socket_id %q is not of the form 1234.5678", quoted(*b.SocketID))
		}
		p.Except, _ = ParseSocketID(*b.SocketID)
	}
	if b.Key != nil {
		if p.Key = *b.Key; utf8.RuneCountInString(p.Key) > maxKey {
			return Publication{}, badRequest("idempotency_key is %d characters long, more than %d", utf8.RuneCountInString(p.Key), maxKey)
		}
	}
	if b.Info != nil {
		if p.Info, err = ParseInfo(*b.Info); err != nil {
			return Publication{}, err
		}
	}
	return p, nil
}

// checkEventName bounds a name; any characters may be in it, as Laravel's
// carry backslashes and dots.
func checkEventName(name string, max int) error {
	switch {
	case name == "":
		return badRequest("name is missing or empty")
	case utf8.RuneCountInString(name) > max:
		return badRequest("name %q is %d characters long, more than max_channel_name %d", quoted(name), utf8.RuneCountInString(name), max)
	case strings.HasPrefix(name, PrefixReserved), strings.HasPrefix(name, PrefixInternal):
		return badRequest("name %q: names that begin with pusher: or pusher_internal: belong to the protocol", quoted(name))
	}
	return nil
}

// unique drops repeated channels: an event reaches a channel once.
func unique(channels []string) []string {
	if len(channels) == 1 {
		return channels
	}
	sorted := slices.Clone(channels)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) == len(channels) {
		return channels
	}
	seen := make(map[string]bool, len(channels))
	return slices.DeleteFunc(channels, func(c string) bool {
		if seen[c] {
			return true
		}
		seen[c] = true
		return false
	})
}
