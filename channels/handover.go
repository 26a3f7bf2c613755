package channels

import (
	"errors"
	"fmt"
	"time"

	"belfry/protocol"
)

// What follows is for a server whose process hands over to another one. The old
// process exports while it is frozen. The new one is frozen while it restores, and tells
// nobody anything of that: no subscriber, and no listener.

// Freeze returns once nothing of the broker runs by itself, until Thaw: everything that
// was published has been offered to its subscribers, and no timer does anything. Nobody
// may call the broker's applications meanwhile but to export and restore.
func (b *Broker) Freeze() {
	b.timers.freezing.Lock()
	for _, f := range b.flushers {
		f.waitIdle()
	}
}

// Thaw ends Freeze.
func (b *Broker) Thaw() { b.timers.freezing.Unlock() }

// ExportedChannel is what a channel has beside its subscriptions.
type ExportedChannel struct {
	Name string `json:"name"`
	// Members of a presence channel, in the order in which they joined.
	Members []ExportedMember `json:"members,omitempty"`
	Last    *ExportedEvent   `json:"last,omitempty"`
	History *ExportedHistory `json:"history,omitempty"`

	// Counted is when the subscription count was told, and Count what it was. Counting
	// says that it is going to be looked at again. Missed is when a cache miss was told.
	Counted  time.Time `json:"counted,omitzero"`
	Count    int       `json:"count,omitzero"`
	Counting bool      `json:"counting,omitzero"`
	Missed   time.Time `json:"missed,omitzero"`

	Share *ExportedShare `json:"share,omitempty"` // nil on a single node
}

// ExportedMember is one member; Info is the JSON text of user_info, empty for none.
type ExportedMember struct {
	UserID string `json:"user_id"`
	Info   string `json:"info,omitempty"`
}

// ExportedEvent is the last event of a cache channel: its frame, and the JSON text of its
// data.
type ExportedEvent struct {
	Frame   []byte    `json:"frame"`
	Data    []byte    `json:"data"`
	Expires time.Time `json:"expires"`
}

// ExportedHistory is a channel's history. After and Left are as in history.
type ExportedHistory struct {
	After  uint64         `json:"after"`
	Left   time.Time      `json:"left,omitzero"`
	Events []ExportedKept `json:"events,omitempty"`
}

// ExportedKept is an event in a history. Except is the socket id of who must not receive it,
// empty for nobody.
type ExportedKept struct {
	Frame  []byte    `json:"frame"`
	Except string    `json:"except,omitempty"`
	Number uint64    `json:"number"`
	At     time.Time `json:"at"`
}

// ExportedNumbers is where an application's serials go on.
type ExportedNumbers struct {
	Epoch string `json:"epoch"`
	Last  uint64 `json:"last"`
}

// ExportNumbers returns it.
func (a *App) ExportNumbers() ExportedNumbers {
	return ExportedNumbers{a.numbers.epoch, a.numbers.last.Load()}
}

// RestoreNumbers comes ahead of the channels. A channel that comes without a history may have
// had events that are not known.
func (a *App) RestoreNumbers(e ExportedNumbers) {
	if e.Epoch == "" { // the process before knew no histories
		return
	}
	a.numbers.epoch = e.Epoch
	a.numbers.last.Store(e.Last + 1)
	a.numbers.forget(e.Last + 1)
}

// ExportedDeparture is a channel_vacated or member_removed that is not final.
type ExportedDeparture struct {
	Name    string          `json:"name"`
	Channel string          `json:"channel"`
	UserID  string          `json:"user_id,omitempty"`
	Source  protocol.Source `json:"source,omitzero"`
	Due     time.Time       `json:"due"`
}

// ExportChannels calls f with each channel that has something beside subscriptions,
// until f fails.
func (a *App) ExportChannels(f func(ExportedChannel) error) (err error) {
	a.each("", func(c *channel) {
		if err != nil {
			return
		}
		var e *ExportedChannel
		if e, err = c.export(); err == nil && e != nil {
			err = f(*e)
		}
	})
	return err
}

