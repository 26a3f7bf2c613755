package local

import (
	"maps"
	"slices"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// update makes s a node's share of a channel, sends what is to be told, and
// returns what it came to. mu is held.
func (h *Hub) update(n *node, t cluster.Topic, s cluster.Share) (o cluster.Outcome) {
	c, out := h.channel(t), h.recorder(t, s)
	again := s.Epoch != "" && s.Epoch != h.version(c).Epoch
	out.waits = h.epoch > 1 && out.now.Sub(h.born) <= cluster.ToldAgain
	early := again && out.waits
	mine := c.shares[n]
	if mine == nil {
		mine = &share{users: make(map[string]struct{})}
		c.shares[n] = mine
	}
	before := c.count
	c.count += s.Count - mine.Count
	mine.Share = s
	if s.Watched && (before > 0) != (c.count > 0) {
		h.send(cluster.Message{Topic: t.Watch(), Kind: cluster.Occupancy, Occupied: c.count > 0})
	}
	known := early && s.Before > 0
	if c.count > 0 && (before == 0 || known) {
		out.arrive("", known)
	}

	join, leave := s.Join, s.Leave
	if s.Count == 0 {
		join = nil
	}
	if s.Whole || s.Count == 0 {
		stay := make(map[string]struct{})
		for _, m := range join {
			stay[m.UserID] = struct{}{}
		}
		for id := range mine.users {
			if _, ok := stay[id]; !ok && !slices.Contains(leave, id) {
				leave = append(leave, id)
			}
		}
	}
	m := cluster.Message{Topic: t, Kind: cluster.Members}
	for _, id := range leave {
		removed := c.leave(mine, id)
		if removed {
			m.Left = append(m.Left, id)
		}
		switch {
		case removed || again && c.members[id] == nil:
			out.depart(id)
		case early: // it is on another node, and was before the loss
			out.arrive(id, true)
		}
	}
	for i, one := range join {
		known := i < s.Known
		stays := early && known
		most := s.MaxMembers
		if known {
			most = 0
		}
		added, full := c.join(mine, one, most)
		switch {
		case full:
			o.Full = append(o.Full, one.UserID)
		case added:
			m.Joined = append(m.Joined, one)
		}
		if added || stays {
			out.arrive(one.UserID, stays)
		}
	}
	if len(m.Left)+len(m.Joined) > 0 {
		m.After, m.Version = h.change(c)
		h.send(m)
	}
	if s.Count == 0 {
		delete(c.shares, n)
	}
	if s.TellCount && c.count != before {
		h.send(cluster.Message{Topic: t, Kind: cluster.Count, Count: c.count})
		out.record(cluster.Transition{Kind: cluster.Counted, Channel: t.Channel, Count: c.count})
	}
	o.Count, o.Version = c.count, h.version(c)
	if s.Load {
		o.Snapshot = c.snapshot(s.Since, o.Version.Epoch)
	}
	if c.count == 0 && (before > 0 || again && s.Before > 0) {
		out.depart("") // after its members
	}
	if out.hint >= 0 {
		o.Hint = &cluster.Hint{Bucket: cluster.Bucket{App: t.App}, In: out.hint}
	}
	return o
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
		m = &member{Member: user, number: c.joined}
		c.members[user.UserID] = m
		added = true
	}
	m.nodes++
	mine.users[user.UserID] = struct{}{}
	return added, false
}

func (c *channel) roster() []protocol.Member {
	members := slices.SortedFunc(maps.Values(c.members), func(a, b *member) int { return int(a.number) - int(b.number) })
	list := make([]protocol.Member, len(members))
	for i, m := range members {
		list[i] = m.Member
	}
	return list
}
