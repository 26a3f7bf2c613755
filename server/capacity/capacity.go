// Package capacity counts every connection, from when it is accepted until its
// descriptor is closed, and every session of the HTTP fallback. By this one count it
// is decided who may be a client, whether another connection can be accepted, and
// when a server that stops has none left.
package capacity

import (
	"context"
	"maps"
	"slices"
	"sync"

	"belfry/protocol"
)

// Kind is what a place is held by.
type Kind uint8

// The kinds of places.
const (
	Visitor Kind = iota // a connection at the door, which has not come to be anything else
	HTTP                // a connection that net/http serves
	Client              // a WebSocket
	Refused             // a WebSocket whose client is told why it is not served
	Session             // a session of the fallback; its requests come by connections of their own
	left                // nobody: it was given back
)

// String is the kind as metrics have it.
func (k Kind) String() string {
	return [...]string{"visitor", "http", "client", "refused", "session", "left"}[k]
}

// Kinds are the kinds that hold a descriptor: all but Session.
var Kinds = []Kind{Visitor, HTTP, Client, Refused}

// maxRefused is how many clients that find no capacity are told so at a time. They
// hold a descriptor until they have closed their side.
const maxRefused = 64

// Limits are how much there is of everything.
type Limits struct {
	// Clients is how many there may be, over all transports; 0 is no limit.
	Clients int
	// Descriptors is how many connections may be open; 0 is no limit. Of them, clients
	// leave Reserve to requests, such as those of backends that publish.
	Descriptors, Reserve int
}

// MaxClients is how many clients may be served at a time; 0 is no limit.
func (l Limits) MaxClients() int {
	files := l.Descriptors - l.Reserve
	if l.Clients > 0 && (files == 0 || l.Clients < files) {
		return l.Clients
	}
	return files
}

// Capacity has places for connections. Its methods may be called concurrently.
type Capacity struct {
	limits Limits

	mu      sync.Mutex // guards the following, and Place.kind
	counts  [left]int
	guests  map[*Place]Guest // who can make room: visitors, and connections of net/http's
	reason  *protocol.Error  // why there is no place for another client
	emptied chan struct{}    // closed when there are none of a kind any more; nil while nobody waits
}

// New returns a capacity of which nothing is taken.
func New(limits Limits) *Capacity {
	return &Capacity{limits: limits, guests: make(map[*Place]Guest)}
}

// Guest is a connection that is no client, and can make room for another one.
type Guest interface {
	// Dismiss closes the connection if it is as idle as that. It is called without a
	// lock, maybe when the connection has become something else.
	Dismiss(Idleness) (dismissed bool)
}

// Idleness says which guests may be dismissed. None is, whose request is authorized
// and being served.
type Idleness uint8

const (
	// Stranger is a guest that has had no authorized request for longer than a
	// second, since it came.
	Stranger Idleness = iota
	// Idle is a guest whose last authorized request ended more than a second ago.
	Idle
)

// Place is held by one connection, or by one session of the fallback. Its methods
// may be called concurrently.
type Place struct {
	capacity *Capacity
	kind     Kind
}

// Enter takes a place for a connection that was accepted. Leave must give it back.
func (c *Capacity) Enter(k Kind, g Guest) *Place {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &Place{c, left}
	c.move(p, k)
	if g != nil {
		c.guests[p] = g
	}
	return p
}

// EnterSession takes a place for a session of the fallback, or returns what to tell its
// client.
func (c *Capacity) EnterSession() (*Place, *protocol.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.refusal(); e != nil {
		return nil, e
	}
	p := &Place{c, left}
	c.move(p, Session)
	return p, nil
}

// Lend says that another guest has a visitor's connection.
func (p *Place) Lend(g Guest) {
	c := p.capacity
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.kind == Visitor {
		c.guests[p] = g
	}
}

