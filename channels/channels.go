// Package channels knows who is subscribed to what, who is present, and what
// the last events of a channel were; it publishes to subscribers and knows
// nothing of sockets.
//
// # The way of one event
//
// [App.Publish] encodes the event once and appends the frame to the pending
// list of each of the channel's shards: work per shard, none per subscriber. A
// shard with something pending is queued at its flusher. The flusher joins
// everything pending into one buffer and offers it to the shard's subscribers
// with one [Subscriber.Deliver] each, a quantum at a time, so that a small
// channel is not stuck behind a large one. Under load this batches by itself:
// what was published during one round goes out in the next, in one write per
// subscriber. A small channel with nothing pending is flushed by its
// publisher, which saves the wake-up.
//
// # What is promised
//
// Frames of one channel reach all its subscribers in one order. A subscription
// receives what is published after it was made and before it ends, and nothing
// else. No lock of this package is held while a subscriber writes.
//
// # The order of locks
//
// Whoever holds one of these may take those below it, and none above or beside it:
//
//  1. users.mu
//  2. channel.mu
//  3. departures.mu, outboxes.mu
//  4. Broker.mu, stripe.mu, node.mu, and the listener's and a subscriber's own
//  5. timers.mu, histories.mu, once.mu and those of the queues
//  6. the driver's own
//
// timers.freezing and node.freezing come ahead of all; of the two, node.freezing first.
package channels

