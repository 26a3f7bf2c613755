package channels

import (
	"math"
	"slices"
	"strings"

	"belfry/protocol"
)

// member is a user on a presence channel, through one connection or several.
type member struct {
	userID      string
	connections int
	chunk       *chunk
}

// roster are the members of a presence channel. The channel's lock guards it.
//
// The members are kept encoded, in chunks, and in no other form: a join appends
// to the last chunk, a leave rewrites one. Whoever joins takes a snapshot of
// the chunks, and copies their bytes into its answer without the lock.
type roster struct {
	byID map[string]*member
	// chunks are never empty. All but the last have at least half of chunkSize.
	chunks []*chunk
}

// chunkSize is how many bytes a chunk has when the next one is begun. A leave
// copies as much, and a snapshot is as long as there are chunks.
const chunkSize = 16 << 10

// chunk is a part of a roster.
type chunk struct {
	members []*member // in the order of encoded
	encoded protocol.Members
}

// join adds a connection of a user; first reports that the user had none. The
// user_info of the first connection stays. nil when there are max users
// already.
func (r *roster) join(m protocol.Member, max int) (joined *member, first bool) {
	if joined = r.byID[m.UserID]; joined != nil {
		joined.connections++
		return joined, false
	}
	if len(r.byID) >= max {
		return nil, false
	}
	if r.byID == nil {
		r.byID = make(map[string]*member)
	}
	last := len(r.chunks) - 1
	if last < 0 || r.chunks[last].encoded.Size() >= chunkSize {
		r.chunks = append(r.chunks, new(chunk))
		last++
	}
	c := r.chunks[last]
	joined = &member{userID: m.UserID, connections: 1, chunk: c}
	r.byID[m.UserID] = joined
	c.members = append(c.members, joined)
	c.encoded.Add(m)
	return joined, true
}

// leave takes a connection away; last reports that the user has none left.
func (r *roster) leave(m *member) (last bool) {
	m.connections--
	if m.connections > 0 {
		return false
	}
	delete(r.byID, m.userID)
	if len(r.byID) == 0 {
		*r = roster{} // a roster that was large once keeps no map
		return true
	}
	c := m.chunk
	i := slices.Index(c.members, m)
	c.members = slices.Delete(c.members, i, i+1)
	c.encoded.Delete(i)
	r.merge(c)
	return true
}

// merge moves the members of a chunk that has become small to the last one, so
// that the chunks do not stay many when the members have become few.
func (r *roster) merge(c *chunk) {
	last := r.chunks[len(r.chunks)-1]
	if c.encoded.Len() > 0 && (c == last || c.encoded.Size() >= chunkSize/2) {
		return
	}
	if c != last {
		for _, m := range c.members {
			m.chunk = last
		}
		last.members = append(last.members, c.members...)
		last.encoded.AddAll(c.encoded)
	}
	i := slices.Index(r.chunks, c)
	r.chunks = slices.Delete(r.chunks, i, i+1)
}

func newRoster(members []protocol.Member) *roster {
	r := new(roster)
	for _, m := range members {
		r.add(m)
	}
	return r
}

// add and remove are for members whose connections the cluster counts.
func (r *roster) add(m protocol.Member) {
	if r.byID[m.UserID] == nil {
		m.UserID = strings.Clone(m.UserID) // not a part of a message with the user_info
		r.join(m, math.MaxInt)
	}
}

func (r *roster) remove(userID string) {
	if m := r.byID[userID]; m != nil {
		r.leave(m)
	}
}

// snapshot is all members as they are now.
func (r *roster) snapshot() []protocol.Members {
	members := make([]protocol.Members, len(r.chunks))
	for i, c := range r.chunks {
		members[i] = c.encoded
	}
	return members
}

// ids are those of all members.
func (r *roster) ids() []string {
	ids := make([]string, 0, len(r.byID))
	for _, c := range r.chunks {
		for _, m := range c.members {
			ids = append(ids, m.userID)
		}
	}
	return ids
}
