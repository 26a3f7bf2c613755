package protocol

import (
	"bytes"
	"strconv"
)

// Success is the answer to a subscription.
type Success struct {
	Channel string
	Members []Members // of a presence channel, the new one among them, in parts
	// Serial says after which event of a channel with a history the subscription begins;
	// it is zero on other channels.
	Serial   Serial
	Recovery Recovery
}

// Recovery is what became of a client's wish to be given what it has missed: see [Recover].
type Recovery byte

const (
	NotAsked  Recovery = iota
	Recovered          // all events that were missed follow
	Missed             // some of them may be lost, or the channel has no history
)

// Frame encodes the answer. Without a serial and a recovery, it is what Pusher sends.
func (s Success) Frame() Frame {
	presence := KindOf(s.Channel).IsPresence()
	count, size := 0, 160+len(s.Channel)+len(s.Serial.Epoch)
	for i := range s.Members {
		count += s.Members[i].Len()
		size += s.Members[i].Size()
	}
	return textFrame(size, func(b []byte) []byte {
		b = appendHead(b, EventSubscriptionSucceeded, s.Channel)
		b = append(b, `"{`...)
		if presence {
			b = append(b, `\"presence\":{\"count\":`...)
			b = strconv.AppendInt(b, int64(count), 10)
			b = append(b, `,\"ids\":[`...)
			for i := range s.Members {
				b = append(b, s.Members[i].ids...)
			}
			b = append(bytes.TrimSuffix(b, comma), `],\"hash\":{`...)
			for i := range s.Members {
				b = append(b, s.Members[i].hash...)
			}
			b = append(bytes.TrimSuffix(b, comma), `}},`...)
		}
		switch s.Recovery {
		case Recovered:
			b = append(b, `\"recovered\":true`...)
		case Missed:
			b = append(b, `\"recovered\":false`...)
		}
		b = append(bytes.TrimSuffix(b, comma), `}"`...)
		if s.Serial != (Serial{}) {
			return appendSerial(b, s.Serial)
		}
		return append(b, '}')
	})
}

var comma = []byte{','}
