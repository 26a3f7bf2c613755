package channels

import (
	"strings"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// In a cluster, a user is online while any node has a connection of it, that
// is, while the user's channel is occupied.

// watchPrefix and a user id are the channel on which the cluster tells that.
const watchPrefix = "@" + protocol.PrefixUser

func watchName(userID string) string { return watchPrefix + userID }

// watchInCluster learns where users are, and goes on hearing of it.
func (a *App) watchInCluster(ids []string) error {
	for _, id := range ids {
		a.listen(watchName(id)) // all at once; they are waited for below
	}
	for _, id := range ids {
		c, err := a.enter(watchName(id), nil)
		if err != nil {
			return err
		}
		c.remote.entering-- // listen has counted it already
		c.mu.Unlock()
	}
	return a.users.locate(a, ids)
}

// locate asks the cluster where users are. What is heard meanwhile is newer.
func (s *users) locate(a *App, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	names, heard := make([]string, len(ids)), make([]int, len(ids))
	s.mu.Lock()
	for i, id := range ids {
		names[i] = protocol.PrefixUser + id
		if u := s.byID[id]; u != nil {
			heard[i] = u.heard
		}
	}
	s.mu.Unlock()
	ctx, cancel := a.broker.within(queryTimeout)
	defer cancel()
	occupied, err := a.broker.driver.Occupied(ctx, a.id, names)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range ids {
		if u := s.byID[id]; u != nil && u.heard == heard[i] {
			s.found(id, u, occupied[i])
		}
	}
	return nil
}

// found notes whether a user is on any node. mu is held.
func (s *users) found(id string, u *user, occupied bool) {
	u.elsewhere = occupied
	u.heard++
	s.change(id, u)
}

// occupancy takes what the cluster tells of a user.
func (s *users) occupancy(m cluster.Message) {
	id, ok := strings.CutPrefix(m.Topic.Channel, watchPrefix)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.byID[id]; u != nil {
		s.found(id, u, m.Occupied)
	}
}

// relocate asks again, as something may have been missed.
func (s *users) relocate(a *App) error {
	var ids []string
	s.mu.Lock()
	for id, u := range s.byID {
		if len(u.watchers) > 0 {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	return s.locate(a, ids)
}

func (a *App) terminateInCluster(userID string, members bool) error {
	publications := []cluster.Publication{{
		Topic:   cluster.Topic{App: a.id, Channel: protocol.PrefixUser + userID},
		Payload: []byte{payloadTerminate},
	}}
	if members {
		publications = append(publications, cluster.Publication{
			Topic:   cluster.Topic{App: a.id, Channel: controlName},
			Payload: append([]byte{payloadTerminate}, userID...),
		})
	}
	ctx, cancel := a.broker.within(publishTimeout)
	defer cancel()
	return a.broker.driver.Publish(ctx, publications...)
}

// terminated does on this node what Terminate was asked on any.
func (a *App) terminated(m cluster.Message) {
	if id, ok := strings.CutPrefix(m.Topic.Channel, protocol.PrefixUser); ok {
		terminate(a.connections(id))
	} else if m.Topic.Channel == controlName {
		terminate(a.members(string(m.Payload[1:])))
	}
}
