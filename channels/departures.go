package channels

import (
	"container/list"
	"sync"
	"time"

	"belfry/protocol"
)

// Grace is how long a channel that is vacated, or a member that is removed, may
// come back: then it was never gone, as the backend sees it (Pusher Channels,
// "Webhooks": up to three seconds).
const Grace = 3 * time.Second

const (
	// maxDepartures is how many departures of an application wait for their grace
	// at most. Over it, the oldest is told before its time.
	maxDepartures = 150_000
	// crowdedDepartures is how many have to wait before the share of a source
	// counts, and departureShare is how many one source may have waiting then.
	crowdedDepartures = maxDepartures * 2 / 3
	departureShare    = 100
	// ripenStep is the shortest time between two looks at what is due: departures
	// whose graces end nearer to each other are told together.
	ripenStep = 10 * time.Millisecond
	// ripenBatch is how many departures are told under one lock.
	ripenBatch = 256
)

// departures are an application's channels and members on a single node that have
// gone and may come back; in a cluster, they are in the ledger. They leave in the order
// in which they came, as the grace is the same for all. The listener is told of what has
// become final under mu, so that it hears of one channel's coming and going in their
// order.
type departures struct {
	app *App

	mu    sync.Mutex // guards the following
	queue list.List  // of *departure
	index map[departureKey]*departure
	// sources has the queue's departures once more, by their source; those of an
	// unknown one are not in it.
	sources map[protocol.Source]*list.List // of *departure
	timing  bool                           // a call of ripen is due, or going on
	ended   bool                           // no departure waits any more
}

// departure is a channel_vacated or member_removed that is not final.
type departure struct {
	event protocol.WebhookEvent
	due   time.Time

	inQueue, inSource *list.Element // inSource is nil if the source is not known
}

// departureKey is who has gone. userID is empty for a channel.
type departureKey struct{ channel, userID string }

func keyOf(e protocol.WebhookEvent) departureKey { return departureKey{e.Channel, e.UserID} }

// none reports whether no departure waits.
func (d *departures) none() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.Len() == 0
}

// arrived takes back the departure of the same channel or member, or tells of the
// arrival if there is none.
func (d *departures) arrived(e protocol.WebhookEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.remove(d.index[keyOf(e)]) {
		d.app.listener.Happened(e, nil)
	}
}

// departed has a departure wait for its grace. When too many wait, another one is
// told before its time, which keeps the order and loses nothing.
func (d *departures) departed(e protocol.WebhookEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		d.app.listener.Happened(e, nil)
		return
	}
	d.remove(d.index[keyOf(e)])
	if surplus := d.surplus(e.Source); surplus != nil {
		d.remove(surplus)
		d.app.listener.Happened(surplus.event, nil)
	}
	d.add(&departure{event: e, due: time.Now().Add(Grace)})
	if !d.timing {
		d.timing = true
		d.app.broker.timers.after(Grace, d.ripen)
	}
}

func (d *departures) add(one *departure) {
	if d.index == nil {
		d.index = make(map[departureKey]*departure)
		d.sources = make(map[protocol.Source]*list.List)
	}
	d.index[keyOf(one.event)] = one
	one.inQueue = d.queue.PushBack(one)
	if source := one.event.Source; source != 0 {
		if d.sources[source] == nil {
			d.sources[source] = list.New()
		}
		one.inSource = d.sources[source].PushBack(one)
	}
}

// remove takes a departure out, and reports whether there was one; nil is none.
func (d *departures) remove(one *departure) bool {
	if one == nil {
		return false
	}
	d.queue.Remove(one.inQueue)
	delete(d.index, keyOf(one.event))
	if source := one.event.Source; one.inSource != nil {
		if d.sources[source].Remove(one.inSource); d.sources[source].Len() == 0 {
			delete(d.sources, source)
		}
	}
	if d.queue.Len() == 0 {
		d.index, d.sources = nil, nil // and their memory
	}
	return true
}

// surplus is what has to go if there is no room for another departure of a source,
// else nil: the oldest of the same source if that has more than its share, so that
// it pushes nobody else's out.
func (d *departures) surplus(source protocol.Source) *departure {
	if same := d.sources[source]; d.queue.Len() >= crowdedDepartures && same != nil && same.Len() >= departureShare {
		return same.Front().Value.(*departure)
	}
	if d.queue.Len() >= maxDepartures {
		return d.first()
	}
	return nil
}

// first is the oldest departure, nil if there is none.
func (d *departures) first() *departure {
	if front := d.queue.Front(); front != nil {
		return front.Value.(*departure)
	}
	return nil
}

// ripen tells of the departures whose grace is over, and has itself called again
// when the next one's is. It leaves the channels a chance in between.
func (d *departures) ripen() {
	for d.ripenSome(time.Now()) {
	}
}

func (d *departures) ripenSome(now time.Time) (more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for range ripenBatch {
		one := d.first()
		if one == nil {
			d.timing = false
			return false
		}
		if wait := one.due.Sub(now); wait > 0 && !d.ended {
			d.app.broker.timers.after(max(wait, ripenStep), d.ripen)
			return false
		}
		d.remove(one)
		d.app.listener.Happened(one.event, nil)
	}
	return true
}

// end tells of all departures now. None waits from here on.
func (d *departures) end() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.ripen()
}
