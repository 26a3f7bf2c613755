package protocol

import (
	"strconv"
)

// Event is something published on a channel.
type Event struct {
	Name    string
	Channel string
	// Data is the JSON text of a string: quotes, escapes and all. It is
	// passed on byte for byte.
	Data []byte
	// UserID is the sender of a client event on a presence channel.
	UserID string
	// Serial is that of an event on a channel with a history; zero on others.
	Serial Serial
}

// Frame encodes the event for its subscribers.
func (e Event) Frame() Frame {
	size := 64 + len(e.Name) + len(e.Channel) + len(e.Data) + len(e.UserID)
	if e.Serial != (Serial{}) {
		size += len(serialKey) + len(e.Serial.Epoch) + maxNumber
	}
	return textFrame(size, func(b []byte) []byte {
		b = appendHead(b, e.Name, e.Channel)
		b = append(b, e.Data...)
		if e.UserID != "" {
			b = append(b, `,"user_id":`...)
			b = AppendString(b, e.UserID)
		}
		if e.Serial != (Serial{}) {
			return appendSerial(b, e.Serial)
		}
		return append(b, '}')
	})
}

// appendHead begins a message, up to and with `"data":`.
func appendHead(b []byte, event, channel string) []byte {
	b = append(b, `{"event":`...)
	b = AppendString(b, event)
	if channel != "" {
		b = append(b, `,"channel":`...)
		b = AppendString(b, channel)
	}
	return append(b, `,"data":`...)
}

// dataFrame builds a message whose data is the given JSON text as a string.
func dataFrame(event, channel string, data []byte) Frame {
	return textFrame(48+len(event)+len(channel)+len(data)+len(data)/4, func(b []byte) []byte {
		b = appendHead(b, event, channel)
		b = append(b, '"')
		b = appendEscaped(b, data)
		return append(b, '"', '}')
	})
}

// ConnectionEstablishedFrame greets a client. The activity timeout is in
// seconds and must not be 0: pusher-js refuses the handshake then.
func ConnectionEstablishedFrame(id SocketID, activitySeconds int) Frame {
	data := append(make([]byte, 0, 64), `{"socket_id":"`...)
	data = append(data, id.String()...)
	data = append(data, `","activity_timeout":`...)
	data = strconv.AppendInt(data, int64(activitySeconds), 10)
	return dataFrame(EventConnectionEstablished, "", append(data, '}'))
}

// ErrorFrame tells the client of an error. Its data is an object: the one
// exception of the protocol.
func ErrorFrame(e *Error) Frame { return ChannelErrorFrame("", e) }

// ChannelErrorFrame is [ErrorFrame] with a channel that the error concerns:
// pusher-js then tells the channel's handlers as well.
func ChannelErrorFrame(channel string, e *Error) Frame {
	return textFrame(80+len(channel)+len(e.Message), func(b []byte) []byte {
		b = appendHead(b, EventError, channel)
		b = append(b, `{"code":`...)
		if e.Code == 0 {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendInt(b, int64(e.Code), 10)
		}
		b = append(b, `,"message":`...)
		b = AppendString(b, e.Message)
		return append(b, '}', '}')
	})
}

// Types of a refused subscription, as client libraries report them.
const (
	SubscriptionAuthError    = "AuthError"
	SubscriptionInvalid      = "InvalidSubscription"
	SubscriptionLimitReached = "LimitReached"
	SubscriptionUnavailable  = "Unavailable"
)

// SubscriptionErrorFrame tells the channel's handlers on the client that the
// subscription was refused; status is an HTTP status, as the authorization
// endpoint of an application would have given.
func SubscriptionErrorFrame(channel, kind, message string, status int) Frame {
	data := append(make([]byte, 0, 64+len(message)), `{"type":`...)
	data = AppendString(data, kind)
	data = append(data, `,"error":`...)
	data = AppendString(data, message)
	data = append(data, `,"status":`...)
	data = strconv.AppendInt(data, int64(status), 10)
	return dataFrame(EventSubscriptionError, channel, append(data, '}'))
}

var emptyObject = []byte("{}")

// CacheMissFrame tells a new subscriber that the cache channel has no last
// event.
func CacheMissFrame(channel string) Frame {
	return dataFrame(EventCacheMiss, channel, emptyObject)
}

// MemberAddedFrame tells a presence channel of a user's first connection.
func MemberAddedFrame(channel string, m Member) Frame {
	data := append(make([]byte, 0, 32+len(m.UserID)+len(m.UserInfo)), `{"user_id":`...)
	data = AppendString(data, m.UserID)
	if m.UserInfo != nil {
		data = append(data, `,"user_info":`...)
		data = append(data, m.UserInfo...)
	}
	return dataFrame(EventMemberAdded, channel, append(data, '}'))
}

// MemberRemovedFrame tells a presence channel that a user's last connection
// left.
func MemberRemovedFrame(channel, userID string) Frame {
	data := append(make([]byte, 0, 16+len(userID)), `{"user_id":`...)
	data = AppendString(data, userID)
	return dataFrame(EventMemberRemoved, channel, append(data, '}'))
}

// SubscriptionCountFrame tells a channel's subscribers how many they are.
func SubscriptionCountFrame(channel string, count int) Frame {
	data := append(make([]byte, 0, 40), `{"subscription_count":`...)
	data = strconv.AppendInt(data, int64(count), 10)
	return dataFrame(EventSubscriptionCount, channel, append(data, '}'))
}
