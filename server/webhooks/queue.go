package webhooks

import (
	"slices"
	"time"

	"belfry/channels"
	"belfry/protocol"
)

// Shares of a queue, in bytes of events that are not delivered yet. What is over
// a share takes the bulk lane.
const (
	sourceShare = 2 << 10  // of the events that one client's address has caused: about 20
	minorShare  = 16 << 10 // of client events, cache misses and counts in the prompt lane

	// Over these bounds of the bulk lane, what is over a share is dropped. The rest
	// of the queue is for those who are within their shares.
	maxBulk      = 100_000 // events
	maxBulkBytes = 16 << 20
)

// event is one event in the queue of one endpoint.
type event struct {
	json    []byte
	channel string
	source  protocol.Source
	minor   bool   // about neither a channel nor a member itself
	bulk    bool   // it has taken the bulk lane
	done    bool   // delivered or given up
	batch   *batch // nil: in none yet

	// Of an event that the cluster keeps, held by this event; nil: it does not.
	delivery *channels.Delivery

	ends time.Time // when it is given up, tried or not; zero: it is in no delivery that waits. Owned by deliver.
}

// batch is what the spool has in one file. Its events are delivered together, or
// in parts when the endpoint refuses some of them.
type batch struct {
	number uint64   // later batches have higher ones
	events []*event // that are not done
	bytes  int      // of all
	made   time.Time
	timeMS int64  // when it was made; made is when it was found, for one of the spool
	file   string // in the spool; empty: it is not there
}

// The lanes of a queue, which are served in turns.
const (
	promptLane = iota
	bulkLane
	lanes
)

// lane is first in, first out.
type lane struct {
	events  []*event // in no batch yet
	bytes   int      // of those
	batches []*batch // in no request yet
}

// full says whether the events are enough for a batch.
func (l *lane) full() bool { return len(l.events) >= batchEvents || l.bytes >= batchBytes }

// queue has what an endpoint has not taken yet. It keeps the order of each
// channel: an event of a channel with something in the bulk lane goes there too,
// and a batch of the bulk lane waits for those that were made before it.
type queue struct {
	lanes  [lanes]lane
	events int // that are not done, wherever they are
	bytes  int // of those

	// Of events that are not done. An entry is removed when it is zero.
	sources      map[protocol.Source]int // bytes, by the known sources
	minor        int                     // bytes in the prompt lane
	bulkEvents   int
	bulkBytes    int
	bulkChannels map[string]int // events in the bulk lane

	last uint64 // number of a batch
}

func newQueue() queue {
	return queue{sources: make(map[protocol.Source]int), bulkChannels: make(map[string]int)}
}

// add queues an event, and reports whether there was room.
func (q *queue) add(ev *event) bool {
	over := q.sources[ev.source] >= sourceShare || ev.minor && q.minor >= minorShare
	if over && (q.bulkEvents >= maxBulk || q.bulkBytes+len(ev.json) > maxBulkBytes) || !q.fits(1, len(ev.json)) {
		return false
	}
	ev.bulk = over || q.bulkChannels[ev.channel] > 0
	q.count(ev)
	l := q.lane(ev)
	l.events = append(l.events, ev)
	l.bytes += len(ev.json)
	return true
}

// fits says whether there is room for more.
func (q *queue) fits(events, bytes int) bool {
	return q.events+events <= maxQueued && q.bytes+bytes <= maxQueuedBytes
}

func (q *queue) lane(ev *event) *lane {
	if ev.bulk {
		return &q.lanes[bulkLane]
	}
	return &q.lanes[promptLane]
}

// restore queues a batch of the spool. Who caused its events is not known, so
// they are bulk: what happens from here on need not wait for all of them.
func (q *queue) restore(b *batch) {
	for _, ev := range b.events {
		ev.bulk = true
		q.count(ev)
	}
	q.lanes[bulkLane].batches = append(q.lanes[bulkLane].batches, b)
}

func (q *queue) count(ev *event) {
	q.events++
	q.bytes += len(ev.json)
	if ev.source != 0 {
		q.sources[ev.source] += len(ev.json)
	}
	switch {
	case ev.bulk:
		q.bulkEvents++
		q.bulkBytes += len(ev.json)
		q.bulkChannels[ev.channel]++
	case ev.minor:
		q.minor += len(ev.json)
	}
}

// done takes the event out of all counts.
func (q *queue) done(ev *event) {
	ev.done = true
	q.events--
	q.bytes -= len(ev.json)
	if ev.source != 0 {
		if q.sources[ev.source] -= len(ev.json); q.sources[ev.source] == 0 {
			delete(q.sources, ev.source)
		}
	}
	switch {
	case ev.bulk:
		q.bulkEvents--
		q.bulkBytes -= len(ev.json)
		if q.bulkChannels[ev.channel]--; q.bulkChannels[ev.channel] == 0 {
			delete(q.bulkChannels, ev.channel)
		}
	case ev.minor:
		q.minor -= len(ev.json)
	}
}

// full says whether a lane has enough events for a batch.
func (q *queue) full() bool { return q.lanes[promptLane].full() || q.lanes[bulkLane].full() }

// cut makes a batch of events that are in none, nil if there are too few: rest
// asks for the last ones as well. The prompt lane goes first, so that what is
// older than a batch of the bulk lane has a lower number.
func (q *queue) cut(rest bool, now time.Time) *batch {
	var l *lane
	prompt, bulk := &q.lanes[promptLane], &q.lanes[bulkLane]
	switch {
	case len(prompt.events) > 0 && (rest || q.full()):
		l = prompt
	case len(bulk.events) > 0 && (rest || bulk.full()):
		l = bulk
	default:
		return nil
	}
	n, bytes := fitting(l.events)
	q.last++
	b := &batch{number: q.last, events: slices.Clone(l.events[:n]), bytes: bytes, made: now, timeMS: now.UnixMilli()}
	for _, ev := range b.events {
		ev.batch = b
	}
	clear(l.events[:n])
	l.events = l.events[n:]
	l.bytes -= bytes
	if len(l.events) == 0 {
		l.events = nil // and its memory
	}
	return b
}

// fitting is how many of the first events go into one request, and their bytes.
// An event that is too large for any is alone.
func fitting(events []*event) (n, bytes int) {
	for n < len(events) && n < batchEvents && (n == 0 || bytes+len(events[n].json) <= batchBytes) {
		bytes += len(events[n].json)
		n++
	}
	return n, bytes
}

// waits reports whether a lane has a batch that may go out.
func (q *queue) waits(lane int) bool {
	prompt, batches := q.lanes[promptLane].batches, q.lanes[lane].batches
	return len(batches) > 0 && (lane == promptLane || len(prompt) == 0 || prompt[0].number > batches[0].number)
}

// pop takes the first batch off a lane.
func (q *queue) pop(lane int) *batch {
	l := &q.lanes[lane]
	b := l.batches[0]
	l.batches[0] = nil
	l.batches = l.batches[1:]
	return b
}
