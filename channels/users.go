package channels

import (
	"maps"
	"slices"
	"sync"
	"time"

	"belfry/protocol"
)

// watchDelay is how long users' coming and going is collected before their
// watchers are told, so that many changes are one message.
const watchDelay = 100 * time.Millisecond

// users are who is signed in to an application, and who watches whom.
type users struct {
	timers *timers

	mu      sync.Mutex // guards the following
	byID    map[string]*user
	changed map[string]*user // those whose watchers may have to be told
	telling bool             // a round is due, or going on

	doubtful  map[string]struct{} // those whose whereabouts are to be asked
	unsettled map[string]struct{} // those who are to be asked for at settled
	settled   time.Time           // when all nodes have told who is there since a loss
	asking    bool                // the application is in the run queue for that
}

// user is somebody signed in or watched.
type user struct {
	connections int                // of this node
	watchers    map[*Identity]bool // and whether they know the user as online
	elsewhere   bool               // the cluster says that there are connections
	heard       int                // how often it has
}

func (u *user) online() bool { return u.connections > 0 || u.elsewhere }

// Identity is a connection that has signed in as a user.
type Identity struct {
	subscriber   Subscriber
	subscription *Subscription // to the user's channel
	userID       string
	watchlist    []string
	answered     bool // the client is being told where the users are; guarded by users.mu
}

// UserID is who signed in.
func (i *Identity) UserID() string { return i.userID }

// SignIn makes a connection one of a user's, and holds it back as Subscribe
// does: events on the user's channel reach it from here on, and so does the
// coming and going of the users on the watchlist. online and offline are where
// these are now. On a node of a cluster, it may wait, and fail with
// ErrUnavailable of package cluster.
func (a *App) SignIn(sub Subscriber, userID string, watchlist []string) (i *Identity, online, offline []string, err error) {
	s := &a.users
	s.mu.Lock()
	i = &Identity{subscriber: sub, userID: userID, watchlist: watchlist}
	for _, id := range watchlist {
		s.watch(i, id)
	}
	s.mu.Unlock()
	if a.broker.driver != nil {
		err = a.watchInCluster(watchlist)
	}
	if err == nil {
		i.subscription, _, err = a.Subscribe(sub, protocol.PrefixUser+userID, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		a.unwatch(i)
		return nil, nil, nil, err
	}
	u := s.get(userID)
	u.connections++
	if u.connections == 1 {
		s.change(userID, u)
	}
	for _, id := range watchlist {
		watched := s.byID[id]
		watched.watchers[i] = watched.online()
		if watched.online() {
			online = append(online, id)
		} else {
			offline = append(offline, id)
		}
	}
	i.answered = true
	return i, online, offline, nil
}

// SignOut ends it. Once only.
func (a *App) SignOut(i *Identity) {
	a.Unsubscribe(i.subscription)
	s := &a.users
	s.mu.Lock()
	defer s.mu.Unlock()
	a.unwatch(i)
	u := s.byID[i.userID]
	u.connections--
	if u.connections == 0 {
		s.change(i.userID, u)
		s.forget(i.userID, u)
	}
}

// unwatch ends a watchlist. users.mu is held.
func (a *App) unwatch(i *Identity) {
	for _, id := range i.watchlist {
		watched := a.users.byID[id]
		delete(watched.watchers, i)
		a.users.forget(id, watched)
		if a.broker.driver != nil {
			a.dismiss(watchName(id))
		}
	}
}

// Terminate closes the connections that have signed in as a user and, with
// members, those by which the user is on a presence channel. On a node of a
// cluster it reaches those of all nodes, or fails as Publish does.
func (a *App) Terminate(userID string, members bool) error {
	if a.broker.driver != nil {
		return a.terminateInCluster(userID, members)
	}
	terminate(a.connections(userID))
	if members {
		terminate(a.members(userID))
	}
	return nil
}

func terminate(connections []Subscriber) {
	for _, c := range connections {
		c.Terminate()
	}
}

// connections are this node's of a signed-in user.
func (a *App) connections(userID string) []Subscriber {
	c := a.lockExisting(protocol.PrefixUser + userID)
	if c == nil {
		return nil
	}
	defer c.mu.Unlock()
	return c.subscribers(func(*Subscription) bool { return true })
}

// members are this node's connections through which a user is on any presence
// channel, each once.
func (a *App) members(userID string) []Subscriber {
	found := make(map[Subscriber]struct{})
	a.each("presence-", func(c *channel) {
		if c.members == nil || c.members.byID[userID] == nil {
			return
		}
		for _, s := range c.subscribers(func(s *Subscription) bool { return s.UserID() == userID }) {
			found[s] = struct{}{}
		}
	})
	return slices.Collect(maps.Keys(found))
}

// watch has somebody be told of a user, and know it as offline. mu is held.
func (s *users) watch(i *Identity, id string) {
	watched := s.get(id)
	if watched.watchers == nil {
		watched.watchers = make(map[*Identity]bool)
	}
	watched.watchers[i] = false
}

// get returns a user, made if need be. mu is held.
func (s *users) get(id string) *user {
	u := s.byID[id]
	if u == nil {
		if s.byID == nil {
			s.byID = make(map[string]*user)
		}
		u = new(user)
		s.byID[id] = u
	}
	return u
}

// forget drops a user that is neither signed in nor watched. mu is held.
func (s *users) forget(id string, u *user) {
	if u.connections == 0 && len(u.watchers) == 0 {
		delete(s.byID, id)
	}
}

// change notes that a user came or went. mu is held.
func (s *users) change(id string, u *user) {
	if len(u.watchers) == 0 {
		return
	}
	if s.changed == nil {
		s.changed = make(map[string]*user)
	}
	s.changed[id] = u
	s.schedule()
}

// schedule has the watchers told after a while: one round at a time, as each
// must hear things in their order. mu is held.
func (s *users) schedule() {
	if !s.telling && len(s.changed) > 0 {
		s.telling = true
		s.timers.after(watchDelay, s.tell)
	}
}

// news is what one watcher is told.
type news struct{ online, offline []string }

// tell sends each watcher what changed for it: nothing if the user is back.
func (s *users) tell() {
	single := make(map[string]protocol.Frame)
	for watcher, n := range s.news() {
		watcher.subscriber.Send(n.frame(single))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.telling = false
	s.schedule()
}

// news takes what has changed.
func (s *users) news() map[*Identity]*news {
	told := make(map[*Identity]*news)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.changed {
		for watcher, known := range u.watchers {
			if known == u.online() || !watcher.answered {
				continue
			}
			u.watchers[watcher] = u.online()
			n := told[watcher]
			if n == nil {
				n = new(news)
				told[watcher] = n
			}
			if u.online() {
				n.online = append(n.online, id)
			} else {
				n.offline = append(n.offline, id)
			}
		}
	}
	clear(s.changed)
	return told
}

// frame encodes news, but once for all who are told of the same one user:
// somebody with many watchers is mostly all that a round is about.
func (n *news) frame(single map[string]protocol.Frame) protocol.Frame {
	if len(n.online)+len(n.offline) > 1 {
		return protocol.WatchlistFrame(n.online, n.offline)
	}
	id := append(n.online, n.offline...)[0]
	if single[id] == nil { // in one round, a user has either come or gone
		single[id] = protocol.WatchlistFrame(n.online, n.offline)
	}
	return single[id]
}
