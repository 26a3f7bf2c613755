package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// How much one round trip subscribes to.
const (
	maxGroup     = 256 // channels by one command
	groupsAtOnce = 32  // commands
)

// subscriber is a connection for Pub/Sub. The client's reading goroutine puts
// the messages into the queue, and waits when that is full.
type subscriber struct {
	addr    string // "" but in a Redis Cluster
	client  rueidis.DedicatedClient
	closed  <-chan error  // by the client, when the connection ends
	done    chan struct{} // by end
	closing func(func())  // runs what may wait
	once    sync.Once
	moved   atomic.Bool   // Redis has unsubscribed something by itself
	behind  atomic.Bool   // a message waits for the receiver
	waits   atomic.Uint64 // how many have
	pinging atomic.Bool   // a ping is on its way

	mu    sync.Mutex // held while a message is put into the queue
	ended bool
}

// dial opens a connection to a server.
func (d *Driver) dial(s *session, addr string) (*subscriber, error) {
	client := s.client
	if s.cluster {
		if client = s.client.Nodes()[addr]; client == nil {
			return nil, fmt.Errorf("server %s is not known yet", addr)
		}
	}
	c := &subscriber{addr: addr, done: make(chan struct{}), closing: func(f func()) { d.running.Go(f) }}
	c.client, _ = client.Dedicate()
	c.closed = c.client.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage: func(m rueidis.PubSubMessage) { d.receive(c, m) },
		OnSubscription: func(e rueidis.PubSubSubscription) {
			switch e.Kind {
			case "subscribe", "ssubscribe":
				d.listening.confirmed(e.Channel, c)
			case "sunsubscribe":
				d.unsubscribed(c, e.Channel)
			}
		},
	})
	if err := d.ping(c); err != nil {
		c.end()
		return nil, err
	}
	// Has the loop see the end.
	d.running.Go(func() {
		select {
		case <-c.closed:
			s.suspect.Store(true)
			d.look()
		case <-c.done:
		}
	})
	return c, nil
}

func (d *Driver) ping(c *subscriber) error {
	ctx, cancel := d.timeout(d.ctx)
	defer cancel()
	return c.client.Do(ctx, c.client.B().Ping().Build()).Error()
}

