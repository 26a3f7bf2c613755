// Package redis is a cluster of nodes that share a Redis: a single server, one
// watched by Sentinel, or a Redis Cluster. It needs Redis 7.0 or later.
//
// What the nodes have together is in Redis, and changes only in scripts (the
// files in lua), which also publish what listeners are told of a change: so all
// see one order. A node subscribes to just the channels it listens to, in a
// Redis Cluster with sharded Pub/Sub.
//
// Channels are spread over a number of buckets. All of a bucket has one hash
// tag, so that a script finds it on one server; see [keys].
//
// # What a failure may leave open
//
// A message that is not kept is published by one plain command. If the connection ends
// before the answer, nobody knows whether it was published: the error says so. Updates
// are sent with a deadline in Redis' own time, so that one that waited in a server which
// stood still does nothing when it wakes up. Publications of one call are one command
// each: some may succeed and others fail.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// Defaults of [Options].
const (
	DefaultPrefix  = "belfry"
	DefaultTimeout = 2 * time.Second
	DefaultLease   = 8 * time.Second
	DefaultRenew   = 2 * time.Second
)

// maxQueued is how many messages wait for the receiver at most. More stay in
// Redis, which cuts off a client that is too far behind.
const maxQueued = 1024

// Options say where Redis is, and how it is used.
type Options struct {
	// URL is redis://user:password@host:port/database, or rediss:// for TLS,
	// with further servers as ?addr=host:port&addr=host:port. A Redis Cluster
	// is recognised. With ?master_set=name the addresses are those of Sentinels,
	// which are logged in to with sentinel_username and sentinel_password.
	URL string
	// Prefix keeps apart clusters that share a Redis: without { and }.
	Prefix string
	// TLS is for rediss; nil: the system's authorities.
	TLS *tls.Config
	Log *slog.Logger

	// Timeout is how long a call takes at most.
	Timeout time.Duration
	// Lease is how long a node that is not heard of counts as alive, and Renew
	// how often one says that it is. Lease and two Renews are to be below
	// [cluster.DeadAfter].
	Lease, Renew time.Duration
}

// Driver is a node of the cluster.
type Driver struct {
	options Options
	client  rueidis.ClientOption
	keys    keys
	log     *slog.Logger

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	started atomic.Bool
	queue   chan item
	check   chan struct{} // has the loop see what is to be done

	listening topics

	mu      sync.Mutex          // guards the following
	session *session            // nil: there is no connection
	down    error               // why not; nil at the beginning
	buckets map[string]struct{} // where node may have shares
	born    int64               // since when Redis has its data, in its own time in µs; 0 at first
	settled time.Time           // when all nodes have told their shares since it has lost those before

	losses losses
	latest latest
	move   move

	// Owned by the loop.
	node   string // id, new after each lost lease
	leased bool   // it has begun a lease
}

// read sets what is left out of the options, and returns what they amount to.
func (o *Options) read() (rueidis.ClientOption, keys, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		return rueidis.ClientOption{}, keys{}, errors.New("redis: the prefix must not have { or } in it")
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.Renew <= 0 {
		o.Renew = DefaultRenew
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	client, err := clientOption(*o)
	return client, newKeys(o.Prefix, client.SelectDB), err
}

// New reads the options. It does not connect.
func New(o Options) (*Driver, error) {
	client, keys, err := o.read()
	if err != nil {
		return nil, err
	}
	d := &Driver{
		options: o,
		client:  client,
		keys:    keys,
		log:     o.Log,
		queue:   make(chan item, maxQueued),
		check:   make(chan struct{}, 1),
		buckets: make(map[string]struct{}),
		node:    newID(),
	}
	d.move.flush = make(chan struct{}, 1)
	d.listening.init()
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// Start implements [cluster.Driver].
func (d *Driver) Start(r cluster.Receiver) {
	d.started.Store(true)
	d.running.Go(func() { d.deliver(r) })
	d.running.Go(d.loop)
}

// Close implements [cluster.Driver]. It takes as long as the share is large, and
// twice the timeout at most.
func (d *Driver) Close() {
	d.cancel()
	d.running.Wait()
}

// Ready implements [cluster.Driver].
func (d *Driver) Ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.session == nil && d.down == nil:
		return unavailable(errors.New("not connected yet"))
	case d.session == nil:
		return d.down
	case !d.session.cluster:
		if err := d.listening.broken(""); err != nil {
			return err
		}
	}
	if all, some := d.losses.are(); all || some && !d.session.cluster {
		return unavailable(errors.New("not all channels are subscribed to again yet"))
	}
	return nil
}

// Reaches implements [cluster.Bus]. In a Redis Cluster, it tells one server that is away
// from the others.
func (d *Driver) Reaches(t cluster.Topic) error {
	if err := d.Ready(); err != nil {
		return err
	}
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	return d.away(s, t)
}

// away is why the server of a topic is known to be away, nil if it is not.
func (d *Driver) away(s *session, t cluster.Topic) error {
	if s == nil || !s.cluster {
		return nil
	}
	name := d.keys.name(t)
	return d.listening.broken(s.slots.Load().owner(s.slot(name)))
}

// connected returns the session, or waits for the first one. If the context has ended,
// that is an error.
func (d *Driver) connected(ctx context.Context) (*session, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, unavailable(err)
		}
		d.mu.Lock()
		s, down := d.session, d.down
		d.mu.Unlock()
		switch {
		case d.ctx.Err() != nil:
			return nil, unavailable(errClosed)
		case s != nil:
			return s, nil
		case down != nil:
			return nil, down
		}
		if err := wait(ctx, connectPoll); err != nil {
			return nil, unavailable(err)
		}
	}
}

// isAway reports whether there is no session, so that nothing is being listened to.
func (d *Driver) isAway() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session == nil
}

// connectPoll is how often the beginning of the first session is looked for.
const connectPoll = 20 * time.Millisecond

// look has the loop see what is to be done.
func (d *Driver) look() {
	select {
	case d.check <- struct{}{}:
	default:
	}
}

// item is a call of the receiver.
type item struct {
	kind    itemKind
	message cluster.Message
	from    *topic // of the message
	ignored int    // of the topic, when it came
	mark    string // what a mark says
	hint    cluster.Hint
	shares  []cluster.Topic
	lost    func(cluster.Topic) bool
}

type itemKind uint8

const (
	received itemKind = iota
	restored
	shares
	due
	mark // see move
)

// deliver calls the receiver.
func (d *Driver) deliver(r cluster.Receiver) {
	call := func(i item) { d.call(r, i) }
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-d.move.flush:
			d.admit(item{kind: mark}, call)
		case next := <-d.queue:
			if !d.move.looks.Load() && next.kind != mark {
				call(next)
			} else {
				d.admit(next, call)
			}
		}
	}
}

// call makes a call of the receiver.
func (d *Driver) call(r cluster.Receiver, i item) {
	switch i.kind {
	case received:
		if d.listening.wants(i) {
			r.Receive(i.message)
		}
	case restored:
		r.Restored(i.lost)
	case shares:
		r.Shares(i.shares)
	case due:
		r.Due(i.hint)
	}
}

// unclear makes an error one of a call that may have had its effect.
func unclear(err error) error { return fmt.Errorf("%w: %w", cluster.ErrUnknown, err) }

// unavailable makes an error of the cluster.
func unavailable(err error) error {
	if errors.Is(err, cluster.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("redis: %w: %w", cluster.ErrUnavailable, err)
}

// wait returns an error if the context ends first.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
