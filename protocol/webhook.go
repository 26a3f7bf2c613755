package protocol

import (
	"slices"
	"strconv"
)

// The names of webhook events.
const (
	WebhookChannelOccupied   = "channel_occupied"
	WebhookChannelVacated    = "channel_vacated"
	WebhookMemberAdded       = "member_added"
	WebhookMemberRemoved     = "member_removed"
	WebhookClientEvent       = "client_event"
	WebhookCacheMiss         = "cache_miss"
	WebhookSubscriptionCount = "subscription_count"
)

// WebhookEvents are the names of all webhook events.
func WebhookEvents() []string {
	return []string{
		WebhookChannelOccupied, WebhookChannelVacated, WebhookMemberAdded, WebhookMemberRemoved,
		WebhookClientEvent, WebhookCacheMiss, WebhookSubscriptionCount,
	}
}

// Source stands for the network address of the client that caused a webhook
// event, whatever connections it comes by. It is a keyed hash, of no use outside
// this process: it is neither sent nor logged. Zero: it is not known.
type Source uint64

// WebhookEvent is one of the events that a webhook tells an application's
// backend of (Pusher Channels documentation, "Webhooks").
type WebhookEvent struct {
	Name    string // one of the Webhook constants
	Channel string
	UserID  string // of member_added and member_removed, and of a client event on a presence channel

	// Source is whose share of the queue the event takes. It is not in the JSON.
	Source Source

	// Of client_event only.
	SocketID SocketID
	Event    string
	Data     []byte // JSON text of a string

	// Of subscription_count only.
	Count int
}

// Append appends the event's JSON to b.
func (e WebhookEvent) Append(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = AppendString(b, e.Name)
	b = append(b, `,"channel":`...)
	b = AppendString(b, e.Channel)
	switch e.Name {
	case WebhookSubscriptionCount:
		b = append(b, `,"subscription_count":`...)
		b = strconv.AppendInt(b, int64(e.Count), 10)
	case WebhookClientEvent:
		b = append(b, `,"event":`...)
		b = AppendString(b, e.Event)
		b = append(b, `,"data":`...)
		b = append(b, e.Data...)
		b = append(b, `,"socket_id":`...)
		b = AppendString(b, e.SocketID.String())
	}
	if e.UserID != "" {
		b = append(b, `,"user_id":`...)
		b = AppendString(b, e.UserID)
	}
	return append(b, '}')
}

// WebhookBody is what a webhook posts: the JSON of events that happened until
// timeMS, in milliseconds since 1970.
func WebhookBody(timeMS int64, events [][]byte) []byte {
	size := 48
	for _, e := range events {
		size += len(e) + 1
	}
	b := slices.Grow([]byte(nil), size)
	b = append(b, `{"time_ms":`...)
	b = strconv.AppendInt(b, timeMS, 10)
	b = append(b, `,"events":[`...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']', '}')
}
