package local

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"belfry/channels/cluster"
)

// maxTaken is how many transitions are taken at a time.
const maxTaken = 100

// outbox has an application's transitions: here, it has one bucket. The hub's lock
// guards it.
type outbox struct {
	owner   *node // to whom it is lent; nil: nobody
	ready   []cluster.Transition
	removed uint64 // transitions that were, from the front of ready
	taken   uint64 // how often any were taken: the last receipt has it
	waiting []waiting
}

// waiting is a transition that is not final: a departure in its grace, or an arrival
// that may be none as not all nodes have told their shares of a new epoch.
type waiting struct {
	cluster.Transition
	due time.Time
}

// ripen moves what is due to what is ready, and reports whether anything was.
func (o *outbox) ripen(now time.Time) (ripe bool) {
	slices.SortStableFunc(o.waiting, func(a, b waiting) int { return a.due.Compare(b.due) })
	for len(o.waiting) > 0 && !o.waiting[0].due.After(now) {
		o.ready = append(o.ready, o.waiting[0].Transition)
		o.waiting = o.waiting[1:]
		ripe = true
	}
	return ripe
}

// cancel takes out a transition that waits, and reports whether there was one.
func (o *outbox) cancel(t cluster.Transition) bool {
	i := slices.IndexFunc(o.waiting, func(w waiting) bool { return w.Transition == t })
	if i < 0 {
		return false
	}
	o.waiting = slices.Delete(o.waiting, i, i+1)
	return true
}

// next is when there is something to take: negative for never.
func (o *outbox) next(now time.Time) time.Duration {
	switch {
	case len(o.ready) > 0:
		return 0
	case len(o.waiting) == 0:
		return -1
	}
	first := slices.MinFunc(o.waiting, func(a, b waiting) int { return a.due.Compare(b.due) })
	return max(first.due.Sub(now), 0)
}

// recorder puts transitions of one Update into the outbox.
type recorder struct {
	*outbox
	channel string
	grace   time.Duration
	waits   bool // others may not have told their shares since a loss: arrivals and departures may be none
	now     time.Time
	hint    time.Duration // when there is something to take of what was put in; negative for never
}

// recorder returns one that does nothing if nobody wants to know.
func (h *Hub) recorder(t cluster.Topic, s cluster.Share) *recorder {
	r := &recorder{channel: t.Channel, grace: s.Grace, now: time.Now(), hint: -1}
	if s.Record {
		r.outbox = h.outbox(t.App)
		if r.ripen(r.now) {
			r.hint = 0
		}
	}
	return r
}

func (h *Hub) outbox(app string) *outbox {
	o := h.outboxes[app]
	if o == nil {
		o = new(outbox)
		h.outboxes[app] = o
	}
	return o
}

func (r *recorder) record(t cluster.Transition) {
	if r.outbox != nil {
		r.ready, r.hint = append(r.ready, t), 0
	}
}

// wait puts a transition among those that wait.
func (r *recorder) wait(t cluster.Transition, d time.Duration) {
	r.waiting = append(r.waiting, waiting{t, r.now.Add(d)})
	if r.hint < 0 {
		r.hint = d
	}
	r.hint = min(r.hint, d)
}

// transitions are those of a user, or with an empty id of the channel.
func (r *recorder) transitions(userID string) (arrival, departure cluster.Transition) {
	if userID == "" {
		return cluster.Transition{Kind: cluster.Occupied, Channel: r.channel}, cluster.Transition{Kind: cluster.Vacated, Channel: r.channel}
	}
	return cluster.Transition{Kind: cluster.Added, Channel: r.channel, UserID: userID}, cluster.Transition{Kind: cluster.Removed, Channel: r.channel, UserID: userID}
}

// arrive is told of who is there now. known: it was before the ledger has lost its
// data.
func (r *recorder) arrive(userID string, known bool) {
	if r.outbox == nil {
		return
	}
	arrival, departure := r.transitions(userID)
	switch back := r.cancel(departure); {
	case known:
		r.cancel(arrival) // another node took it for new
	case back:
	case r.waits:
		r.wait(arrival, cluster.ToldAgain)
	default:
		r.record(arrival)
	}
}

// depart is told of who is not there any more.
func (r *recorder) depart(userID string) {
	if r.outbox == nil {
		return
	}
	arrival, departure := r.transitions(userID)
	after := r.grace
	if r.waits {
		after = max(after, cluster.ToldAgain)
	}
	switch {
	case r.cancel(arrival): // which nobody was told of
	case after > 0:
		r.cancel(departure)
		r.wait(departure, after)
	default:
		r.record(departure)
	}
}

// acknowledge removes what was taken with a receipt.
func (o *outbox) acknowledge(epoch int, receipt string) {
	text, ok := strings.CutPrefix(receipt, fmt.Sprint(epoch, "/", o.taken, "/"))
	if end, _ := strconv.ParseUint(text, 10, 64); ok && end > o.removed {
		o.ready = slices.Clone(o.ready[end-o.removed:])
		o.removed = end
	}
}

func (n *node) Return(ctx context.Context, b cluster.Bucket, receipt string) error {
	return n.do(ctx, "@outbox", func(h *Hub) {
		if o := h.outbox(b.App); o.owner == n {
			o.acknowledge(h.epoch, receipt)
			o.owner = nil
		}
	})
}

func (n *node) Take(ctx context.Context, b cluster.Bucket, receipt string) (taken cluster.Taken, err error) {
	err = n.do(ctx, "@outbox", func(h *Hub) {
		o, now := h.outbox(b.App), time.Now()
		if o.owner != nil && o.owner != n {
			taken.Lent, taken.Next = true, -1
			return
		}
		o.owner = n
		o.acknowledge(h.epoch, receipt)
		o.ripen(now)
		taken.Transitions = slices.Clone(o.ready[:min(len(o.ready), maxTaken)])
		o.taken++
		taken.Receipt = fmt.Sprint(h.epoch, "/", o.taken, "/", o.removed+uint64(len(taken.Transitions)))
		taken.Next = o.next(now)
		if len(o.ready) == 0 {
			o.owner = nil
		}
	})
	return taken, err
}
