package protocol

import (
	"bytes"
	"strconv"
	"strings"
)

// Serial is the place of an event in the history of its channel: the later of two events
// of one epoch has the higher number. Between epochs, nothing follows from the numbers.
type Serial struct {
	Epoch  string
	Number uint64
}

// String is the form in which clients and backends see it: the epoch, a hyphen, and the
// number.
func (s Serial) String() string { return string(s.appendTo(nil)) }

func (s Serial) appendTo(b []byte) []byte {
	b = append(b, s.Epoch...)
	b = append(b, '-')
	return strconv.AppendUint(b, s.Number, 10)
}

// ParseSerial reads what String makes.
func ParseSerial(text string) (s Serial, ok bool) {
	at := strings.LastIndexByte(text, '-')
	if at <= 0 {
		return Serial{}, false
	}
	number, err := strconv.ParseUint(text[at+1:], 10, 64)
	if err != nil {
		return Serial{}, false
	}
	return Serial{text[:at], number}, true
}

// maxSerial is the longest text that is looked at, in bytes: ours are 47 at most.
const maxSerial = 64

// maxNumber is how many digits a number has at most.
const maxNumber = 20

// SerialFrame is the frame of an event's message, to which the serial is added. The
// message is a JSON object that is not empty.
func SerialFrame(message []byte, s Serial) Frame {
	return textFrame(len(message)+len(serialKey)+len(s.Epoch)+maxNumber+3, func(b []byte) []byte {
		return appendSerial(append(b, message[:len(message)-1]...), s)
	})
}

// SerialOf is the serial at the end of an event's message, zero if it has none.
func SerialOf(f Frame) Serial {
	text := bytes.TrimSuffix(f.JSON(), []byte(`"}`))
	at := bytes.LastIndex(text, []byte(serialKey))
	if at < 0 {
		return Serial{}
	}
	s, _ := ParseSerial(string(text[at+len(serialKey):]))
	return s
}

const serialKey = `,"serial":"`

// appendSerial ends a message with a serial. The epoch needs no escapes.
func appendSerial(b []byte, s Serial) []byte {
	b = append(b, serialKey...)
	b = s.appendTo(b)
	return append(b, '"', '}')
}
