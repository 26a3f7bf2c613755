package channels

import (
	"bytes"
	"slices"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// mirror is what a channel of a node knows of what the cluster has: with the
// channel's members and last event, a copy of the ledger's at one version. The
// channel's lock guards it.
type mirror struct {
	loaded  bool            // the copy is one of the ledger's; else it has to be loaded
	version cluster.Version // of the copy; zero if nothing was ever loaded
	total   int             // the subscription count that was heard last
	heard   uint64          // how often one was heard in a message
	lost    bool            // messages were lost since the last load

	early []cluster.Message // those that came before the load
	came  uint64            // how many ever did

	// missing are members of the copy whom a new epoch does not have: their nodes
	// may not have told it yet. Who is missing at missingUntil has gone.
	missing      map[string]struct{}
	missingUntil time.Time
}

// maxEarly is how many messages are kept for a load. If more come, those are lost.
const maxEarly = 1000

// mirrored reports whether the node keeps a copy of what the ledger has of the
// channel.
func (c *channel) mirrored() bool { return c.kind.IsPresence() || c.kind.IsCache() }

// needsLoad reports that the node has no copy, but should. mu is held.
func (c *channel) needsLoad() bool { return !c.remote.loaded && c.mirrored() }

// unload forgets what was heard, as nothing more will be. mu is held.
func (c *channel) unload() {
	c.remote.mirror = mirror{}
	c.last = nil
	if c.kind.IsPresence() {
		c.members = new(roster)
	}
}

// apply takes the next change of what the cluster has. mu is held.
func (c *channel) apply(m cluster.Message, now time.Time) (idle []*shard) {
	r := c.remote
	switch {
	case !r.loaded:
		if len(r.early) == maxEarly {
			r.early, r.lost = nil, true
		}
		r.early = append(r.early, m)
		r.came++
		return nil
	case m.Version.Epoch == r.version.Epoch && m.Version.Number <= r.version.Number:
		return nil // the copy has it
	case m.Version.Epoch != r.version.Epoch || m.After > r.version.Number:
		r.loaded, r.early = false, []cluster.Message{m} // some were missed
		r.came++
		return nil
	}
	r.version = m.Version
	defer r.notify()
	if m.Kind == cluster.Published {
		return c.keep(cluster.Event{Payload: m.Payload, TTL: c.app.limits.Load().CacheTTL}, true, now)
	}
	for _, id := range m.Left {
		idle = append(idle, c.removeMember(id, now)...)
	}
	for _, one := range m.Joined {
		idle = append(idle, c.addMember(one, now)...)
	}
	return idle
}

// load makes a snapshot the copy. Subscribers who knew another one are told the
// differences. members has those of the snapshot, and asked is how many early messages
// had come when it was asked for. mu is held.
func (c *channel) load(v cluster.Version, s cluster.Snapshot, members *roster, asked uint64, now time.Time) (idle []*shard) {
	r := c.remote
	before, last := r.version, c.last
	r.loaded, r.version = true, v
	c.last = nil
	if before.Epoch != "" {
		idle = append(idle, c.deliverEarly(before, v, s.Events, now)...)
	}
	for _, e := range s.Events {
		news := before.Epoch == v.Epoch && e.Number > before.Number ||
			before.Epoch != "" && before.Epoch != v.Epoch && !last.is(e)
		idle = append(idle, c.keep(e, news, now)...)
	}
	switch {
	case !c.kind.IsPresence():
	case c.count == 0 && len(r.missing) == 0:
		c.members = members // nobody has to be told
	default:
		for _, id := range c.members.ids() {
			if _, missing := r.missing[id]; members.byID[id] == nil && !missing {
				if before.Epoch == v.Epoch {
					idle = append(idle, c.removeMember(id, now)...)
				} else {
					c.miss(id, now)
				}
			}
		}
		for _, m := range s.Members {
			idle = append(idle, c.addMember(m, now)...)
		}
	}
	if r.lost {
		r.lost = false
		idle = append(idle, c.tellLoss(now)...)
	}
	early, first := r.early, r.came-uint64(len(r.early))
	r.early = nil
	for i, m := range early {
		if m.Version.Epoch != v.Epoch && first+uint64(i) < asked {
			continue // of an epoch that was over when the ledger answered
		}
		idle = append(idle, c.apply(m, now)...)
	}
	return idle
}

// deliverEarly delivers kept events that came before the load, after the version before
// it, and that are in the snapshot's version, but not among its events, as later ones
// took their place. mu is held.
func (c *channel) deliverEarly(before, v cluster.Version, events []cluster.Event, now time.Time) (idle []*shard) {
	for _, m := range c.remote.early {
		if m.Kind != cluster.Published || m.Version.Epoch != v.Epoch || m.Version.Number > v.Number ||
			before.Epoch == v.Epoch && m.Version.Number <= before.Number {
			continue
		}
		if slices.ContainsFunc(events, func(e cluster.Event) bool { return e.Number == m.Version.Number }) {
			continue
		}
		idle = append(idle, c.keep(cluster.Event{Payload: m.Payload}, true, now)...)
	}
	return idle
}

// keep makes an event the channel's last, and delivers it if it is news to the
// subscribers. mu is held.
func (c *channel) keep(e cluster.Event, news bool, now time.Time) (idle []*shard) {
	parsed, err := parseEvent(e.Payload)
	if err != nil {
		return nil
	}
	p := pending{frame: protocol.TextFrame(parsed.json), except: parsed.except, at: now}
	if c.kind.IsCache() {
		c.last = &lastEvent{frame: p.frame, expires: now.Add(e.TTL)}
	}
	if news {
		return c.append(p)
	}
	return nil
}

// is reports whether an event of the cluster is the last one. nil is none.
func (l *lastEvent) is(e cluster.Event) bool {
	parsed, err := parseEvent(e.Payload)
	return l != nil && err == nil && bytes.Equal(l.frame, protocol.TextFrame(parsed.json))
}

// addMember and removeMember tell the subscribers, unless it is no news. mu is held.
func (c *channel) addMember(m protocol.Member, now time.Time) (idle []*shard) {
	delete(c.remote.missing, m.UserID)
	if c.members.byID[m.UserID] != nil {
		return nil
	}
	c.members.add(m)
	return c.append(pending{frame: protocol.MemberAddedFrame(c.name, m), at: now})
}

func (c *channel) removeMember(userID string, now time.Time) (idle []*shard) {
	if c.members.byID[userID] == nil {
		return nil
	}
	c.members.remove(userID)
	return c.append(pending{frame: protocol.MemberRemovedFrame(c.name, userID), at: now})
}

// miss has a member whom a new epoch does not have stay until all nodes have told
// it what they have. mu is held.
func (c *channel) miss(userID string, now time.Time) {
	r := c.remote
	if r.missing == nil {
		r.missing = make(map[string]struct{})
	}
	r.missing[userID] = struct{}{}
	if until := now.Add(cluster.ToldAgain); until != r.missingUntil {
		r.missingUntil = until
		c.app.broker.timers.after(cluster.ToldAgain, c.endMissing)
	}
}

// endMissing lets those go who are still missing.
func (c *channel) endMissing() {
	c.mu.Lock()
	r, now := c.remote, time.Now()
	var idle []*shard
	if !now.Before(r.missingUntil) {
		for id := range r.missing {
			idle = append(idle, c.removeMember(id, now)...)
		}
		r.missing = nil
	}
	c.unlock(idle)
}

// tellLoss has pages fetch anew what they may have missed: it tells all subscribers
// once more that their subscription has succeeded, by which pusher-js calls the
// same handlers as when it has connected again. mu is held.
func (c *channel) tellLoss(now time.Time) (idle []*shard) {
	switch {
	case c.kind == protocol.User: // whose clients know no such event
		return nil
	case c.kind.IsPresence():
		return c.append(pending{frame: protocol.PresenceSucceededFrame(c.name, c.members.snapshot()), at: now})
	}
	return c.append(pending{frame: protocol.SubscriptionSucceededFrame(c.name), at: now})
}

// restored notes that messages were lost, and that what the cluster was told may be.
// mu is held.
func (c *channel) restored(now time.Time) (idle []*shard) {
	r := c.remote
	if c.bare {
		return nil // of which the cluster is told nothing
	}
	r.doubt()
	r.held = false
	r.loaded = false
	if r.lost = c.needsLoad(); r.lost {
		return nil // the load will tell
	}
	return c.tellLoss(now)
}