// export is nil if there is nothing. mu is held.
func (c *channel) export() (*ExportedChannel, error) {
	c.expire(time.Now())
	c.expireHistory(time.Now())
	if c.members == nil && c.last == nil && c.notices == nil && c.history == nil && c.remote == nil {
		return nil, nil
	}
	e := &ExportedChannel{Name: c.name}
	if c.members != nil {
		for _, chunk := range c.members.chunks {
			members, err := chunk.encoded.List()
			if err != nil {
				return nil, fmt.Errorf("members of channel %s: %w", c.name, err)
			}
			for _, m := range members {
				e.Members = append(e.Members, exportMember(m))
			}
		}
	}
	if c.last != nil {
		e.Last = &ExportedEvent{c.last.frame, c.last.data, c.last.expires}
	}
	if h := c.history; h != nil {
		e.History = &ExportedHistory{After: h.after, Left: h.left}
		for _, kept := range h.events {
			except := ""
			if kept.except != (protocol.SocketID{}) {
				except = kept.except.String()
			}
			e.History.Events = append(e.History.Events, ExportedKept{kept.frame, except, kept.number, kept.at})
		}
	}
	if n := c.notices; n != nil {
		e.Counted, e.Count, e.Counting, e.Missed = n.counted, n.count, n.counting, n.missed
	}
	if c.remote != nil {
		e.Share = c.exportShare()
	}
	return e, nil
}

// ExportDepartures are those that wait for their grace, in their order.
func (a *App) ExportDepartures() (exported []ExportedDeparture) {
	d := &a.departures
	d.mu.Lock()
	defer d.mu.Unlock()
	for at := d.queue.Front(); at != nil; at = at.Next() {
		one := at.Value.(*departure)
		exported = append(exported, ExportedDeparture{one.event.Name, one.event.Channel, one.event.UserID, one.event.Source, one.due})
	}
	return exported
}

// errRestore is about a state that does not fit together.
var errRestore = errors.New("the state of the channels cannot be restored")

// RestoreChannel comes ahead of the subscriptions to that channel.
func (a *App) RestoreChannel(e ExportedChannel) error {
	c := a.lock(e.Name)
	defer c.mu.Unlock() // unused until somebody is subscribed: see Restored
	if c.last != nil || c.history != nil || c.notices != nil || c.count > 0 || c.kind.IsPresence() != (c.members != nil) ||
		c.members == nil && len(e.Members) > 0 || c.members != nil && len(c.members.byID) > 0 {
		return fmt.Errorf("%w: channel %q is there already, or has members and may not", errRestore, e.Name)
	}
	if (e.Share != nil) != (c.remote != nil) {
		return fmt.Errorf("%w: channel %q is not that of a node of a cluster, or of a single node", errRestore, e.Name)
	}
	if c.remote != nil {
		if err := c.restoreShare(e.Share); err != nil {
			return err
		}
	}
	for _, m := range e.Members {
		if c.members.byID[m.UserID] != nil {
			return fmt.Errorf("%w: channel %q has a member twice", errRestore, e.Name)
		}
		c.members.add(m.member())
		if c.remote == nil {
			c.members.byID[m.UserID].connections = 0 // until RestoreSubscription
		}
	}
	if e.Last != nil {
		if !oneFrame(e.Last.Frame) {
			return fmt.Errorf("%w: the last event of channel %q is no frame", errRestore, e.Name)
		}
		c.last = &lastEvent{e.Last.Frame, e.Last.Data, e.Last.Expires}
	}
	if e.History != nil {
		if err := c.restoreHistory(*e.History); err != nil {
			return err
		}
	}
	if e.Counted.IsZero() && e.Missed.IsZero() {
		return nil
	}
	c.notices = &notices{counted: e.Counted, count: e.Count, missed: e.Missed}
	if e.Counting {
		c.countLater(max(0, countInterval-time.Since(e.Counted)))
	}
	return nil
}

func oneFrame(f protocol.Frame) bool {
	return len(f) > 0 && protocol.WholeFrames(f) && protocol.FrameLen(f) == len(f)
}

