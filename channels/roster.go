package channels

import (
	"math"
	"slices"

	"belfry/protocol"
)

// member is a user on a presence channel, through one connection or several.
type member struct {
	protocol.Member
	connections int
}

// roster are the members of a presence channel, in the order they came.
// The channel's lock guards it.
type roster struct {
	byID  map[string]*member
	order []*member
}

// join adds a connection of a user; first reports that the user had none. The
// user_info of the first connection stays. nil when there are max users
// already.
func (r *roster) join(m protocol.Member, max int) (joined *member, first bool) {
	if joined = r.byID[m.UserID]; joined != nil {
		joined.connections++
		return joined, false
	}
	if len(r.order) >= max {
		return nil, false
	}
	if r.byID == nil {
		r.byID = make(map[string]*member)
	}
	joined = &member{Member: m, connections: 1}
	r.byID[m.UserID] = joined
	r.order = append(r.order, joined)
	return joined, true
}

// leave takes a connection away; last reports that the user has none left.
func (r *roster) leave(m *member) (last bool) {
	m.connections--
	if m.connections > 0 {
		return false
	}
	delete(r.byID, m.UserID)
	i := slices.Index(r.order, m)
	r.order = slices.Delete(r.order, i, i+1)
	return true
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
		r.join(m, math.MaxInt)
	}
}

func (r *roster) remove(userID string) {
	if m := r.byID[userID]; m != nil {
		r.leave(m)
	}
}

func (r *roster) list() []protocol.Member {
	list := make([]protocol.Member, len(r.order))
	for i, m := range r.order {
		list[i] = m.Member
	}
	return list
}
