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
	suspect atomic.Bool // a call has failed: see whether the lease can be renewed

	mu         sync.Mutex          // guards the following
	registered map[string]struct{} // buckets that Redis knows the node uses
	claimed    map[string]struct{} // dead nodes that this one buries

	// Owned by the loop.
	renewed time.Time
	servers map[string]*subscriber // Pub/Sub connections by address; "" but in a Redis Cluster
	failed  map[string]*failure    // those that could not be connected to
	slots   slots                  // of a Redis Cluster
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
		d.missed.Store(true)
		d.lost = nil
		d.setDown(err)
		if s != nil {
			for _, c := range s.servers {
				d.listening.drop(c)
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
	for {
		again := d.listen(s)
		var queue chan item
		if again == nil && d.missed.Load() {
			queue = d.queue
		}
		select {
		case <-d.ctx.Done():
			d.leave(s)
			return errClosed
		case <-tick.C:
			if err := d.renew(s); err != nil {
				return err
			}
			d.tend(s)
		case <-d.check:
			if s.suspect.Load() && time.Since(s.renewed) > firstRetry { // else, the next tick sees
				if err := d.renew(s); err != nil {
					return err
				}
			}
		case <-again:
		case queue <- item{kind: restored, lost: d.lost}:
			d.lost = make(map[cluster.Topic]struct{})
			d.missed.Store(false)
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
		claimed:    make(map[string]struct{}),
		servers:    make(map[string]*subscriber),
		failed:     make(map[string]*failure),
	}
	if s.cluster {
		s.publish = "SPUBLISH"
	}
	// Redis may have forgotten the lease, or others may have taken it away:
	// both are the end of this node, and the beginning of another.
	err = d.lease(s, !d.missed.Load())
	if errors.Is(err, errLost) {
		d.node = newID()
		s.node = d.node
		err = d.lease(s, true)
	}
	if err == nil && s.cluster {
		err = d.loadSlots(s)
	}
	if err != nil {
		client.Close()
		return nil, d.note(err)
	}
	return s, nil
}

// renew keeps the lease. An error ends the session.
func (d *Driver) renew(s *session) error {
	s.renewed = time.Now()
	s.suspect.Store(false)
	err := d.lease(s, false)
	if err != nil {
		return d.note(err)
	}
	return nil
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
