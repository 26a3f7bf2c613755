package load

import (
	"bytes"
	"time"
)

// A stamp begins the data of every event: "stamp=00000042@000001234567890", the
// number of the event on its channel and when it was published, in nanoseconds
// of the [Clock]. It has always the same length.
const (
	stampMark   = "stamp="
	stampDigits = 8
	clockDigits = 15
	stampLen    = len(stampMark) + stampDigits + 1 + clockDigits
)

func appendStamp(b []byte, number uint64, at time.Duration) []byte {
	b = append(b, stampMark...)
	b = appendDigits(b, number, stampDigits)
	b = append(b, '@')
	return appendDigits(b, uint64(at), clockDigits)
}

func appendDigits(b []byte, n uint64, width int) []byte {
	start := len(b)
	for range width {
		b = append(b, '0')
	}
	for i := start + width - 1; i >= start && n > 0; i-- {
		b[i] += byte(n % 10)
		n /= 10
	}
	return b
}

// parseStamp reads the stamp that b begins with.
func parseStamp(b []byte) (number uint64, at time.Duration, ok bool) {
	if len(b) < stampLen || string(b[:len(stampMark)]) != stampMark {
		return 0, 0, false
	}
	b = b[len(stampMark):]
	number, ok = parseDigits(b[:stampDigits])
	if !ok {
		return 0, 0, false
	}
	nanoseconds, ok := parseDigits(b[stampDigits+1:][:clockDigits])
	return number, time.Duration(nanoseconds), ok
}

func parseDigits(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// findStamp looks for a stamp anywhere in a message.
func findStamp(message []byte) (number uint64, at time.Duration, ok bool) {
	i := bytes.Index(message, []byte(stampMark))
	if i < 0 {
		return 0, 0, false
	}
	return parseStamp(message[i:])
}

// A Clock counts from its making; all loops of a run share one.
type Clock struct{ start time.Time }

// NewClock starts a clock.
func NewClock() Clock { return Clock{time.Now()} }

// Now is the time since the clock was made.
func (c Clock) Now() time.Duration { return time.Since(c.start) }
