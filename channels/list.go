package channels

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"belfry/protocol"
)

// Overview is what an operator is shown of a channel: what this process knows of it.
type Overview struct {
	Name          string
	Kind          protocol.Kind
	Subscriptions int
	Users         int     // distinct, on presence channels
	Rate          float64 // events a second in the last ten seconds, about
	LastEvent     string  // name; empty if there was none yet, or it is not known
	LastAt        time.Time
}

// Order is what channels are sorted by.
type Order uint8

// The orders. But for names, the highest, or the last, comes first.
const (
	ByName Order = iota
	BySubscriptions
	ByUsers
	ByRate
	ByLast
)

func (o Order) compare(a, b Overview) int {
	n := 0
	switch o {
	case BySubscriptions:
		n = cmp.Compare(b.Subscriptions, a.Subscriptions)
	case ByUsers:
		n = cmp.Compare(b.Users, a.Users)
	case ByRate:
		n = cmp.Compare(b.Rate, a.Rate)
	case ByLast:
		n = b.LastAt.Compare(a.LastAt)
	}
	if n == 0 {
		n = strings.Compare(a.Name, b.Name)
	}
	return n
}

// List returns a page of the channels that have subscribers on this node and match, and
// how many of them there are. The channels of users are not listed. It takes the lock of
// one channel after the other, and its work does not grow with their subscribers.
func (a *App) List(match func(name string) bool, by Order, offset, limit int) (page []Overview, total int) {
	top := first[Overview]{n: offset + limit, compare: by.compare}
	now := time.Now()
	var found []*channel
	all := a.all()
	for i := range all {
		s := &all[i]
		found = found[:0]
		s.mu.RLock()
		for _, c := range s.channels {
			found = append(found, c)
		}
		s.mu.RUnlock()
		for _, c := range found {
			if c.kind == protocol.User || !match(c.name) {
				continue
			}
			c.mu.Lock()
			occupied := !c.dead && c.count > 0
			var o Overview
			if occupied {
				o = c.overview(now)
			}
			c.mu.Unlock()
			if occupied {
				total++
				top.add(o)
			}
		}
	}
	page = top.rest(offset)
	for i := range page {
		page[i].LastEvent = a.eventName(page[i].LastEvent)
	}
	return page, total
}

// eventName returns the name of an event that an activity has noted.
func (a *App) eventName(noted string) string {
	if a.broker.driver == nil {
		return noted
	}
	return unquoted(noted)
}

// overview describes the channel, with the name of its last event as it was noted. mu is
// held.
func (c *channel) overview(now time.Time) Overview {
	began := c.app.broker.began
	o := Overview{Name: c.name, Kind: c.kind, Subscriptions: int(c.count), Rate: c.activity.rate(now.Sub(began)), LastEvent: c.activity.name}
	switch {
	case c.remote != nil:
		o.Users = len(c.remote.users)
	case c.members != nil:
		o.Users = len(c.members.byID)
	}
	if c.activity.last > 0 {
		o.LastAt = began.Add(c.activity.last)
	}
	return o
}

// Listed is a subscriber of a channel, and its user id on a presence channel.
type Listed struct {
	ID     protocol.SocketID
	UserID string
}

// Look returns what this node knows of a channel, and a page of its subscribers, in the
// order of their ids. A channel that is not there is as one that nobody is on.
func (a *App) Look(name string, offset, limit int) (Overview, []Listed) {
	c := a.lockExisting(name)
	if c == nil {
		return Overview{Name: name, Kind: protocol.KindOf(name)}, nil
	}
	o := c.overview(time.Now())
	subs := make([]*Subscription, 0, c.count)
	for _, s := range c.shards {
		if s != nil {
			subs = append(subs, s.subs...)
		}
	}
	c.mu.Unlock()
	o.LastEvent = a.eventName(o.LastEvent)
	top := first[*Subscription]{n: offset + limit, compare: func(a, b *Subscription) int { return a.id.Compare(b.id) }}
	for _, s := range subs {
		top.add(s)
	}
	var page []Listed
	for _, s := range top.rest(offset) {
		page = append(page, Listed{s.id, s.UserID()})
	}
	return o, page
}

// first keeps the first n of many, by an order.
type first[T any] struct {
	n       int
	compare func(a, b T) int
	rows    []T  // up to twice n
	full    bool // the first n rows are sorted, and only what comes before the n-th is kept
}

func (f *first[T]) add(x T) {
	if f.full && f.compare(x, f.rows[f.n-1]) >= 0 {
		return
	}
	f.rows = append(f.rows, x)
	if len(f.rows) >= 2*f.n {
		f.cut()
	}
}

func (f *first[T]) cut() {
	slices.SortFunc(f.rows, f.compare)
	if len(f.rows) >= f.n {
		f.rows, f.full = f.rows[:f.n], f.n > 0
	}
}

// rest returns them without the first offset ones.
func (f *first[T]) rest(offset int) []T {
	f.cut()
	return f.rows[min(offset, len(f.rows)):]
}
