package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Message is what a client sent.
type Message struct {
	Event   string
	Channel string
	// Data is the JSON text as it came, nil when absent.
	Data json.RawMessage
}

// ParseMessage reads one text message of a client. The error says what is
// wrong with it; a message without a name is none.
func ParseMessage(b []byte) (Message, error) {
	var m struct {
		Event   *string         `json:"event"`
		Channel *string         `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return Message{}, fmt.Errorf("message is not a JSON object with a string event: %w", describe(err))
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
// or as a string of JSON; absent and null values are empty.
func ParseSubscribe(data json.RawMessage) (Subscribe, error) {
	var d struct {
		Channel     *string `json:"channel"`
		Auth        *string `json:"auth"`
		ChannelData *string `json:"channel_data"`
	}
	object, err := unwrap(data)
	if err != nil {
		return Subscribe{}, err
	}
	if err := json.Unmarshal(object, &d); err != nil {
		return Subscribe{}, fmt.Errorf("data is not an object with a string channel: %w", describe(err))
	}
	if d.Channel == nil {
		return Subscribe{}, fmt.Errorf("data has no channel")
	}
	s := Subscribe{Channel: *d.Channel}
	if d.Auth != nil {
		s.Auth = *d.Auth
	}
	if d.ChannelData != nil {
		s.ChannelData = *d.ChannelData
	}
	return s, nil
}

// Signin is the data of pusher:signin.
type Signin struct {
	Auth string // "KEY:signature"
	// UserData is the exact string that was signed.
	UserData string
}

// ParseSignin reads the data of pusher:signin.
func ParseSignin(data json.RawMessage) (Signin, error) {
	var d struct {
		Auth     *string `json:"auth"`
		UserData *string `json:"user_data"`
	}
	object, err := unwrap(data)
	if err != nil {
		return Signin{}, err
	}
	if err := json.Unmarshal(object, &d); err != nil {
		return Signin{}, fmt.Errorf("data is not an object with strings auth and user_data: %w", describe(err))
	}
	if d.Auth == nil || d.UserData == nil {
		return Signin{}, fmt.Errorf("data has no auth or no user_data")
	}
	return Signin{Auth: *d.Auth, UserData: *d.UserData}, nil
}

// unwrap returns the JSON object in data, which some clients send as a string
// that holds it.
func unwrap(data json.RawMessage) (json.RawMessage, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 || string(data) == "null" {
		return nil, fmt.Errorf("message has no data")
	}
	if data[0] != '"' {
		return data, nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("data is not valid JSON: %w", describe(err))
	}
	return json.RawMessage(s), nil
}

// StringData returns data as the JSON text of a string, and the length in
// bytes of the string itself: a string stays as it came, anything else is
// encoded. Data that is absent counts as null.
func StringData(data json.RawMessage) (text []byte, length int, err error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	if data[0] != '"' {
		var c bytes.Buffer
		if err := json.Compact(&c, data); err != nil {
			return nil, 0, fmt.Errorf("data is not valid JSON: %w", describe(err))
		}
		return AppendString(make([]byte, 0, c.Len()+c.Len()/4+2), c.String()), c.Len(), nil
	}
	if bytes.IndexByte(data, '\\') < 0 {
		return data, len(data) - 2, nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, 0, fmt.Errorf("data is not a valid string: %w", describe(err))
	}
	return data, len(s), nil
}

// describe words a decoding error without the names of Go types.
func describe(err error) error {
	switch e := err.(type) {
	case *json.SyntaxError:
		return fmt.Errorf("%s (byte %d)", e.Error(), e.Offset)
	case *json.UnmarshalTypeError:
		if e.Field == "" {
			return fmt.Errorf("found a %s", e.Value)
		}
		return fmt.Errorf("%s must not be a %s", e.Field, e.Value)
	default:
		return err
	}
}
