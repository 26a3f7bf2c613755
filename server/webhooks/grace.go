package webhooks

import (
	"container/list"
	"context"
	"slices"
	"time"

	"belfry/protocol"
)

const (
	graceStep    = 10 * time.Millisecond // ends of graces that are nearer to each other are one
	releaseBatch = 256                   // events that are let go under one lock
	settleAgain  = time.Second           // until a cluster that could not be reached is asked again
)

// graceShare is how many departures one source may have caused of those that
// wait, once crowded do.
const (
	graceShare = 100
	crowded    = maxWaiting * 2 / 3
)

// grace holds departures until nobody can come back in time: first in, first
// out, as all wait for the same time. The lock is App.mu.
type grace struct {
	queue list.List // of *departure
	index map[departureKey]*departure
	// sources has the queue's departures once more, by their source; those of an
	// unknown one are not in it.
	sources map[protocol.Source]*list.List // of *departure
	// settling: some were taken out of the queue, and it is being asked whether
	// they have lasted.
	settling bool
	early    int  // events let go before their time, since the queue was empty
	logged   bool // that there were
}

type departure struct {
	kind  kinds
	event protocol.WebhookEvent
	due   time.Time

	inQueue, inSource *list.Element // inSource is nil if the source is not known
}

type departureKey struct {
	kind            kinds
	channel, userID string
}

func (d *departure) key() departureKey {
	return departureKey{d.kind, d.event.Channel, d.event.UserID}
}

func (g *grace) push(d *departure) {
	g.cancel(d.key()) // whose counterpart nobody wanted to know
	if g.index == nil {
		g.index = make(map[departureKey]*departure)
		g.sources = make(map[protocol.Source]*list.List)
	}
	g.index[d.key()] = d
	d.inQueue = g.queue.PushBack(d)
	if source := d.event.Source; source != 0 {
		if g.sources[source] == nil {
			g.sources[source] = list.New()
		}
		d.inSource = g.sources[source].PushBack(d)
	}
}

// pop takes out the oldest departure.
func (g *grace) pop() (d *departure, ok bool) { return g.popDue(time.Time{}, true) }

// popDue is pop if the oldest departure is due, or anyway. It returns the one
// that it leaves too.
func (g *grace) popDue(now time.Time, anyway bool) (d *departure, ok bool) {
	front := g.queue.Front()
	if front == nil {
		return nil, false
	}
	if d = front.Value.(*departure); !anyway && d.due.After(now) {
		return d, false
	}
	g.cancel(d.key())
	return d, true
}

// dueTime is zero if there is no departure.
func (d *departure) dueTime() time.Time {
	if d == nil {
		return time.Time{}
	}
	return d.due
}

// popSurplus takes out a departure if there is no room for another one of the
// source: the oldest of the same source if that has more than its share, so that
// it pushes nobody else's out.
func (g *grace) popSurplus(source protocol.Source) (d *departure, ok bool) {
	if same := g.sources[source]; g.queue.Len() >= crowded && same != nil && same.Len() >= graceShare {
		d = same.Front().Value.(*departure)
		g.cancel(d.key())
		return d, true
	}
	if g.queue.Len() >= maxWaiting {
		return g.pop()
	}
	return nil, false
}

// cancel takes a departure back, and reports whether it was there.
func (g *grace) cancel(key departureKey) bool {
	d, ok := g.index[key]
	if !ok {
		return false
	}
	g.queue.Remove(d.inQueue)
	delete(g.index, key)
	if source := d.event.Source; d.inSource != nil {
		if g.sources[source].Remove(d.inSource); g.sources[source].Len() == 0 {
			delete(g.sources, source)
		}
	}
	if g.queue.Len() == 0 {
		g.index, g.sources, g.early, g.logged = nil, nil, 0, false
	}
	return true
}

// wait gives a departure its grace. When too many wait, one goes before its
// time: that keeps the order and loses nothing. The caller holds a.mu.
func (a *App) wait(e protocol.WebhookEvent) {
	if d, ok := a.grace.popSurplus(e.Source); ok {
		a.send(d.kind, d.event)
		if a.grace.early++; a.grace.early == 1 {
			signal(a.sender.waiting) // to log it
		}
	}
	if a.grace.queue.Len() == 0 {
		signal(a.sender.waiting)
	}
	a.grace.push(&departure{kind: kind(e.Name), event: e, due: time.Now().Add(Grace)})
}

// endGraces lets go what has waited until now, and returns when the next one is
// due; zero when nothing waits. It is called without a lock, and leaves the
// channels a chance in between.
func (a *App) endGraces(now time.Time) (next time.Time) {
	a.mu.Lock()
	early := a.grace.early > 0 && !a.grace.logged
	a.grace.logged = a.grace.logged || early
	a.mu.Unlock()
	if early {
		a.log.Warn("more channels and members have left than can wait to come back: the oldest of their webhooks go out early", "most", maxWaiting)
	}
	for more := true; more; {
		more, next = a.endSomeGraces(now)
	}
	return next
}

func (a *App) endSomeGraces(now time.Time) (more bool, next time.Time) {
	if a.sender.settle != nil {
		return a.settleSome(now)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for range releaseBatch {
		d, ok := a.grace.popDue(now, a.sender.flushed.Load())
		if !ok {
			return false, d.dueTime()
		}
		a.send(d.kind, d.event)
	}
	return true, next
}

// settleSome is endSomeGraces on a node of a cluster, which is asked what has
// lasted. While it cannot be, departures wait on: nobody can come back either.
func (a *App) settleSome(now time.Time) (more bool, next time.Time) {
	flushed := a.sender.flushed.Load()
	var due []*departure
	a.mu.Lock()
	for len(due) < releaseBatch {
		d, ok := a.grace.popDue(now, flushed)
		if !ok {
			next = d.dueTime()
			break
		}
		due = append(due, d)
	}
	a.grace.settling = len(due) > 0
	a.mu.Unlock()
	if len(due) == 0 {
		return false, next
	}
	events := make([]protocol.WebhookEvent, len(due))
	for i, d := range due {
		events[i] = d.event
	}
	lasted, err := a.sender.settle(a.id, events)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grace.settling = false
	if err != nil && !flushed {
		for _, d := range due {
			d.due = now.Add(settleAgain)
			a.grace.push(d)
		}
		return false, now.Add(settleAgain)
	}
	for i, d := range due {
		if err != nil || lasted[i] {
			a.send(d.kind, d.event)
		}
	}
	return true, next
}

// AwaitGraces returns when nothing waits for its grace any more, or the context
// ends.
func (s *Sender) AwaitGraces(ctx context.Context) {
	again := time.NewTicker(graceStep)
	defer again.Stop()
	for slices.ContainsFunc(s.all(), (*App).waits) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// waits reports whether anything waits for its grace, or has just ended to.
func (a *App) waits() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grace.queue.Len() > 0 || a.grace.settling
}

// endGraces lets go what has waited, for all applications, until the Sender is
// closed.
func (s *Sender) endGraces() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var first time.Time
		for _, a := range s.all() {
			if next := a.endGraces(time.Now()); !next.IsZero() && (first.IsZero() || next.Before(first)) {
				first = next
			}
		}
		var due <-chan time.Time
		if !first.IsZero() {
			timer.Reset(max(time.Until(first), graceStep))
			due = timer.C
		}
		select {
		case <-s.stop:
			return
		case <-s.waiting:
		case <-due:
		}
	}
}
