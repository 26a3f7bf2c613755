package redis

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/rueidis"
)

//go:embed lua/unlock.lua
var unlockText string

var unlockScript = newScript(unlockText)

// Store keeps values by name for all nodes, and locks: little, and seldom. It is no part of
// a [Driver], and connects when it is first used. Its methods may be called concurrently. No
// call takes longer than the timeout of the options, but for the one that connects; the
// others do not wait longer for that.
type Store struct {
	options Options
	option  rueidis.ClientOption
	keys    keys

	turn   chan struct{}  // has a value while somebody connects, or looks at the following
	client rueidis.Client // nil until the first use
	closed bool
}

// NewStore reads the options. It does not connect.
func NewStore(o Options) (*Store, error) {
	option, keys, err := o.read()
	if err != nil {
		return nil, err
	}
	return &Store{options: o, option: option, keys: keys, turn: make(chan struct{}, 1)}, nil
}

// connected returns the client. The error of a context that ends before is its own.
func (s *Store) connected(ctx context.Context) (rueidis.Client, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	defer func() { <-s.turn }()
	if s.closed {
		return nil, unavailable(errClosed)
	}
	if s.client == nil {
		if ctx.Err() != nil { // the one before may have waited in vain for as long
			return nil, unavailable(ctx.Err())
		}
		client, err := rueidis.NewClient(s.option)
		if err != nil {
			return nil, note(s.option, err)
		}
		s.client = client
	}
	return s.client, nil
}

// do runs what a function builds.
func (s *Store) do(ctx context.Context, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	c, err := s.connected(ctx)
	if err != nil {
		return rueidis.RedisResult{}, err
	}
	r := c.Do(ctx, build(c.B()))
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		return r, note(s.option, err)
	}
	return r, nil
}

// Get returns the value of a name; ok is false if there is none.
func (s *Store) Get(ctx context.Context, name string) (value []byte, ok bool, err error) {
	r, err := s.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Get().Key(s.keys.stored(name)).Build() })
	if err != nil || rueidis.IsRedisNil(r.Error()) {
		return nil, false, err
	}
	value, err = r.AsBytes()
	return value, err == nil, err
}

// Put sets the value of a name, for as long as keep says; 0: for ever.
func (s *Store) Put(ctx context.Context, name string, value []byte, keep time.Duration) error {
	_, err := s.do(ctx, func(b rueidis.Builder) rueidis.Completed {
		set := b.Set().Key(s.keys.stored(name)).Value(rueidis.BinaryString(value))
		if keep > 0 {
			return set.PxMilliseconds(max(keep.Milliseconds(), 1)).Build()
		}
		return set.Build()
	})
	return err
}

// Delete removes a name. That there is none is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	_, err := s.do(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Del().Key(s.keys.stored(name)).Build() })
	return err
}

// Lock takes a lock by its name, until unlock has returned or most is over. ok is false if
// somebody else has it.
func (s *Store) Lock(ctx context.Context, name string, most time.Duration) (unlock func(), ok bool, err error) {
	mine := newID()
	key := s.keys.stored(name)
	r, err := s.do(ctx, func(b rueidis.Builder) rueidis.Completed {
		return b.Set().Key(key).Value(mine).Nx().PxMilliseconds(max(most.Milliseconds(), 1)).Build()
	})
	if err != nil || rueidis.IsRedisNil(r.Error()) {
		return nil, false, err
	}
	return func() {
		// The holder may be about to end; an error leaves the lock to run out.
		_, _ = s.do(context.WithoutCancel(ctx), func(b rueidis.Builder) rueidis.Completed {
			return call{unlockScript, []string{key}, []string{mine}}.command(b, true)
		})
	}, true, nil
}

// Close disconnects. Calls behind it fail.
func (s *Store) Close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.closed = true
	if s.client != nil {
		s.client.Close()
	}
}
