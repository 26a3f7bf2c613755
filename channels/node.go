package channels

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// node is a broker's part in a cluster: what is on its way there, and what has to be
// tried again.
type node struct {
	lanes [lanes]chan sent // client events, by channel
	stop  chan struct{}
	done  sync.WaitGroup // of all goroutines

	queue    fifo[work]   // what waits for a worker
	busy     atomic.Int64 // what is queued or worked on
	outboxes outboxes
	sending  atomic.Int64 // client events in lanes, or being published
	freezing sync.RWMutex // held by those who call the cluster for nobody who waits; see Broker.FreezeCalls
	moved    atomic.Bool  // the node goes on in another process

	mu         sync.Mutex            // guards unfinished
	unfinished map[*channel]struct{} // those that are held
}

// work is what calls the cluster, in the turn of whatever it is about.
type work interface{ work() }

const (
	// workers is how many calls to the cluster are made at once.
	workers = 256
	// lanes and laneLength bound the client events that are on their way to the
	// cluster: those of one channel are in one lane, to keep their order.
	lanes      = 4
	laneLength = 256
	// publishTimeout is how long a publish may wait for the cluster.
	publishTimeout = 5 * time.Second
	// partTimeout is how long the cluster may take to be told that nobody is
	// left.
	partTimeout = 3 * time.Second
	// retryInterval is how often it is tried to tell the cluster what it could
	// not be told.
	retryInterval = 500 * time.Millisecond
	// retryAway is how many channels are tried again at a time while the cluster
	// cannot be reached.
	retryAway = 1000
)

// join makes the broker a node.
func (b *Broker) join() {
	n := &b.node
	n.stop = make(chan struct{})
	n.unfinished = make(map[*channel]struct{})
	n.queue.init()
	n.outboxes.broker = b
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for i := range n.lanes {
		n.lanes[i] = make(chan sent, laneLength)
		n.done.Go(func() { b.sendLane(n.lanes[i]) })
	}
	for range workers {
		n.done.Go(n.run)
	}
	n.done.Go(b.retry)
	b.driver.Start(b)
}

// part leaves the cluster, once that knows what is so. A node that has moved stays there.
func (b *Broker) part() {
	close(b.node.stop)
	if !b.node.moved.Load() {
		ctx, cancel := context.WithTimeout(b.ctx, partTimeout)
		b.await(ctx, func() bool { return b.node.busy.Load() == 0 })
		cancel()
		b.driver.Close()
	}
	b.cancel()
	b.node.queue.close()
	b.node.done.Wait()
}

func (n *node) push(w work) {
	n.busy.Add(1)
	n.queue.push(w)
}

func (n *node) run() {
	for w, ok := n.queue.next(); ok; w, ok = n.queue.next() {
		n.freezing.RLock()
		if !n.moved.Load() {
			w.work()
		}
		n.freezing.RUnlock()
		n.busy.Add(-1)
	}
}

// retryLater has a channel that is held tried again.
func (n *node) retryLater(c *channel) {
	n.mu.Lock()
	n.unfinished[c] = struct{}{}
	n.mu.Unlock()
}

// forget ends that, for a channel that is no more.
func (n *node) forget(c *channel) {
	n.mu.Lock()
	delete(n.unfinished, c)
	n.mu.Unlock()
}

// takeUnfinished takes out some of those that are held, most of them at most.
func (n *node) takeUnfinished(most int) (channels []*channel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.unfinished {
		if len(channels) == most {
			break
		}
		channels = append(channels, c)
		delete(n.unfinished, c)
	}
	return channels
}

// retry tries again what could not be told.
func (b *Broker) retry() {
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.node.stop:
			return
		case <-ticker.C:
		}
		most := -1 // all
		if b.driver.Ready() != nil {
			most = retryAway
		}
		for _, c := range b.node.takeUnfinished(most) {
			c.mu.Lock()
			c.remote.held = false
			c.unlock(nil)
		}
	}
}

// within bounds a call that somebody waits for.
func (b *Broker) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, d)
}

// sent is a client event on its way.
type sent struct {
	from  *Subscription
	event cluster.Kept          // not kept if Events is 0
	told  protocol.WebhookEvent // what the backend is told once it is published
}

// send queues a client event. told is not kept.
func (b *Broker) send(from *Subscription, e cluster.Kept, told protocol.WebhookEvent) error {
	if err := b.driver.Reaches(e.Topic); err != nil {
		return err
	}
	told.Data = slices.Clone(told.Data)
	b.node.sending.Add(1)
	select {
	case b.node.lanes[int(from.channel.home)%lanes] <- sent{from, e, told}:
		return nil
	default:
		b.node.sending.Add(-1)
		return ErrBusy
	}
}

