package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// State implements [cluster.Ledger].
func (d *Driver) State(ctx context.Context, t cluster.Topic) (state cluster.State, err error) {
	tag, c := d.keys.tag(t), t.Channel
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		b := s.client.B
		results := s.doAll(ctx, b().Hget().Key(tag+"b").Field("c:"+c).Build(), b().Lrange().Key(tag+"l:"+c).Start(-1).Stop(-1).Build(), b().Pttl().Key(tag+"l:"+c).Build())
		text, err := results[0].ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return err
		}
		if err == nil {
			if _, err := fmt.Sscan(text, &state.Count, &state.Users); err != nil {
				return errAnswer
			}
		}
		message, err := results[1].ToMessage()
		if err != nil {
			return err
		}
		ttl, err := results[2].AsInt64()
		if err != nil {
			return err
		}
		r := reader{rest: []rueidis.RedisMessage{message}}
		if events := r.events(0); len(events) > 0 && ttl > 0 { // the key ends with its last event
			state.Last = &events[0]
			state.Last.TTL = time.Duration(ttl) * time.Millisecond
		}
		return r.err()
	})
	return state, err
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
