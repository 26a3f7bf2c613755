package histories

import (
	"fmt"
	"sync"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

const (
	app       = "1"
	eventName = "e"
	crowdSize = 110 // more than the subscriptions up to which each change of a count is told
)

// world is three nodes, what their clients have been told, and what is true.
type world struct {
	store Store
	times Times
	check checks
	moves bool           // nodes may move
	saved bool           // the store has saved data
	older bool           // the store has come back with what it had saved
	busy  sync.WaitGroup // clients, publications, and nodes that end

	mu      sync.Mutex // guards the following
	begun   time.Time
	nodes   [nodes]*node
	clients [connections]*client // nil for those that are not there
	broken  [connections]*page   // those whose connection has broken, and that may come back
	lastID  uint64
	seats   []*seat // all that ever were
	events  []*event
	hooks   []hook
	gone    map[subject][]time.Time // when one may have left all channels, or the channel everybody
	counted map[string]counted      // by channel, the subscription count that was told last
	lost    []time.Time             // when the store lost its data
	apart   bool                    // it did while a node was cut off
	closed  []time.Time             // when an application was closed, which ends all graces
	kills   []time.Time             // when a node ended that may have delivered webhooks that it could not acknowledge
	first   map[place]time.Time     // when a node delivered an event first

	bookmarks []*bookmark           // all that ever were
	epochs    map[epochOf]time.Time // when each had begun, as far as anybody has heard

	faults []string
}

// subject is a channel, or with a user the member of one.
type subject struct{ channel, user string }

type place struct {
	node  *node
	event int
}

// epochOf is an epoch of a channel.
type epochOf struct{ channel, epoch string }

// hook is a webhook event, as the backend would receive it.
type hook struct {
	subject
	come bool // occupied, or added
	at   time.Time
	by   int // node
}

// counted is a webhook event of a channel's subscription count.
type counted struct {
	count int
	at    time.Time
}

// event is a publication.
type event struct {
	channel    string
	except     *client
	by         *client   // who said it; nil for the backend
	begun, end time.Time // end is zero while it is not answered; of a client event, when it must have arrived
	err        error
	received   bool            // by anybody
	serial     protocol.Serial // zero if nobody has received it, or the channel has no history
}

type state uint8

const (
	running state = iota
	ending
	dead  // killed
	ended // stopped, or killed and closed
)

// node is one broker, from its start to its end. The world's lock guards what is
// not constant.
type node struct {
	world  *world
	number int
	way    Node
	broker *channels.Broker
	hooks  *backend

	app    *channels.App
	state  state
	cut    bool
	buried bool      // since it was cut, the others may have taken its share away
	retold time.Time // when the cluster certainly knows it again; zero if it was not buried
	spans  []span    // during which messages may have been missed
	crowd  []*client
	calls  sync.WaitGroup // publications
	using  sync.RWMutex   // held by whoever calls the application, ahead of the world's lock
	closed chan struct{}
}

// span is some time. The end is zero while it lasts.
type span struct{ from, to time.Time }

func (n *node) limits() channels.Limits {
	return channels.Limits{PresenceMembers: 100, CacheTTL: 24 * time.Hour, SubscriptionCount: true, Histories: rules()}
}

// steady reports that a node has run and reached the store all the time. The
// world's lock is held.
func (n *node) steady(from, to time.Time) bool {
	for _, s := range n.spans {
		if !s.from.After(to) && (s.to.IsZero() || !s.to.Before(from)) {
			return false
		}
	}
	return n.state == running
}

// beginFault begins a span, if there is none. The world's lock is held.
func (n *node) beginFault() {
	if len(n.spans) == 0 || !n.spans[len(n.spans)-1].to.IsZero() {
		n.spans = append(n.spans, span{from: time.Now()})
	}
}

// calm ends the span once the node reaches the store again, and has noticed that
// it did not.
func (n *node) calm() {
	n.world.busy.Go(func() {
		<-time.After(n.world.times.Notice)
		for {
			n.world.mu.Lock()
			broker := n.broker
			n.world.mu.Unlock()
			ready := broker.Ready() == nil
			n.world.mu.Lock()
			last := len(n.spans) - 1
			over := n.state != running || n.cut || last < 0 || !n.spans[last].to.IsZero()
			if !over && ready {
				n.spans[last].to = time.Now()
				over = true
			}
			n.world.mu.Unlock()
			if over {
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	})
}

// fault notes what is not as it should be. The world's lock is held.
func (w *world) fault(check string, format string, args ...any) {
	if w.check.on(check) && len(w.faults) < 8 {
		w.faults = append(w.faults, fmt.Sprintf("after %s: %s: ", time.Since(w.begun).Round(time.Millisecond), check)+fmt.Sprintf(format, args...))
	}
}

// start runs a node. The world's lock is held.
func (w *world) start(number int) {
	way := w.store.Node()
	n := &node{world: w, number: number, way: way, broker: broker(way.Driver()), closed: make(chan struct{})}
	n.hooks = newBackend(func(e protocol.WebhookEvent) { w.happened(n, e) })
	n.app = n.broker.NewApp(app, n.limits(), observer{}, n.hooks)
	w.nodes[number] = n
	n.beginFault()
	n.calm()
}

// observer counts nothing.
type observer struct{}

func (observer) Delivered(int, int)  {}
func (observer) Delay(time.Duration) {}

// happened takes a webhook event.
func (w *world) happened(n *node, e protocol.WebhookEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.state == dead {
		return
	}
	switch e.Name {
	case protocol.WebhookChannelOccupied, protocol.WebhookMemberAdded:
		w.hooks = append(w.hooks, hook{subject{e.Channel, e.UserID}, true, time.Now(), n.number})
	case protocol.WebhookChannelVacated, protocol.WebhookMemberRemoved:
		w.hooks = append(w.hooks, hook{subject{e.Channel, e.UserID}, false, time.Now(), n.number})
	case protocol.WebhookSubscriptionCount:
		w.counted[e.Channel] = counted{e.Count, time.Now()}
	}
}

// client returns a connection of a page to a node. The world's lock is held.
func (w *world) client(n *node, p *page) *client {
	w.lastID++
	c := &client{world: w, node: n, app: n.app, page: p, id: protocol.NewSocketID(w.lastID<<32 | w.lastID), seats: make(map[string]*seat)}
	p.clients = append(p.clients, c)
	return c
}

// subjects are what a seat is a part of: the channel, and the member.
func (s *seat) subjects() []subject {
	all := []subject{{s.channel, ""}}
	if s.user != "" {
		all = append(all, subject{s.channel, s.user})
	}
	return all
}

// departed notes that a seat has ended: if no other is left of which the
// cluster certainly knows, its subjects may be told to have left. The world's lock is
// held.
func (w *world) departed(s *seat) {
	for _, of := range s.subjects() {
		if !w.occupied(of, s) {
			w.gone[of] = append(w.gone[of], time.Now())
		}
	}
}

// occupied reports whether there is a seat of a subject, but one, of which the
// cluster knows. The world's lock is held.
func (w *world) occupied(of subject, but *seat) bool {
	for _, s := range w.seats {
		if s != but && s.present() && s.client.node.known() && s.channel == of.channel && (of.user == "" || s.user == of.user) {
			return true
		}
	}
	return false
}

// known reports that the cluster certainly knows what the node has, unless that is
// new. The world's lock is held.
func (n *node) known() bool { return !n.cut && !n.retold.After(time.Now()) }

// takenForDead notes that a node was cut off for so long that the others may have taken
// its share away. The world's lock is held.
func (w *world) takenForDead(n *node) {
	n.buried = true
	w.apart = w.apart || len(w.lost) > 0
	w.kills = append(w.kills, time.Now())
	for _, s := range w.seats {
		if s.client.node == n && s.left.IsZero() {
			w.departed(s)
		}
	}
}

// publish publishes an event. The world's lock is held.
func (w *world) publish(n *node, channel string, except *client) {
	e := &event{channel: channel, except: except, begun: time.Now()}
	id, application, before := len(w.events), n.app, n.broker
	w.events = append(w.events, e)
	p := channels.Publication{Event: encode(channel, id)}
	if except != nil {
		p.Except = except.id
	}
	w.busy.Add(1)
	n.calls.Go(func() {
		defer w.busy.Done()
		n.using.RLock()
		defer n.using.RUnlock()
		w.mu.Lock()
		if n.broker != before { // it has moved
			application = n.app
		}
		w.mu.Unlock()
		err := application.Publish(p)
		w.mu.Lock()
		defer w.mu.Unlock()
		e.end, e.err = time.Now(), err
		if err != nil && n.steady(e.begun, e.end) {
			w.fault("refused", "event %d was refused at node %d: %v", id, n.number, err)
		}
	})
}

// late reports whether a node that has missed events of a channel delivers some of them later.
func late(channel string) bool {
	return keeps(channel) || protocol.KindOf(channel).IsCache()
}

// received notes that a seat has received an event. The world's lock is held.
func (w *world) received(s *seat, r receipt) {
	e, at := w.events[r.event], place{s.client.node, r.event}
	e.received = true
	first, delivered := w.first[at]
	if r.how == live && !delivered {
		w.first[at] = r.at
	}
	switch {
	case e.channel != s.channel:
		w.fault("deliveries", "event %d of %s reached %s", r.event, e.channel, s.channel)
	case e.except == s.client && r.how != asLast, s.resumed && r.how != asLast && s.client.page.had(e.except):
		w.fault("deliveries", "event %d reached the excepted connection", r.event)
	case r.how != live, late(s.channel) && !s.client.node.steady(e.begun, r.at):
	case delivered && first.Before(s.asked):
		w.fault("deliveries", "event %d reached a connection on node %d that subscribed to %s after others there had it", r.event, s.client.node.number, s.channel)
	case !e.end.IsZero() && e.end.Add(w.times.InFlight).Before(s.asked):
		w.fault("deliveries", "event %d reached a connection on node %d that subscribed to %s long after it", r.event, s.client.node.number, s.channel)
	}
	for _, other := range s.got {
		if other.event == r.event {
			w.fault("deliveries", "event %d reached a subscriber of %s on node %d twice: %s", r.event, s.channel, s.client.node.number, events(append(s.got, r)))
		}
	}
	s.got = append(s.got, r)
}
