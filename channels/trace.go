package channels

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"belfry/protocol"
)

// Tracer is told what becomes of events on this node, for people who watch. Its methods
// are called concurrently, and under locks: they must not block.
type Tracer interface {
	// Watched reports whether anybody watches. It is asked of each event.
	Watched() bool
	// Follows reports whether somebody wants to know of an event, which Passed then tells.
	// What became of the event is not known yet. Nothing of the passage may be kept.
	Follows(Passage) bool
	// Passed is called once the event was offered to its last recipient on this node.
	Passed(Passage)
}

// Publisher is who published an event.
type Publisher uint8

// The publishers.
const (
	Backend Publisher = iota
	Client
	Cluster // another node, or this one by way of the cluster
)

// Passage is what became of an event on this node.
type Passage struct {
	App, Channel, Event string
	Data                []byte // JSON text
	From                Publisher
	Except              protocol.SocketID // must not receive it: a client its own event; zero for nobody
	UserID              string            // of a client: the member on a presence channel, else who has signed in

	// Relayed says that the event went to the cluster, which brings it to all nodes: it
	// comes back as another passage.
	Relayed bool
	// Repeated says that an event with the same key was published before, and nothing was
	// done.
	Repeated   bool
	Recipients int           // subscriptions on this node
	Delay      time.Duration // from its publication, or its arrival here, to the last recipient or, if it is relayed, to the cluster
}

// TraceTo has a tracer told what becomes of events. It is called before any application
// is made.
func (b *Broker) TraceTo(t Tracer) { b.tracer = t }

func (b *Broker) watched() bool { return b.tracer != nil && b.tracer.Watched() }

// following is an event that somebody wants to know of, on its way. The channel's lock
// guards it once it is pending.
type following struct {
	tracer  Tracer
	passage Passage
	at      time.Time
	shards  int // that have not served it
}

// follow begins to follow an event while somebody watches. It returns nil if nobody wants
// to know of this one.
func (a *App) follow(p Passage, at time.Time) *following {
	p.App = a.id
	if !a.broker.tracer.Follows(p) {
		return nil
	}
	return &following{tracer: a.broker.tracer, passage: p, at: at}
}

// followPublication is follow for an event of the backend.
func (a *App) followPublication(e *Publication, at time.Time) *following {
	if !a.broker.watched() {
		return nil
	}
	return a.follow(Passage{Channel: e.Channel, Event: e.Name, Data: e.Data, Except: e.Except}, at)
}

// followClient is follow for an event of a client. It copies the texts, which are parts of
// a message whose memory is used again.
func (a *App) followClient(s *Subscription, e *protocol.Event, user string, at time.Time) *following {
	if !a.broker.watched() {
		return nil
	}
	f := a.follow(Passage{Channel: s.channel.name, Event: e.Name, Data: e.Data, From: Client, Except: s.id, UserID: cmp.Or(e.UserID, user)}, at)
	if f != nil {
		f.passage.Event, f.passage.Data = strings.Clone(e.Name), bytes.Clone(e.Data)
	}
	return f
}

// followRelayed is follow for an event of the cluster.
func (a *App) followRelayed(channel string, e relayed, at time.Time) *following {
	if !a.broker.watched() {
		return nil
	}
	var m struct {
		Event  string          `json:"event"`
		UserID string          `json:"user_id"`
		Data   json.RawMessage `json:"data"`
	}
	if json.Unmarshal(e.json, &m) != nil {
		return nil
	}
	return a.follow(Passage{Channel: channel, Event: m.Event, Data: m.Data, From: Cluster, Except: e.except, UserID: m.UserID}, at)
}

// pending notes who has the event pending. mu is held; f is nil for an event that nobody
// wants to know of.
func (f *following) pending(c *channel) {
	if f == nil {
		return
	}
	for _, s := range c.shards {
		if s == nil || len(s.subs) == 0 {
			continue
		}
		f.shards++
		f.passage.Recipients += len(s.subs)
		if f.passage.Except == (protocol.SocketID{}) {
			continue
		}
		for _, sub := range s.subs {
			if sub.excepts(f.passage.Except) {
				f.passage.Recipients--
			}
		}
	}
	if f.shards == 0 {
		f.tracer.Passed(f.passage)
	}
}

// served notes that a shard's subscribers were offered the event. mu is held.
func (f *following) served() {
	if f.shards--; f.shards == 0 {
		f.passage.Delay = time.Since(f.at)
		f.tracer.Passed(f.passage)
	}
}

// reachesNobody ends following an event of a channel without subscribers. f may be nil.
func (f *following) reachesNobody() {
	if f != nil {
		f.tracer.Passed(f.passage)
	}
}

// relay ends following an event that has gone to the cluster. f may be nil.
func (f *following) relay() {
	if f != nil {
		f.passage.Relayed, f.passage.Delay = true, time.Since(f.at)
		f.tracer.Passed(f.passage)
	}
}

// repeat ends following an event that was published before. f may be nil.
func (f *following) repeat() {
	if f != nil {
		f.passage.Repeated = true
		f.tracer.Passed(f.passage)
	}
}
