package wstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Event is a message of the server.
type Event struct {
	Event   string          `json:"event"`
	Channel string          `json:"channel"`
	Data    json.RawMessage `json:"data"`
	UserID  string          `json:"user_id"`
	Serial  string          `json:"serial"`
}

// ParseEvent is strict: no other keys, and data of the right type.
func ParseEvent(text []byte) (Event, error) {
	var e Event
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return e, fmt.Errorf("message %q: %w", text, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return e, fmt.Errorf("message %q goes on behind its end", text)
	}
	want := byte('"')
	if e.Event == "pusher:error" {
		want = '{'
	}
	if e.Event == "" || len(e.Data) == 0 || e.Data[0] != want {
		return e, fmt.Errorf("message %q: data of %q must begin with %c", text, e.Event, want)
	}
	return e, nil
}

// String is what data holds as a string.
func (e Event) String() string {
	var s string
	if err := json.Unmarshal(e.Data, &s); err != nil {
		return string(e.Data)
	}
	return s
}

// Error is the code, 0 for null, and the message of a pusher:error.
func (e Event) Error() (code int, message string) {
	var data struct {
		Code    *int
		Message string
	}
	if e.Event != "pusher:error" || json.Unmarshal(e.Data, &data) != nil {
		return -1, ""
	}
	if data.Code != nil {
		code = *data.Code
	}
	return code, data.Message
}
