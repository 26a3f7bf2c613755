package channels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// What follows is for a node of a cluster whose process hands over to another one, beside
// what handover.go has for a single node. See cluster.Movable.

var (
	errImmovable = errors.New("a node of this kind of cluster cannot hand over: stop it and start it, the other nodes take its clients")
	errLeaving   = errors.New("an app that was removed still has clients: ask again in a moment")
)

// movable returns the driver of a node that can go on in another process.
func (b *Broker) movable() (cluster.Movable, error) {
	m, ok := b.driver.(cluster.Movable)
	if !ok {
		return nil, errImmovable
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.leaving) > 0 {
		return nil, errLeaving
	}
	return m, nil
}

// Place says which node this is, for Inherit of another process's driver.
func (b *Broker) Place() ([]byte, error) {
	m, err := b.movable()
	if err != nil {
		return nil, err
	}
	return m.Place()
}

// Topics are what the node listens to. It is final once calls are frozen.
func (b *Broker) Topics() (topics []cluster.Topic, err error) {
	if _, err := b.movable(); err != nil {
		return nil, err
	}
	for _, a := range b.all() {
		a.each("", func(c *channel) {
			if c.remote.listening {
				topics = append(topics, c.topic())
			}
		})
	}
	return topics, nil
}

// listenAtOnce is how many topics the cluster is asked for at once.
const listenAtOnce = 4096

// Listen has the process behind listen to topics, whether it has their channels yet or not.
func (b *Broker) Listen(ctx context.Context, topics []cluster.Topic) error {
	for some := range slices.Chunk(topics, listenAtOnce) {
		failed := make(chan error)
		for _, t := range some {
			go func() { failed <- b.driver.Listen(ctx, t) }()
		}
		var err error
		for range some {
			err = errors.Join(err, <-failed)
		}
		if err != nil {
			return err
		}
		b.heard = append(b.heard, some...)
	}
	return nil
}

// FreezeCalls returns once no call to the cluster is made in the background, until ThawCalls.
// Client events that wait are published first; everything else that waits goes on waiting.
// Nobody may publish, subscribe or ask meanwhile. On a single node it does nothing.
func (b *Broker) FreezeCalls() {
	if b.driver == nil {
		return
	}
	b.await(b.ctx, func() bool { return b.node.sending.Load() == 0 })
	b.node.freezing.Lock()
}

// ThawCalls ends FreezeCalls.
func (b *Broker) ThawCalls() {
	if b.driver != nil {
		b.node.freezing.Unlock()
	}
}

// Cut makes the cut: what the cluster sends from here on is the process behind's, and
// reaches nobody here before Resume, which is due with an error, too.
func (b *Broker) Cut(ctx context.Context) error {
	m, err := b.movable()
	if err != nil {
		return err
	}
	return m.Cut(ctx)
}

// AwaitCut returns once the cut has come here.
func (b *Broker) AwaitCut(ctx context.Context) error {
	m, err := b.movable()
	if err != nil {
		return err
	}
	return m.AwaitCut(ctx)
}

// Resume lets the receiver get the cluster's messages again: in the process before if that
// goes on, and in the process behind once all is restored. It does nothing on a single node,
// and on one that has moved.
func (b *Broker) Resume() {
	if m, ok := b.driver.(cluster.Movable); ok && !b.node.moved.Load() {
		b.ignoreUnneeded()
		m.Resume()
	}
}

// HandedOver ends this process's part in the cluster: the node goes on in another one. Calls
// are frozen.
func (b *Broker) HandedOver() {
	if b.driver == nil {
		return
	}
	b.node.moved.Store(true)
	b.cancel()
	b.node.done.Go(b.driver.Close)
}

// ExportedShare is what a node of a cluster has of a channel beside its connections.
type ExportedShare struct {
	Listening bool `json:"listening,omitzero"`

	// What the cluster has confirmed.
	Certain bool           `json:"certain,omitzero"`
	Epoch   string         `json:"epoch,omitzero"`
	Count   int32          `json:"count,omitzero"`
	Counted time.Time      `json:"counted,omitzero"`
	Users   []ExportedUser `json:"users,omitempty"`

	// The copy of what the cluster has.
	Loaded       bool              `json:"loaded,omitzero"`
	Version      cluster.Version   `json:"version,omitzero"`
	Newest       uint64            `json:"newest,omitzero"`
	Total        int               `json:"total,omitzero"`
	Lost         bool              `json:"lost,omitzero"`
	Early        []ExportedMessage `json:"early,omitempty"`
	Missing      []string          `json:"missing,omitempty"`
	MissingUntil time.Time         `json:"missing_until,omitzero"`
}

