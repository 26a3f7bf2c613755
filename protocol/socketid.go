package protocol

import (
	"cmp"
	"strconv"
	"strings"
)

// SocketID names one connection: two integers joined by a dot on the wire,
// which every server library checks against ^\d+\.\d+$ before it signs.
// The zero SocketID belongs to no connection.
type SocketID struct{ a, b uint32 }

// maxSocketPart bounds each half, as Reverb does: 1 to 10^9.
const maxSocketPart = 1_000_000_000

// NewSocketID makes an id from 64 random bits, which must come from a
// cryptographic source: private subscriptions are signed for it.
func NewSocketID(random uint64) SocketID {
	return SocketID{
		a: uint32(random>>32)%maxSocketPart + 1,
		b: uint32(random)%maxSocketPart + 1,
	}
}

// ParseSocketID reads the wire form. An id that no server of this kind hands
// out is not an error to a publisher (it excludes nobody): ok is false.
func ParseSocketID(s string) (id SocketID, ok bool) {
	a, b, found := strings.Cut(s, ".")
	if !found {
		return SocketID{}, false
	}
	x, errA := strconv.ParseUint(a, 10, 32)
	y, errB := strconv.ParseUint(b, 10, 32)
	if errA != nil || errB != nil {
		return SocketID{}, false
	}
	return SocketID{uint32(x), uint32(y)}, true
}

// WellFormedSocketID reports whether s has the form ^\d+\.\d+$.
func WellFormedSocketID(s string) bool {
	a, b, found := strings.Cut(s, ".")
	return found && digits(a) && digits(b)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (id SocketID) String() string {
	b := make([]byte, 0, 21)
	b = strconv.AppendUint(b, uint64(id.a), 10)
	b = append(b, '.')
	return string(strconv.AppendUint(b, uint64(id.b), 10))
}

// Shard spreads connections evenly over n parts; a connection stays in its
// part.
func (id SocketID) Shard(n int) int { return int(id.b) % n }

// Compare orders ids as their numbers are.
func (id SocketID) Compare(other SocketID) int {
	return cmp.Or(cmp.Compare(id.a, other.a), cmp.Compare(id.b, other.b))
}
