package websocket

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// Opcodes of frames (RFC 6455 section 5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

// Codes with which a connection is closed (RFC 6455 section 7.4.1).
const (
	closeProtocolError = 1002
	closeInvalidText   = 1007
	closeTooBig        = 1009
)

// handler takes what frames carry. A payload is valid until the call returns.
type handler interface {
	text(message []byte)
	binary(message []byte)
	ping(payload []byte)
}

// frames reads the frames of one client (RFC 6455 section 5), whose bytes are
// pushed in pieces of any size. The zero value expects the first frame. Nothing
// is allocated for a message that comes in one frame and one piece, and what is
// read costs time in proportion to its bytes, however they are cut.
type frames struct {
	part  *part // nil between two messages; the same one until the message is complete
	count int   // of frames without a message of their own; for the caller to reset
}

// part is what has come of a message, or of a frame, that is not complete.
type part struct {
	opcode  byte   // of the message; 0 before its first frame is complete
	message []byte // payload so far, unmasked
	control []byte // payload so far of a control frame

	inFrame bool // behind the header of a frame whose payload is not complete
	frame   header
	read    int // bytes of that payload so far

	head    [maxHeader]byte // beginning of a header
	headLen int
}

// ending says that a connection is to end: the client has sent a close frame, or
// has broken a rule.
type ending struct {
	byClient bool
	code     int // to close with; 0: without a code
	reason   string
}

func violation(format string, args ...any) *ending {
	return &ending{code: closeProtocolError, reason: fmt.Sprintf(format, args...)}
}

// push reads b, which it unmasks in place, and hands what it finds to h. A
// message may be at most limit bytes long. It returns nil to go on. Otherwise,
// nothing may be pushed any more.
func (f *frames) push(b []byte, limit int, h handler) *ending {
	for len(b) > 0 {
		if f.part != nil && f.part.inFrame {
			var whole bool
			if b, whole = f.part.fill(b); !whole {
				return nil
			}
			if end := f.finish(h); end != nil {
				return end
			}
			continue
		}
		head, rest, ok := f.readHeader(b)
		if !ok {
			return nil
		}
		b = rest
		if end := f.check(head, limit); end != nil {
			return end
		}
		if head.control || !head.fin {
			f.count++
		}
		if head.payload > int64(len(b)) || !head.control && (!head.fin || f.fragmented()) {
			f.incomplete().begin(head)
			if head.payload == 0 {
				if end := f.finish(h); end != nil {
					return end
				}
			}
			continue
		}
		payload := b[:head.payload]
		b = b[head.payload:]
		unmask(payload, head.mask, 0)
		f.forget()
		if end := deliver(head.opcode, payload, h); end != nil {
			return end
		}
	}
	return nil
}

// fragmented says whether a message has begun of which another frame must come.
func (f *frames) fragmented() bool { return f.part != nil && f.part.opcode != 0 }

// incomplete is the part, made if need be.
func (f *frames) incomplete() *part {
	if f.part == nil {
		f.part = new(part)
	}
	return f.part
}

// readHeader reads the header at the beginning of b, of which some bytes may have
// come before.
func (f *frames) readHeader(b []byte) (h header, rest []byte, ok bool) {
	p := f.part
	if p == nil || p.headLen == 0 {
		if h, ok = parseHeader(b); ok {
			return h, b[h.length:], true
		}
		p = f.incomplete()
	}
	before := p.headLen
	p.headLen += copy(p.head[before:], b)
	if h, ok = parseHeader(p.head[:p.headLen]); !ok {
		return h, nil, false
	}
	p.headLen = 0
	return h, b[h.length-before:], true
}

// check holds a header to the rules.
func (f *frames) check(h header, limit int) *ending {
	switch {
	case h.reserved:
		return violation("reserved bits are set")
	case !h.masked:
		return violation("frame is not masked")
	case h.opcode > opBinary && h.opcode < opClose || h.opcode > opPong:
		return violation("opcode %d is unknown", h.opcode)
	case h.control && !h.fin:
		return violation("control frame is fragmented")
	case h.control && h.payload > maxControlPayload:
		return violation("control frame is longer than %d bytes", maxControlPayload)
	case h.control && h.length > 2+len(h.mask):
		return violation("length of a control frame is not in its shortest form")
	case h.control:
		return nil
	case h.payload < 0:
		return violation("length is negative")
	case (h.opcode == opContinuation) != f.fragmented():
		return violation("fragments are out of order")
	}
	so := 0
	if f.part != nil {
		so = len(f.part.message)
	}
	if h.payload > int64(limit-so) {
		return &ending{code: closeTooBig, reason: fmt.Sprintf("message is larger than max_message_bytes %d", limit)}
	}
	return nil
}

