//go:build linux

package load

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Tally is what subscribers have received. Any number of audiences of one loop
// may share one.
type Tally struct {
	Deliveries uint64
	// Latency is from publishing to reading, in microseconds.
	Latency *hdrhistogram.Histogram
}

// NewTally returns an empty tally.
func NewTally() *Tally { return &Tally{Latency: NewHistogram()} }

// Reset forgets what was counted.
func (t *Tally) Reset() {
	t.Deliveries = 0
	t.Latency.Reset()
}

// longest is the largest latency that can be told, in microseconds.
const longest = 60e6

// NewHistogram is for latencies from a microsecond to a minute, to three digits.
func NewHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

func record(h *hdrhistogram.Histogram, latency time.Duration) {
	// The value is within the range, so that there is no error.
	_ = h.RecordValue(min(max(latency.Microseconds(), 1), longest))
}

// Audience is the subscribers of one channel, in one loop.
type Audience struct {
	Channel string
	Tally   *Tally
	Members []*Subscriber
	// Added is how often the members of a presence channel, all together, were
	// told of another one.
	Added uint64

	exact   []byte // the only message allowed, but for its stamp, as the transport writes it; nil: any
	stampAt int
	serial  *serial // between exact and the end of a message; nil: none
}

func (a *Audience) presence() bool { return strings.HasPrefix(a.Channel, presencePrefix) }

// Reset forgets what the members have received.
func (a *Audience) Reset() {
	for _, s := range a.Members {
		s.forget()
	}
}

// Expect says how many bytes of data the coming events have.
func (a *Audience) Expect(t *Target, size int) {
	if !t.Exact {
		return
	}
	a.exact, a.stampAt = delivery(a.Channel, size)
	end := []byte(`"}`)
	if t.Serials {
		a.exact = append(a.exact[:len(a.exact)-1], `,"serial":"`...)
	}
	if t.Transport.Lines() {
		a.exact, end = escape(a.exact), escape(end)
		a.stampAt = bytes.Index(a.exact, []byte(stampMark))
	}
	switch {
	case !t.Serials:
		a.serial = nil
	case a.serial == nil:
		a.serial = &serial{end: end}
	}
}

// receive counts an event for s. ok is false when the message is none.
func (a *Audience) receive(s *Subscriber, message []byte, now time.Duration) (ok bool, err error) {
	var number, serial uint64
	var at time.Duration
	if a.exact != nil && (len(message) == len(a.exact) || a.serial != nil && len(message) > len(a.exact)) {
		number, at, ok = parseStamp(message[a.stampAt:])
	} else {
		number, at, ok = findStamp(message)
	}
	if !ok {
		return false, nil
	}
	if a.exact != nil {
		if serial, ok = a.matches(message); !ok {
			return true, fmt.Errorf("the event on %s came as %q, and not as %q", a.Channel, clip(message), clip(a.exact))
		}
	}
	if a.serial != nil && serial <= s.serial {
		return true, fmt.Errorf("the event on %s came with serial %d after %d", a.Channel, serial, s.serial)
	}
	s.count(number, serial)
	a.Tally.Deliveries++
	record(a.Tally.Latency, now-at)
	return true, nil
}

// matches reports whether a message is the one that is allowed, and returns the number of
// its serial.
func (a *Audience) matches(message []byte) (serial uint64, ok bool) {
	end := a.stampAt + stampLen
	if len(message) < len(a.exact) ||
		!bytes.Equal(message[:a.stampAt], a.exact[:a.stampAt]) || !bytes.Equal(message[end:len(a.exact)], a.exact[end:]) {
		return 0, false
	}
	rest := message[len(a.exact):]
	if a.serial == nil {
		return 0, len(rest) == 0
	}
	return a.serial.parse(rest)
}

// Check returns an error unless every member has received each event of the
// topic exactly once, and all in the same order with the same serials. Which order
// that is depends on which of the publishers' requests the server reads first.
func (a *Audience) Check(sent, sum uint64) error {
	for _, s := range a.Members {
		switch {
		case s.received < sent:
			return fmt.Errorf("%s: a subscriber lost %d of %d events", a.Channel, sent-s.received, sent)
		case s.received > sent:
			return fmt.Errorf("%s: a subscriber received %d events more than the %d that there were", a.Channel, s.received-sent, sent)
		case s.sum != sum:
			return fmt.Errorf("%s: a subscriber received an event twice, and lost another one", a.Channel)
		case s.order != a.Members[0].order:
			return fmt.Errorf("%s: two subscribers received the events in different orders, or with different serials", a.Channel)
		}
	}
	return nil
}
