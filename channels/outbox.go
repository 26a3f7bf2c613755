package channels

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// outboxes are the buckets of the cluster from which this node may have to deliver
// transitions.
type outboxes struct {
	broker *Broker

	mu       sync.Mutex // guards the following, and the fields of each outbox
	byBucket map[cluster.Bucket]*outbox
}

// outbox is a bucket's, from a hint until there is nothing to take.
type outbox struct {
	of     *outboxes
	bucket cluster.Bucket

	due        time.Time // when to take; zero: not by itself
	unserved   time.Time // since when its application is not; zero: it is
	queued     bool      // in the run queue, or being worked on
	delivering string    // receipt of what was taken and the listener has; empty: nothing
	lent       bool      // another node had it when this one looked, or may serve the application
	receipt    string    // of what it is done with
}

const (
	// lentInterval is how often it is looked whether a bucket is still lent to another
	// node, or its application still not served.
	lentInterval = 5 * time.Second
	// unservedFor is for how long the buckets of an application are offered to other nodes
	// that this node does not serve. What none of them takes stays in the cluster.
	unservedFor = time.Minute
)

// hint notes that a bucket has something to take.
func (s *outboxes) hint(h cluster.Hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.byBucket[h.Bucket]
	if o == nil {
		if s.byBucket == nil {
			s.byBucket = make(map[cluster.Bucket]*outbox)
		}
		o = &outbox{of: s, bucket: h.Bucket}
		s.byBucket[h.Bucket] = o
	}
	o.lent = false // the other node may have seen nothing of this
	o.schedule(h.In)
}

// waiting reports whether anything waits to be taken, or may: what is being delivered
// may not be all.
func (s *outboxes) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.byBucket {
		if !o.lent {
			return true
		}
	}
	return false
}

// schedule has the outbox taken from in a while. The lock is held.
func (o *outbox) schedule(in time.Duration) {
	if at := time.Now().Add(in); o.due.IsZero() || at.Before(o.due) {
		o.due = at
		if !o.push() {
			o.of.broker.timers.after(in, o.look)
		}
	}
}

// push queues the outbox if it is due, and reports whether no timer is needed. The
// lock is held.
func (o *outbox) push() bool {
	if o.queued || o.delivering != "" {
		return true // what comes then looks again
	}
	if o.due.IsZero() || time.Until(o.due) > 0 {
		return o.due.IsZero()
	}
	o.due, o.queued = time.Time{}, true
	o.of.broker.node.push(o)
	return true
}

func (o *outbox) look() {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	o.push()
}

// offer tells the nodes that serve the application of a bucket that its outbox has
// something.
func (o *outbox) offer(ctx context.Context) {
	payload := strconv.AppendInt([]byte{payloadOutbox}, int64(o.bucket.Number), 10)
	topic := cluster.Topic{App: o.bucket.App, Channel: controlName}
	_ = o.of.broker.driver.Publish(ctx, cluster.Publication{Topic: topic, Payload: payload}) // it is offered again
}

// offered takes an offer.
func (s *outboxes) offered(m cluster.Message) {
	if number, err := strconv.Atoi(string(m.Payload[1:])); err == nil {
		s.hint(cluster.Hint{Bucket: cluster.Bucket{App: m.Topic.App, Number: number}})
	}
}

