package channels

import "belfry/protocol"

// here is a user of this node.
type here struct {
	member      protocol.Member
	connections int
	sent        bool   // to the cluster, which may not have answered yet
	known       bool   // to the cluster
	since       uint64 // the version of the members that has it; when known
	full        bool   // the cluster has refused it
}

// come counts a connection of a user in.
func (r *remote) come(m protocol.Member) {
	h := r.here[m.UserID]
	if h == nil {
		if r.here == nil {
			r.here = make(map[string]*here)
		}
		h = &here{member: m}
		r.here[m.UserID] = h
	}
	h.connections++
	r.compare(m.UserID, h)
}

// leave counts a connection of a user out.
func (r *remote) leave(userID string) {
	h := r.here[userID]
	h.connections--
	if h.connections == 0 && !h.sent && !h.known {
		delete(r.here, userID)
	}
	r.compare(userID, h)
}

// compare keeps untold in step: it follows every change of a user's connections,
// and of what the cluster knows. Without untold, each join would have to look at
// all users of the node.
func (r *remote) compare(userID string, h *here) {
	if h.connections > 0 != h.known {
		if r.untold == nil {
			r.untold = make(map[string]*here)
		}
		r.untold[userID] = h
		return
	}
	delete(r.untold, userID)
	if len(r.untold) == 0 {
		r.untold = nil
	}
}
