package channels

import (
	"maps"
	"strings"
	"time"

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
		a.expect(watchName(id)) // all at once; they are waited for below
	}
	for _, id := range ids {
		c, err := a.enter(watchName(id), nil, protocol.Serial{})
		if err != nil {
			return err
		}
		c.remote.entering-- // expect has counted it already
		c.mu.Unlock()
	}
	return a.users.locate(a, ids)
}

// locate asks the cluster where users are. What is heard meanwhile is newer. Of the
// doubtful, those who seem to have gone are asked for again when all nodes have told.
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
		u := s.byID[id]
		switch {
		case u == nil || u.heard != heard[i]:
		case u.elsewhere && !occupied[i] && time.Now().Before(s.settled):
			s.askSettled(a, id)
		default:
			s.found(id, u, occupied[i])
		}
	}
	return nil
}

// askSettled has the cluster asked where a user is once all nodes have told. mu is held.
func (s *users) askSettled(a *App, id string) {
	if len(s.unsettled) == 0 {
		a.broker.timers.after(time.Until(s.settled), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			maps.Copy(s.doubtful, s.unsettled)
			s.unsettled = nil
			s.ask(a)
		})
		s.unsettled = make(map[string]struct{})
	}
	s.unsettled[id] = struct{}{}
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

// doubt has the cluster asked again where users are, as something may have been
// missed. Who is nowhere may be on a node that has not told so yet, if data were lost:
// that is asked again when all have.
func (s *users) doubt(a *App, lost func(cluster.Topic) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = time.Now().Add(cluster.ToldAgain)
	if s.doubtful == nil {
		s.doubtful = make(map[string]struct{})
	}
	for id, u := range s.byID {
		if len(u.watchers) > 0 && lost(cluster.Topic{App: a.id, Channel: watchName(id)}) {
			s.doubtful[id] = struct{}{}
		}
	}
	s.ask(a)
}

// maxLocated is how many users the cluster is asked for in one call.
const maxLocated = 1000

// ask puts the application into the run queue if that is due. mu is held.
func (s *users) ask(a *App) {
	if len(s.doubtful) > 0 && !s.asking {
		s.asking = true
		a.broker.node.push(a)
	}
}

// work asks the cluster where some of the doubtful are, and has itself called for
// the others.
func (a *App) work() {
	s := &a.users
	var ids []string
	s.mu.Lock()
	for id := range s.doubtful {
		if len(ids) == maxLocated {
			break
		}
		ids = append(ids, id)
		delete(s.doubtful, id)
	}
	s.mu.Unlock()
	err := s.locate(a, ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking = false
	if err == nil {
		s.ask(a)
		return
	}
	for _, id := range ids {
		s.doubtful[id] = struct{}{}
	}
	a.broker.timers.after(retryInterval, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ask(a)
	})
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
