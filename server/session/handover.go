package session

import (
	"fmt"
	"net/netip"

	"golang.org/x/time/rate"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/keepalive"
)

// Exported is what another process needs to go on with a session. Times are those of the
// transport's watch.
type Exported struct {
	App        string             `json:"app"`
	ID         string             `json:"id"`
	Source     protocol.Source    `json:"source"`
	Transport  protocol.Transport `json:"transport,omitzero"`
	Remote     netip.Addr         `json:"remote,omitzero"`
	Client     string             `json:"client,omitempty"`
	Version    string             `json:"version,omitempty"`
	Origin     string             `json:"origin,omitempty"`
	Authorized bool               `json:"authorized,omitzero"`
	Opened     keepalive.Time     `json:"opened,omitzero"`
	Pinged     keepalive.Time     `json:"pinged,omitzero"`

	MessagesLeft int32      `json:"messages_left,omitzero"` // of message_rate, at MessagesAt
	MessagesAt   uint32     `json:"messages_at,omitzero"`   // seconds since 1970; 0: all are left
	LastRefusal  uint32     `json:"last_refusal,omitzero"`
	ClientEvents *apps.Rate `json:"client_events,omitempty"`

	Subscriptions []ExportedSubscription `json:"subscriptions,omitempty"`
	User          *ExportedUser          `json:"user,omitempty"`
	Recoveries    *protocol.Recover      `json:"recoveries,omitempty"` // channels that the client wants to recover
}

// ExportedSubscription is one channel's; UserID is the member's on a presence channel.
type ExportedSubscription struct {
	Channel string `json:"channel"`
	UserID  string `json:"user_id,omitempty"`
}

// ExportedUser is who has signed in. Online are those of the watchlist whom the client
// knows as online.
type ExportedUser struct {
	ID        string   `json:"id"`
	Info      []byte   `json:"info,omitempty"`
	Watchlist []string `json:"watchlist,omitempty"`
	Online    []string `json:"online,omitempty"`
}

// Export returns the session; ok is false if it has ended. Neither Handle nor Due may be
// running.
func (s *Session) Export() (e Exported, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return e, false
	}
	agent := s.agent.Value()
	e = Exported{
		App: s.app.ID, ID: s.id.String(), Source: s.source, Transport: s.transport,
		Remote: s.Remote(), Client: agent.client, Version: agent.version, Origin: agent.origin,
		Authorized: s.authorized.Load(), Opened: s.opened, Pinged: s.pinged,
		MessagesLeft: s.messages.left, MessagesAt: s.messages.at, LastRefusal: s.lastRefusal,
	}
	if s.seldom != nil {
		e.ClientEvents, e.Recoveries = apps.ExportRate(s.seldom.clientEvents), s.seldom.recoveries
	}
	for sub := range s.subscriptions.all() {
		e.Subscriptions = append(e.Subscriptions, ExportedSubscription{sub.Channel(), sub.UserID()})
	}
	if s.user != nil {
		e.User = &ExportedUser{ID: s.user.UserID(), Info: s.user.info}
		e.User.Watchlist, e.User.Online = s.app.Channels.Watchlist(s.user.Identity)
	}
	return e, true
}

// Restore goes on with a session of another process, on a connection that is told
// nothing. The channels that it is subscribed to have been restored.
func (a *Admission) Restore(e Exported, conn Conn) (*Session, error) {
	app := a.Apps.ByID(e.App)
	id, ok := protocol.ParseSocketID(e.ID)
	if app == nil || !ok || e.Transport >= protocol.NumTransports {
		return nil, fmt.Errorf("a session is of no app that is served, or has no socket id: %q, %q", clipped(e.App), clipped(e.ID))
	}
	s := newSession(app, e.Transport, conn, a)
	s.id, s.source = id, e.Source
	s.setPeer(e.Remote, agent{e.Client, e.Version, e.Origin})
	if e.Opened != 0 {
		s.opened = e.Opened
	}
	s.pinged = e.Pinged
	s.authorized.Store(e.Authorized)
	s.messages = allowance{left: e.MessagesLeft, at: e.MessagesAt}
	s.lastRefusal = e.LastRefusal
	if most := app.Settings().ClientEventRate; most > 0 && e.ClientEvents != nil {
		s.needs().clientEvents = rate.NewLimiter(rate.Limit(most), most)
		e.ClientEvents.Spend(s.seldom.clientEvents)
	}
	for _, exported := range e.Subscriptions {
		sub, err := app.Channels.RestoreSubscription(s, exported.Channel, exported.UserID)
		if err != nil {
			return nil, err
		}
		s.subscriptions.add(sub)
	}
	if e.Recoveries != nil {
		s.needs().recoveries = e.Recoveries
	}
	if u := e.User; u != nil {
		i, err := app.Channels.RestoreSignIn(s, u.ID, u.Watchlist, u.Online)
		if err != nil {
			return nil, err
		}
		s.user = &user{Identity: i, info: u.Info}
	}
	app.Adopt(s.transport)
	return s, nil
}

// RestoreAbsent is Restore for a session whose connection stays behind in the other
// process, to end there. It is to be ended here as well, once this process may tell
// others of that.
func (a *Admission) RestoreAbsent(e Exported) (*Session, error) { return a.Restore(e, absent{}) }

// absent is the connection of such a session.
type absent struct{}

func (absent) Send([]byte)                                        {}
func (absent) Deliver(*channels.Subscription, []byte) (kept bool) { return false }
func (absent) Hold()                                              {}
func (absent) Release([]byte)                                     {}
func (absent) Room(int) bool                                      { return false }
func (absent) Ping()                                              {}
func (absent) Waiting() int                                       { return 0 }
func (absent) Seen() keepalive.Time                               { return 0 }
func (absent) Close(*protocol.Error)                              {}
