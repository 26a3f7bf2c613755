package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"time"

	"belfry/channels/cluster"
	"belfry/protocol"
)

const (
	// maxWaiting is how many departures of a bucket may wait for their grace. Over
	// it, the oldest are final before their time.
	maxWaiting = 10_000
	// maxOutbox is how many transitions of a bucket wait for delivery. Over it, new
	// ones are lost.
	maxOutbox = 100_000
)

// Flags of update.lua.
const (
	flagWhole = 1 << iota
	flagTell
	flagWatched
	flagLoad
	flagForDead
	flagRecord
	flagSettling
)

// Update implements [cluster.Ledger].
func (d *Driver) Update(ctx context.Context, t cluster.Topic, share cluster.Share) (cluster.Outcome, error) {
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	s, err := d.connected(ctx)
	if err != nil {
		return cluster.Outcome{}, err
	}
	if err := d.away(s, t); err != nil {
		return cluster.Outcome{}, err
	}
	tag := d.keys.tag(t)
	if err := d.register(ctx, s, tag); err != nil {
		return cluster.Outcome{}, d.failed(s, err)
	}
	flags := 0
	for flag, on := range map[int]bool{flagWhole: share.Whole, flagTell: share.TellCount, flagWatched: share.Watched, flagLoad: share.Load, flagRecord: share.Record} {
		if on {
			flags |= flag
		}
	}
	deadline := lastMoment(ctx)
	a, err := s.before(ctx, deadline, d.keys.clock(s, tag), d.update(s, s.node, t, share, flags))
	if err != nil {
		// It may be under way. When it cannot come any more, another may be sent.
		_ = wait(ctx, time.Until(deadline))
		o := cluster.Outcome{}
		if share.Record {
			o.Hint = &cluster.Hint{Bucket: d.keys.bucketOf(t)}
		}
		return o, d.unknown(s, err)
	}
	switch a.status {
	case "lost":
		return cluster.Outcome{}, d.unregistered(s, tag)
	case "forgotten":
		return cluster.Outcome{}, cluster.ErrForgotten
	}
	o, err := d.outcome(t, a, share.Load)
	if err != nil {
		return o, d.unknown(s, err)
	}
	d.latest.told(tag, o.Version)
	return o, nil
}

// lastMoment is until when Redis may do what the context is for: a quarter of the
// time is for the answer.
func lastMoment(ctx context.Context) time.Time {
	end, _ := ctx.Deadline()
	return end.Add(-time.Until(end) / 4)
}

// update is the call of the script. Its deadline is not set yet.
func (d *Driver) update(s *session, node string, t cluster.Topic, share cluster.Share, flags int) call {
	if d.settles() {
		flags |= flagSettling
	}
	tag, c := d.keys.tag(t), t.Channel
	seen := d.latest.of(tag)
	args := []string{"", node, c, s.publish, d.keys.name(t), d.keys.name(t.Watch()), itoa(share.Count), itoa(flags), itoa(share.MaxMembers),
		itoa(share.Grace.Microseconds()), itoa(share.Before), share.Epoch, rand.Text(), itoa(share.Known), itoa(cluster.ToldAgain.Microseconds()),
		itoa(maxWaiting), itoa(maxOutbox), seen.Epoch, strconv.FormatUint(seen.Number, 10),
		share.Since.Epoch, strconv.FormatUint(share.Since.Number, 10), itoa(share.Remember.Milliseconds()), itoa(len(share.Leave))}
	args = append(args, share.Leave...)
	for _, m := range share.Join {
		args = append(args, m.UserID, string(m.UserInfo))
	}
	return call{updateScript, []string{tag + "b", tag + "n:" + node, tag + "u:" + node + ":" + c, tag + "m:" + c, tag + "l:" + c, tag + "h:" + c, tag + "e:" + c, tag + "q", tag + "w"}, args}
}

// outcome reads what the script returned.
func (d *Driver) outcome(t cluster.Topic, a answer, load bool) (o cluster.Outcome, err error) {
	r := reader{rest: a.rest}
	o.Version.Epoch, o.Version.Number = r.string(), uint64(r.int())
	o.Count, o.Full = int(r.int()), r.strings()
	if in := r.int(); in >= 0 {
		o.Hint = &cluster.Hint{Bucket: d.keys.bucketOf(t), In: time.Duration(in) * time.Microsecond}
	}
	o.Lost = int(r.int())
	if load {
		members, err := parseMembers(r.strings())
		if err != nil {
			return o, err
		}
		o.Snapshot = &cluster.Snapshot{Members: members}
		now, err := strconv.ParseInt(a.clock, 10, 64)
		if err != nil {
			return o, errAnswer
		}
		if events := live(r.events(), time.UnixMicro(now)); len(events) > 0 {
			o.Snapshot.Last = &events[0].Event
		}
		o.Snapshot.After = uint64(r.int())
		for _, e := range live(r.events(), time.UnixMicro(now)) {
			if len(o.Snapshot.Events) == 0 {
				o.Snapshot.After = e.before
			}
			o.Snapshot.Events = append(o.Snapshot.Events, e.Event)
		}
	}
	return o, r.err()
}