import (
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// Errors of a subscription or publication.
var (
	// ErrFull: the presence channel has its most members already.
	ErrFull = errors.New("presence channel is full")
	// ErrBusy: more is pending on the channel than a client may add to.
	ErrBusy = errors.New("channel is over capacity")
)

// Subscriber is a connection as channels see it.
type Subscriber interface {
	ID() protocol.SocketID
	// Source is where the connection comes from. It never changes.
	Source() protocol.Source
	// Lines reports whether it is delivered lines instead of frames; see
	// [protocol.Frame.AppendLine]. It never changes.
	Lines() bool
	// Deliver offers whole frames of a subscription. It must not block or change
	// frames, and reports whether it has kept a reference to them: then they never
	// change. It delivers nothing once s.Left reports true, and
	// looks at that under the lock that orders all it sends to the client:
	// otherwise a frame of an old subscription could follow the answer to a
	// new one.
	Deliver(s *Subscription, frames []byte) (kept bool)
	// Send offers a frame that is for this connection alone. It must not block.
	Send(protocol.Frame)
	// Hold keeps back all deliveries. It is called when the connection has
	// become a subscriber; the caller of Subscribe or SignIn has to release it
	// with its answer to the client. It must not block.
	Hold()
	// Terminate closes the connection, as the application's backend wants it.
	Terminate()
	// Dropped says that a client event was not published after all.
	Dropped(channel string, err error)
}

// Observer is told what was delivered. Methods are called concurrently.
type Observer interface {
	// Delivered counts messages and their bytes on the wire, many at a time.
	Delivered(messages, bytes int)
	// Delay is the time from a publish to the last subscriber's write.
	Delay(d time.Duration)
}

// Broker owns the flushers, which all applications share.
type Broker struct {
	flushers []*flusher
	timers   timers
	seed     maphash.Seed
	began    time.Time
	done     sync.WaitGroup

	mu      sync.Mutex      // guards the following
	apps    map[string]*App // by id: those that are not closed
	leaving map[string]*App // by id: those that are closed and have channels left, the last of each id

	histories histories
	tracer    Tracer // nil: nobody ever watches

	driver   cluster.Driver // nil on a single node
	unserved atomic.Pointer[func(app string)]
	node     node
	ctx      context.Context // of calls to the driver
	cancel   context.CancelFunc

	// While the process takes over from another one.
	heard    []cluster.Topic    // what it has begun to listen to
	restored []restoredDelivery // those of the process before, held once each
}

// NewBroker starts n flushers, 1 to 256. With a driver, which it starts and
// closes, the channels are those of all nodes together.
func NewBroker(n int, driver cluster.Driver) *Broker {
	b := &Broker{seed: maphash.MakeSeed(), began: time.Now(), driver: driver}
	for range min(max(n, 1), 256) {
		f := newFlusher()
		b.flushers = append(b.flushers, f)
		b.done.Go(f.run)
	}
	if driver != nil {
		b.join()
	}
	return b
}

// OnUnserved sets f, which must not block. It is called with the id of an application that
// this broker does not have each time an outbox of the cluster is found to hold webhook events
// of it: every few seconds, for a minute.
func (b *Broker) OnUnserved(f func(app string)) { b.unserved.Store(&f) }

// Close tells of departures whose grace is not over, and ends the flushers once
// everything pending is delivered. Nothing may be published afterwards.
func (b *Broker) Close() {
	b.EndGraces()
	b.timers.close()
	if b.driver != nil {
		b.part()
	}
	for _, f := range b.flushers {
		f.close()
	}
	b.done.Wait()
}

// stripes is how many locks guard an application's channel names.
const stripes = 32

// App holds the channels of one application. All methods may be called
// concurrently.
type App struct {
	id       string
	broker   *Broker
	observer Observer
	listener Listener // nil for none
	limits   atomic.Pointer[Limits]

	names atomic.Pointer[names] // nil until there is a channel
	users users

	departures departures
	once       once
	numbers    numbers

	channels atomic.Int64    // of all names
	closed   atomic.Bool     // by Close
	gone     chan struct{}   // closed when it is closed and has no channels any more
	before   <-chan struct{} // gone, of the application of the same id that was closed before; nil if there is none
	next     *App            // the one whose before this is; guarded by the broker's lock

	// Changed under a channel's lock, read by anybody.
	occupied      [protocol.NumKinds]atomic.Int64 // channels with subscribers, by protocol.Kind
	subscriptions atomic.Int64
}

// Limits of one application's channels.
type Limits struct {
	PresenceMembers int           // distinct users of a presence channel
	CacheTTL        time.Duration // how long a last event is kept
	// SubscriptionCount has subscribers told how many they are.
	SubscriptionCount bool
	// Histories say which channels have one. The first that matches decides.
	Histories []HistoryRule
}

// names are the channels of an application, by a hash of their names.
type names [stripes]stripe

// stripe is a part of the names.
type stripe struct {
	mu       sync.RWMutex
	channels map[string]*channel // nil until there is one
}

// NewApp makes the channels of an application, which it is known by in the
// cluster. listener may be nil. Close must be called.
func (b *Broker) NewApp(id string, limits Limits, observer Observer, listener Listener) *App {
	a := &App{id: id, broker: b, observer: observer, listener: listener, gone: make(chan struct{})}
	a.departures.app = a
	a.numbers.init()
	a.users.timers = &b.timers
	a.limits.Store(&limits)
	b.mu.Lock()
	if b.apps == nil {
		b.apps = make(map[string]*App)
	}
	b.apps[id] = a
	if before := b.leaving[id]; before != nil {
		a.before, before.next = before.gone, a
	}
	b.mu.Unlock()
	if b.driver != nil {
		a.expect(controlName)
	}
	return a
}

// Close tells of departures whose grace is not over, and ends the application's part
// in the cluster once nobody is subscribed any more.
func (a *App) Close() {
	b := a.broker
	b.mu.Lock()
	if b.apps[a.id] == a {
		delete(b.apps, a.id)
	}
	if b.leaving == nil {
		b.leaving = make(map[string]*App)
	}
	b.leaving[a.id] = a
	b.mu.Unlock()
	a.departures.end()
	if b.driver == nil { // else nothing would end its histories
		limits := *a.limits.Load()
		limits.Histories = nil
		a.SetLimits(limits)
	}
	if b.driver != nil {
		a.dismiss(controlName)
	}
	a.closed.Store(true)
	if b.driver != nil { // nobody is let in any more: see enter
		a.change("", func(c *channel) []*shard {
			c.remote.notify()
			return nil
		})
	}
	a.leave()
}

// removed notes that there is a channel less.
func (a *App) removed() {
	if a.channels.Add(-1) == 0 && a.closed.Load() {
		a.leave()
	}
}

// leave lets the application's successor have its channels, if it was closed, and
// neither it nor one before it has any more.
func (a *App) leave() {
	b := a.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-a.gone:
		return
	default:
	}
	if !a.closed.Load() || a.channels.Load() > 0 || a.follows() {
		return
	}
	close(a.gone)
	if b.leaving[a.id] == a {
		delete(b.leaving, a.id)
	}
	if next := a.next; next != nil {
		b.timers.after(0, func() {
			next.change("", func(*channel) []*shard { return nil })
			next.leave()
		})
	}
}

