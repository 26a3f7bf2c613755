package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestParseFrame(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want frame
		ok   bool
		err  error
	}{
		{"nothing", nil, frame{}, false, nil},
		{"half a header", []byte{0x81}, frame{}, false, nil},
		{"empty", []byte{0x81, 0}, frame{opText, 2, 2}, true, nil},
		{"short", []byte{0x81, 125}, frame{opText, 2, 127}, true, nil},
		{"16 bits", []byte{0x81, 126, 1, 2}, frame{opText, 4, 4 + 0x102}, true, nil},
		{"16 bits, cut", []byte{0x81, 126, 1}, frame{}, false, nil},
		{"64 bits", []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 2}, frame{opText, 10, 10 + 0x10002}, true, nil},
		{"64 bits, cut", []byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0}, frame{}, false, nil},
		{"absurd", []byte{0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0}, frame{opText, 10, 10 + 1<<40}, true, nil},
		{"ping", []byte{0x89, 1, 'x'}, frame{opPing, 2, 3}, true, nil},
		{"close", []byte{0x88, 2, 3, 0xe8}, frame{opClose, 2, 4}, true, nil},
		{"masked", []byte{0x81, 0x85, 0, 0, 0, 0}, frame{}, false, errMasked},
		{"compressed", []byte{0xc1, 1, 'x'}, frame{}, false, errExtension},
		{"first fragment", []byte{0x01, 1, 'x'}, frame{}, false, errFragmented},
		{"continuation", []byte{0x80, 1, 'x'}, frame{}, false, errFragmented},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := parseFrame(tt.in)
			if ok != tt.ok || !errors.Is(err, tt.err) || ok && got != tt.want {
				t.Errorf("got %+v, %v, %v, want %+v, %v, %v", got, ok, err, tt.want, tt.ok, tt.err)
			}
			if err != nil && !errors.Is(err, errFrame) {
				t.Errorf("%v is not errFrame", err)
			}
		})
	}
}

func TestAppendFrame(t *testing.T) {
	for _, size := range []int{0, 125, 126, 0xffff} {
		payload := bytes.Repeat([]byte("x"), size)
		b := appendFrame(nil, opText, payload)
		if !bytes.HasSuffix(b, append([]byte{0, 0, 0, 0}, payload...)) {
			t.Errorf("%d bytes: the frame does not end with a zero mask and the payload", size)
		}
		b[1] &^= bitMask
		f, ok, err := parseFrame(b)
		if !ok || err != nil || f.size+4 != len(b) || f.opcode != opText {
			t.Errorf("%d bytes: %+v, %v, %v", size, f, ok, err)
		}
	}
}

// textFrame is what a server sends.
func textFrame(payload []byte) []byte {
	b := []byte{bitFin | opText}
	if len(payload) < 126 {
		b = append(b, byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(len(payload)))
	}
	return append(b, payload...)
}