// parseMembers reads users and what is kept of them, in turns, and puts them into the
// order they came.
func parseMembers(flat []string) (members []protocol.Member, err error) {
	type ordered struct {
		protocol.Member
		number, index uint64
	}
	list := make([]ordered, 0, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		parts := strings.SplitN(flat[i+1], " ", 4) // nodes, number, index, info
		if len(parts) < 4 {
			return nil, errAnswer
		}
		number, err1 := strconv.ParseUint(parts[1], 10, 64)
		index, err2 := strconv.ParseUint(parts[2], 10, 64)
		if err1 != nil || err2 != nil {
			return nil, errAnswer
		}
		list = append(list, ordered{protocol.Member{UserID: flat[i], UserInfo: cluster.Info(parts[3])}, number, index})
	}
	slices.SortFunc(list, func(a, b ordered) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.index, b.index)) })
	for _, m := range list {
		members = append(members, m.Member)
	}
	return members, nil
}

// maxTaken is how many transitions are taken at a time.
const maxTaken = 500

// Take implements [cluster.Ledger].
func (d *Driver) Take(ctx context.Context, b cluster.Bucket, receipt string) (taken cluster.Taken, err error) {
	return d.take(ctx, b, receipt, maxTaken)
}

// Return implements [cluster.Ledger].
func (d *Driver) Return(ctx context.Context, b cluster.Bucket, receipt string) error {
	_, err := d.take(ctx, b, receipt, 0)
	return err
}

// take is Take of that many transitions at most; with 0, it is Return.
func (d *Driver) take(ctx context.Context, b cluster.Bucket, receipt string, most int) (taken cluster.Taken, err error) {
	tag := d.keys.bucket(b.App, b.Number)
	acknowledged := append(strings.Split(receipt, "/"), "", "", "")[:3] // epoch, position, name
	name := rand.Text()
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	s, err := d.connected(ctx)
	if err != nil {
		return taken, err
	}
	if err := d.register(ctx, s, tag); err != nil { // so that whoever buries this node finds the bucket
		return taken, d.failed(s, err)
	}
	result := s.run(ctx, call{takeScript, []string{tag + "b", tag + "q", tag + "w"}, []string{s.node, acknowledged[0], cmp.Or(acknowledged[1], "0"), acknowledged[2], itoa(most), name}})[0]
	array, err := result.ToArray()
	if err != nil {
		return taken, d.unknown(s, err)
	}
	r := reader{rest: array}
	switch status := r.string(); status {
	case "lost":
		return taken, d.unregistered(s, tag)
	case "held":
		// A bucket that has come back with older data may be lent to a node that is no more.
		if err := d.claimUnknown(ctx, s, map[string][]string{r.string(): {tag}}); err != nil {
			return taken, d.failed(s, err)
		}
		return cluster.Taken{Lent: true, Next: -1}, nil
	}
	taken.Receipt = r.string() + "/" + r.string() + "/" + name
	taken.Next = time.Duration(r.int()) * time.Microsecond
	for _, text := range r.strings() {
		if t, ok := parseTransition(text); ok {
			taken.Transitions = append(taken.Transitions, t)
		}
	}
	if err := r.err(); err != nil {
		return cluster.Taken{}, d.unknown(s, err)
	}
	return taken, nil
}

// parseTransition reads what update.lua puts into an outbox.
func parseTransition(text string) (t cluster.Transition, ok bool) {
	if text == "" {
		return t, false
	}
	t.Kind = cluster.TransitionKind(text[0])
	var rest string
	if t.Channel, rest, ok = cutSized(text[1:]); !ok {
		return t, false
	}
	if t.Kind == cluster.Counted {
		n, err := strconv.ParseUint(rest, 10, 31)
		t.Count = int(n)
		return t, err == nil
	}
	t.UserID = rest
	return t, true
}

// cutSized reads a length in bytes, a space, and as many bytes.
func cutSized(text string) (part, rest string, ok bool) {
	length, text, ok := strings.Cut(text, " ")
	n, err := strconv.ParseUint(length, 10, 31)
	if !ok || err != nil || n > uint64(len(text)) {
		return "", "", false
	}
	return text[:n], text[n:], true
}
