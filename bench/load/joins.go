//go:build linux

package load

import "fmt"

// Joins is connections that join a presence channel, get the list of its members
// and leave it, from the beginning. They are further connections of members, so
// that nobody is told of them.
type Joins struct {
	Target *Target
	Loop   *Loop
	// Count is how many joins were answered, and Answer how many bytes the last
	// answer had.
	Count  uint64
	Answer int

	stopping bool
	under    int // connections that wait for an answer
}

// Start begins with n connections, of the first n members. It is to be called
// within Do, also after a Stop.
func (j *Joins) Start(a *Audience, n int) error {
	j.stopping = false
	for _, member := range a.Members[:n] {
		j.under++
		own := &Audience{Channel: a.Channel}
		if err := j.Loop.open(&Subscriber{target: j.Target, owner: j, audience: own, user: member.user}); err != nil {
			return err
		}
	}
	return nil
}

// Stop lets no further joins begin. The connections stay, and are joined.
func (j *Joins) Stop() { j.stopping = true }

// Done reports whether all joins were answered.
func (j *Joins) Done() bool { return j.under == 0 }

func (j *Joins) opened(s *Subscriber) error {
	j.Count++
	j.Answer = s.answer
	if j.stopping {
		j.under--
		return nil
	}
	s.audience.Members = s.audience.Members[:0]
	return s.move(s.audience)
}

func (j *Joins) ended(_ *Subscriber, err error) error {
	return fmt.Errorf("a connection that joins and leaves: %w", err)
}
