//go:build linux

package load

import (
	"encoding/json"
	"testing"
	"time"
)

// Members are users of their own, and those who join are members already. All
// sign what they say of themselves.
func TestJoins(t *testing.T) {
	const members, joiners, atLeast = 5, 2, 100
	p := newPusher(t, nil)
	target, loop := p.aim()
	a := &Audience{Channel: "presence-x"}
	p.expect((&Crowd{Target: target, Loop: loop}).OpenMany(t.Context(), 1, repeated(a, members)))
	users := map[string]int{}
	for range members {
		users[joined(t, <-p.subscribed)]++
	}
	if len(users) != members {
		t.Fatalf("%d members are the users %v", members, users)
	}

	joins := &Joins{Target: target, Loop: loop}
	for range 2 {
		joins.Count = 0
		p.expect(loop.Do(func() error { return joins.Start(a, joiners) }))
		p.expect(loop.Await(t.Context(), time.Minute, "joining", func() bool {
			if joins.Count >= atLeast {
				joins.Stop()
			}
			return joins.Done()
		}))
		for range joins.Count {
			if user := joined(t, <-p.subscribed); users[user] == 0 {
				t.Fatalf("%s, who joins, is no member", user)
			}
		}
		if len(p.subscribed) > 0 || joins.Answer == 0 {
			t.Fatalf("%d joins more than were counted, the answer has %d bytes", len(p.subscribed), joins.Answer)
		}
	}
}

func repeated(a *Audience, n int) (all []*Audience) {
	for range n {
		all = append(all, a)
	}
	return all
}

// joined is the id of the user in a subscription, whose signature must be right.
func joined(t *testing.T, s subscribedConn) string {
	t.Helper()
	var m struct {
		Data struct {
			Channel, Auth string
			ChannelData   string `json:"channel_data"`
		}
	}
	var user struct {
		ID string `json:"user_id"`
	}
	if err := json.Unmarshal([]byte(s.message), &m); err != nil {
		t.Fatal(err)
	}
	if err := testApp.VerifyChannel(m.Data.Auth, "1.2", m.Data.Channel, m.Data.ChannelData); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(m.Data.ChannelData), &user); err != nil {
		t.Fatal(err)
	}
	return user.ID
}

func TestMembersAddedAreCounted(t *testing.T) {
	for channel, want := range map[string]uint64{"presence-x": 1, "public": 0} {
		a := &Audience{Channel: channel, Tally: NewTally()}
		s := &webSocket{Subscriber: &Subscriber{audience: a, state: subscribed}, phase: upgraded}
		added := textFrame([]byte(`{"event":"pusher_internal:member_added","channel":"presence-x","data":"{}"}`))
		if _, err := s.consume(added, 0); err != nil || a.Added != want {
			t.Errorf("%s: counted %d, want %d, error %v", channel, a.Added, want, err)
		}
	}
}

func TestSendingCost(t *testing.T) {
	for _, size := range []int{1, 1 << 20} {
		if _, err := SendingCost(size, 3); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
