//go:build linux

package load

import "fmt"

// Churn is connections that come and go: connect, handshake, subscribe to a
// private channel, close handshake, and from the beginning.
type Churn struct {
	Target *Target
	Loop   *Loop
	// Cycles is how many connections have come and gone.
	Cycles uint64

	stopping bool
	open     int
	number   int
}

// Start begins with n connections at a time. It is to be called within Do.
func (c *Churn) Start(n int) error {
	for range n {
		if err := c.next(); err != nil {
			return err
		}
	}
	return nil
}

// Stop lets no further connections come.
func (c *Churn) Stop() { c.stopping = true }

// Done reports whether all connections have gone.
func (c *Churn) Done() bool { return c.open == 0 }

func (c *Churn) next() error {
	if c.stopping {
		return nil
	}
	c.open++
	c.number++
	a := &Audience{Channel: fmt.Sprintf("private-churn-%d", c.number)}
	return c.Loop.open(&Subscriber{target: c.Target, owner: c, audience: a})
}

func (c *Churn) opened(s *Subscriber) error { return s.link.close() }

func (c *Churn) ended(_ *Subscriber, err error) error {
	if err != nil {
		return fmt.Errorf("a connection that comes and goes: %w", err)
	}
	c.open--
	c.Cycles++
	return c.next()
}
