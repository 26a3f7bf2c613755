package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// State implements [cluster.Ledger].
func (d *Driver) State(ctx context.Context, t cluster.Topic) (state cluster.State, err error) {
	tag, c := d.keys.tag(t), t.Channel
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		b := s.client.B
		results := s.doAll(ctx, b().Hget().Key(tag+"b").Field("c:"+c).Build(), b().Get().Key(tag+"l:"+c).Build(), b().Pttl().Key(tag+"l:"+c).Build())
		text, err := results[0].ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		if err == nil {
			if _, err := fmt.Sscan(text, &state.Count, &state.Users); err != nil {
				return errAnswer
			}
		}
		text, err = results[1].ToString()
		if rueidis.IsRedisNil(err) {
			return nil
		} else if err != nil {
			return err
		}
		ttl, err := results[2].AsInt64()
		if err != nil {
			return err
		}
		last, ok := parseKept(text)
		if !ok {
			return errAnswer
		}
		if ttl > 0 { // the key ends with the event
			last.TTL = time.Duration(ttl) * time.Millisecond
			state.Last = &last.Event
		}
		return nil
	})
	return state, err
}

// History implements [cluster.Ledger].
func (d *Driver) History(ctx context.Context, t cluster.Topic, events int, age time.Duration) (h cluster.History, err error) {
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		tag, c := d.keys.tag(t), t.Channel
		array, err := s.run(ctx, call{historyScript, []string{tag + "b", tag + "h:" + c, tag + "e:" + c}, []string{itoa(events)}})[0].ToArray()
		if err != nil || len(array) == 0 {
			return err // or the bucket has nothing
		}
		r := reader{rest: array}
		now := time.UnixMilli(r.int())
		h.Version = cluster.Version{Epoch: r.string(), Number: uint64(r.int())}
		h.After, h.Now = uint64(r.int()), now
		for _, e := range live(r.events(), now) {
			if now.Sub(e.At) >= age {
				continue
			}
			if len(h.Events) == 0 {
				h.After = e.before
			}
			h.Events = append(h.Events, e.Event)
		}
		return r.err()
	})
	if err != nil {
		return cluster.History{}, err
	}
	return h, nil
}

// keptEvent is what keep.lua keeps of an event.
type keptEvent struct {
	cluster.Event
	ends   time.Time // by the clock of Redis
	before uint64    // number of the event before
}

func parseKept(text string) (e keptEvent, ok bool) {
	parts := strings.SplitN(text, " ", 5)
	if len(parts) < 5 {
		return e, false
	}
	var numbers [4]uint64
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.ParseUint(parts[i], 10, 63); err != nil {
			return e, false
		}
	}
	e.Number, e.ends, e.At, e.before = numbers[0], time.UnixMilli(int64(numbers[1])), time.UnixMilli(int64(numbers[2])), numbers[3]
	e.Payload = []byte(parts[4])
	return e, true
}

// events reads a list of kept events.
func (r *reader) events() (events []keptEvent) {
	for _, text := range r.strings() {
		e, ok := parseKept(text)
		r.bad = r.bad || !ok
		events = append(events, e)
	}
	return events
}

// live are those that have not ended. now is the time there.
func live(events []keptEvent, now time.Time) (live []keptEvent) {
	for _, e := range events {
		if e.TTL = e.ends.Sub(now); e.TTL > 0 {
			live = append(live, e)
		}
	}
	return live
}

// States implements [cluster.Ledger].
func (d *Driver) States(ctx context.Context, app, prefix string) (map[string]cluster.State, error) {
	states := make(map[string]cluster.State)
	err := d.read(ctx, func(ctx context.Context, s *session) error {
		calls := make([]call, buckets)
		for i := range calls {
			tag := d.keys.bucket(app, i)
			calls[i] = call{statesScript, []string{tag + "b"}, []string{prefix}}
		}
		for _, result := range s.run(ctx, calls...) {
			array, err := result.ToArray()
			if err != nil {
				return err
			}
			for r := (reader{rest: array}); len(r.rest) > 0; {
				name := r.string()
				states[name] = cluster.State{Count: int(r.int()), Users: int(r.int())}
				if r.bad {
					return errAnswer
				}
			}
		}
		return nil
	})
	return states, err
}