// restoreHistory does nothing if the configuration gives the channel no history any more.
// mu is held.
func (c *channel) restoreHistory(e ExportedHistory) error {
	r := c.app.retention(c.name)
	if r.Events == 0 {
		return nil
	}
	h := &history{channel: c, after: e.After, left: e.Left, place: -1}
	before, bytes := e.After, int64(0)
	for _, one := range e.Events {
		kept := keptEvent{frame: one.Frame, number: one.Number, at: one.At}
		known := true
		if one.Except != "" {
			kept.except, known = protocol.ParseSocketID(one.Except)
		}
		if !known || !oneFrame(kept.frame) || kept.number <= before || kept.number > c.app.numbers.last.Load() {
			return fmt.Errorf("%w: the history of channel %q does not fit together", errRestore, c.name)
		}
		before = kept.number
		bytes += kept.size()
		h.events = append(h.events, kept)
	}
	c.history = h
	c.app.broker.histories.changed(h, len(h.events), bytes)
	h.limit(r, time.Now())
	return nil
}

// RestoreSubscription makes a subscriber one of a channel, as which member userID if it
// is a presence channel. It neither holds the subscriber back nor tells it anything.
func (a *App) RestoreSubscription(sub Subscriber, name, userID string) (*Subscription, error) {
	s := &Subscription{subscriber: sub, id: sub.ID()}
	c := a.lock(name)
	defer c.mu.Unlock()
	s.channel = c
	switch {
	case c.remote != nil && c.members != nil:
		u := c.remote.users[userID]
		if u == nil {
			return nil, fmt.Errorf("%w: a subscriber of channel %q is no user of it", errRestore, name)
		}
		s.member = &member{userID: userID}
		u.connections++
	case c.members != nil:
		s.member = c.members.byID[userID]
		if s.member == nil {
			return nil, fmt.Errorf("%w: a subscriber of channel %q is no member", errRestore, name)
		}
		s.member.connections++
	}
	c.add(s)
	return s, nil
}

// RestoreSignIn signs a subscriber in as a user; it knows those of the watchlist that
// online has as online.
func (a *App) RestoreSignIn(sub Subscriber, userID string, watchlist, online []string) (*Identity, error) {
	subscription, err := a.RestoreSubscription(sub, protocol.PrefixUser+userID, "")
	if err != nil {
		return nil, err
	}
	i := &Identity{subscriber: sub, subscription: subscription, userID: userID, watchlist: watchlist, answered: true}
	s := &a.users
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range watchlist {
		if _, twice := s.get(id).watchers[i]; twice {
			return nil, fmt.Errorf("%w: a user is watched twice", errRestore)
		}
		s.watch(i, id)
		if a.broker.driver != nil {
			a.expect(watchName(id))
		}
	}
	for _, id := range online {
		u := s.get(id)
		if _, watched := u.watchers[i]; !watched {
			return nil, fmt.Errorf("%w: a user is known as online and not watched", errRestore)
		}
		u.watchers[i] = true
	}
	s.get(userID).connections++
	return i, nil
}

// Watchlist are the users whose coming and going the connection is told of, and which of
// them it knows as online.
func (a *App) Watchlist(i *Identity) (watchlist, online []string) {
	s := &a.users
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range i.watchlist {
		if s.byID[id].watchers[i] {
			online = append(online, id)
		}
	}
	return i.watchlist, online
}

// RestoreDepartures has departures wait for what is left of their grace. It comes once.
func (a *App) RestoreDepartures(exported []ExportedDeparture) {
	if a.listener == nil {
		return
	}
	d := &a.departures
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range exported {
		event := protocol.WebhookEvent{Name: e.Name, Channel: e.Channel, UserID: e.UserID, Source: e.Source}
		d.remove(d.index[keyOf(event)])
		d.add(&departure{event: event, due: e.Due})
	}
	if !d.timing && d.queue.Len() > 0 {
		d.timing = true
		a.broker.timers.after(max(time.Until(d.first().due), ripenStep), d.ripen)
	}
}

// Restored ends restoring: it forgets channels that nothing needs, and has watchers told
// of what they have not been told yet. The error is that the state does not fit together.
func (a *App) Restored() (err error) {
	a.broker.histories.trim()
	a.each("", func(c *channel) {
		if c.remote != nil {
			c.restoredShare()
			return
		}
		if c.members == nil {
			return
		}
		for _, m := range c.members.byID {
			if m.connections == 0 {
				err = fmt.Errorf("%w: a member of channel %q is not connected", errRestore, c.name)
			}
		}
	})
	s := &a.users
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.byID {
		s.change(id, u)
		s.forget(id, u)
	}
	return err
}
