package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// After a failure the next attempt comes after a random part of a time that
// doubles from firstRetry to lastRetry.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// maxCalls is how many commands are on their way at once; more wait.
const maxCalls = 512

var errClosed = errors.New("this node was closed")

// session is a client, from a connection that succeeds to one that fails. What
// fails is thrown away and made anew, so there is one way of coming back.
type session struct {
	client  rueidis.Client
	node    string
	cluster bool   // a Redis Cluster
	publish string // the command that publishes
	clocks  *clocks
	turns   chan struct{}
	since   time.Time
	former  string      // who this node was until it lost its lease; empty if it did not
	suspect atomic.Bool // a call has failed: see whether the lease can be renewed

	mu         sync.Mutex          // guards the following
	registered map[string]struct{} // buckets that Redis knows the node uses
	emptied    map[string]struct{} // addresses of servers that have lost their data
	claimed    map[string]struct{} // dead nodes that this one buries

	// Owned by the loop.
	servers map[string]*subscriber // Pub/Sub connections by address; "" but in a Redis Cluster
	failed  map[string]*failure    // those that could not be connected to

	slots atomic.Pointer[slots] // of a Redis Cluster
}

// loop keeps up a session until Close.
func (d *Driver) loop() {
	var retry backoff
	for {
		s, err := d.connect()
		if err == nil {
			retry = backoff{}
			err = d.live(s)
		}
		d.losses.addAll()
		d.setDown(err)
		if s != nil {
			for _, c := range s.servers {
				d.listening.drop(c)
			}
			for _, f := range s.failed {
				f.abandon(d)
			}
			d.running.Go(s.client.Close) // which may wait for an answer
		}
		if wait(d.ctx, retry.next()) != nil {
			return
		}
	}
}

// live is one session; it returns why it ended.
func (d *Driver) live(s *session) error {
	d.setUp(s)
	d.listening.dirtyAll()
	tick := time.NewTicker(d.options.Renew)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	failed, doubted := make(chan error, 1), make(chan struct{}, 1)
	d.running.Go(func() { d.keepLease(ctx, s, doubted, failed) })
	var former <-chan time.Time
	if s.former != "" {
		former = time.After(cluster.ToldAgain / 2) // once the shares are told by the new name, so that nobody seems to leave
	}
	for {
		s.endEmptied()
		again := d.listen(s)
		var queue chan item
		lost := d.losses.due(again == nil, d.listening.missing)
		if lost != nil {
			queue = d.queue
		}
		select {
		case <-d.ctx.Done():
			if !d.move.is() {
				d.leave(s)
			}
			return errClosed
		case <-tick.C:
			d.tend(s)
		case err := <-failed:
			return err
		case <-d.check:
			if s.suspect.Load() {
				select {
				case doubted <- struct{}{}:
				default:
				}
			}
		case <-former:
			d.removeDead(s, []string{s.former})
		case <-again:
		case queue <- item{kind: restored, lost: lost}:
			d.losses.remove(lost)
			d.running.Go(func() { d.recall(s) })
		}
	}
}

// keepLease renews the lease until the context ends, or until that fails, beside the loop,
// which may wait for the receiver. It does so at once, too, when the lease is doubted.
func (d *Driver) keepLease(ctx context.Context, s *session, doubted <-chan struct{}, failed chan<- error) {
	tick := time.NewTicker(d.options.Renew)
	defer tick.Stop()
	var renewed time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-doubted:
			if time.Since(renewed) < firstRetry {
				continue // the next tick will see
			}
		}
		renewed = time.Now()
		s.suspect.Store(false)
		if err := d.renew(s); err != nil {
			failed <- err
			d.look()
			return
		}
	}
}

// connect begins a session.
func (d *Driver) connect() (*session, error) {
	client, err := rueidis.NewClient(d.client)
	if err != nil {
		return nil, d.note(err)
	}
	s := &session{
		client:     client,
		node:       d.node,
		cluster:    client.Mode() == rueidis.ClientModeCluster,
		publish:    "PUBLISH",
		clocks:     newClocks(),
		turns:      make(chan struct{}, maxCalls),
		since:      time.Now(),
		registered: make(map[string]struct{}),
		emptied:    make(map[string]struct{}),
		claimed:    make(map[string]struct{}),
		servers:    make(map[string]*subscriber),
		failed:     make(map[string]*failure),
	}
	if s.cluster {
		s.publish = "SPUBLISH"
	}
	// Redis may have forgotten the lease, or others may have taken it away:
	// both are the end of this node, and the beginning of another.
	err = d.lease(s, !d.leased)
	switch {
	case !errors.Is(err, errLost):
	case d.move.is(): // another process may be the node, and begin another one
		err = errElsewhere
	default:
		if err = d.bequeath(s); err == nil {
			s.former, d.node = d.node, newID()
			s.node = d.node
			err = d.lease(s, true)
		}
	}
	d.leased = d.leased || err == nil
	if err == nil && s.cluster {
		err = d.loadSlots(s)
	}
	if err != nil {
		if d.ctx.Err() != nil && !d.move.is() {
			d.leave(s) // the lease may have begun
		}
		client.Close()
		return nil, d.note(err)
	}
	return s, nil
}

// renew keeps the lease. An error ends the session. While only the server that has the
// leases is away, of several, the session goes on: nobody can take a node for dead then.
func (d *Driver) renew(s *session) error {
	err := d.lease(s, false)
	if err == nil && s.cluster {
		d.lookForEmptied(s)
	}
	if err == nil || s.cluster && !errors.Is(err, errLost) && d.answers(s) {
		return nil
	}
	return d.note(err)
}

// answers reports whether any server does.
func (d *Driver) answers(s *session) bool {
	ctx, cancel := d.timeout(d.ctx)
	defer cancel()
	nodes := s.client.Nodes()
	answers := make(chan error, len(nodes))
	for _, node := range nodes {
		d.running.Go(func() { answers <- node.Do(ctx, node.B().Ping().Build()).Error() })
	}
	for range nodes {
		if <-answers == nil {
			return true
		}
	}
	return false
}

// failed notes that a call has, and returns the error for its caller.
func (d *Driver) failed(s *session, err error) error {
	if unknown(err) || refuses(err) || errors.Is(err, errLost) {
		s.suspect.Store(true)
		d.look()
	}
	return d.note(err)
}

// unknown is failed for a call that changes something.
func (d *Driver) unknown(s *session, err error) error {
	failed := d.failed(s, err)
	if unknown(err) {
		return unclear(failed)
	}
	return failed
}

func (d *Driver) setUp(s *session) {
	d.mu.Lock()
	was := d.down
	d.session, d.down = s, nil
	d.mu.Unlock()
	if was != nil {
		d.log.Info("the cluster is reachable again")
	}
}

func (d *Driver) setDown(err error) {
	d.mu.Lock()
	was := d.down
	d.session, d.down = nil, d.note(err)
	d.mu.Unlock()
	d.listening.fail(err)
	if was == nil && d.ctx.Err() == nil {
		d.log.Warn("the cluster is not reachable", "error", err)
	}
}

// timeout bounds a call.
func (d *Driver) timeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.options.Timeout)
}

// backoff is how long to wait before the next attempt.
type backoff struct{ most time.Duration }

func (b *backoff) next() time.Duration {
	b.most = min(max(2*b.most, firstRetry), lastRetry)
	return b.most/2 + rand.N(b.most/2)
}
