package channels

import (
	"sync"
	"sync/atomic"
	"time"

	"belfry/protocol"
)

const (
	// quantum is how many subscribers a flusher serves before the next
	// channel has its turn.
	quantum = 128
	// maxBatch bounds what is joined into one write, in bytes. It is a small
	// part of what a connection may have waiting, so that one batch never
	// makes a slow consumer of a connection that reads.
	maxBatch = 64 << 10
	// maxPending bounds what waits on a shard, in bytes: publishers wait
	// above it, clients are refused.
	maxPending = 256 << 10
	// maxMembersPending is above which a new member of a presence channel is
	// refused, as clients that come and go publish as well, and cannot wait. Many
	// who reconnect at once stay below it.
	maxMembersPending = 16 * maxPending
)

// pending is a published frame that waits for its flusher.
type pending struct {
	frame     protocol.Frame
	except    protocol.SocketID // must not receive it; zero for nobody
	at        time.Time
	following *following // nil for an event that nobody wants to know of
}

// shard is the part of a channel's subscriptions that one flusher serves.
// channel.mu guards all fields but the constant ones.
type shard struct {
	channel *channel
	flusher *flusher

	// subs in no order. While a batch goes out, subs[:cursor] have not been
	// served yet.
	subs   []*Subscription
	cursor int32

	bytes   int32 // of pending
	pending []pending
	next    uint64 // sequence number that the next frame gets

	lines  bool   // its subscribers take lines instead of frames; constant, placed here to share a word with active
	active bool   // queued at the flusher, or being flushed
	batch  *batch // what goes out now, nil between batches
}

// Subscription is one connection on one channel.
type Subscription struct {
	subscriber Subscriber
	channel    *channel
	id         protocol.SocketID
	left       atomic.Bool

	// Set before anybody else knows the subscription; then only who has subscribed uses it.
	start *start // nil if the channel had no history

	// Guarded by channel.mu.
	pos    int32   // in shard.subs
	from   uint64  // first sequence number it receives
	member *member // on presence channels
}

// Channel is the name of the channel.
func (s *Subscription) Channel() string { return s.channel.name }

// Kind is the kind of the channel.
func (s *Subscription) Kind() protocol.Kind { return s.channel.kind }

// UserID is the member's on a presence channel, empty elsewhere.
func (s *Subscription) UserID() string {
	if s.member == nil {
		return ""
	}
	return s.member.userID
}

// Left reports that the subscription has ended.
func (s *Subscription) Left() bool { return s.left.Load() }

func (s *shard) add(sub *Subscription) {
	sub.pos = int32(len(s.subs))
	sub.from = s.next
	s.subs = append(s.subs, sub)
}

// remove keeps subs[:cursor] the unserved ones: each gap is filled from its
// own side.
func (s *shard) remove(sub *Subscription) {
	gap := sub.pos
	if gap < s.cursor {
		s.cursor--
		s.move(s.cursor, gap)
		gap = s.cursor
	}
	last := int32(len(s.subs) - 1)
	s.move(last, gap)
	s.subs[last] = nil
	s.subs = s.subs[:last]
	if len(s.subs) == 0 {
		s.subs = nil // a channel that was large once keeps no array
	}
}

// move fills a gap. from may be the gap itself, where what has just been moved away
// still is: then there is nothing to do.
func (s *shard) move(from, to int32) {
	if from == to {
		return
	}
	s.subs[to] = s.subs[from]
	s.subs[to].pos = to
}

// append reports whether the shard was idle and is now the caller's to flush
// or to queue.
func (s *shard) append(p pending) (wasIdle bool) {
	s.pending = append(s.pending, p)
	s.bytes += int32(len(p.frame))
	s.next++
	if s.active {
		return false
	}
	s.active = true
	return true
}

// batch is what one shard's subscribers are offered in one go.
type batch struct {
	first    uint64 // sequence number of the first frame
	data     []byte // all frames, or lines, joined
	ends     []int  // where each ends in data
	excepts  []except
	followed []*following // of the frames
	oldest   time.Time    // when the first was published

	joined []byte // data of more than one frame, or of lines; for the next batch, too, unless it is kept
	kept   bool   // a subscriber has kept a part of data
}

