package channels

import (
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// remote is a channel's part in a cluster. A channel of a single node has none.
type remote struct {
	reconciler
	mirror
	waiter
	fetch *fetch // of the history, while it is under way or serves
}

// waiter lets connections wait for the cluster. The channel's lock guards it.
type waiter struct {
	progress chan struct{} // closed when anything has changed; nil while nobody waits
	failures uint64        // of calls
}

// enterTimeout is how long a connection waits for the cluster to let it in.
const enterTimeout = 10 * time.Second

// lagTimeout is how long a connection waits for events to come to this node that its client
// has already.
const lagTimeout = 2 * time.Second

// wait returns what is closed with the next change. mu is held.
func (w *waiter) wait() <-chan struct{} {
	if w.progress == nil {
		w.progress = make(chan struct{})
	}
	return w.progress
}

func (w *waiter) notify() {
	if w.progress != nil {
		close(w.progress)
		w.progress = nil
	}
}

func (c *channel) topic() cluster.Topic { return cluster.Topic{App: c.app.id, Channel: c.name} }

// enter waits until this node receives what is published on the channel, and
// the cluster knows that somebody is on it. Without an error it returns with mu
// held, and the connection is counted among the entering. since is of the last event that
// its client has, zero if that is not known: the node is to be as far.
func (a *App) enter(name string, m *protocol.Member, since protocol.Serial) (*channel, error) {
	c := a.approach(name, m)
	r := c.remote
	var timeout, lag <-chan time.Time
	for {
		admitted := c.admits(m)
		behind := since.Epoch == r.version.Epoch && since.Number > r.version.Number && c.mirrored()
		if admitted && !behind {
			break
		}
		if m != nil && r.users[m.UserID].full {
			c.retreat(m)
			return nil, ErrFull
		}
		if a.closed.Load() { // its successor waits until nobody is here any more
			c.retreat(m)
			return nil, cluster.ErrUnavailable
		}
		failures, progress := r.failures, r.wait()
		c.unlock(nil)
		if timeout == nil {
			t := time.NewTimer(enterTimeout)
			defer t.Stop()
			timeout = t.C
		}
		if admitted && lag == nil {
			t := time.NewTimer(lagTimeout)
			defer t.Stop()
			lag = t.C
		}
		late := false
		select {
		case <-progress:
		case <-lag:
			since = protocol.Serial{} // there may be no such event
		case <-timeout:
			late = true
		case <-a.broker.ctx.Done():
			late = true
		}
		c.mu.Lock()
		if late || !admitted && r.failures != failures {
			c.retreat(m)
			return nil, cluster.ErrUnavailable
		}
	}
	return c, nil
}

// approach counts a connection among the entering, and returns the channel, locked.
func (a *App) approach(name string, m *protocol.Member) *channel {
	c := a.lock(name)
	c.remote.entering++
	if m != nil {
		c.remote.come(*m)
	}
	c.remote.held = false
	return c
}

// retreat takes back what approach did, and unlocks.
func (c *channel) retreat(m *protocol.Member) {
	c.remote.entering--
	if m != nil {
		c.remote.leave(m.UserID)
	}
	c.unlock(nil)
}

// admits reports whether a connection may become a subscriber. mu is held.
func (c *channel) admits(m *protocol.Member) bool {
	r := c.remote
	if !r.listening || r.acked.count == 0 && !c.bare || c.needsLoad() {
		return false
	}
	if m == nil {
		return true
	}
	u := r.users[m.UserID]
	return u.confirmed && r.version.Number >= u.since && c.members.byID[m.UserID] != nil
}

// Expect prepares a subscription that will be made before long: what Subscribe waits
// for in a cluster is under way then, together with that of others. dismiss is to be
// called once, after the subscription or instead of it. It does not wait.
func (a *App) Expect(name string, m *protocol.Member) (dismiss func()) {
	c := a.approach(name, m)
	c.unlock(nil)
	return func() {
		c.mu.Lock()
		c.retreat(m)
	}
}

// expect has the node receive what is published on a channel, before long, until
// as many calls of dismiss.
func (a *App) expect(name string) { a.Expect(name, nil) }

func (a *App) dismiss(name string) {
	c := a.lock(name)
	c.retreat(nil)
}
