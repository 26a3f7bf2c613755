package channels

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// node is a broker's part in a cluster: its applications, what is on its way to
// the cluster, and what could not be told.
type node struct {
	driver  cluster.Driver
	calls   chan struct{}    // one for each channel that may be brought up to date at a time
	lanes   [lanes]chan sent // client events, by channel
	stop    chan struct{}
	done    sync.WaitGroup // of the lanes and of retry
	working sync.WaitGroup // of what brings the cluster up to date

	mu         sync.Mutex            // guards the following
	unfinished map[*channel]struct{} // to be tried again
}

const (
	// maxCalls is how many channels are brought up to date at a time.
	maxCalls = 256
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
)

// sent is a client event on its way.
type sent struct {
	from        *Subscription
	publication cluster.Publication
}

// join makes the broker a node.
func (b *Broker) join() {
	n := &b.node
	n.driver = b.driver
	n.calls = make(chan struct{}, maxCalls)
	n.stop = make(chan struct{})
	n.unfinished = make(map[*channel]struct{})
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for i := range n.lanes {
		n.lanes[i] = make(chan sent, laneLength)
		n.done.Go(func() { b.sendLane(n.lanes[i]) })
	}
	n.done.Go(n.retry)
	b.driver.Start(b)
}

// part leaves the cluster.
func (b *Broker) part() {
	close(b.node.stop)
	late := time.AfterFunc(partTimeout, b.cancel)
	b.node.working.Wait() // its outcomes are the backend's to know
	late.Stop()
	b.driver.Close()
	b.cancel()
	b.node.done.Wait()
	b.node.working.Wait() // for what came in meanwhile
}

// controlName is the channel of what concerns the whole application, on which
// nobody can be.
const controlName = ""

// listen has the node receive what is published on a channel, before long,
// until as many calls of ignore.
func (a *App) listen(name string) {
	c := a.lock(name)
	c.remote.entering++
	c.kick()
	c.mu.Unlock()
}

func (a *App) ignore(name string) {
	c := a.lock(name)
	c.remote.entering--
	c.kick()
	c.removeIfUnused()
	c.mu.Unlock()
}

// work brings the cluster up to date about a channel, in a goroutine.
func (b *Broker) work(c *channel) {
	b.node.working.Go(func() {
		b.node.calls <- struct{}{}
		defer func() { <-b.node.calls }()
		c.work()
	})
}

// retryLater has a channel's work tried again.
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

// retry tries again what could not be told, when the cluster can be reached.
func (n *node) retry() {
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-ticker.C:
		}
		if n.driver.Ready() != nil {
			continue
		}
		n.mu.Lock()
		again := n.unfinished
		n.unfinished = make(map[*channel]struct{})
		n.mu.Unlock()
		for c := range again {
			c.mu.Lock()
			if !c.dead {
				c.kick()
				c.removeIfUnused()
			}
			c.mu.Unlock()
		}
	}
}

// send queues a client event.
func (n *node) send(from *Subscription, p cluster.Publication) error {
	if err := n.driver.Ready(); err != nil {
		return err
	}
	select {
	case n.lanes[int(from.channel.home)%lanes] <- sent{from, p}:
		return nil
	default:
		return ErrBusy
	}
}

// sendLane publishes the client events of a lane, many at a time when there
// are.
func (b *Broker) sendLane(lane <-chan sent) {
	var batch []sent
	var publications []cluster.Publication
	for {
		select {
		case <-b.node.stop:
			return
		case s := <-lane:
			batch = append(batch[:0], s)
		}
		for more := true; more && len(batch) < laneLength; {
			select {
			case s := <-lane:
				batch = append(batch, s)
			default:
				more = false
			}
		}
		publications = publications[:0]
		for _, s := range batch {
			publications = append(publications, s.publication)
		}
		ctx, cancel := b.within(publishTimeout)
		if err := b.driver.Publish(ctx, publications...); err != nil {
			for _, s := range batch {
				s.from.subscriber.Dropped(s.from.channel.name, err)
			}
		}
		cancel()
		clear(batch)
		clear(publications)
	}
}

func (a *App) publishToCluster(events []Publication) error {
	publications := make([]cluster.Publication, len(events))
	ttl := a.limits.Load().CacheTTL
	for i, e := range events {
		p := &publications[i]
		p.Topic = cluster.Topic{App: a.id, Channel: e.Channel}
		p.Payload = eventPayload(e.Event.Frame(), e.Except)
		if protocol.KindOf(e.Channel).IsCache() {
			p.Keep = ttl
		}
	}
	ctx, cancel := a.broker.within(publishTimeout)
	defer cancel()
	return a.broker.driver.Publish(ctx, publications...)
}