type except struct {
	frame int // index within the batch
	id    protocol.SocketID
}

var batches = sync.Pool{New: func() any { return new(batch) }}

// take moves what is pending, up to maxBatch bytes, into a batch.
func (s *shard) take() {
	b := batches.Get().(*batch)
	b.first = s.next - uint64(len(s.pending))
	b.oldest = s.pending[0].at
	n, size := 0, 0
	for _, p := range s.pending {
		if n > 0 && size+len(p.frame) > maxBatch {
			break
		}
		if p.except != (protocol.SocketID{}) {
			b.excepts = append(b.excepts, except{n, p.except})
		}
		if p.following != nil {
			b.followed = append(b.followed, p.following)
		}
		n++
		size += len(p.frame)
	}
	b.join(s.pending[:n], s.lines)
	rest := copy(s.pending, s.pending[n:])
	clear(s.pending[rest:])
	s.pending = s.pending[:rest]
	s.bytes -= int32(size)
	s.batch = b
	s.cursor = int32(len(s.subs))
	if c := s.channel; c.room != nil && s.bytes < maxPending {
		close(c.room)
		c.room = nil
	}
}

// join makes the batch's data of what was pending.
func (b *batch) join(frames []pending, lines bool) {
	for _, p := range frames {
		switch {
		case lines:
			b.joined = p.frame.AppendLine(b.joined)
		case len(frames) == 1:
			b.data = p.frame
			b.ends = append(b.ends, len(p.frame))
			return
		default:
			b.joined = append(b.joined, p.frame...)
		}
		b.ends = append(b.ends, len(b.joined))
	}
	b.data = b.joined
}

func (b *batch) release() {
	b.data = nil
	b.joined = b.joined[:0]
	if b.kept {
		b.joined, b.kept = nil, false
	}
	b.ends = b.ends[:0]
	b.excepts = b.excepts[:0]
	clear(b.followed)
	b.followed = b.followed[:0]
	batches.Put(b)
}

// round is the working memory of one flush.
type round [quantum]*Subscription

// flush serves one quantum of subscribers and reports whether the shard has
// more to do; if not, it is idle again. Only one goroutine flushes a shard at
// a time: the one that found it idle, or its flusher.
func (s *shard) flush(r *round) (more bool) {
	c := s.channel
	c.mu.Lock()
	if s.batch == nil {
		s.take()
	}
	b := s.batch
	n := copy(r[:], s.subs[s.cursor-min(quantum, s.cursor):s.cursor])
	s.cursor -= int32(n)
	c.mu.Unlock()

	messages, bytes := 0, 0
	for _, sub := range r[:n] {
		m, size := sub.deliver(b)
		messages += m
		bytes += size
	}
	clear(r[:n])
	c.app.observer.Delivered(messages, bytes)

	c.mu.Lock()
	defer c.mu.Unlock()
	if s.cursor > 0 {
		return true
	}
	c.app.observer.Delay(time.Since(b.oldest))
	for _, f := range b.followed {
		f.served()
	}
	s.batch = nil
	b.release()
	s.active = len(s.pending) > 0
	if !s.active {
		s.pending = nil // idle channels keep no list
	}
	return s.active
}

// deliver offers a batch to one subscriber: the frames since it subscribed,
// without those that it is excepted from.
func (s *Subscription) deliver(b *batch) (messages, bytes int) {
	start := 0
	if s.from > b.first {
		start = int(min(s.from-b.first, uint64(len(b.ends))))
	}
	for _, e := range b.excepts {
		if e.frame >= start && s.excepts(e.id) {
			m, size := s.offer(b, start, e.frame)
			messages += m
			bytes += size
			start = e.frame + 1
		}
	}
	m, size := s.offer(b, start, len(b.ends))
	return messages + m, bytes + size
}

// offer delivers frames start to end of a batch.
func (s *Subscription) offer(b *batch, start, end int) (messages, bytes int) {
	if start >= end {
		return 0, 0
	}
	from := 0
	if start > 0 {
		from = b.ends[start-1]
	}
	frames := b.data[from:b.ends[end-1]]
	if s.subscriber.Deliver(s, frames) {
		b.kept = true
	}
	return end - start, len(frames)
}
