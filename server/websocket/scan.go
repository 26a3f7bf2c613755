package websocket

import "encoding/binary"

// scanner finds where whole messages end in the bytes of one connection, so
// that a reader is only ever fed whole ones and never waits in the middle.
// It looks at frame headers (RFC 6455 section 5.2) and stops at one that breaks
// the rules.
type scanner struct {
	start      int   // where the unfinished message begins
	pos        int   // up to here, whole frames were seen
	size       int64 // payload of the unfinished message's frames so far
	fragmented bool  // between the first and the last frame of a message
}

type verdict uint8

const (
	fine   verdict = iota
	tooBig         // a message is larger than the limit
	broken         // a header breaks the rules
)

// whole returns how much of data is whole messages. data begins where the last
// call's whole messages ended, and may have grown since. A control frame amid
// the fragments of an unfinished message is moved ahead of them, within data,
// so that it need not wait for the last.
func (s *scanner) whole(data []byte, limit int) (n int, v verdict) {
	for {
		h, ok := parseHeader(data[s.pos:])
		if !ok {
			break
		}
		if h.breaksRules(s.fragmented) {
			return s.start, broken
		}
		if !h.control && h.payload > int64(limit)-s.size {
			return s.start, tooBig
		}
		end := s.pos + h.length + int(h.payload)
		if end > len(data) {
			break
		}
		switch {
		case h.control && s.fragmented:
			s.start += moveAhead(data[s.start:end], end-s.pos)
		case h.control:
			s.start = end
		case h.fin:
			s.start, s.size, s.fragmented = end, 0, false
		default:
			s.size += h.payload
			s.fragmented = true
		}
		s.pos = end
	}
	// Fragments of little or no payload must not add up without end.
	if len(data)-s.start > 2*limit+4096 {
		return s.start, tooBig
	}
	n = s.start
	s.start, s.pos = 0, s.pos-n
	return n, fine
}

// moveAhead puts the last n bytes of b first.
func moveAhead(b []byte, n int) int {
	var frame [maxControlFrame]byte
	copy(frame[:], b[len(b)-n:])
	copy(b[n:], b[:len(b)-n])
	copy(b, frame[:n])
	return n
}

// maxControlFrame is the longest masked control frame.
const maxControlFrame = 2 + 4 + 125

type header struct {
	fin, masked, reserved, control bool
	extended                       bool // the payload's length has bytes of its own
	opcode                         byte
	length                         int // of the header
	payload                        int64
}

// parseHeader reads a frame header; ok is false while it is incomplete.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 2 {
		return h, false
	}
	h = header{
		fin:      b[0]&0x80 != 0,
		reserved: b[0]&0x70 != 0,
		opcode:   b[0] & 0x0f,
		control:  b[0]&0x08 != 0,
		masked:   b[1]&0x80 != 0,
		length:   2,
		payload:  int64(b[1] & 0x7f),
	}
	switch h.payload {
	case 126:
		h.length += 2
	case 127:
		h.length += 8
	}
	h.extended = h.length > 2
	extended := h.length
	if h.masked {
		h.length += 4
	}
	if len(b) < h.length {
		return h, false
	}
	switch extended {
	case 4:
		h.payload = int64(binary.BigEndian.Uint16(b[2:]))
	case 10:
		h.payload = int64(binary.BigEndian.Uint64(b[2:]))
	}
	return h, true
}

func (h header) breaksRules(fragmented bool) bool {
	switch {
	case h.reserved, !h.masked, h.payload < 0:
		return true
	case h.control:
		// The length is minimal (RFC 6455 section 5.2), so in its short form.
		return h.opcode > 10 || !h.fin || h.payload > 125 || h.extended
	case h.opcode == 0:
		return !fragmented
	default:
		return h.opcode > 2 || fragmented
	}
}