// receive queues a message.
func (d *Driver) receive(c *subscriber, m rueidis.PubSubMessage) {
	e, ignored := d.listening.find(m.Channel, c)
	if e == nil {
		return
	}
	one := item{kind: mark, from: e, ignored: ignored, mark: m.Message}
	if !isMark(e.name) {
		message, err := parseMessage(e.topic, m.Message)
		if err != nil {
			d.log.Warn("a message in Redis is not one of ours: another program uses the prefix", "error", err)
			return
		}
		one = item{kind: received, message: message, from: e, ignored: ignored}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	select {
	case d.queue <- one:
		return
	default:
	}
	c.behind.Store(true)
	defer c.behind.Store(false)
	select {
	case d.queue <- one:
		c.waits.Add(1)
	case <-c.done:
	case <-d.ctx.Done():
	}
}

// unsubscribed has the connection renewed if Redis did that by itself, because
// the channel's slot has moved.
func (d *Driver) unsubscribed(c *subscriber, name string) {
	l := &d.listening
	l.mu.Lock()
	e := l.byName[name]
	moved := e != nil && e.on == c
	l.mu.Unlock()
	if moved {
		c.moved.Store(true)
		d.look()
	}
}

// over says whether the connection is of no use any more.
func (c *subscriber) over() bool {
	select {
	case <-c.closed:
		return true
	case <-c.done:
		return true
	default:
		return c.moved.Load()
	}
}

// end closes the connection. No message of it is queued any more.
func (c *subscriber) end() {
	c.once.Do(func() {
		close(c.done) // who waits for the queue gives up
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		c.closing(c.client.Close)
	})
}

// groups divides topics by server, and into those that one command subscribes
// to: in a Redis Cluster, they are of one slot.
func (s *session) groups(list []*topic) map[string][][]*topic {
	type place struct {
		addr string
		slot uint16
	}
	places := make(map[place][]*topic)
	for _, t := range list {
		var p place
		if s.cluster {
			p.slot = s.slot(t.name)
			p.addr = s.slots.Load().owner(p.slot)
		}
		places[p] = append(places[p], t)
	}
	groups := make(map[string][][]*topic)
	for p, topics := range places {
		groups[p.addr] = slices.AppendSeq(groups[p.addr], slices.Chunk(topics, maxGroup))
	}
	return groups
}

// slot is that of a Pub/Sub channel.
func (s *session) slot(name string) uint16 {
	command := s.client.B().Ssubscribe().Channel(name).Build()
	return command.Slot()
}

// failure is why a server cannot be connected to, and when to try again.
type failure struct {
	err     error
	retry   backoff
	due     time.Time
	dialing chan dialed // nil while nobody dials
}

// dialed is what came of it.
type dialed struct {
	c   *subscriber
	err error
}

// abandon ends a connection that is made for nobody any more.
func (f *failure) abandon(d *Driver) {
	if f.dialing == nil {
		return
	}
	d.running.Go(func() {
		if got := <-f.dialing; got.err == nil {
			got.c.end()
		}
	})
}

// errDialing is for a server that is being connected to: what is to be done there waits.
var errDialing = errors.New("being connected to")

// server returns the connection to one, opened if need be.
func (d *Driver) server(s *session, addr string) (*subscriber, error) {
	if c := s.servers[addr]; c != nil {
		if c.over() {
			return nil, errors.New("the connection was lost")
		}
		return c, nil
	}
	f := s.failed[addr]
	if f == nil {
		f = new(failure)
		s.failed[addr] = f
	}
	if f.dialing == nil {
		if time.Now().Before(f.due) {
			return nil, f.err
		}
		f.dialing = make(chan dialed, 1)
		d.running.Go(func() {
			c, err := d.dial(s, addr)
			f.dialing <- dialed{c, err}
			d.look()
		})
	}
	select {
	case got := <-f.dialing:
		f.dialing = nil
		if got.err != nil {
			f.err, f.due = got.err, time.Now().Add(f.retry.next())
			return nil, got.err
		}
		delete(s.failed, addr)
		s.servers[addr] = got.c
		return got.c, nil
	default:
		if f.err != nil {
			return nil, f.err
		}
		return nil, errDialing
	}
}

// nextRetry is when the first of the servers is due that could not be connected
// to.
func (s *session) nextRetry() time.Duration {
	next := lastRetry
	for _, f := range s.failed {
		next = min(next, time.Until(f.due))
	}
	return max(next, firstRetry)
}

// subscribe returns when Redis has confirmed.
func (d *Driver) subscribe(s *session, c *subscriber, groups [][]*topic) error {
	commands := make([]rueidis.Completed, len(groups))
	for i, topics := range groups {
		names := make([]string, len(topics))
		for j, t := range topics {
			names[j] = t.name
		}
		if s.cluster {
			commands[i] = c.client.B().Ssubscribe().Channel(names...).Build()
		} else {
			commands[i] = c.client.B().Subscribe().Channel(names...).Build()
		}
	}
	return d.command(c, commands)
}

func (d *Driver) unsubscribe(s *session, c *subscriber, names []string) error {
	slots := make(map[uint16][]string)
	for _, name := range names {
		var slot uint16
		if s.cluster {
			slot = s.slot(name)
		}
		slots[slot] = append(slots[slot], name)
	}
	for _, names := range slots {
		for group := range slices.Chunk(names, maxGroup) {
			command := c.client.B().Unsubscribe().Channel(group...).Build()
			if s.cluster {
				command = c.client.B().Sunsubscribe().Channel(group...).Build()
			}
			if err := d.command(c, []rueidis.Completed{command}); err != nil {
				return err
			}
		}
	}
	return nil
}

// command runs some on a connection for Pub/Sub. Answers come behind the messages that
// wait for the receiver: they are late only if none of those has moved meanwhile.
func (d *Driver) command(c *subscriber, commands []rueidis.Completed) error {
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	waits := c.waits.Load()
	var late func()
	late = func() {
		if n := c.waits.Load(); n != waits || c.behind.Load() {
			waits = n
			time.AfterFunc(d.options.Timeout, late)
			return
		}
		cancel()
	}
	timer := time.AfterFunc(d.options.Timeout, late)
	defer timer.Stop()
	for _, r := range c.client.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// tend sees whether the connections still answer, and are to the servers that
// have the slots. One that is silent because the receiver is behind is left
// alone.
func (d *Driver) tend(s *session) {
	for _, c := range s.servers {
		if c.behind.Load() || c.over() || c.pinging.Swap(true) {
			continue
		}
		d.running.Go(func() { // one that does not answer keeps no other waiting
			defer c.pinging.Store(false)
			waits := c.waits.Load()
			if d.ping(c) != nil && !c.behind.Load() && c.waits.Load() == waits {
				c.end()
				d.look()
			}
		})
	}
	if !s.cluster {
		return
	}
	before := *s.slots.Load()
	if err := d.loadSlots(s); err != nil {
		_ = d.failed(s, err)
		return
	}
	for addr, c := range s.servers {
		if !slices.Equal(before.of(addr), s.slots.Load().of(addr)) {
			c.end()
		}
	}
}
