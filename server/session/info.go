package session

import (
	"net/netip"
	"strings"
	"unique"

	"belfry/protocol"
	"belfry/server/keepalive"
)

// Info is what an operator is shown of a session. Times are those of the transport's
// watch. Client, Version, Origin and UserID are what a stranger says.
type Info struct {
	App                     string // id
	ID                      protocol.SocketID
	Transport               protocol.Transport
	Remote                  netip.Addr // not valid if there is none
	Client, Version, Origin string     // empty when not given
	UserID                  string     // empty until signed in
	Opened                  keepalive.Time
	Seen                    keepalive.Time // when something of any kind last came in
	Subscriptions           int
	Waiting                 int // bytes to be sent
}

// Info describes the session. ok is false if it has ended.
func (s *Session) Info() (i Info, ok bool) {
	agent := s.agent.Value()
	i = Info{
		App: s.app.ID, ID: s.id, Transport: s.transport, Remote: s.Remote(), Opened: s.opened,
		Client: agent.client, Version: agent.version, Origin: agent.origin,
		Seen: s.conn.Seen(), Waiting: s.conn.Waiting(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user != nil {
		i.UserID = s.user.UserID()
	}
	i.Subscriptions = s.subscriptions.len()
	return i, !s.ended
}

// Remote is the client's network address, not valid if it has none: behind a Unix socket,
// for example.
func (s *Session) Remote() netip.Addr {
	if s.remote == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(s.remote).Unmap()
}

// setPeer notes where the client is and what it says of itself. Nobody else knows the
// session yet.
func (s *Session) setPeer(remote netip.Addr, a agent) {
	if remote.IsValid() {
		s.remote = remote.As16()
	}
	s.agent = unique.Make(agent{clipped(a.client), clipped(a.version), clipped(a.origin)})
}

// Subscribed is one channel of a session, and who the client is there: the member on a
// presence channel, else empty.
type Subscribed struct {
	Channel, UserID string
}

// Subscriptions returns at most so many of the session's, in no order.
func (s *Session) Subscriptions(most int) []Subscribed {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Subscribed, 0, min(s.subscriptions.len(), most))
	for sub := range s.subscriptions.all() {
		if len(list) == most {
			break
		}
		list = append(list, Subscribed{sub.Channel(), sub.UserID()})
	}
	return list
}

// Matches reports whether text, in lower case, is in the session's socket id, user ids,
// network address or names of channels.
func (s *Session) Matches(text string) bool {
	in := func(name string) bool { return strings.Contains(strings.ToLower(name), text) }
	if remote := s.Remote(); in(s.id.String()) || remote.IsValid() && in(remote.String()) {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user != nil && in(s.user.UserID()) {
		return true
	}
	for sub := range s.subscriptions.all() {
		if in(sub.Channel()) || in(sub.UserID()) {
			return true
		}
	}
	return false
}

// Disconnect closes the session on behalf of an operator. The code is the protocol's: with
// 4200 the client comes back at once, with 4009 it stays away.
func (s *Session) Disconnect(code int) {
	s.Close(Console, &protocol.Error{Code: code, Message: "Connection closed by an operator of the server"})
}
