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

// grace holds departures until nobody can come back in time: first in, first
// out, as all wait for the same time. The lock is App.mu.
type grace struct {
	queue list.List // of departure
	index map[departureKey]*list.Element
	// settling: some were taken out of the queue, and it is being asked whether
	// they have lasted.
	settling bool
	early    int  // events let go before their time, since the queue was empty
	told     bool // that there were
}

type departure struct {
	kind  kinds
	event protocol.WebhookEvent
	due   time.Time
}

type departureKey struct {
	kind            kinds
	channel, userID string
}

func (d *departure) key() departureKey {
	return departureKey{d.kind, d.event.Channel, d.event.UserID}
}

func (g *grace) push(d departure) {
	g.cancel(d.key()) // whose counterpart nobody wanted to know
	if g.index == nil {
		g.index = make(map[departureKey]*list.Element)
	}
	g.index[d.key()] = g.queue.PushBack(d)
}

// pop returns the oldest departure if it is due.
func (g *grace) pop(now time.Time, anyway bool) (d departure, ok bool) {
	front := g.queue.Front()
	if front == nil {
		return d, false
	}
	if d = front.Value.(departure); !anyway && d.due.After(now) {
		return d, false
	}
	g.cancel(d.key())
	return d, true
}

// cancel takes a departure back, and reports whether it was there.
func (g *grace) cancel(key departureKey) bool {
	e, ok := g.index[key]
	if ok {
		g.queue.Remove(e)
		delete(g.index, key)
	}
	if ok && g.queue.Len() == 0 {
		g.index, g.early, g.told = nil, 0, false
	}
	return ok
}

// wait gives a departure its grace. When too many wait, the oldest goes before
// its time: that keeps the order and loses nothing. The caller holds a.mu.
func (a *App) wait(e protocol.WebhookEvent) {
	if a.grace.queue.Len() >= maxWaiting {
		oldest, _ := a.grace.pop(time.Time{}, true)
		a.send(oldest.kind, oldest.event)
		if a.grace.early++; a.grace.early == 1 {
			signal(a.sender.waiting) // to tell
		}
	}
	if a.grace.queue.Len() == 0 {
		signal(a.sender.waiting)
	}
	a.grace.push(departure{kind(e.Name), e, time.Now().Add(Grace)})
}

// endGraces lets go what has waited until now, and returns when the next one is
// due; zero when nothing waits. It is called without a lock, and leaves the
// channels a chance in between.
func (a *App) endGraces(now time.Time) (next time.Time) {
	a.mu.Lock()
	tell := a.grace.early > 0 && !a.grace.told
	a.grace.told = a.grace.told || tell
	a.mu.Unlock()
	if tell {
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
		d, ok := a.grace.pop(now, a.sender.hurry.Load())
		if !ok {
			return false, d.due
		}
		a.send(d.kind, d.event)
	}
	return true, next
}

// settleSome is endSomeGraces on a node of a cluster, which is asked what has
// lasted. While it cannot be, departures wait on: nobody can come back either.
func (a *App) settleSome(now time.Time) (more bool, next time.Time) {
	hurry := a.sender.hurry.Load()
	var due []departure
	a.mu.Lock()
	for len(due) < releaseBatch {
		d, ok := a.grace.pop(now, hurry)
		if !ok {
			next = d.due
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
	if err != nil && !hurry {
		for i := range due {
			due[i].due = now.Add(settleAgain)
			a.grace.push(due[i])
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
