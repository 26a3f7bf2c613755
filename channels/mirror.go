package channels

import (
	"bytes"
	"cmp"
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
	over    string          // epoch of the copy before, if another one; messages of it may still come
	newest  uint64          // upper bound of the numbers of the events in the history; exact while they come
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
// channel. Of a history, it knows the version only: up to where it has delivered it.
func (c *channel) mirrored() bool {
	return c.kind.IsPresence() || c.kind.IsCache() || c.keeps()
}

// keeps reports whether the channel has a history.
func (c *channel) keeps() bool { return !c.bare && c.app.retention(c.name).Events > 0 }

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
		r.newest = m.Version.Number
		return c.published(m.Payload, m.Version, now)
	}
	for _, id := range m.Left {
		idle = append(idle, c.removeMember(id, now)...)
	}
	for _, one := range m.Joined {
		idle = append(idle, c.addMember(one, now)...)
	}
	return idle
}

// since is the version after which the node needs the events of the history: that of the
// copy or, if messages of a new epoch have come, the one ahead of the first of them.
func (m *mirror) since() cluster.Version {
	if len(m.early) == 0 || m.version.Epoch == "" {
		return m.version
	}
	first := m.early[0]
	if first.Version.Epoch == m.version.Epoch || first.Version.Epoch == m.over {
		return m.version
	}
	return cluster.Version{Epoch: first.Version.Epoch, Number: first.After}
}

// reached is the number up to which a version and the early messages have all changes.
func (m *mirror) reached(v cluster.Version) uint64 {
	number := v.Number
	for _, e := range m.early {
		if e.Version.Epoch == v.Epoch && e.After <= number {
			number = max(number, e.Version.Number)
		}
	}
	return number
}

// load makes a snapshot the copy. Subscribers who knew another one are told the
// differences. since is the version after which the snapshot has events, members has those
// of the snapshot, and asked is how many early messages had come when it was asked for. mu
// is held.
func (c *channel) load(v cluster.Version, s cluster.Snapshot, since cluster.Version, members *roster, asked uint64, now time.Time) (idle []*shard) {
	r := c.remote
	before := r.version
	if before.Epoch != v.Epoch {
		r.over = before.Epoch
	}
	r.loaded, r.version, r.newest = true, v, s.After
	if n := len(s.Events); n > 0 {
		r.newest = s.Events[n-1].Number
	}
	lost := r.lost
	r.lost = false
	if before.Epoch != "" && c.keeps() { // then it is known whether anything is missing
		lost = before.Epoch != v.Epoch || s.After > r.reached(before)
	}
	events := c.missedEvents(since, v, s)
	if lost {
		at := c.position()
		if at.Epoch != "" && since.Epoch == v.Epoch {
			at.Number = s.After
		}
		// The loss goes ahead of the events: if a connection breaks between them, its client
		// resumes from the last one that it has, and would never hear of the loss.
		idle = append(idle, c.tellLoss(at, now)...)
	}
	for _, e := range events {
		idle = append(idle, c.published(e.Payload, cluster.Version{Epoch: v.Epoch, Number: e.Number}, now)...)
	}
	c.last = nil
	if s.Last != nil {
		c.setLast(s.Last, v.Epoch, now)
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

// missedEvents are those after a version that are in the snapshot's, in their order. Those
// that are not kept any more may have come as early messages. Of another epoch, which may
// have begun with older data, only the last event counts, if it is another one. On a channel
// with a history not even that one does: further messages may come that the snapshot has
// already. Nobody has missed anything ahead of the first load, but if the channel has just
// got a history. mu is held.
func (c *channel) missedEvents(before, v cluster.Version, s cluster.Snapshot) (events []cluster.Event) {
	same := before.Epoch == v.Epoch
	if before.Epoch == "" && c.count == 0 || before.Epoch != "" && !same && c.keeps() {
		return nil
	}
	add := func(e cluster.Event) {
		number := func(other cluster.Event) bool { return other.Number == e.Number }
		if (!same || e.Number > before.Number) && !slices.ContainsFunc(events, number) {
			events = append(events, e)
		}
	}
	if same {
		for _, e := range s.Events {
			add(e)
		}
	}
	if s.Last != nil && before.Epoch != "" && (same || !c.isLast(*s.Last)) {
		add(*s.Last)
	}
	for _, m := range c.remote.early {
		if m.Kind == cluster.Published && m.Version.Epoch == v.Epoch && m.Version.Number <= v.Number {
			add(cluster.Event{Payload: m.Payload, Number: m.Version.Number})
		}
	}
	slices.SortFunc(events, func(a, b cluster.Event) int { return cmp.Compare(a.Number, b.Number) })
	return events
}

// published delivers an event that is kept, as the channel's last one if it is a cache
// channel. mu is held.
func (c *channel) published(payload []byte, v cluster.Version, now time.Time) (idle []*shard) {
	e, err := parseEvent(payload)
	if err != nil {
		return nil
	}
	c.noteRelayed(e, now)
	p := pending{frame: c.frame(e, v), except: e.except, at: now, following: c.app.followRelayed(c.name, e, now)}
	if c.kind.IsCache() && !e.client {
		c.last = &lastEvent{frame: p.frame, expires: now.Add(c.app.limits.Load().CacheTTL)}
	}
	idle = c.append(p)
	p.following.pending(c)
	return idle
}

// setLast makes an event that the ledger has the channel's last one. mu is held.
func (c *channel) setLast(e *cluster.Event, epoch string, now time.Time) {
	if parsed, err := parseEvent(e.Payload); err == nil && c.kind.IsCache() {
		c.last = &lastEvent{frame: c.frame(parsed, cluster.Version{Epoch: epoch, Number: e.Number}), expires: now.Add(e.TTL)}
	}
}

// isLast reports whether an event of the ledger is the channel's last one, of whichever
// version. mu is held.
func (c *channel) isLast(e cluster.Event) bool {
	parsed, err := parseEvent(e.Payload)
	return c.last != nil && err == nil && bytes.HasPrefix(c.last.frame.JSON(), bytes.TrimSuffix(parsed.json, []byte{'}'}))
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
// same handlers as when it has connected again. The events that follow are those after at,
// which is zero if the channel has no history. mu is held.
func (c *channel) tellLoss(at protocol.Serial, now time.Time) (idle []*shard) {
	if c.kind == protocol.User { // whose clients know no such event
		return nil
	}
	answer := protocol.Success{Channel: c.name, Serial: at}
	if c.kind.IsPresence() {
		answer.Members = c.members.snapshot()
	}
	if answer.Serial != (protocol.Serial{}) {
		answer.Recovery = protocol.Missed
	}
	return c.append(pending{frame: answer.Frame(), at: now})
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
	return c.tellLoss(c.position(), now)
}
