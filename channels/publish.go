package channels

import (
	"time"

	"belfry/protocol"
)

// Publish delivers an event that the application's backend published to all
// subscribers but the excepted one, and keeps it as the last event of a cache
// channel, and in the history of a channel that has one. It waits while the
// channel has too much pending, which the flushers, who never block, soon change.
//
// On a node of a cluster it reaches those of all nodes. With an error it has reached
// nobody, but if the error is ErrUnknown of package cluster: then it may have. An event
// with a key may be published again then: it reaches nobody twice.
func (a *App) Publish(events ...Publication) error {
	if a.broker.driver != nil {
		return a.publishToCluster(events)
	}
	for _, e := range events {
		a.deliver(e, true)
	}
	return nil
}

// Offer is Publish for those who must not wait: it appends even to a channel that has
// as much pending as it may. For each such channel, full has a Go channel that is
// closed once there is room again; until then, the caller should publish nothing more.
// On a node of a cluster, Offer waits as Publish does.
func (a *App) Offer(events ...Publication) (full []<-chan struct{}, err error) {
	if a.broker.driver != nil {
		return nil, a.publishToCluster(events)
	}
	for _, e := range events {
		if room := a.deliver(e, false); room != nil {
			full = append(full, room)
		}
	}
	return full, nil
}

// Publication is an event, and who must not receive it: zero for nobody.
type Publication struct {
	protocol.Event
	Except protocol.SocketID
	// Key, if it is not empty, has the event published once: nothing is done for another
	// event of the same channel with the same key within [cluster.OnceFor].
	Key string
	// Client says that it is to be as a client's event: never the last one of a channel.
	Client bool
}

// cached reports whether it becomes the last event of its channel.
func (p *Publication) cached() bool { return !p.Client && protocol.KindOf(p.Channel).IsCache() }

// payload is what other nodes are sent.
func (p *Publication) payload() []byte {
	if p.Client {
		return eventPayload(payloadClient, p.Frame(), p.Except)
	}
	return eventPayload(payloadEvent, p.Frame(), p.Except)
}

// deliver returns what closes when there is room, if there was none and it has not
// waited for that.
func (a *App) deliver(e Publication, wait bool) (room <-chan struct{}) {
	now := time.Now()
	f := a.followPublication(&e, now)
	if !a.once.first(e, now) {
		f.repeat()
		return nil
	}
	limits := a.limits.Load()
	retention := limits.retention(e.Channel)
	cache, keeps := e.cached(), retention.Events > 0
	if !cache && !keeps && a.find(e.Channel) == nil {
		f.reachesNobody()
		return nil
	}
	p := pending{except: e.Except, at: now, following: f}
	if !keeps { // else the frame has a serial
		p.frame = e.Frame()
	}
	for {
		var c *channel
		if cache || keeps {
			c = a.lock(e.Channel)
		} else if c = a.lockExisting(e.Channel); c == nil {
			f.reachesNobody()
			return nil
		}
		if room = c.waitForRoom(); room != nil && wait {
			c.mu.Unlock()
			<-room
			continue
		}
		c.encode(&p, e.Event, retention, limits)
		c.note(e.Name, now)
		if cache {
			c.last = &lastEvent{frame: p.frame, data: e.Data, expires: now.Add(a.limits.Load().CacheTTL)}
		}
		idle := c.append(p)
		f.pending(c)
		c.unlock(idle)
		if keeps {
			a.broker.histories.trim()
		}
		return room
	}
}

// PublishFrom delivers a client's event to the other subscribers of its
// channel. It never waits: [ErrBusy] when the channel has too much pending, or
// the cluster has; ErrUnavailable of package cluster when that cannot be
// reached. Should it fail later, [Subscriber.Dropped] tells. user is who has signed in, for
// those who watch; empty for nobody.
func (a *App) PublishFrom(s *Subscription, e protocol.Event, user string) error {
	p := pending{except: s.id, at: time.Now()}
	c := s.channel
	limits := a.limits.Load()
	retention := limits.retention(c.name)
	keeps := retention.Events > 0
	if !keeps || c.remote != nil { // else the frame has a serial
		p.frame = e.Frame()
	}
	c.mu.Lock()
	if c.full() {
		c.mu.Unlock()
		return ErrBusy
	}
	told := protocol.WebhookEvent{Name: protocol.WebhookClientEvent, Channel: c.name, UserID: e.UserID,
		Event: e.Name, Data: e.Data, SocketID: s.id, Source: s.subscriber.Source()}
	f := a.followClient(s, &e, user, p.at)
	if c.remote != nil {
		err := a.broker.send(s, c.clientEvent(p), told)
		c.mu.Unlock()
		if err == nil {
			f.relay()
		}
		return err
	}
	p.following = f
	c.encode(&p, e, retention, limits)
	c.note(e.Name, p.at)
	if a.listener != nil {
		a.listener.Happened(told, nil)
	}
	idle := c.append(p)
	f.pending(c)
	c.unlock(idle)
	if keeps {
		a.broker.histories.trim()
	}
	return nil
}

// full reports that a shard has more pending than it may. mu is held.
func (c *channel) full() bool { return c.pends(maxPending) }

// pends reports that a shard has as many bytes pending. mu is held.
func (c *channel) pends(bytes int32) bool {
	for _, s := range c.shards {
		if s != nil && s.bytes >= bytes {
			return true
		}
	}
	return false
}

// waitForRoom returns what to wait for when a shard is full. mu is held.
func (c *channel) waitForRoom() <-chan struct{} {
	if !c.full() {
		return nil
	}
	if c.room == nil {
		c.room = make(chan struct{})
	}
	return c.room
}
