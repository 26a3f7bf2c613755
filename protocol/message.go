package protocol

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Message is what a client sent.
type Message struct {
	Event   string
	Channel string
	// Data is the JSON text as it came, nil when absent.
	Data []byte
}

// ParseMessage reads one text message of a client. The error says what is
// wrong with it; a message without a name is none.
func ParseMessage(b []byte) (Message, error) {
	var m struct {
		Event   *string        `json:"event"`
		Channel *string        `json:"channel"`
		Data    jsontext.Value `json:"data"`
	}
	if err := ReadJSON(b, &m); err != nil {
		return Message{}, fmt.Errorf("message is not a JSON object with a string event: %w", err)
	}
	if m.Event == nil || *m.Event == "" {
		return Message{}, fmt.Errorf("message has no event")
	}
	msg := Message{Event: *m.Event, Data: m.Data}
	if m.Channel != nil {
		msg.Channel = *m.Channel
	}
	return msg, nil
}

// Subscribe is the data of pusher:subscribe and of pusher:unsubscribe.
type Subscribe struct {
	Channel string
	// Auth is "KEY:signature", empty on public channels.
	Auth string
	// ChannelData is the exact string that was signed, empty for none.
	ChannelData string
}

// ParseSubscribe reads the data of pusher:subscribe. It may come as an object
// or as a string of JSON; absent and null values are empty. If the error is about
// another value than the channel, the channel is returned beside it, so that the
// refusal can name it.
func ParseSubscribe(data []byte) (Subscribe, error) {
	var d struct {
		Channel     *string        `json:"channel"`
		Auth        jsontext.Value `json:"auth"`
		ChannelData jsontext.Value `json:"channel_data"`
	}
	object, err := unwrap(data)
	if err != nil {
		return Subscribe{}, err
	}
	if err := ReadJSON(object, &d); err != nil {
		return Subscribe{}, fmt.Errorf("data is not an object with a string channel: %w", err)
	}
	if d.Channel == nil {
		return Subscribe{}, fmt.Errorf("data has no channel")
	}
	s := Subscribe{Channel: *d.Channel}
	if s.Auth, err = optionalString("auth", d.Auth); err != nil {
		return s, err
	}
	s.ChannelData, err = optionalString("channel_data", d.ChannelData)
	return s, err
}

// optionalString reads a value that is a string, or null or absent.
func optionalString(name string, raw jsontext.Value) (s string, err error) {
	switch kind := raw.Kind(); kind {
	case jsontext.KindInvalid, jsontext.KindNull:
		return "", nil
	case jsontext.KindString:
		err = ReadJSON(raw, &s)
		return s, err
	default:
		return "", fmt.Errorf("%s must not be %s: send the string that the application's auth endpoint returned", name, kindName(kind))
	}
}

// Recover is the data of pusher:recover, with which a client that has connected again asks
// for what it has missed. It is Belfry's own: clients/recover sends it ahead of the
// subscriptions.
type Recover struct {
	// Channels has the serial of the last event that the client has of each channel. One that
	// does not parse stands for an event that the history does not have any more.
	Channels map[string]string `json:"channels"`
	// Sockets are the socket ids of the client's earlier connections, well formed and at most
	// [MaxRecoverSockets].
	Sockets []string `json:"socket_ids,omitempty"`
}

const (
	// MaxRecover is how many channels a connection may ask for before it subscribes to them.
	MaxRecover = 500
	// MaxRecoverSockets is how many connections before it may name.
	MaxRecoverSockets = 16
)

// ParseRecover reads the data of pusher:recover. It does not look at the names of channels.
func ParseRecover(data []byte) (r Recover, err error) {
	object, err := unwrap(data)
	if err != nil {
		return r, err
	}
	if err := ReadJSON(object, &r); err != nil {
		return r, fmt.Errorf("data is not an object with channels, each of them a string, and socket_ids: %w", err)
	}
	if n := len(r.Sockets); n > MaxRecoverSockets {
		return r, fmt.Errorf("socket_ids has %d entries, more than %d", n, MaxRecoverSockets)
	}
	for channel, serial := range r.Channels {
		if len(serial) > maxSerial {
			r.Channels[channel] = "" // none of ours
		}
	}
	for _, text := range r.Sockets {
		if _, ok := ParseSocketID(text); !ok {
			return r, fmt.Errorf("socket_ids has %q, which is not a socket id", Clip(text, 40))
		}
	}
	return r, nil
}

// Signin is the data of pusher:signin.
type Signin struct {
	Auth string // "KEY:signature"
	// UserData is the exact string that was signed.
	UserData string
}

// ParseSignin reads the data of pusher:signin.
func ParseSignin(data []byte) (Signin, error) {
	var d struct {
		Auth     *string `json:"auth"`
		UserData *string `json:"user_data"`
	}
	object, err := unwrap(data)
	if err != nil {
		return Signin{}, err
	}
	if err := ReadJSON(object, &d); err != nil {
		return Signin{}, fmt.Errorf("data is not an object with strings auth and user_data: %w", err)
	}
	if d.Auth == nil || d.UserData == nil {
		return Signin{}, fmt.Errorf("data has no auth or no user_data")
	}
	return Signin{Auth: *d.Auth, UserData: *d.UserData}, nil
}

// unwrap returns the JSON object in data, which some clients send as a string
// that holds it.
func unwrap(data []byte) ([]byte, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return nil, fmt.Errorf("message has no data")
	}
	if data[0] != '"' {
		return data, nil
	}
	var s string
	if err := ReadJSON(data, &s); err != nil {
		return nil, fmt.Errorf("data is not valid JSON: %w", err)
	}
	return []byte(s), nil
}

// StringData returns data as the JSON text of a string, and the length in
// bytes of the string itself: a string stays as it came, anything else is
// encoded. Data that is absent counts as null.
func StringData(data []byte) (text []byte, length int, err error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		data = []byte("null")
	}
	if data[0] != '"' {
		compact := jsontext.Value(bytes.Clone(data))
		if compact.Compact() != nil {
			return nil, 0, errors.New("data is not valid JSON")
		}
		return AppendString(make([]byte, 0, len(compact)+len(compact)/4+2), string(compact)), len(compact), nil
	}
	if bytes.IndexByte(data, '\\') < 0 {
		return data, len(data) - 2, nil
	}
	var s string
	if err := ReadJSON(data, &s); err != nil {
		return nil, 0, fmt.Errorf("data is not a valid string: %w", err)
	}
	return data, len(s), nil
}
