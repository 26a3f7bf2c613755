//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"belfry/bench/load"
)

// stage is subscribers in one loop and publishers in another one, so that
// neither waits until it is the other's turn.
type stage struct {
	r         *run
	receiving *load.Loop
	crowd     *load.Crowd
	tally     *load.Tally // of all audiences of the stage

	publishing *load.Loop
	publishers *load.Publishers
	queue      []due
}

// due is an event that should be on its way.
type due struct {
	topic *load.Topic
	at    time.Duration
}

// pacedPublishers are plenty: they are there so that an event does not wait for
// the answer to another one.
const pacedPublishers = 8

func newStage(r *run) (*stage, error) {
	s := &stage{r: r, tally: load.NewTally()}
	var err error
	if s.receiving, err = load.NewLoop(r.clock); err != nil {
		return nil, err
	}
	if s.publishing, err = load.NewLoop(r.clock); err != nil {
		s.receiving.Close()
		return nil, err
	}
	s.crowd = &load.Crowd{Target: r.target, Loop: s.receiving}
	s.publishers = &load.Publishers{Target: r.target, Loop: s.publishing, Next: s.nextDue}
	if err := s.publishing.Do(func() error { return s.publishers.Connect(pacedPublishers) }); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stage) close() {
	s.receiving.Close()
	s.publishing.Close()
}

func (s *stage) audience(channel string) *load.Audience {
	return &load.Audience{Channel: channel, Tally: s.tally}
}

// topic prepares events of this size for the audience, which must get no others
// from now on.
func (s *stage) topic(a *load.Audience, size int) *load.Topic {
	a.Expect(s.r.target, size)
	return load.NewTopic(s.r.target.App, s.r.target.Host, a.Channel, size)
}

// events is how many there are at this interval in a time, and one at least.
func events(long, interval time.Duration) int { return max(1, int(long/interval)) }

func (s *stage) nextDue(time.Duration) []byte {
	if len(s.queue) == 0 {
		return nil
	}
	d := s.queue[0]
	s.queue = s.queue[1:]
	return d.topic.Next(d.at)
}

// paced publishes count events at even intervals, to one topic after the other,
// and returns when all were delivered, each exactly once. The audiences are
// those of the topics.
func (s *stage) paced(ctx context.Context, interval time.Duration, count int, audiences []*load.Audience, topics []*load.Topic) error {
	if err := s.begin(audiences); err != nil {
		return err
	}
	var timer *load.Timer
	err := s.publishing.Do(func() (err error) {
		sent := 0
		timer, err = s.publishing.Every(interval, count, func(now time.Duration) error {
			s.queue = append(s.queue, due{topics[sent%len(topics)], now})
			sent++
			return s.publishers.Pump()
		})
		return err
	})
	if err != nil {
		return err
	}
	err = s.publishing.Await(ctx, time.Duration(count)*interval+deadline, "publishing", func() bool {
		return timer.Done() && len(s.queue) == 0 && s.publishers.Idle()
	})
	if err != nil {
		return err
	}
	return s.finish(ctx, audiences, topics)
}

// saturated publishes as fast as the deliveries let it for a time, and returns
// when all were delivered, each exactly once. So many connections publish.
func (s *stage) saturated(ctx context.Context, long time.Duration, connections int, a *load.Audience, topic *load.Topic) error {
	if err := s.begin([]*load.Audience{a}); err != nil {
		return err
	}
	flow := &flow{window: uint64(underWay * len(a.Members)), each: uint64(len(a.Members))}
	stopped := false
	publishers := &load.Publishers{Target: s.r.target, Loop: s.publishing}
	publishers.Next = func(now time.Duration) []byte {
		if stopped || !flow.room(topic.Sent) {
			return nil
		}
		return topic.Next(now)
	}
	err := s.receiving.Do(func() error {
		s.receiving.AfterEach(func() error { return flow.advance(s.tally.Deliveries, s.publishing) })
		return nil
	})
	if err != nil {
		return err
	}
	err = s.publishing.Do(func() error {
		if err := publishers.Connect(connections); err != nil {
			return err
		}
		s.publishing.AfterEach(publishers.Pump)
		return nil
	})
	if err != nil {
		return err
	}
	if err := sleep(ctx, long); err != nil {
		return err
	}
	if err := s.publishing.Do(func() error { stopped = true; return nil }); err != nil {
		return err
	}
	if err := s.publishing.Await(ctx, deadline, "publishing", publishers.Idle); err != nil {
		return err
	}
	if err := s.finish(ctx, []*load.Audience{a}, []*load.Topic{topic}); err != nil {
		return err
	}
	return errors.Join(
		s.receiving.Do(func() error { s.receiving.AfterEach(nil); return nil }),
		s.publishing.Do(func() error { s.publishing.AfterEach(nil); publishers.Close(); return nil }))
}

// flow holds publishers back while too much is under way to the subscribers of
// a channel. They and the subscribers have a loop each.
type flow struct {
	window uint64 // deliveries
	each   uint64 // deliveries of an event

	delivered atomic.Uint64
	waiting   atomic.Bool // a publisher is held back
}

// room reports whether one more event may be published after so many.
func (f *flow) room(sent uint64) bool {
	if sent*f.each < f.delivered.Load()+f.window {
		return true
	}
	f.waiting.Store(true)
	// advance may have looked at waiting just before.
	return sent*f.each < f.delivered.Load()+f.window
}

// advance tells publishers that wait of what was delivered.
func (f *flow) advance(delivered uint64, publishing *load.Loop) error {
	f.delivered.Store(delivered)
	if f.waiting.Swap(false) {
		return publishing.Wake()
	}
	return nil
}

// burst publishes events that nobody has subscribed to, as fast as it goes: to
// warm up a server, or have it collect its garbage.
func (s *stage) burst(ctx context.Context, count, size int) error {
	topic := load.NewTopic(s.r.target.App, s.r.target.Host, "nobody", size)
	err := s.publishing.Do(func() error {
		for range count {
			s.queue = append(s.queue, due{topic, s.r.clock.Now()})
		}
		return s.publishers.Pump()
	})
	if err != nil {
		return err
	}
	return s.publishing.Await(ctx, deadline, "publishing", func() bool { return len(s.queue) == 0 && s.publishers.Idle() })
}

// begin forgets what was received so far.
func (s *stage) begin(audiences []*load.Audience) error {
	return s.receiving.Do(func() error {
		s.tally.Reset()
		for _, a := range audiences {
			a.Reset()
		}
		return nil
	})
}

// finish waits for what was published, and checks that it came, once each.
func (s *stage) finish(ctx context.Context, audiences []*load.Audience, topics []*load.Topic) error {
	var want uint64
	for i, a := range audiences {
		want += topics[i].Sent * uint64(len(a.Members))
	}
	err := s.receiving.Await(ctx, deadline, "delivering", func() bool { return s.tally.Deliveries >= want })
	if err != nil && ctx.Err() != nil {
		return err
	}
	return s.receiving.Do(func() error {
		for i, a := range audiences {
			if err := a.Check(topics[i].Sent, topics[i].Sum); err != nil {
				return err
			}
			topics[i].Reset()
		}
		return err
	})
}

// silence returns an error if anything comes when nothing was published: an
// event delivered once more than it should be, and late.
func (s *stage) silence(ctx context.Context) error {
	if err := s.begin(nil); err != nil {
		return err
	}
	if err := sleep(ctx, 50*time.Millisecond); err != nil {
		return err
	}
	return s.receiving.Do(func() error {
		if n := s.tally.Deliveries; n > 0 {
			return fmt.Errorf("%d events were delivered twice", n)
		}
		return nil
	})
}
