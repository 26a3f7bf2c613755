package load

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Opcodes of RFC 6455 section 5.2.
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
)

const (
	bitFin  = 0x80
	bitRSV  = 0x70
	bitMask = 0x80
)

// errFrame: what the server sent is no frame, or none that it may send here.
// After a torn frame, the bytes of another one are taken for a header.
var errFrame = errors.New("the server sent a bad frame")

var (
	errMasked     = fmt.Errorf("%w: masked", errFrame)
	errFragmented = fmt.Errorf("%w: a fragment of a message", errFrame)
	errExtension  = fmt.Errorf("%w: of an extension that was not offered", errFrame)
)

// frame is the header of a server's WebSocket frame.
type frame struct {
	opcode byte
	header int // bytes
	size   int // bytes, with the header
}

// parseFrame reads the header that b begins with. ok is false when b does not
// hold all of it.
func parseFrame(b []byte) (f frame, ok bool, err error) {
	if len(b) < 2 {
		return frame{}, false, nil
	}
	f = frame{opcode: b[0] & 0x0f, header: 2}
	switch {
	case b[0]&bitRSV != 0:
		return f, false, errExtension
	case b[1]&bitMask != 0:
		return f, false, errMasked
	case b[0]&bitFin == 0 || f.opcode == 0:
		return f, false, errFragmented
	}
	payload := uint64(b[1])
	switch payload {
	case 126:
		if f.header += 2; len(b) < f.header {
			return f, false, nil
		}
		payload = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if f.header += 8; len(b) < f.header {
			return f, false, nil
		}
		payload = binary.BigEndian.Uint64(b[2:])
	}
	f.size = f.header + int(min(payload, 1<<40))
	return f, true, nil
}

// appendFrame appends a client's frame. Its mask is zero, which leaves the
// payload as it is; the server unmasks it all the same. The payload is at most
// 65,535 bytes.
func appendFrame(b []byte, opcode byte, payload []byte) []byte {
	b = append(b, bitFin|opcode)
	if len(payload) < 126 {
		b = append(b, bitMask|byte(len(payload)))
	} else {
		b = append(b, bitMask|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, payload...)
}

// closeNormal is a client's close frame with code 1000.
var closeNormal = appendFrame(nil, opClose, []byte{0x03, 0xe8})
