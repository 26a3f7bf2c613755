package redis

import (
	"context"
	"time"

	"github.com/redis/rueidis"

	"belfry/channels/cluster"
)

// State implements [cluster.Driver].
func (d *Driver) State(ctx context.Context, t cluster.Topic) (state cluster.State, err error) {
	tag, c := d.keys.tag(t), t.Channel
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		array, err := s.run(ctx, call{stateScript, []string{tag + "counts", tag + "users", tag + "l:" + c, tag + "k:" + c}, []string{c}})[0].ToArray()
		if err != nil {
			return err
		}
		r := reader{rest: array}
		state.Count, state.Users = int(r.int()), int(r.int())
		state.Last = r.last()
		return r.err()
	})
	return state, err
}

// States implements [cluster.Driver].
func (d *Driver) States(ctx context.Context, app, prefix string) (map[string]cluster.State, error) {
	states := make(map[string]cluster.State)
	err := d.read(ctx, func(ctx context.Context, s *session) error {
		calls := make([]call, buckets)
		for i := range calls {
			tag := d.keys.bucket(app, i)
			calls[i] = call{statesScript, []string{tag + "counts", tag + "users"}, []string{prefix}}
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

// Users implements [cluster.Driver].
func (d *Driver) Users(ctx context.Context, t cluster.Topic) (ids []string, err error) {
	err = d.read(ctx, func(ctx context.Context, s *session) error {
		ids, err = s.do(ctx, s.client.B().Zrange().Key(d.keys.tag(t)+"o:"+t.Channel).Min("0").Max("-1").Build()).AsStrSlice()
		return err
	})
	return ids, err
}

// Occupied implements [cluster.Driver].
func (d *Driver) Occupied(ctx context.Context, app string, channels []string) ([]bool, error) {
	occupied := make([]bool, len(channels))
	if len(channels) == 0 {
		return occupied, nil
	}
	err := d.read(ctx, func(ctx context.Context, s *session) error {
		commands := make([]rueidis.Completed, len(channels))
		for i, c := range channels {
			commands[i] = s.client.B().Hexists().Key(d.keys.tag(cluster.Topic{App: app, Channel: c}) + "counts").Field(c).Build()
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

// last reads payload or nil, time to live, version.
func (r *reader) last() (l cluster.Last) {
	m := r.next()
	ttl := r.int()
	l.Version = uint64(r.int())
	if r.bad || m.IsNil() || ttl <= 0 {
		return l
	}
	text, err := m.ToString()
	r.bad = err != nil
	l.Payload, l.TTL = []byte(text), time.Duration(ttl)*time.Millisecond
	return l
}

func (r *reader) err() error {
	if r.bad {
		return errAnswer
	}
	return nil
}
