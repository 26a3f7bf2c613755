package protocol

import (
	"encoding/binary"
	"strings"
)

// Frame is one server message, ready for the socket: a complete, final,
// unmasked WebSocket frame (RFC 6455 section 5.2). It is never changed once
// built, so any number of connections may write the same bytes.
type Frame []byte

const (
	finText  = 0x81
	finClose = 0x88
	finPing  = 0x89
	finPong  = 0x8a

	// maxHeader is the longest header of an unmasked frame: two bytes and a
	// 64-bit length.
	maxHeader = 10
	// maxCloseReason is what a control frame leaves beside the code
	// (RFC 6455 section 5.5).
	maxCloseReason = 123
)

// PingFrame asks the peer for a pong: the server's own probe. A WebSocket
// ping and not a pusher:ping, which the Java and Swift clients do not answer.
var PingFrame = Frame{finPing, 0}

// PongFrame answers pusher:ping.
var PongFrame = textFrame(64, func(b []byte) []byte {
	return append(b, `{"event":"pusher:pong","data":"{}"}`...)
})

// ControlPongFrame answers a WebSocket ping with its payload of at most 125 bytes
// (RFC 6455 section 5.5.3).
func ControlPongFrame(payload []byte) Frame {
	return append(Frame{finPong, byte(len(payload))}, payload...)
}

// CloseFrame ends a connection with a code and a reason, which is cut to fit
// and made valid UTF-8: it may repeat what a client sent. With code 0 it has
// neither.
func CloseFrame(code int, reason string) Frame {
	if code == 0 {
		return Frame{finClose, 0}
	}
	reason = strings.ToValidUTF8(reason, "?")
	if len(reason) > maxCloseReason {
		reason = Clip(reason, maxCloseReason-len("…"))
	}
	f := make(Frame, 0, 4+len(reason))
	f = append(f, finClose, byte(2+len(reason)))
	f = binary.BigEndian.AppendUint16(f, uint16(code))
	return append(f, reason...)
}

// TextFrame is the frame of a message, which is copied.
func TextFrame(message []byte) Frame {
	return textFrame(len(message), func(b []byte) []byte { return append(b, message...) })
}

// textFrame builds a text frame in one allocation when the payload that
// build appends is at most size bytes.
func textFrame(size int, build func([]byte) []byte) Frame {
	b := build(make([]byte, maxHeader, maxHeader+size))
	n := len(b) - maxHeader
	start := maxHeader
	switch {
	case n < 126:
		start -= 2
		b[start+1] = byte(n)
	case n <= 0xffff:
		start -= 4
		b[start+1] = 126
		binary.BigEndian.PutUint16(b[start+2:], uint16(n))
	default:
		start -= 10
		b[start+1] = 127
		binary.BigEndian.PutUint64(b[start+2:], uint64(n))
	}
	b[start] = finText
	return Frame(b[start:len(b):len(b)])
}

// JSON is the message within a text frame.
func (f Frame) JSON() []byte {
	switch f[1] & 127 {
	case 126:
		return f[4:]
	case 127:
		return f[10:]
	default:
		return f[2:]
	}
}

// WholeFrames says whether b is nothing but whole frames, whatever it is.
func WholeFrames(b []byte) bool {
	for len(b) > 0 {
		head := 2
		if len(b) >= head {
			switch b[1] & 127 {
			case 126:
				head = 4
			case 127:
				head = 10
			}
		}
		if len(b) < head {
			return false
		}
		n := FrameLen(b)
		if n < head || n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// FrameLen is the length in bytes of the frame that b begins with. b must
// hold the whole of an unmasked frame's header, as built by this package.
func FrameLen(b []byte) int {
	switch n := int(b[1] & 127); n {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + n
	}
}