func (p *part) begin(h header) { p.inFrame, p.frame, p.read = true, h, 0 }

// fill takes what b has of the frame's payload, and reports whether that is
// complete.
func (p *part) fill(b []byte) (rest []byte, whole bool) {
	n := int(min(int64(len(b)), p.frame.payload-int64(p.read)))
	unmask(b[:n], p.frame.mask, p.read)
	if p.frame.control {
		p.control = append(p.control, b[:n]...)
	} else {
		p.message = append(p.message, b[:n]...)
	}
	p.read += n
	return b[n:], int64(p.read) == p.frame.payload
}

// finish is the end of a frame that came in parts, or is a part of a message.
func (f *frames) finish(h handler) (end *ending) {
	p := f.part
	p.inFrame = false
	if p.frame.control {
		payload := p.control
		p.control = nil
		f.forget()
		return deliver(p.frame.opcode, payload, h)
	}
	if p.opcode == 0 {
		p.opcode = p.frame.opcode
	}
	if !p.frame.fin {
		return nil
	}
	f.part = nil
	return deliver(p.opcode, p.message, h)
}

// forget drops a part in which nothing is.
func (f *frames) forget() {
	if p := f.part; p != nil && p.opcode == 0 && !p.inFrame && p.headLen == 0 {
		f.part = nil
	}
}

// deliver hands over a whole message, or a control frame.
func deliver(opcode byte, payload []byte, h handler) *ending {
	switch opcode {
	case opText:
		if !utf8.Valid(payload) {
			return &ending{code: closeInvalidText, reason: "text is not valid UTF-8"}
		}
		h.text(payload)
	case opBinary:
		h.binary(payload)
	case opPing:
		h.ping(payload)
	case opClose:
		return parseClose(payload)
	}
	return nil
}

// parseClose reads the payload of a close frame (RFC 6455 section 5.5.1).
func parseClose(payload []byte) *ending {
	if len(payload) == 0 {
		return &ending{byClient: true}
	}
	if len(payload) == 1 {
		return violation("close frame has half a code")
	}
	code := int(binary.BigEndian.Uint16(payload))
	if !closeCode(code) {
		return violation("close code %d may not be sent", code)
	}
	if !utf8.Valid(payload[2:]) {
		return &ending{code: closeInvalidText, reason: "reason is not valid UTF-8"}
	}
	return &ending{byClient: true, code: code, reason: string(payload[2:])}
}

// closeCode says whether a code may be in a close frame (RFC 6455 section 7.4 and
// IANA's registry of close codes).
func closeCode(code int) bool {
	switch {
	case code == 1004, code == 1005, code == 1006, code == 1015:
		return false
	case code >= 1000 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

const (
	// maxHeader is the longest header of a frame, in bytes.
	maxHeader = 14
	// maxControlPayload is the longest payload of a control frame (RFC 6455
	// section 5.5).
	maxControlPayload = 125
)

// header is that of a frame.
type header struct {
	fin, masked, reserved, control bool
	opcode                         byte
	mask                           [4]byte
	length                         int   // of the header, in bytes
	payload                        int64 // bytes
}

// parseHeader reads a header; ok is false while it is incomplete.
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
	extended := h.payload
	switch extended {
	case 126:
		h.length += 2
	case 127:
		h.length += 8
	}
	if h.masked {
		h.length += len(h.mask)
	}
	if len(b) < h.length {
		return h, false
	}
	switch extended {
	case 126:
		h.payload = int64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.payload = int64(binary.BigEndian.Uint64(b[2:]))
	}
	if h.masked {
		h.mask = [4]byte(b[h.length-len(h.mask) : h.length])
	}
	return h, true
}

// unmask unmasks b, which begins so many bytes behind the beginning of the
// payload (RFC 6455 section 5.3).
func unmask(b []byte, mask [4]byte, offset int) {
	var key [8]byte
	for i := range key {
		key[i] = mask[(offset+i)%len(mask)]
	}
	wide := binary.NativeEndian.Uint64(key[:])
	for len(b) >= len(key) {
		binary.NativeEndian.PutUint64(b, binary.NativeEndian.Uint64(b)^wide)
		b = b[len(key):]
	}
	for i := range b {
		b[i] ^= key[i]
	}
}
