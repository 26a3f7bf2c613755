package protocol

import (
	"errors"
	"fmt"
	"strconv"
)

// The HTTP fallback sends lines where WebSocket sends frames: a subset of
// SockJS, told apart by their first character. pusher-js 8.6.0 reads them in
// src/core/http/http_socket.ts.
const (
	// OpenLine begins a session. A client that gets a second one believes that
	// the server has lost the session.
	OpenLine = "o\n"
	// HeartbeatLine is answered by a streaming client with an empty list of
	// messages, and ignored by a polling one.
	HeartbeatLine = "h\n"
	// EmptyLine carries no message: a sign of life that asks for no answer.
	EmptyLine = "a[]\n"
)

// AppendLine appends the message of a text frame as a line, a["…"]: a list of
// one JSON text, itself a string.
func (f Frame) AppendLine(b []byte) []byte {
	b = append(b, `a["`...)
	b = appendEscaped(b, f.JSON())
	return append(b, `"]`+"\n"...)
}

// AppendLines appends the messages of whole text frames as a line each.
func AppendLines(b, frames []byte) []byte {
	for len(frames) > 0 {
		n := FrameLen(frames)
		b = Frame(frames[:n]).AppendLine(b)
		frames = frames[n:]
	}
	return b
}

// AppendCloseLine appends the line that ends a session, c[code,"reason"]. The
// client takes it as the close of a WebSocket with that code.
func AppendCloseLine(b []byte, code int, reason string) []byte {
	b = append(b, 'c', '[')
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, ',')
	b = AppendString(b, reason)
	return append(b, ']', '\n')
}

// LineUnits is the length of lines as the client counts it: in units of
// UTF-16, which JavaScript's strings are made of.
func LineUnits(lines []byte) (units int) {
	for _, c := range lines {
		switch {
		case c >= 0xf0: // begins a character of four bytes, which takes two units
			units += 2
		case !continues(c):
			units++
		}
	}
	return units
}

// continues reports whether c is a byte of a UTF-8 character but its first.
func continues(c byte) bool { return c&0xc0 == 0x80 }

// ParseMessages reads what an HTTP fallback client sends: a list of messages,
// each the JSON text that it would have sent by WebSocket. An empty list is a
// sign of life. The error says what is wrong with it.
func ParseMessages(body []byte) ([]string, error) {
	// Without pointers a null in the list would pass for an empty string.
	var list []*string
	if err := ReadJSON(body, &list); err != nil {
		return nil, fmt.Errorf("body is not a JSON list of strings: %w", err)
	}
	if list == nil {
		return nil, errors.New("body is not a JSON list of strings: found null")
	}
	messages := make([]string, len(list))
	for i, m := range list {
		if m == nil {
			return nil, errors.New("body has a null among its strings")
		}
		messages[i] = *m
	}
	return messages, nil
}