// work takes transitions, and acknowledges those before. If the application is not served
// here, it leaves them to other nodes.
func (o *outbox) work() {
	b := o.of.broker
	ctx, cancel := b.within(queryTimeout)
	defer cancel()
	a := b.app(o.bucket.App)
	served := a != nil && a.listener != nil
	if unserved := b.unserved.Load(); a == nil && unserved != nil {
		(*unserved)(o.bucket.App)
	}
	receipt, forget := o.turn(served)
	var taken cluster.Taken
	var err error
	if served {
		taken, err = b.driver.Take(ctx, o.bucket, receipt)
	} else if err = b.driver.Return(ctx, o.bucket, receipt); err == nil {
		taken.Next = -1
		o.offer(ctx)
	}
	var delivery *Delivery
	o.of.mu.Lock()
	o.queued, o.lent = false, taken.Lent || !served
	switch {
	case err != nil:
		o.again(retryInterval)
	case len(taken.Transitions) > 0:
		delivery = o.begin(taken.Receipt)
	default:
		o.receipt = ""
		if o.lent && !forget {
			taken.Next = lentInterval // as the other node may forget it
		}
		if taken.Next >= 0 {
			o.again(taken.Next)
		} else if o.due.IsZero() {
			delete(o.of.byBucket, o.bucket)
		} else {
			o.again(time.Until(o.due))
		}
	}
	o.of.mu.Unlock()
	if delivery != nil {
		delivery.deliver(a.listener, taken.Transitions)
	}
}

// turn returns the receipt of what is done with, and whether to forget the bucket, as its
// application has not been served here for long.
func (o *outbox) turn(served bool) (receipt string, forget bool) {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	switch {
	case served:
		o.unserved = time.Time{}
	case o.unserved.IsZero():
		o.unserved = time.Now()
	default:
		forget = time.Since(o.unserved) >= unservedFor
	}
	return o.receipt, forget
}

// again is schedule for an outbox without a timer. The lock is held.
func (o *outbox) again(in time.Duration) {
	if !o.due.IsZero() {
		in = min(in, time.Until(o.due))
	}
	o.due = time.Time{}
	o.schedule(max(in, 0))
}

var transitionNames = map[cluster.TransitionKind]string{
	cluster.Occupied: protocol.WebhookChannelOccupied,
	cluster.Vacated:  protocol.WebhookChannelVacated,
	cluster.Added:    protocol.WebhookMemberAdded,
	cluster.Removed:  protocol.WebhookMemberRemoved,
	cluster.Counted:  protocol.WebhookSubscriptionCount,
}

// Delivery are transitions that the listener was given together. The cluster keeps them
// until nobody holds the delivery, and then gives the next ones. Its methods may be called
// concurrently; Hold, Fail and Release do nothing to a nil one.
type Delivery struct {
	name    string
	done    func(failed bool)
	holders atomic.Int64
	failed  atomic.Bool
}

// NewDelivery is held once. done is called when nobody holds it any more.
func NewDelivery(name string, done func(failed bool)) *Delivery {
	d := &Delivery{name: name, done: done}
	d.holders.Store(1)
	return d
}

// Name tells the delivery from all others of its application.
func (d *Delivery) Name() string { return d.name }

// Hold keeps the delivery. It is called by one who holds it, or during Happened.
func (d *Delivery) Hold() {
	if d != nil {
		d.holders.Add(1)
	}
}

// Fail has the cluster give all of the delivery once more, to any node, when nobody holds
// it any more. It is called by one who holds it, or during Happened.
func (d *Delivery) Fail() {
	if d != nil {
		d.failed.Store(true)
	}
}

// Release ends Hold.
func (d *Delivery) Release() {
	if d != nil && d.holders.Add(-1) == 0 {
		d.done(d.failed.Load())
	}
}

// begin returns a delivery of the bucket. The lock is held.
func (o *outbox) begin(receipt string) *Delivery {
	o.delivering = receipt
	return NewDelivery(strconv.Itoa(o.bucket.Number)+" "+receipt, func(failed bool) {
		if failed {
			o.end("")
		} else {
			o.end(receipt)
		}
	})
}

// end goes on after a delivery. Without a receipt, the same is delivered once more.
func (o *outbox) end(receipt string) {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	o.delivering, o.receipt = "", receipt
	o.due = time.Now()
	o.push()
}

// deliver tells the listener.
func (d *Delivery) deliver(listener Listener, transitions []cluster.Transition) {
	defer d.Release()
	for _, t := range transitions {
		listener.Happened(protocol.WebhookEvent{Name: transitionNames[t.Kind], Channel: t.Channel, UserID: t.UserID, Count: t.Count}, d)
	}
}
