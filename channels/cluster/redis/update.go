package redis

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
	"belfry/protocol"
)

const (
	// versionsLinger is how long versions are remembered of a channel that is
	// vacant, or has no last event.
	versionsLinger = time.Hour
	// transitionsLinger is how long what an update came to is remembered for a
	// node that did not get the answer.
	transitionsLinger = 5 * time.Minute
)

// Flags of update.lua.
const (
	flagReset = 1 << iota
	flagTell
	flagWatched
	flagLoad
	flagBury
)

// Update implements [cluster.Driver]. If the answer is lost, what it would have
// said of transitions is in the outcome of the next Update of the topic.
func (d *Driver) Update(ctx context.Context, t cluster.Topic, share cluster.Share) (cluster.Outcome, error) {
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	s, err := d.connected(ctx)
	if err != nil {
		return cluster.Outcome{}, err
	}
	tag := d.keys.tag(t)
	if err := d.register(ctx, s, tag); err != nil {
		return cluster.Outcome{}, d.failed(s, err)
	}
	flags := 0
	for flag, on := range map[int]bool{flagReset: share.Reset, flagTell: share.TellCount, flagWatched: share.Watched, flagLoad: share.Load} {
		if on {
			flags |= flag
		}
	}
	number := d.numbers.Add(1)
	d.mu.Lock()
	unanswered := d.unanswered[t]
	d.mu.Unlock()
	deadline := lastMoment(ctx)
	a, err := s.before(ctx, deadline, d.keys.clock(s, tag), d.update(s, s.node, t, share, flags, number, unanswered))
	if err != nil {
		err = d.failed(s, err)
		if unanswered == 0 {
			d.mu.Lock()
			d.unanswered[t] = number
			d.mu.Unlock()
		}
		// It may be under way. When it cannot come any more, another may be sent.
		_ = wait(ctx, time.Until(deadline))
		return cluster.Outcome{}, err
	}
	if a.status == "lost" {
		return cluster.Outcome{}, d.failed(s, errLost)
	}
	u, err := decodeUpdate(a)
	if err != nil {
		return cluster.Outcome{}, d.failed(s, err)
	}
	if unanswered != 0 {
		d.mu.Lock()
		delete(d.unanswered, t)
		d.mu.Unlock()
	}
	return u.outcome(), nil
}

// lastMoment is until when Redis may do what the context is for: a quarter of the
// time is for the answer.
func lastMoment(ctx context.Context) time.Time {
	end, _ := ctx.Deadline()
	return end.Add(-time.Until(end) / 4)
}

// update is the call of the script.
func (d *Driver) update(s *session, node string, t cluster.Topic, share cluster.Share, flags int, number, unanswered uint64) call {
	tag := d.keys.tag(t)
	args := []string{"", node, t.Channel, s.publish, d.keys.name(t), d.keys.name(t.Watch()), itoa(share.Count), itoa(flags), itoa(share.MaxMembers),
		itoa(int64(number)), itoa(int64(unanswered)), itoa(versionsLinger.Milliseconds()), itoa(transitionsLinger.Milliseconds()),
		itoa(cluster.CountedAlways), itoa(cluster.CountInterval.Microseconds()),
		itoa(share.Grace.Microseconds()), itoa(cluster.SettleWithin.Milliseconds()), itoa(len(share.Leave))}
	args = append(args, share.Leave...)
	for _, m := range share.Join {
		args = append(args, m.UserID, string(m.UserInfo))
	}
	c := t.Channel
	return call{updateScript, []string{tag + "counts", tag + "users", tag + "s:" + c, tag + "m:" + c, tag + "o:" + c, tag + "v:" + c, tag + "l:" + c, tag + "k:" + c,
		tag + "t:" + c, tag + "n:" + node, tag + "d:" + node, tag + "u:" + node + ":" + c, tag + "a:" + node + ":" + c, tag + "g:" + c}, args}
}

// updated is what the script returned.
type updated struct {
	cluster.Outcome
	happened []string   // in its order: o, v; and with a user id, + - =
	missed   [][]string // likewise of updates whose answers were lost
}

func readUpdate(r rueidis.RedisResult) (updated, error) {
	array, err := r.ToArray()
	if err != nil {
		return updated{}, err
	}
	if len(array) < 2 {
		return updated{}, errAnswer
	}
	return decodeUpdate(answer{rest: array[2:]})
}

func decodeUpdate(a answer) (u updated, err error) {
	if len(a.rest) < 5 {
		return u, errAnswer
	}
	var counted int64
	var missed []string
	r := reader{rest: a.rest}
	u.Count = int(r.int())
	counted = r.int()
	u.happened = r.strings()
	missed = r.strings()
	u.Version = uint64(r.int())
	u.CountTold, u.CountLater = counted == 1, counted == 2
	for _, text := range missed {
		var list []string
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return u, errAnswer
		}
		u.missed = append(u.missed, list)
	}
	if len(r.rest) > 0 {
		roster := r.strings()
		for i := 0; i+1 < len(roster); i += 2 {
			u.Roster = append(u.Roster, protocol.Member{UserID: roster[i], UserInfo: cluster.Info(roster[i+1])})
		}
		u.Last = r.last()
	}
	if r.bad {
		return u, errAnswer
	}
	return u, nil
}

// outcome adds what happened, and what did before unnoticed: what came and went
// again meanwhile is left out.
func (u updated) outcome() cluster.Outcome {
	o := u.Outcome
	for _, list := range append(u.missed, u.happened) {
		for _, what := range list {
			if what == "" {
				continue
			}
			kind, user := what[0], what[1:]
			switch kind {
			case 'o':
				o.Occupied, o.Vacated = !o.Vacated, false
			case 'v':
				o.Vacated, o.Occupied = !o.Occupied, false
			case '+':
				settle(&o.Added, &o.Removed, user)
			case '-':
				settle(&o.Removed, &o.Added, user)
			}
		}
	}
	for _, what := range u.happened {
		if user, ok := cutFull(what); ok {
			o.Full = append(o.Full, user)
		}
	}
	return o
}

// settle adds a user to one list, or takes it from the opposite one.
func settle(to, opposite *[]string, user string) {
	if i := slices.Index(*opposite, user); i >= 0 {
		*opposite = slices.Delete(*opposite, i, i+1)
		return
	}
	*to = append(*to, user)
}

func cutFull(what string) (user string, ok bool) {
	if what == "" || what[0] != '=' {
		return "", false
	}
	return what[1:], true
}
