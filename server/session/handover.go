package session

import (
	"fmt"

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
	Authorized bool               `json:"authorized,omitzero"`
	Opened     keepalive.Time     `json:"opened,omitzero"`
	Pinged     keepalive.Time     `json:"pinged,omitzero"`

	MessagesLeft int32      `json:"messages_left,omitzero"` // of message_rate, at MessagesAt
	MessagesAt   uint32     `json:"messages_at,omitzero"`   // seconds since 1970; 0: all are left
	LastRefusal  int64      `json:"last_refusal,omitzero"`
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
	e = Exported{
		App: s.app.ID, ID: s.id.String(), Source: s.source, Transport: s.transport,
		Authorized: s.authorized.Load(), Opened: s.opened, Pinged: s.pinged,
		MessagesLeft: s.messages.left, MessagesAt: s.messages.at, LastRefusal: s.lastRefusal,
		ClientEvents: apps.ExportRate(s.clientEvents),
	}
	for sub := range s.subscriptions.all() {
		e.Subscriptions = append(e.Subscriptions, ExportedSubscription{sub.Channel(), sub.UserID()})
	}
	e.Recoveries = s.recoveries
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
	s.opened, s.pinged = e.Opened, e.Pinged
	s.authorized.Store(e.Authorized)
	s.messages = allowance{left: e.MessagesLeft, at: e.MessagesAt}
	s.lastRefusal = e.LastRefusal
	if most := app.Settings().ClientEventRate; most > 0 && e.ClientEvents != nil {
		s.clientEvents = rate.NewLimiter(rate.Limit(most), most)
		e.ClientEvents.Spend(s.clientEvents)
	}
	for _, exported := range e.Subscriptions {
		sub, err := app.Channels.RestoreSubscription(s, exported.Channel, exported.UserID)
		if err != nil {
			return nil, err
		}
		s.subscriptions.add(sub)
	}
	s.recoveries = e.Recoveries
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
func (absent) Close(*protocol.Error)                              {}
