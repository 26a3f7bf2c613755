package wstest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Opcodes of RFC 6455 section 5.2.
const (
	Continuation = 0
	Text         = 1
	Binary       = 2
	Close        = 8
	Ping         = 9
	Pong         = 10
)

// Fin is the bit of a frame's first byte that says it is the last of its
// message.
const Fin = 0x80

// Frame is a masked frame; first is Fin, the reserved bits and the opcode.
func Frame(first byte, payload []byte) []byte {
	key := [4]byte{0x9a, 0x01, 0xfe, 0x37}
	b := append(Header(first, true, uint64(len(payload))), key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i&3])
	}
	return b
}

// TextFrame is a whole text message in one frame.
func TextFrame(text string) []byte { return Frame(Fin|Text, []byte(text)) }

// Header is a frame header without its masking key.
func Header(first byte, masked bool, length uint64) []byte {
	bit := byte(0)
	if masked {
		bit = 0x80
	}
	switch {
	case length < 126:
		return []byte{first, bit | byte(length)}
	case length <= 0xffff:
		return binary.BigEndian.AppendUint16([]byte{first, bit | 126}, uint16(length))
	default:
		return binary.BigEndian.AppendUint64([]byte{first, bit | 127}, length)
	}
}

// ClosePayload is what a close frame holds.
func ClosePayload(code int, reason string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...)
}

// ReceivedFrame is a frame of the server.
type ReceivedFrame struct {
	Opcode  byte
	Payload []byte
}

func (f ReceivedFrame) String() string {
	if f.Opcode == Close && len(f.Payload) >= 2 {
		return fmt.Sprintf("close %d %q", binary.BigEndian.Uint16(f.Payload), f.Payload[2:])
	}
	return fmt.Sprintf("opcode %d %q", f.Opcode, f.Payload)
}

// SplitFrames reads whole frames of a server.
func SplitFrames(b []byte) (frames []ReceivedFrame, err error) {
	r := bytes.NewReader(b)
	for {
		f, err := readFrame(r)
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

func readFrame(r io.Reader) (f ReceivedFrame, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return f, err
	}
	defer func() {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}()
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return f, err
	}
	f.Opcode = head[0] & 0x0f
	switch {
	case head[0]&Fin == 0:
		return f, fmt.Errorf("frame is not final: % x", head)
	case head[0]&0x70 != 0:
		return f, fmt.Errorf("frame has reserved bits: % x", head)
	case head[1]&0x80 != 0:
		return f, fmt.Errorf("frame is masked: % x", head)
	case f.Opcode != Text && f.Opcode != Close && f.Opcode != Ping && f.Opcode != Pong:
		return f, fmt.Errorf("frame has opcode %d", f.Opcode)
	case f.Opcode >= Close && head[1] > 125:
		return f, fmt.Errorf("control frame is longer than 125 bytes: % x", head)
	}
	length := uint64(head[1])
	if length >= 126 {
		extended := make([]byte, 2, 8)
		if length == 127 {
			extended = extended[:8]
		}
		if _, err := io.ReadFull(r, extended); err != nil {
			return f, err
		}
		length = 0
		for _, b := range extended {
			length = length<<8 | uint64(b)
		}
		if length < 126 || len(extended) == 8 && length <= 0xffff {
			return f, fmt.Errorf("length %d is not in its shortest form", length)
		}
		if length > 64<<20 {
			return f, fmt.Errorf("frame of %d bytes", length)
		}
	}
	f.Payload = make([]byte, length)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return f, err
	}
	switch f.Opcode {
	case Text:
		if !utf8.Valid(f.Payload) {
			return f, fmt.Errorf("text is not valid UTF-8: %q", f.Payload)
		}
	case Close:
		if len(f.Payload) == 1 || len(f.Payload) > 2 && !utf8.Valid(f.Payload[2:]) {
			return f, fmt.Errorf("close frame has an invalid payload: %q", f.Payload)
		}
	}
	return f, nil
}
