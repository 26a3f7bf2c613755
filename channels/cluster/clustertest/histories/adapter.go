package histories

import (
	"context"
	"sync"
	"time"

	"belfry/channels"
	"belfry/channels/cluster"
	"belfry/protocol"
)

// This file is all that knows what the contract of drivers looks like, and where
// the grace of departures is kept: nothing else in this package calls a driver,
// or [channels.Broker.Settle].

// Driver is what a broker is made with.
type Driver = cluster.Driver

// broker makes a node's broker, which starts the driver and closes it.
func broker(d Driver) *channels.Broker { return channels.NewBroker(2, d) }

// backend is told of what happens to one node's application, and tells the
// world when it is final. It does what package webhooks does with departures:
// they wait for the grace, and vanish with an arrival; the cluster is asked then
// whether they have lasted.
type backend struct {
	broker *channels.Broker
	grace  time.Duration
	tell   func(protocol.WebhookEvent)

	mu       sync.Mutex // guards the following
	waiting  map[departure]*held
	settling int // of which it is being asked whether they have lasted
	closed   bool
}

type departure struct{ name, channel, user string }

// held is a departure's grace.
type held struct{ timer *time.Timer }

// departures are the events that may be taken back, and arrivals by what.
var (
	departures = map[string]bool{protocol.WebhookChannelVacated: true, protocol.WebhookMemberRemoved: true}
	arrivals   = map[string]string{protocol.WebhookChannelOccupied: protocol.WebhookChannelVacated, protocol.WebhookMemberAdded: protocol.WebhookMemberRemoved}
)

func newBackend(b *channels.Broker, grace time.Duration, tell func(protocol.WebhookEvent)) *backend {
	return &backend{broker: b, grace: grace, tell: tell, waiting: make(map[departure]*held)}
}

// Grace implements [channels.Listener].
func (b *backend) Grace() time.Duration { return b.grace }

// Happened implements [channels.Listener].
func (b *backend) Happened(e protocol.WebhookEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if departures[e.Name] {
		b.wait(departure{e.Name, e.Channel, e.UserID}, b.grace)
		return
	}
	if gone, ok := arrivals[e.Name]; ok {
		d := departure{gone, e.Channel, e.UserID}
		if h := b.waiting[d]; h != nil {
			h.timer.Stop()
			delete(b.waiting, d)
			return
		}
	}
	b.tell(e)
}

// wait keeps a departure back. mu is held.
func (b *backend) wait(d departure, grace time.Duration) {
	if h := b.waiting[d]; h != nil {
		h.timer.Stop()
	}
	h := new(held)
	h.timer = time.AfterFunc(grace, func() { b.settle(d, h) })
	b.waiting[d] = h
}

// settleAgain is when a cluster that could not be reached is asked again.
const settleAgain = time.Second

// settle ends the grace of a departure.
func (b *backend) settle(d departure, h *held) {
	b.mu.Lock()
	if b.waiting[d] != h {
		b.mu.Unlock()
		return
	}
	delete(b.waiting, d)
	b.settling++
	b.mu.Unlock()
	e := protocol.WebhookEvent{Name: d.name, Channel: d.channel, UserID: d.user}
	lasted, err := b.broker.Settle(app, []protocol.WebhookEvent{e})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settling--
	switch {
	case b.closed:
	case err != nil:
		b.wait(d, settleAgain)
	case lasted[0]:
		b.tell(e)
	}
}

// await returns when nothing waits for its grace, or the context ends.
func (b *backend) await(ctx context.Context) {
	for {
		b.mu.Lock()
		idle := len(b.waiting)+b.settling == 0
		b.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// close ends it: nothing is told any more. What has waited is told first, unless
// the process has died.
func (b *backend) close(died bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for d, h := range b.waiting {
		h.timer.Stop()
		if !died {
			b.tell(protocol.WebhookEvent{Name: d.name, Channel: d.channel, UserID: d.user})
		}
	}
	clear(b.waiting)
}

// drainWithin is how long a node takes to end at most.
const drainWithin = 9 * time.Second

// drain ends a node whose clients have gone, as the server does.
func drain(b *channels.Broker, hooks *backend) {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	b.Flush(ctx)
	hooks.await(ctx)
	b.Close()
	hooks.close(false)
}
