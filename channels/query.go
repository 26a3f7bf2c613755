package channels

import (
	"time"

	"belfry/channels/cluster"
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

// State of one channel; zero if there is none of that name. Like the other
// queries, it asks the cluster if there is one, which may fail.
func (a *App) State(name string) (State, error) {
	if d := a.broker.driver; d != nil {
		ctx, cancel := a.broker.within(queryTimeout)
		defer cancel()
		s, err := d.State(ctx, cluster.Topic{App: a.id, Channel: name})
		return clusterState(s), err
	}
	c := a.lockExisting(name)
	if c == nil {
		return State{}, nil
	}
	defer c.mu.Unlock()
	return c.state(), nil
}

// queryTimeout is how long a query may wait for the cluster.
const queryTimeout = 5 * time.Second

func clusterState(s cluster.State) State {
	state := State{Subscriptions: s.Count, Users: s.Users}
	if s.Last != nil {
		if e, err := parseEvent(s.Last.Payload); err == nil {
			state.LastData, state.LastTTL = e.data(), s.Last.TTL
		}
	}
	return state
}

// state is a snapshot. mu is held.
func (c *channel) state() State {
	now := time.Now()
	c.expire(now)
	s := State{Subscriptions: int(c.count)}
	if c.members != nil {
		s.Users = len(c.members.byID)
	}
	if c.last != nil {
		s.LastData = c.last.data
		s.LastTTL = c.last.expires.Sub(now)
	}
	return s
}

// States of all occupied channels whose name has the prefix, by name; without
// those of users, which are not the application's own.
func (a *App) States(prefix string) (map[string]State, error) {
	states := make(map[string]State)
	if d := a.broker.driver; d != nil {
		ctx, cancel := a.broker.within(queryTimeout)
		defer cancel()
		all, err := d.States(ctx, a.id, prefix)
		for name, s := range all {
			if protocol.KindOf(name) != protocol.User {
				states[name] = clusterState(s)
			}
		}
		return states, err
	}
	a.each(prefix, func(c *channel) {
		if c.count > 0 && c.kind != protocol.User {
			states[c.name] = c.state()
		}
	})
	return states, nil
}

// Users are the ids of the members of a presence channel.
func (a *App) Users(name string) ([]string, error) {
	if d := a.broker.driver; d != nil {
		ctx, cancel := a.broker.within(queryTimeout)
		defer cancel()
		return d.Users(ctx, cluster.Topic{App: a.id, Channel: name})
	}
	c := a.lockExisting(name)
	if c == nil {
		return nil, nil
	}
	defer c.mu.Unlock()
	if c.members == nil {
		return nil, nil
	}
	return c.members.ids(), nil
}