// ExportedUser is a user with connections of this node, or one whom the cluster has
// confirmed as such.
type ExportedUser struct {
	ExportedMember
	Confirmed bool   `json:"confirmed,omitzero"`
	Since     uint64 `json:"since,omitzero"`
	Full      bool   `json:"full,omitzero"`
}

// ExportedMessage is a message that waits for a snapshot to be loaded.
type ExportedMessage struct {
	Kind    cluster.Kind     `json:"kind,omitzero"`
	Version cluster.Version  `json:"version"`
	After   uint64           `json:"after,omitzero"`
	Payload []byte           `json:"payload,omitempty"`
	Left    []string         `json:"left,omitempty"`
	Joined  []ExportedMember `json:"joined,omitempty"`
}

func exportMember(m protocol.Member) ExportedMember {
	return ExportedMember{m.UserID, string(m.UserInfo)}
}

func (e ExportedMember) member() protocol.Member {
	return protocol.Member{UserID: e.UserID, UserInfo: cluster.Info(e.Info)}
}

// exportShare is for a channel of a node. mu is held, and calls are frozen.
func (c *channel) exportShare() *ExportedShare {
	r := c.remote
	e := &ExportedShare{
		Listening: r.listening,
		Certain:   r.acked.certain, Epoch: r.acked.epoch, Count: r.acked.count, Counted: r.counted,
		Loaded: r.loaded, Version: r.version, Newest: r.newest, Total: r.total, Lost: r.lost, MissingUntil: r.missingUntil,
	}
	for _, u := range r.users {
		e.Users = append(e.Users, ExportedUser{exportMember(u.member), u.confirmed, u.since, u.full})
	}
	for _, m := range r.early {
		one := ExportedMessage{Kind: m.Kind, Version: m.Version, After: m.After, Payload: m.Payload, Left: m.Left}
		for _, j := range m.Joined {
			one.Joined = append(one.Joined, exportMember(j))
		}
		e.Early = append(e.Early, one)
	}
	for id := range r.missing {
		e.Missing = append(e.Missing, id)
	}
	return e
}

// restoreShare is the reverse. mu is held.
func (c *channel) restoreShare(e *ExportedShare) error {
	r := c.remote
	if len(r.users) > 0 || r.acked != nothing || r.loaded {
		return fmt.Errorf("%w: channel %q is there already", errRestore, c.name)
	}
	r.listening = r.listening || e.Listening
	r.acked = &acked{e.Certain, e.Epoch, e.Count}
	r.counted = e.Counted
	for _, u := range e.Users {
		if !c.kind.IsPresence() || r.users[u.UserID] != nil {
			return fmt.Errorf("%w: channel %q has a user twice, or may have none", errRestore, c.name)
		}
		if r.users == nil {
			r.users = make(map[string]*localUser)
		}
		r.users[u.UserID] = &localUser{member: u.member(), confirmed: u.Confirmed, since: u.Since, full: u.Full}
	}
	r.loaded, r.version, r.newest, r.total, r.lost = e.Loaded && c.mirrored(), e.Version, e.Newest, e.Total, e.Lost
	if r.newest == 0 { // the process before may not have known it
		r.newest = r.version.Number
	}
	for _, m := range e.Early {
		one := cluster.Message{Topic: c.topic(), Kind: m.Kind, Version: m.Version, After: m.After, Payload: m.Payload, Left: m.Left}
		for _, j := range m.Joined {
			one.Joined = append(one.Joined, j.member())
		}
		r.early = append(r.early, one)
		r.came++
	}
	for _, id := range e.Missing {
		if r.missing == nil {
			r.missing = make(map[string]struct{})
		}
		r.missing[id] = struct{}{}
	}
	if r.missingUntil = e.MissingUntil; len(r.missing) > 0 {
		c.app.broker.timers.after(time.Until(r.missingUntil), c.endMissing)
	}
	return nil
}

// restoredShare is for a channel all of whose subscriptions are. mu is held.
func (c *channel) restoredShare() {
	r := c.remote
	for id, u := range r.users {
		r.compare(id, u)
	}
}

// ExportedWhereabouts are where users are, as far as the cluster has told.
type ExportedWhereabouts struct {
	Elsewhere []string  `json:"elsewhere,omitempty"`
	Doubtful  []string  `json:"doubtful,omitempty"` // those whose whereabouts are to be asked
	Settled   time.Time `json:"settled,omitzero"`
}