// sendLane publishes the client events of a lane, many at a time when there
// are.
func (b *Broker) sendLane(lane <-chan sent) {
	var plain, kept []sent
	var publications []cluster.Publication
	var events []cluster.Kept
	for {
		plain, kept, publications, events = plain[:0], kept[:0], publications[:0], events[:0]
		add := func(s sent) {
			if s.event.Events > 0 {
				kept, events = append(kept, s), append(events, s.event)
			} else {
				plain, publications = append(plain, s), append(publications, s.event.Publication)
			}
		}
		select {
		case <-b.node.stop:
			return
		case s := <-lane:
			add(s)
		}
		for more := true; more && len(plain)+len(kept) < laneLength; {
			select {
			case s := <-lane:
				add(s)
			default:
				more = false
			}
		}
		if len(plain) > 0 {
			ctx, cancel := b.within(publishTimeout)
			tell(plain, b.driver.Publish(ctx, publications...))
			cancel()
		}
		if len(kept) > 0 {
			ctx, cancel := b.within(publishTimeout)
			tell(kept, b.driver.Keep(ctx, events...))
			cancel()
		}
		b.node.sending.Add(-int64(len(plain) + len(kept)))
		clear(plain)
		clear(kept)
		clear(publications)
		clear(events)
	}
}

// tell tells what became of client events. err is that of the call.
func tell(batch []sent, err error) {
	var partial *cluster.PartialError
	errors.As(err, &partial)
	for i, s := range batch {
		if partial != nil {
			err = partial.Each[i]
		}
		switch l := s.from.channel.app.listener; {
		case err != nil:
			s.from.subscriber.Dropped(s.from.channel.name, err)
		case l != nil:
			l.Happened(s.told, nil)
		}
	}
}

// Receive implements cluster.Receiver.
func (b *Broker) Receive(m cluster.Message) {
	a := b.app(m.Topic.App)
	if a == nil {
		return
	}
	if m.Kind == cluster.Occupancy {
		a.users.occupancy(m)
		return
	}
	if len(m.Payload) > 0 {
		switch m.Payload[0] {
		case payloadTerminate:
			a.terminated(m)
			return
		case payloadOutbox:
			b.node.outboxes.offered(m)
			return
		}
	}
	c := a.lockExisting(m.Topic.Channel)
	if c == nil {
		return // nobody is left
	}
	for room := c.waitForRoom(); room != nil; room = c.waitForRoom() {
		c.mu.Unlock()
		<-room
		c.mu.Lock()
	}
	c.unlock(c.receive(m, time.Now()))
}

// receive takes what came from the cluster. mu is held.
func (c *channel) receive(m cluster.Message, now time.Time) (idle []*shard) {
	switch {
	case m.Kind == cluster.Count:
		c.remote.total = m.Count
		c.remote.heard++
		return c.countChanged(0)
	case m.Kind > cluster.Count || m.Kind == cluster.Members && !c.kind.IsPresence():
		return nil
	case m.Version.Epoch != "" && c.mirrored():
		return c.apply(m, now)
	}
	if m.Version.Epoch != "" { // another node keeps what this one does not: should it begin to, nothing is known
		c.remote.loaded, c.remote.version = false, cluster.Version{}
	}
	e, err := parseEvent(m.Payload)
	if err != nil {
		return nil
	}
	c.noteRelayed(e, now)
	p := pending{frame: c.frame(e, m.Version), except: e.except, at: now, following: c.app.followRelayed(c.name, e, now)}
	idle = c.append(p)
	p.following.pending(c)
	return idle
}

// Restored implements cluster.Receiver.
func (b *Broker) Restored(lost func(cluster.Topic) bool) {
	now := time.Now()
	for _, a := range b.all() {
		a.change("", func(c *channel) []*shard {
			if !lost(c.topic()) {
				return nil
			}
			return c.restored(now)
		})
		a.users.doubt(a, lost)
	}
}

// Shares implements cluster.Receiver.
func (b *Broker) Shares(topics []cluster.Topic) {
	for _, t := range topics {
		a := b.app(t.App)
		if a == nil {
			continue // another application's channels are not this node's to speak of
		}
		c := a.lock(t.Channel)
		if r := c.remote; c.present() == 0 && r.acked.certain && r.acked.count == 0 {
			r.doubt()
		}
		c.unlock(nil)
	}
}

// Due implements cluster.Receiver.
func (b *Broker) Due(h cluster.Hint) { b.node.outboxes.hint(h) }

// Flush waits until no call to the cluster is queued and no departure waits for its
// grace, or the context ends. It does not wait for the next try of a call that has
// failed. On a single node it does nothing.
func (b *Broker) Flush(ctx context.Context) {
	if b.driver != nil {
		b.await(ctx, func() bool { return b.node.busy.Load() == 0 && !b.node.outboxes.waiting() })
	}
}

// await looks at a condition until it is true, or the context ends.
func (b *Broker) await(ctx context.Context, condition func() bool) {
	again := time.NewTicker(ripenStep)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// Ready is nil on a single node, and while the cluster can be reached.
func (b *Broker) Ready() error {
	if b.driver == nil {
		return nil
	}
	return b.driver.Ready()
}

// Waits reports whether Subscribe and SignIn may wait.
func (a *App) Waits() bool { return a.broker.driver != nil }
