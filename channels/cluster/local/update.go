package local

import (
	"maps"
	"slices"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// update makes s a node's share of a channel, sends what is to be told, and
// returns what it came to. mu is held.
func (h *Hub) update(n *node, t cluster.Topic, s cluster.Share) (o cluster.Outcome) {
	c := h.channel(t)
	mine := c.shares[n]
	if mine == nil {
		mine = &share{users: make(map[string]struct{})}
		c.shares[n] = mine
	}
	before := c.count
	c.count += s.Count - mine.count
	mine.count, mine.tellCount, mine.watched, mine.grace = s.Count, s.TellCount, s.Watched, s.Grace
	o.Count, o.Occupied, o.Vacated = c.count, before == 0 && c.count > 0, before > 0 && c.count == 0
	if s.Watched && (o.Occupied || o.Vacated) {
		h.send(cluster.Message{Topic: t.Watch(), Kind: cluster.Occupancy, Occupied: o.Occupied})
	}

	switch {
	case o.Vacated:
		h.depart(cluster.Departure{Topic: t}, s.Grace)
	case o.Occupied:
		o.Occupied = !h.back(cluster.Departure{Topic: t})
	}

	join, leave := s.Join, s.Leave
	if s.Count == 0 {
		join = nil
	}
	if s.Reset || s.Count == 0 {
		stay := make(map[string]struct{})
		for _, m := range join {
			stay[m.UserID] = struct{}{}
		}
		leave = slices.DeleteFunc(slices.Collect(maps.Keys(mine.users)), func(id string) bool {
			_, ok := stay[id]
			return ok
		})
	}
	for _, id := range leave {
		if c.leave(mine, id) {
			o.Removed = append(o.Removed, id)
			h.depart(cluster.Departure{Topic: t, UserID: id}, s.Grace)
			h.send(cluster.Message{Topic: t, Kind: cluster.MemberRemoved, Member: protocol.Member{UserID: id}, Version: c.version})
		}
	}
	for _, m := range join {
		switch added, full := c.join(mine, m, s.MaxMembers); {
		case full:
			o.Full = append(o.Full, m.UserID)
		case added:
			if !h.back(cluster.Departure{Topic: t, UserID: m.UserID}) {
				o.Added = append(o.Added, m.UserID)
			}
			h.send(cluster.Message{Topic: t, Kind: cluster.MemberAdded, Member: m, Version: c.version})
		}
	}
	if s.Count == 0 {
		delete(c.shares, n)
	}

	if s.TellCount {
		o.CountTold, o.CountLater = c.tell(before, time.Now())
		if o.CountTold {
			h.send(cluster.Message{Topic: t, Kind: cluster.Count, Count: c.count})
		}
	}
	if c.count == 0 {
		c.told = nil
	}
	o.Version = c.version
	if s.Load {
		o.Roster, o.Last = c.roster(), c.lastEvent()
	}
	return o
}

// depart notes what may be taken back. mu is held.
func (h *Hub) depart(d cluster.Departure, grace time.Duration) {
	if grace > 0 {
		h.departed[d] = time.Now().Add(grace)
	}
}

// back takes a departure back, if it still may be. mu is held.
func (h *Hub) back(d cluster.Departure) bool {
	until, ok := h.departed[d]
	delete(h.departed, d)
	return ok && time.Now().Before(until)
}

// leave takes a user of a node away; removed: it was on no other.
func (c *channel) leave(mine *share, id string) (removed bool) {
	if _, ok := mine.users[id]; !ok {
		return false
	}
	delete(mine.users, id)
	m := c.members[id]
	m.nodes--
	if m.nodes > 0 {
		return false
	}
	delete(c.members, id)
	c.version++
	return true
}

// join makes a user one of a node's; added: it was on no other.
func (c *channel) join(mine *share, user protocol.Member, most int) (added, full bool) {
	if _, ok := mine.users[user.UserID]; ok {
		return false, false
	}
	m := c.members[user.UserID]
	if m == nil {
		if most > 0 && len(c.members) >= most {
			return false, true
		}
		c.joined++
		c.version++
		m = &member{Member: user, number: c.joined}
		c.members[user.UserID] = m
		added = true
	}
	m.nodes++
	mine.users[user.UserID] = struct{}{}
	return added, false
}

// tell decides whether the count is to be told, which was before this change.
func (c *channel) tell(before int, now time.Time) (told, later bool) {
	known := before
	if c.told != nil {
		known = *c.told
	}
	if c.count == known {
		return false, false
	}
	if c.told != nil && c.count > cluster.CountedAlways && now.Sub(c.toldAt) < cluster.CountInterval {
		return false, true
	}
	count := c.count
	c.told, c.toldAt = &count, now
	return true, false
}
