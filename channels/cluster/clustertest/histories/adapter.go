package histories

import (
	"context"
	"sync"
	"time"

	"belfry/channels"
	"belfry/channels/cluster"
	"belfry/protocol"
)

// This file is all that knows what the contract of drivers looks like, and how the
// listener of an application's events acknowledges them: nothing else in this package
// calls a driver.

// Driver is what a broker is made with.
type Driver = cluster.Driver

// broker makes a node's broker, which starts the driver and closes it.
func broker(d Driver) *channels.Broker { return channels.NewBroker(2, d) }

const (
	// batchAfter is how long after the first event a batch is delivered, and
	// answeredAfter how long after that the answer is there.
	batchAfter    = 50 * time.Millisecond
	answeredAfter = 10 * time.Millisecond
	// drainWithin is how long a node takes to end at most.
	drainWithin = 9 * time.Second
)

// backend is told of what has happened to one node's application. It does what
// package webhooks does: it tells the world in batches, and is done with a batch when
// that has answered.
type backend struct {
	tell func(protocol.WebhookEvent)

	mu         sync.Mutex // guards the following
	queue      []told
	delivering bool
	idle       *sync.Cond // not delivering
	closed     bool       // nothing is taken any more
	died       bool       // and what was taken is not delivered
}

// told is an event, and the delivery that it is part of, if any.
type told struct {
	event    protocol.WebhookEvent
	delivery *channels.Delivery
}

func newBackend(tell func(protocol.WebhookEvent)) *backend {
	b := &backend{tell: tell}
	b.idle = sync.NewCond(&b.mu)
	return b
}

// Lost implements [channels.Listener].
func (b *backend) Lost(string, int) {}

// Wants implements [channels.Listener].
func (b *backend) Wants(string) bool { return true }

// Happened implements [channels.Listener].
func (b *backend) Happened(e protocol.WebhookEvent, d *channels.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	d.Hold() // for good if it is not delivered
	if b.closed {
		return
	}
	b.queue = append(b.queue, told{e, d})
	if !b.delivering {
		b.delivering = true
		time.AfterFunc(batchAfter, b.deliver)
	}
}

// deliver delivers what is queued until there is nothing more.
func (b *backend) deliver() {
	for {
		b.mu.Lock()
		batch := b.queue
		b.queue = nil
		if len(batch) == 0 || b.died {
			b.delivering = false
			b.idle.Broadcast()
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		for _, t := range batch {
			b.tell(t.event)
		}
		<-time.After(answeredAfter)
		b.mu.Lock()
		died := b.died
		b.mu.Unlock()
		for _, t := range batch {
			if !died {
				t.delivery.Release()
			}
		}
	}
}

// close delivers what is queued, and takes no more.
func (b *backend) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for b.delivering {
		b.idle.Wait()
	}
}

// open has it take more.
func (b *backend) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = false
}

// die ends it as it stands.
func (b *backend) die() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.died = true, true
}

// drain ends a node whose clients have gone, as the server does.
func drain(b *channels.Broker, hooks *backend) {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	b.Flush(ctx)
	hooks.close()
	b.Close()
}