// Pass says that net/http serves a visitor's connection from here on.
func (p *Place) Pass() {
	c := p.capacity
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.kind == Visitor {
		c.move(p, HTTP)
	}
}

// Serve makes a connection a client's. If that may not be, it returns what to tell
// the client; told is false when too many are being told already.
func (p *Place) Serve() (refused *protocol.Error, told bool) {
	c := p.capacity
	c.mu.Lock()
	defer c.mu.Unlock()
	refused = c.refusal()
	switch {
	case refused == nil:
		c.move(p, Client)
	case c.reason == nil && c.counts[Refused] >= maxRefused:
		return refused, false
	default:
		c.move(p, Refused)
	}
	return refused, true
}

// Refuse says that a client is refused for another reason, and does not count as a
// client. told is false if it must not stay to be told, as too many do.
func (p *Place) Refuse() (told bool) {
	c := p.capacity
	c.mu.Lock()
	defer c.mu.Unlock()
	told = c.counts[Refused] < maxRefused || p.kind == Refused
	if p.kind == Client {
		c.move(p, Refused)
	}
	return told
}

// Leave gives the place back, once however often it is called.
func (p *Place) Leave() {
	c := p.capacity
	c.mu.Lock()
	defer c.mu.Unlock()
	c.move(p, left)
}

// move is the one way to change the counts. mu is held.
func (c *Capacity) move(p *Place, to Kind) {
	if p.kind != left {
		c.counts[p.kind]--
		if c.counts[p.kind] == 0 && c.emptied != nil {
			close(c.emptied)
			c.emptied = nil
		}
	}
	if to != left {
		c.counts[to]++
	}
	p.kind = to
	if to != Visitor && to != HTTP {
		delete(c.guests, p)
	}
}

// refusal is why there is no place for another client, nil if there is. mu is held.
func (c *Capacity) refusal() *protocol.Error {
	// A session counts, too: the request that receives for it holds a descriptor.
	clients, most := c.counts[Client]+c.counts[Session], c.limits.MaxClients()
	switch {
	case c.reason != nil:
		return c.reason
	case most == 0 || clients < most:
		return nil
	case most == c.limits.Clients:
		return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections", most)
	}
	return protocol.Errorf(protocol.CodeOverCapacity, "Server is over its capacity of %d connections, for want of file descriptors", most)
}

// Room says whether there is a descriptor for another connection.
func (c *Capacity) Room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limits.Descriptors == 0 || c.sum(Kinds) < c.limits.Descriptors
}

// MakeRoom dismisses guests, that many at most, and strangers first. Their places are
// given back before long.
func (c *Capacity) MakeRoom(most int) {
	c.mu.Lock()
	guests := slices.Collect(maps.Values(c.guests))
	c.mu.Unlock()
	for _, idleness := range []Idleness{Stranger, Idle} {
		for _, g := range guests {
			if most == 0 {
				return
			}
			if g.Dismiss(idleness) {
				most--
			}
		}
	}
}

// Count is how many places of a kind are taken.
func (c *Capacity) Count(k Kind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[k]
}

// RefuseClients has clients refused from here on, for that reason.
func (c *Capacity) RefuseClients(reason *protocol.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = reason
}

// RefusesClients says whether RefuseClients was called.
func (c *Capacity) RefusesClients() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason != nil
}

// Wait returns when no place of these kinds is taken. The error is that of a context
// that ended before.
func (c *Capacity) Wait(ctx context.Context, kinds ...Kind) error {
	for {
		c.mu.Lock()
		if c.sum(kinds) == 0 {
			c.mu.Unlock()
			return nil
		}
		if c.emptied == nil {
			c.emptied = make(chan struct{})
		}
		emptied := c.emptied
		c.mu.Unlock()
		select {
		case <-emptied:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sum is how many places of these kinds are taken. mu is held.
func (c *Capacity) sum(kinds []Kind) (n int) {
	for _, k := range kinds {
		n += c.counts[k]
	}
	return n
}