// follows reports whether an application of the same id that was closed before has
// channels left. The cluster knows one owner of a topic on each node.
func (a *App) follows() bool {
	if a.before == nil {
		return false
	}
	select {
	case <-a.before:
		return false
	default:
		return true
	}
}

// app returns the application of that id, or nil.
func (b *Broker) app(id string) *App {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.apps[id]
}

func (b *Broker) all() []*App {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.apps))
}

// EndGraces tells the listeners of all departures. None waits for its grace from
// here on: it is for a single node that stops, where nobody can come back.
func (b *Broker) EndGraces() {
	for _, a := range b.all() {
		a.departures.end()
	}
}

// SetLimits changes the limits. Members and last events that are there already
// stay as they are; what histories do not keep any more is dropped.
func (a *App) SetLimits(limits Limits) {
	if a.broker.driver == nil && !slices.Equal(a.limits.Load().Histories, limits.Histories) {
		a.setHistories(&limits)
		return
	}
	before := a.limits.Swap(&limits)
	if a.broker.driver != nil && !slices.Equal(before.Histories, limits.Histories) {
		a.change("", func(*channel) []*shard { return nil }) // those that have a history now load it
	}
}

// stripe returns the part that a name is in, nil if there was no channel yet.
func (a *App) stripe(name string) *stripe {
	all := a.names.Load()
	if all == nil {
		return nil
	}
	return &all[maphash.String(a.broker.seed, name)%stripes]
}

// all returns the parts of the names.
func (a *App) all() []stripe {
	if all := a.names.Load(); all != nil {
		return all[:]
	}
	return nil
}

// find returns the channel of that name, or nil.
func (a *App) find(name string) *channel {
	s := a.stripe(name)
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.channels[name]
}

// lock returns the channel of that name, made if need be, locked and alive.
func (a *App) lock(name string) *channel {
	for {
		c := a.find(name)
		if c == nil {
			if a.names.Load() == nil {
				a.names.CompareAndSwap(nil, new(names))
			}
			s := a.stripe(name)
			s.mu.Lock()
			if c = s.channels[name]; c == nil {
				if s.channels == nil {
					s.channels = make(map[string]*channel)
				}
				c = newChannel(a, strings.Clone(name)) // not a part of a request's body
				s.channels[c.name] = c
				a.channels.Add(1)
			}
			s.mu.Unlock()
		}
		c.mu.Lock()
		if !c.dead {
			return c
		}
		c.mu.Unlock()
	}
}

// lockExisting is lock for a channel that must exist: nil if it does not.
func (a *App) lockExisting(name string) *channel {
	for {
		c := a.find(name)
		if c == nil {
			return nil
		}
		c.mu.Lock()
		if !c.dead {
			return c
		}
		c.mu.Unlock()
	}
}

// Expire forgets last events older than their time to live, and what histories do not keep
// any more.
func (a *App) Expire(now time.Time) {
	a.change("", func(c *channel) []*shard {
		if c.kind.IsCache() {
			c.expire(now)
		}
		c.expireHistory(now)
		return nil
	})
}

// each calls f with every channel whose name has the prefix, locked. f changes
// nothing.
func (a *App) each(prefix string, f func(*channel)) {
	a.change(prefix, func(c *channel) []*shard {
		f(c)
		return nil
	})
}

// change is each for functions that change something; they return the shards that
// [channel.append] did.
func (a *App) change(prefix string, f func(*channel) (idle []*shard)) {
	all := a.all()
	for i := range all {
		s := &all[i]
		var found []*channel
		s.mu.RLock()
		for name, c := range s.channels {
			if strings.HasPrefix(name, prefix) {
				found = append(found, c)
			}
		}
		s.mu.RUnlock()
		for _, c := range found {
			c.mu.Lock()
			if c.dead {
				c.mu.Unlock()
				continue
			}
			c.unlock(f(c))
		}
	}
}

// Idle reports whether nothing of the application is kept: no channel, no departure within
// its grace, no key of an event that was published once.
func (a *App) Idle() bool {
	channels := a.channels.Load()
	if a.broker.driver != nil {
		channels-- // of the topic that concerns the whole application
	}
	return channels == 0 && a.departures.none() && a.once.none(time.Now())
}

// OccupiedChannels is the number of channels of a kind that have subscribers.
func (a *App) OccupiedChannels(k protocol.Kind) int { return int(a.occupied[k].Load()) }

// Subscriptions is the number of subscriptions on all channels.
func (a *App) Subscriptions() int { return int(a.subscriptions.Load()) }
