//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// opening is how many connections are opened at a time, well within what
// servers let wait to be accepted.
const opening = 64

// Crowd is subscribers that stay: one that is cut off is an error.
type Crowd struct {
	Target *Target
	Loop   *Loop

	pending []*Audience // those of the connections still to be opened
	under   int         // connections that are not subscribed yet
	stalled map[*Subscriber]bool
	dropped int // of stalled
}

// Open connects one subscriber for each audience, and returns when all are
// subscribed. An audience may be named any number of times.
func (c *Crowd) Open(ctx context.Context, audiences []*Audience) error {
	return c.OpenMany(ctx, opening, audiences)
}

// OpenMany is Open with so many connections at a time.
func (c *Crowd) OpenMany(ctx context.Context, atOnce int, audiences []*Audience) error {
	return c.begin(ctx, func() error {
		c.pending = audiences
		for range min(atOnce, len(audiences)) {
			if err := c.next(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Cut resets the WebSockets of all members of the audiences at once, as a machine
// between does that fails.
func (c *Crowd) Cut(audiences []*Audience) error {
	return c.Loop.Do(func() error {
		for _, a := range audiences {
			for _, s := range a.Members {
				fd := s.link.receiver()
				c.Loop.forget(fd)
				abandon(fd)
			}
			a.Members = nil
		}
		return nil
	})
}

// Move subscribes every member of from to the audience that pick gives it, and
// unsubscribes it from its own.
func (c *Crowd) Move(ctx context.Context, from *Audience, pick func(i int) *Audience) error {
	return c.begin(ctx, func() error {
		members := from.Members
		from.Members = nil
		c.under = len(members)
		for i, s := range members {
			if err := s.move(pick(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Crowd) begin(ctx context.Context, begin func() error) error {
	if err := c.Loop.Do(begin); err != nil {
		return err
	}
	return c.Loop.Await(ctx, time.Minute, "subscribing", func() bool { return c.under == 0 && len(c.pending) == 0 })
}

func (c *Crowd) next() error {
	if len(c.pending) == 0 {
		return nil
	}
	a := c.pending[0]
	c.pending = c.pending[1:]
	c.under++
	return c.Loop.open(&Subscriber{target: c.Target, owner: c, audience: a})
}

func (c *Crowd) opened(*Subscriber) error {
	c.under--
	return c.next()
}

func (c *Crowd) ended(s *Subscriber, err error) error {
	if c.stalled[s] && !errors.Is(err, errFrame) {
		delete(c.stalled, s)
		c.dropped++
		return nil
	}
	return fmt.Errorf("a subscriber of %s was lost: %w", s.audience.Channel, err)
}

// Stall makes the last n members of the audience stop reading, and takes them
// out of it.
func (c *Crowd) Stall(a *Audience, n int) error {
	return c.Loop.Do(func() error {
		c.stalled = make(map[*Subscriber]bool)
		kept := len(a.Members) - n
		for _, s := range a.Members[kept:] {
			c.stalled[s] = true
			if err := c.Loop.mute(s.link.receiver()); err != nil {
				return err
			}
		}
		a.Members = a.Members[:kept]
		return nil
	})
}

// Resume lets the stalled read on, and returns how many of them the server had
// dropped: those whose connection ends within the limit.
func (c *Crowd) Resume(ctx context.Context, limit time.Duration) (dropped int, err error) {
	err = c.Loop.Do(func() error {
		for s := range c.stalled {
			// What it reads is of no interest: only the end is.
			s.audience = &Audience{Channel: s.audience.Channel, Tally: NewTally()}
			if err := c.Loop.unmute(s.link.receiver()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	all := func() bool { return len(c.stalled) == 0 }
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_ = c.Loop.Await(ctx, limit, "dropping", all)
	err = c.Loop.Do(func() error { dropped = c.dropped; return nil })
	return dropped, err
}
