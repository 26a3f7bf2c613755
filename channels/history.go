package channels

import (
	"container/heap"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"belfry/protocol"
)

// HistoryRule says which channels have a history, and how much it keeps.
type HistoryRule struct {
	// Channels is a channel's name or, with a * at its end, how their names begin.
	Channels string
	Retention
}

// Retention is how much a history keeps: whichever of the two is less.
type Retention struct {
	Events int // the last ones; 0: there is no history
	Age    time.Duration
	Rewind time.Duration // new subscribers are sent the events published within this time; 0: none
}

func (r *HistoryRule) matches(name string) bool {
	if prefix, ok := strings.CutSuffix(r.Channels, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return name == r.Channels
}

// retention is that of a channel: the first rule that matches decides.
func (l *Limits) retention(name string) Retention {
	for i := range l.Histories {
		if r := &l.Histories[i]; r.matches(name) {
			return r.Retention
		}
	}
	return Retention{}
}

func (a *App) retention(name string) Retention { return a.limits.Load().retention(name) }

// numbers are where an application's serials come from on a single node. In a cluster,
// they are the ledger's versions.
type numbers struct {
	epoch string // constant once the application serves
	last  atomic.Uint64
	// forgotten is the highest number that an event may have had on a channel that has no
	// history now. Of what came after it, nothing is unknown.
	forgotten atomic.Uint64
}

func (n *numbers) init() { n.epoch = strings.ToLower(rand.Text()[:10]) } // 50 bits

// forget notes that events up to a number may be unknown, on any channel that has no
// history.
func (n *numbers) forget(number uint64) {
	for {
		before := n.forgotten.Load()
		if before >= number || n.forgotten.CompareAndSwap(before, number) {
			return
		}
	}
}

// history is what a channel of a single node keeps of its events. The channel's lock
// guards all of it but what is said to be guarded otherwise.
type history struct {
	channel *channel
	events  []keptEvent // oldest first, by number
	after   uint64      // number of the event before these, or a higher one if that is not known
	left    time.Time   // when the last subscriber left; zero if none ever did

	// The lock of histories guards these.
	empty  bool      // it has no events
	oldest time.Time // when the first of events was published or, without one, the last subscriber left
	place  int       // in the heap, -1 if it is not there
}

// keptEvent is an event in a history.
type keptEvent struct {
	frame  protocol.Frame
	except protocol.SocketID // must not receive it; zero for nobody
	number uint64
	at     time.Time
}

// keptOverhead is about what an event takes beside its frame, and historyOverhead what a
// channel takes with its history beside the events, in bytes.
const (
	keptOverhead    = 128
	historyOverhead = 512
)

func (e *keptEvent) size() int64 { return int64(len(e.frame)) + keptOverhead }

// encode makes the frame of an event if there is none yet, and keeps the event if the
// channel has a history. r is the channel's retention by limits that may have changed
// since. mu is held.
func (c *channel) encode(p *pending, e protocol.Event, r Retention, limits *Limits) {
	if now := c.app.limits.Load(); now != limits {
		r = now.retention(c.name)
	}
	if r.Events > 0 {
		p.frame = c.record(e, *p, r)
	} else if p.frame == nil {
		p.frame = e.Frame()
	}
}

// record keeps an event, and returns its frame. mu is held.
func (c *channel) record(e protocol.Event, p pending, r Retention) protocol.Frame {
	n := &c.app.numbers
	c.beginHistory()
	h, number := c.history, n.last.Add(1)
	e.Serial = protocol.Serial{Epoch: n.epoch, Number: number}
	kept := keptEvent{e.Frame(), p.except, number, p.at}
	h.limit(Retention{Events: r.Events - 1, Age: r.Age}, p.at)
	h.events = append(h.events, kept)
	c.app.broker.histories.changed(h, 1, kept.size())
	return kept.frame
}

// beginHistory makes the channel's history if there is none. mu is held.
func (c *channel) beginHistory() {
	if c.history == nil {
		c.history = &history{channel: c, after: c.app.numbers.forgotten.Load(), place: -1}
	}
}

// historyUsed notes that the channel has its first subscriber, or none any more. mu is held.
func (c *channel) historyUsed() {
	if h := c.history; h != nil {
		if c.count == 0 {
			h.left = time.Now()
		}
		c.app.broker.histories.changed(h, 0, 0)
	}
}

// endHistory forgets the channel's history. mu is held.
func (c *channel) endHistory() {
	h := c.history
	c.app.numbers.forget(h.newest())
	c.history = nil
	h.drop(len(h.events))
	c.app.broker.histories.changed(h, 0, 0)
}

// newest is the number of the last event, or an upper bound if there is none. mu is held.
func (h *history) newest() uint64 {
	if n := len(h.events); n > 0 {
		return h.events[n-1].number
	}
	return h.after
}

// limit drops what is too much or too old. mu is held.
func (h *history) limit(r Retention, now time.Time) {
	n := max(0, len(h.events)-r.Events)
	for n < len(h.events) && now.Sub(h.events[n].at) >= r.Age {
		n++
	}
	h.drop(n)
}

// drop drops the oldest events. mu is held.
func (h *history) drop(n int) {
	if n == 0 {
		return
	}
	bytes := int64(0)
	for i := range h.events[:n] {
		bytes += h.events[i].size()
	}
	h.after = h.events[n-1].number
	clear(h.events[:n])
	if h.events = h.events[n:]; len(h.events) == 0 {
		h.events = nil // and its memory
	}
	h.channel.app.broker.histories.changed(h, -n, -bytes)
}

// expireHistory drops what the configuration does not keep any more. If nobody is subscribed
// and nothing is left, it drops the history too, but not at once: it says to whoever was
// subscribed and comes back within the age that nothing is missing. mu is held.
func (c *channel) expireHistory(now time.Time) {
	if c.history == nil {
		return
	}
	r := c.app.retention(c.name)
	c.history.limit(r, now)
	unused := c.count == 0 && now.Sub(c.history.left) >= r.Age
	if len(c.history.events) == 0 && (unused || r.Events == 0) {
		c.endHistory()
	}
}

// setHistories changes the rules of a single node, and ends the histories that have none
// any more. A history that begins later does not know what was published ahead of it.
func (a *App) setHistories(limits *Limits) {
	a.numbers.forget(a.numbers.last.Add(1)) // ahead of the first event by the new rules
	a.limits.Store(limits)
	now := time.Now()
	a.change("", func(c *channel) []*shard {
		c.expireHistory(now)
		return nil
	})
}

// histories are those of all applications of a single node. They are bounded together.
type histories struct {
	mu      sync.Mutex // guards the following
	most    int64      // bytes; 0: any number
	bytes   int64
	events  int
	dropped uint64
	queue   historyQueue // of those that may go, or their events
}

// HistoryUse is what the histories of a single node take.
type HistoryUse struct {
	Events  int
	Bytes   int64
	Dropped uint64 // events that were dropped as all together took too much
}

// HistoryUse returns it.
func (b *Broker) HistoryUse() HistoryUse {
	h := &b.histories
	h.mu.Lock()
	defer h.mu.Unlock()
	return HistoryUse{h.events, h.bytes, h.dropped}
}

// LimitHistories says how many bytes all histories may take together; 0: any number. Over
// it, the oldest events go.
func (b *Broker) LimitHistories(bytes int64) {
	b.histories.mu.Lock()
	b.histories.most = bytes
	b.histories.mu.Unlock()
	b.histories.trim()
}

// changed counts, and puts a history in its place. The lock of its channel is held.
func (s *histories) changed(h *history, events int, bytes int64) {
	c := h.channel
	empty, oldest := len(h.events) == 0, h.left
	if !empty {
		oldest = h.events[0].at
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events += events
	s.bytes += bytes
	evictable := !empty || c.history == h && c.count == 0
	if !evictable {
		if h.place >= 0 {
			heap.Remove(&s.queue, h.place)
			s.bytes -= historyOverhead
		}
		return
	}
	unchanged := h.empty == empty && h.oldest.Equal(oldest)
	h.empty, h.oldest = empty, oldest
	switch {
	case h.place < 0:
		heap.Push(&s.queue, h)
		s.bytes += historyOverhead
	case !unchanged:
		heap.Fix(&s.queue, h.place)
	}
}

// first is the channel whose history has to give something up, nil if none has.
func (s *histories) first() *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most == 0 || s.bytes <= s.most || len(s.queue) == 0 {
		return nil
	}
	return s.queue[0].channel
}

// trim drops histories that have no events and no subscribers, and then the oldest events,
// while all take too much. No lock of a channel is held.
func (s *histories) trim() {
	for c := s.first(); c != nil; c = s.first() {
		c.mu.Lock()
		switch h := c.history; {
		case h == nil:
		case len(h.events) > 0:
			h.drop(1)
			s.mu.Lock()
			s.dropped++
			s.mu.Unlock()
		case c.count == 0:
			c.endHistory()
		}
		c.unlock(nil)
	}
}

// historyQueue is a heap: those without events come first, so that strangers who come and go
// cost nobody an event, and then the one with the oldest event.
type historyQueue []*history

func (q historyQueue) Len() int { return len(q) }
func (q historyQueue) Less(i, j int) bool {
	if q[i].empty != q[j].empty {
		return q[i].empty
	}
	return q[i].oldest.Before(q[j].oldest)
}
func (q historyQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}

// Push and Pop implement heap.Interface.
func (q *historyQueue) Push(h any) {
	one := h.(*history)
	one.place = len(*q)
	*q = append(*q, one)
}

func (q *historyQueue) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	one.place = -1
	return one
}

