package channels

import (
	"context"
	"testing"

	"belfry/channels/cluster"
	"belfry/channels/cluster/local"
	"belfry/protocol"
)

// held is a driver whose answers to Update can be held back.
type held struct {
	cluster.Driver
	answers chan chan struct{} // nil: none is
}

func (d *held) Update(ctx context.Context, t cluster.Topic, s cluster.Share) (cluster.Outcome, error) {
	o, err := d.Driver.Update(ctx, t, s)
	if d.answers != nil && t.Channel == "presence-c" {
		release := make(chan struct{})
		d.answers <- release
		<-release
	}
	return o, err
}

// An answer that was under way when everything became uncertain proves nothing:
// all is told once more, also of who has left meanwhile.
func TestClusterDoubtWhileTelling(t *testing.T) {
	hub := local.NewHub()
	d := &held{Driver: hub.Node(), answers: make(chan chan struct{})}
	broker := NewBroker(1, d)
	a := broker.NewApp("1", Limits{PresenceMembers: 10}, new(counts), nil)
	results := make(chan *Subscription)
	join := func(user string) {
		s, _, err := a.Subscribe(newRecorder(), "presence-c", &protocol.Member{UserID: user})
		if err != nil {
			t.Error(err)
		}
		results <- s
	}
	go join("1")
	close(<-d.answers)
	first := <-results

	go join("2")
	answer := <-d.answers // the cluster knows of 2, this node has not heard it
	broker.Restored(func(cluster.Topic) bool { return true })
	a.Unsubscribe(first)
	close(answer)
	go func() {
		for answer := range d.answers {
			close(answer)
		}
	}()
	second := <-results
	eventually(t, "the cluster knows who is there", func() bool {
		users, err := a.Users("presence-c")
		state, _ := a.State("presence-c")
		return err == nil && len(users) == 1 && users[0] == "2" && state.Subscriptions == 1
	})
	a.Unsubscribe(second)
	eventually(t, "nobody is left", func() bool {
		state, err := a.State("presence-c")
		return err == nil && state.Subscriptions == 0 && state.Users == 0
	})
	a.Close()
	broker.Close()
	close(d.answers)
}