func (c *channel) publication(p pending) cluster.Publication {
	return cluster.Publication{Topic: c.topic(), Payload: eventPayload(p.frame, p.except)}
}

// What is published between nodes begins with a letter.
const (
	payloadEvent     = 'e' // who must not receive it, a space, the message
	payloadTerminate = 't' // on a user's channel: its connections are to be closed; on the application's: those of the member that follows
)

func eventPayload(f protocol.Frame, except protocol.SocketID) []byte {
	message := f.JSON()
	b := append(make([]byte, 0, len(message)+24), payloadEvent)
	if except != (protocol.SocketID{}) {
		b = append(b, except.String()...)
	}
	b = append(b, ' ')
	return append(b, message...)
}

// relayed is what another node has published.
type relayed struct {
	except protocol.SocketID
	json   []byte
}

var errNoEvent = errors.New("payload is not an event")

func parseEvent(payload []byte) (relayed, error) {
	if len(payload) == 0 || payload[0] != payloadEvent {
		return relayed{}, errNoEvent
	}
	id, message, ok := bytes.Cut(payload[1:], []byte{' '})
	if !ok || len(message) == 0 || message[0] != '{' {
		return relayed{}, errNoEvent
	}
	e := relayed{json: message}
	if len(id) > 0 {
		if e.except, ok = protocol.ParseSocketID(string(id)); !ok {
			return relayed{}, errNoEvent
		}
	}
	return e, nil
}

// data is the JSON text of the event's data.
func (e relayed) data() []byte {
	var m struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(e.json, &m) != nil {
		return nil
	}
	return m.Data
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
	if len(m.Payload) > 0 && m.Payload[0] == payloadTerminate {
		a.terminated(m)
		return
	}
	c := a.lockExisting(m.Topic.Channel)
	if c == nil {
		return // nobody is left
	}
	switch m.Kind {
	case cluster.MemberAdded, cluster.MemberRemoved:
		c.memberChanged(m)
		c.mu.Unlock()
	case cluster.Count:
		c.remote.heard = m.Count
		c.publish(pending{frame: protocol.SubscriptionCountFrame(c.name, m.Count), at: time.Now()})
	case cluster.Published:
		if e, err := parseEvent(m.Payload); err == nil {
			c.receive(e, m.Version)
			return
		}
		c.mu.Unlock()
	default:
		c.mu.Unlock()
	}
}

// receive delivers what came from the cluster to this node's subscribers. mu is
// held, and released.
func (c *channel) receive(e relayed, version uint64) {
	now := time.Now()
	p := pending{frame: protocol.TextFrame(e.json), except: e.except, at: now}
	for {
		room := c.waitForRoom()
		if room == nil {
			break
		}
		c.mu.Unlock()
		<-room
		c.mu.Lock()
	}
	if version > 0 {
		if version <= c.remote.kept {
			c.mu.Unlock()
			return // those who are here have had it as the last event
		}
		c.last = &lastEvent{frame: p.frame, expires: now.Add(c.app.limits.Load().CacheTTL)}
	}
	c.publish(p)
}

// Restored implements cluster.Receiver.
func (b *Broker) Restored() {
	for _, a := range b.all() {
		a.each("", func(c *channel) { c.uncertain() })
	}
	b.node.done.Go(func() {
		for _, a := range b.all() {
			if a.users.relocate(a) != nil {
				return // gone once more: Restored will be called again
			}
		}
	})
}

// Departed implements cluster.Receiver.
func (b *Broker) Departed(t cluster.Topic, o cluster.Outcome) {
	if a := b.app(t.App); a != nil {
		c := channel{app: a, name: t.Channel, kind: protocol.KindOf(t.Channel)}
		c.tell(o)
	}
}

// settle says of departures whether nobody has come back within the grace, on any
// node.
func (b *Broker) settle(app string, departures []*departure) ([]bool, error) {
	settled := make([]cluster.Departure, len(departures))
	for i, d := range departures {
		settled[i] = cluster.Departure{Topic: cluster.Topic{App: app, Channel: d.event.Channel}, UserID: d.event.UserID}
	}
	ctx, cancel := b.within(queryTimeout)
	defer cancel()
	return b.driver.Settle(ctx, settled...)
}

// Flush waits until the cluster knows what is so here and no departure waits for its
// grace any more, or the context ends. On a single node it does nothing.
func (b *Broker) Flush(ctx context.Context) {
	if b.driver == nil {
		return
	}
	told := make(chan struct{})
	go func() {
		b.node.working.Wait()
		close(told)
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
	again := time.NewTicker(ripenStep)
	defer again.Stop()
	for slices.ContainsFunc(b.all(), func(a *App) bool { return a.departures.wait() }) {
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