// ErrNoHistory: no rule gives the channel a history.
var ErrNoHistory = errors.New("the channel has no history")

// History is a part of a channel's history.
type History struct {
	Events []PastEvent // oldest first
	// Complete says that no event between the serial that was asked for and the first of
	// Events is missing.
	Complete bool
}

// PastEvent is an event that was published.
type PastEvent struct {
	Serial protocol.Serial
	Name   json.RawMessage   // JSON text of a string
	Data   json.RawMessage   // likewise
	Except protocol.SocketID // the connection that must not receive it; zero for none
	At     time.Time
}

// History returns the events of a channel after one with a serial, the first of them if
// there are more than limit. Without a serial, it returns the last events. The error is
// [ErrNoHistory], or ErrUnavailable of package cluster.
func (a *App) History(name string, since *protocol.Serial, limit int) (History, error) {
	r := a.retention(name)
	if r.Events == 0 {
		return History{}, ErrNoHistory
	}
	past, err := a.past(name, r)
	if err != nil {
		return History{}, err
	}
	h := History{Complete: true}
	events := past.events
	if since == nil {
		events = events[max(0, len(events)-limit):]
	} else {
		known := since.Epoch == past.epoch
		h.Complete = known && past.after <= since.Number && since.Number <= past.number
		for known && len(events) > 0 && events[0].number <= since.Number {
			events = events[1:]
		}
		events = events[:min(limit, len(events))]
	}
	for _, e := range events {
		var message struct{ Event, Data json.RawMessage }
		if err := json.Unmarshal(e.frame.JSON(), &message); err != nil {
			return History{}, err
		}
		h.Events = append(h.Events, PastEvent{protocol.Serial{Epoch: past.epoch, Number: e.number}, message.Event, message.Data, e.except, e.at})
	}
	return h, nil
}
