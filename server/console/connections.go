package console

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/session"
)

// maxSubscriptions is how many subscriptions of a connection are shown.
const maxSubscriptions = 1000

// connection is one client's.
type connection struct {
	SocketID  string `json:"socket_id"`
	App       string `json:"app"`
	Transport string `json:"transport"`
	Remote    string `json:"remote"`
	Client    string `json:"client"`
	Version   string `json:"version"`
	Origin    string `json:"origin"`
	UserID    string `json:"user_id"`
	OpenedAt  int64  `json:"opened_at"`
	SeenAt    int64  `json:"seen_at"`
	Channels  int    `json:"channels"`
	Waiting   int    `json:"waiting_bytes"`
}

// connectionOf returns a function that makes rows, all as of this moment.
func (c *Console) connectionOf() func(session.Info) connection {
	now, at := c.Watch.Now(), time.Now()
	return func(i session.Info) connection {
		row := connection{
			SocketID: i.ID.String(), App: i.App, Transport: i.Transport.String(),
			Client: i.Client, Version: i.Version, Origin: i.Origin, UserID: i.UserID,
			OpenedAt: millis(i.Opened, now, at), SeenAt: millis(i.Seen, now, at),
			Channels: i.Subscriptions, Waiting: i.Waiting,
		}
		if i.Remote.IsValid() {
			row.Remote = i.Remote.String()
		}
		return row
	}
}

// sortable is one of the sessions that match.
type sortable struct {
	key int // the highest comes first
	id  protocol.SocketID
	*session.Session
}

// connectionKeys are what connections may be sorted by.
var connectionKeys = map[string]func(session.Info) int{
	"opened":   func(i session.Info) int { return int(i.Opened) },
	"seen":     func(i session.Info) int { return int(i.Seen) },
	"waiting":  func(i session.Info) int { return i.Waiting },
	"channels": func(i session.Info) int { return i.Subscriptions },
}

// listConnections is GET api/connections. The newest come first, or those with most.
func (c *Console) listConnections(r *http.Request) (any, error) {
	query := r.URL.Query()
	app, err := c.app(query.Get("app"))
	if err != nil {
		return nil, err
	}
	p, key, err := pageOf(query, connectionKeys, "opened")
	if err != nil {
		return nil, err
	}
	done, err := c.turn(r.Context())
	if err != nil {
		return nil, err
	}
	defer done()
	found := c.find(r.Context(), app, p.query, key)
	row := c.connectionOf()
	rows := []connection{}
	for _, s := range cut(found, p.offset, p.limit) {
		if info, open := s.Info(); open {
			rows = append(rows, row(info))
		}
	}
	return map[string]any{"total": len(found), "connections": rows}, nil
}

// find returns an app's sessions that match the query, those with the highest keys first.
// It takes the lock of one after the other, and returns early when the context ends.
func (c *Console) find(ctx context.Context, app *apps.App, query string, key func(session.Info) int) (found []sortable) {
	for s := range c.Sessions() {
		if ctx.Err() != nil {
			return nil
		}
		if s.App() != app || query != "" && !s.Matches(query) {
			continue
		}
		if info, open := s.Info(); open {
			found = append(found, sortable{key(info), info.ID, s})
		}
	}
	slices.SortFunc(found, func(a, b sortable) int {
		return cmp.Or(cmp.Compare(b.key, a.key), a.id.Compare(b.id))
	})
	return found
}

// session returns an app's session with a socket id. The error says that there is none.
func (c *Console) session(appID, socketID string) (*session.Session, error) {
	app, err := c.app(appID)
	if err != nil {
		return nil, err
	}
	id, _ := protocol.ParseSocketID(socketID) // else it is nobody's
	for s := range c.Sessions() {
		if s.ID() == id && s.App() == app {
			return s, nil
		}
	}
	return nil, fail(http.StatusNotFound, "no connection %q of app %s is open", protocol.Clip(socketID, 60), app.ID)
}

// subscription is one of a connection.
type subscription struct {
	Channel string `json:"channel"`
	UserID  string `json:"user_id"`
}

// showConnection is GET api/connections/{id}.
func (c *Console) showConnection(r *http.Request) (any, error) {
	s, err := c.session(r.URL.Query().Get("app"), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	info, open := s.Info()
	if !open {
		return nil, fail(http.StatusNotFound, "connection %s has ended", info.ID)
	}
	answer := struct {
		connection
		Subscriptions []subscription `json:"subscriptions"`
	}{c.connectionOf()(info), []subscription{}}
	for _, sub := range s.Subscriptions(maxSubscriptions) {
		answer.Subscriptions = append(answer.Subscriptions, subscription(sub))
	}
	slices.SortFunc(answer.Subscriptions, func(a, b subscription) int { return cmp.Compare(a.Channel, b.Channel) })
	return answer, nil
}

// disconnect is POST api/connections/{id}/disconnect.
func (c *Console) disconnect(r *http.Request) (any, error) {
	var asked struct {
		App  string `json:"app"`
		Code int    `json:"code"`
	}
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	if asked.Code != protocol.CodeUnauthorized && asked.Code != protocol.CodeReconnect {
		return nil, fail(http.StatusBadRequest, "code %d is not one of %d, with which the client stays away, and %d, with which it comes back",
			asked.Code, protocol.CodeUnauthorized, protocol.CodeReconnect)
	}
	return c.change(func() (any, error) {
		s, err := c.session(asked.App, r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		s.Disconnect(asked.Code)
		c.Log.Info("connection closed from the console", "app", s.App().ID, "socket_id", s.ID().String(), "code", asked.Code, "user", userOf(r))
		return struct{}{}, nil
	})
}
