package channels

import (
	"time"

	"belfry/protocol"
)

// State is what the HTTP API tells of a channel.
type State struct {
	Subscriptions int
	Users         int    // distinct, on presence channels
	LastData      []byte // of a cache channel: JSON text of a string, nil for none
	LastTTL       time.Duration
}

// Occupied reports whether anybody is subscribed.
func (s State) Occupied() bool { return s.Subscriptions > 0 }

// State of one channel; zero if there is none of that name.
func (a *App) State(name string) State {
	c := a.lockExisting(name)
	if c == nil {
		return State{}
	}
	defer c.mu.Unlock()
	return c.state()
}

// state is a snapshot. mu is held.
func (c *channel) state() State {
	now := time.Now()
	c.expire(now)
	s := State{Subscriptions: int(c.count)}
	if c.members != nil {
		s.Users = len(c.members.order)
	}
	if c.last != nil {
		s.LastData = c.last.data
		s.LastTTL = c.last.expires.Sub(now)
	}
	return s
}

// States of all occupied channels whose name has the prefix, by name; without
// those of users, which are not the application's own.
func (a *App) States(prefix string) map[string]State {
	states := make(map[string]State)
	a.each(prefix, func(c *channel) {
		if c.count > 0 && c.kind != protocol.User {
			states[c.name] = c.state()
		}
	})
	return states
}

// Users are the ids of the members of a presence channel.
func (a *App) Users(name string) []string {
	c := a.lockExisting(name)
	if c == nil {
		return nil
	}
	defer c.mu.Unlock()
	if c.members == nil {
		return nil
	}
	ids := make([]string, len(c.members.order))
	for i, m := range c.members.order {
		ids[i] = m.UserID
	}
	return ids
}