// ExportWhereabouts is for a node of a cluster.
func (a *App) ExportWhereabouts() (e ExportedWhereabouts) {
	s := &a.users
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Settled = s.settled
	for id, u := range s.byID {
		if u.elsewhere {
			e.Elsewhere = append(e.Elsewhere, id)
		}
	}
	for id := range s.doubtful {
		e.Doubtful = append(e.Doubtful, id)
	}
	for id := range s.unsettled { // to be asked again after the answer that comes to nothing
		e.Doubtful = append(e.Doubtful, id)
	}
	return e
}

// RestoreWhereabouts comes ahead of the sign-ins.
func (a *App) RestoreWhereabouts(e ExportedWhereabouts) {
	s := &a.users
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = e.Settled
	for _, id := range e.Elsewhere {
		s.get(id).elsewhere = true
	}
	if s.doubtful == nil {
		s.doubtful = make(map[string]struct{})
	}
	for _, id := range e.Doubtful {
		s.doubtful[id] = struct{}{}
	}
	s.ask(a)
}

// ignoreUnneeded ends listening to topics whose channels the process before has left, when
// all is restored.
func (b *Broker) ignoreUnneeded() {
	for _, t := range b.heard {
		needed := false
		if a := b.app(t.App); a != nil {
			if c := a.lockExisting(t.Channel); c != nil {
				needed = c.remote.listening
				c.mu.Unlock()
			}
		}
		if !needed {
			b.driver.Ignore(t)
		}
	}
	b.heard = nil
}

// ExportedOutbox is a bucket of the cluster from which this node has something to deliver.
type ExportedOutbox struct {
	App        string    `json:"app"`
	Bucket     int       `json:"bucket"`
	Due        time.Time `json:"due,omitzero"`
	Unserved   time.Time `json:"unserved,omitzero"`
	Lent       bool      `json:"lent,omitzero"`
	Receipt    string    `json:"receipt,omitzero"`    // of what it is done with
	Delivering string    `json:"delivering,omitzero"` // receipt of what the listener has
}

// restoredDelivery is one of the process before.
type restoredDelivery struct {
	*Delivery
	outbox *outbox
}

// ExportOutboxes are those of a node of a cluster. Calls are frozen, but not the listeners:
// what they are done with from here on, the process behind hears from its own.
func (b *Broker) ExportOutboxes() (exported []ExportedOutbox) {
	s := &b.node.outboxes
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.byBucket {
		e := ExportedOutbox{App: o.bucket.App, Bucket: o.bucket.Number, Due: o.due, Unserved: o.unserved, Lent: o.lent, Receipt: o.receipt, Delivering: o.delivering}
		if o.queued {
			e.Due = time.Now()
		}
		exported = append(exported, e)
	}
	return exported
}

// RestoreOutboxes goes on with them. Nothing is taken from those whose transitions a
// listener of the process before still has, until ReleaseDeliveries.
func (b *Broker) RestoreOutboxes(exported []ExportedOutbox) error {
	s := &b.node.outboxes
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range exported {
		bucket := cluster.Bucket{App: e.App, Number: e.Bucket}
		if s.byBucket[bucket] != nil {
			return fmt.Errorf("%w: an outbox is there twice", errRestore)
		}
		if s.byBucket == nil {
			s.byBucket = make(map[cluster.Bucket]*outbox)
		}
		o := &outbox{of: s, bucket: bucket, unserved: e.Unserved, lent: e.Lent, receipt: e.Receipt}
		s.byBucket[bucket] = o
		if e.Delivering != "" {
			b.restored = append(b.restored, restoredDelivery{o.begin(e.Delivering), o})
		}
		if !e.Due.IsZero() {
			o.schedule(max(time.Until(e.Due), 0))
		}
	}
	return nil
}

// Delivery is the one of an application that is known by a name, or nil.
func (a *App) Delivery(name string) *Delivery {
	s := &a.broker.node.outboxes
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range a.broker.restored {
		if d.outbox.bucket.App == a.id && d.name == name {
			return d.Delivery
		}
	}
	return nil
}

// ReleaseDeliveries ends RestoreOutboxes, once listeners hold what the process before has
// left. A delivery that nobody holds was done, and is acknowledged. With lost, it is not known
// what was done: each is given to the listener once more.
func (b *Broker) ReleaseDeliveries(lost bool) {
	for _, d := range b.restored {
		if lost {
			d.outbox.end("")
		} else {
			d.Release()
		}
	}
	b.restored = nil
}