// Users implements [cluster.Ledger].
func (d *Driver) Users(ctx context.Context, t cluster.Topic) (ids []string, err error) {
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		fields, err := s.do(ctx, s.client.B().Hgetall().Key(d.keys.tag(t)+"m:"+t.Channel).Build()).AsStrMap()
		if err != nil {
			return err
		}
		var flat []string
		for user, member := range fields {
			flat = append(flat, user, member)
		}
		members, err := parseMembers(flat)
		ids = nil
		for _, m := range members {
			ids = append(ids, m.UserID)
		}
		return err
	})
	return ids, err
}

// Occupied implements [cluster.Ledger].
func (d *Driver) Occupied(ctx context.Context, app string, channels []string) ([]bool, error) {
	occupied := make([]bool, len(channels))
	if len(channels) == 0 {
		return occupied, nil
	}
	err := d.read(ctx, func(ctx context.Context, s *session) error {
		commands := make([]rueidis.Completed, len(channels))
		for i, c := range channels {
			commands[i] = s.client.B().Hexists().Key(d.keys.tag(cluster.Topic{App: app, Channel: c}) + "b").Field("c:" + c).Build()
		}
		for i, r := range s.doAll(ctx, commands...) {
			yes, err := r.AsBool()
			if err != nil {
				return err
			}
			occupied[i] = yes
		}
		return nil
	})
	return occupied, err
}

// read is what all queries do.
func (d *Driver) read(ctx context.Context, f func(context.Context, *session) error) error {
	ctx, cancel := d.timeout(ctx)
	defer cancel()
	s, err := d.connected(ctx)
	if err != nil {
		return err
	}
	if err := f(ctx, s); err != nil {
		return d.failed(s, err)
	}
	return nil
}

// reader takes apart what a script returned.
type reader struct {
	rest []rueidis.RedisMessage
	bad  bool
}

func (r *reader) next() rueidis.RedisMessage {
	if len(r.rest) == 0 {
		r.bad = true
		return rueidis.RedisMessage{}
	}
	m := r.rest[0]
	r.rest = r.rest[1:]
	return m
}

func (r *reader) int() int64 {
	m := r.next()
	if r.bad {
		return 0
	}
	n, err := m.AsInt64()
	r.bad = err != nil
	return n
}

func (r *reader) string() string {
	m := r.next()
	if r.bad {
		return ""
	}
	text, err := m.ToString()
	r.bad = err != nil
	return text
}

func (r *reader) strings() []string {
	m := r.next()
	if r.bad {
		return nil
	}
	list, err := m.AsStrSlice()
	r.bad = err != nil
	return list
}

func (r *reader) err() error {
	if r.bad {
		return errAnswer
	}
	return nil
}

// Introduce implements [cluster.Ledger].
func (d *Driver) Introduce(ctx context.Context, about string, long time.Duration) error {
	return d.read(ctx, func(ctx context.Context, s *session) error {
		return s.do(ctx, s.client.B().Set().Key(d.keys.about(s.node)).Value(about).Px(long).Build()).Error()
	})
}

// Nodes implements [cluster.Ledger].
func (d *Driver) Nodes(ctx context.Context) (nodes []cluster.Node, err error) {
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		now, err := s.in(ctx, 0)
		if err != nil {
			return err
		}
		ids, err := s.do(ctx, s.client.B().Zrangebyscore().Key(d.keys.leases()).Min(strconv.FormatFloat(now, 'f', 0, 64)).Max("+inf").Build()).AsStrSlice()
		if err != nil || len(ids) == 0 {
			return err
		}
		slices.Sort(ids)
		keys := make([]string, len(ids))
		for i, id := range ids {
			keys[i] = d.keys.about(id)
		}
		about, err := s.do(ctx, s.client.B().Mget().Key(keys...).Build()).ToArray()
		if err != nil || len(about) != len(ids) {
			return errors.Join(err, errAnswer)
		}
		nodes = make([]cluster.Node, len(ids))
		for i, id := range ids {
			text, _ := about[i].ToString() // or it has said nothing
			nodes[i] = cluster.Node{ID: id, Self: id == s.node, About: text}
		}
		return nil
	})
	return nodes, err
}
