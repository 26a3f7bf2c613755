package channels

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"belfry/channels/cluster"
	"belfry/protocol"
)

// Whatever comes and goes, a roster lists who is there, in few chunks, and a
// snapshot lists who was.
func TestRoster(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r, model := new(roster), make(map[string]string)
	var ids []string // of the model
	next := 0
	join := func() {
		m := numbered(next)
		next++
		m.UserInfo = protocol.AppendString(nil, strings.Repeat(`"`, random.IntN(300)))
		if next%100 == 0 {
			m.UserInfo = protocol.AppendString(nil, strings.Repeat("x", 2*chunkSize))
		}
		r.join(m, math.MaxInt)
		model[m.UserID] = string(m.UserInfo)
		ids = append(ids, m.UserID)
	}
	leave := func() {
		i := random.IntN(len(ids))
		r.leave(r.byID[ids[i]])
		delete(model, ids[i])
		ids[i] = ids[len(ids)-1]
		ids = ids[:len(ids)-1]
	}
	check := func(when string, snapshot []protocol.Members, model map[string]string) {
		t.Helper()
		listed := decode(t, snapshot)
		if len(listed) != len(model) {
			t.Fatalf("%s: %d are listed of %d", when, len(listed), len(model))
		}
		for _, m := range listed {
			if model[m.UserID] != string(m.UserInfo) {
				t.Fatalf("%s: %s is listed with %.50s, want %.50s", when, m.UserID, m.UserInfo, model[m.UserID])
			}
		}
		size := 0
		for _, m := range snapshot {
			size += m.Size()
		}
		if most := 1 + size/(chunkSize/2); len(snapshot) > most {
			t.Fatalf("%s: %d chunks, want %d at most", when, len(snapshot), most)
		}
	}
	for _, phase := range []struct {
		name          string
		changes, odds int // of ten, that somebody joins
	}{
		{"fill", 800, 9}, {"churn", 600, 5}, {"empty", 1200, 2}, {"again", 400, 9},
	} {
		before, was := r.snapshot(), maps.Clone(model)
		for i := range phase.changes {
			if len(ids) == 0 || random.IntN(10) < phase.odds {
				join()
			} else {
				leave()
			}
			if i%100 == 0 {
				check(phase.name+", before", before, was)
				before, was = r.snapshot(), maps.Clone(model)
				check(phase.name, before, was)
			}
		}
		got := r.ids()
		slices.Sort(got)
		slices.Sort(ids)
		if !slices.Equal(got, ids) {
			t.Fatalf("%s: %d ids, want %d", phase.name, len(got), len(ids))
		}
	}
	for len(ids) > 0 {
		leave()
	}
	if r.byID != nil || r.chunks != nil {
		t.Errorf("the empty roster keeps %d chunks", len(r.chunks))
	}
}

// Users come and go on all nodes, which lose their connections to the cluster
// meanwhile, and others read the lists that they were answered with. Each is on its own list, nobody twice, and at the end all
// nodes list the same.
func TestJoinsAndLeavesAtOnce(t *testing.T) {
	const name, joiners, rounds = "presence-c", 8, 40
	single, _ := newApp(t, Limits{PresenceMembers: 10_000})
	tests := map[string][]*App{
		"a single node": {single},
		"a cluster":     newWorld(t, 2, Limits{PresenceMembers: 10_000}).apps,
	}
	for where, apps := range tests {
		t.Run(where, func(t *testing.T) {
			join := func(a *App, i int) *Subscription {
				m := numbered(i)
				s, joined, err := a.Subscribe(sink{newRecorder().id}, name, &m)
				if err != nil {
					t.Error(err)
					return nil
				}
				if !slices.Contains(ids(t, joined.Members), m.UserID) {
					t.Errorf("%s is not on its own list", m.UserID)
				}
				return s
			}
			var all sync.WaitGroup
			for j := range joiners {
				all.Go(func() {
					a := apps[j%len(apps)]
					var stay []*Subscription
					for i := range rounds {
						stay = append(stay, join(a, j*rounds+i))
						if a.broker.driver != nil && i == rounds/2 {
							a.broker.Restored(func(cluster.Topic) bool { return true })
						}
						if i%3 > 0 {
							a.Unsubscribe(stay[i/2])
							stay[i/2] = join(a, joiners*rounds+j*rounds+i)
						}
					}
				})
			}
			all.Wait()
			list := func(a *App) []string {
				c := a.lockExisting(name)
				defer c.mu.Unlock()
				if c.remote != nil && len(c.remote.changed) > 0 {
					return nil
				}
				return ids(t, c.members.snapshot())
			}
			eventually(t, "the nodes agree", func() bool {
				for _, a := range apps {
					if got := list(a); len(got) != joiners*rounds || !slices.Equal(got, list(apps[0])) {
						return false
					}
				}
				return true
			})
		})
	}
}

// A join, the answer to it, and the leave after it, on a channel that has as
// many members. Nobody is told of it, so that the fan-out is not counted.
func BenchmarkJoin(b *testing.B) {
	for _, members := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			const name = "presence-c"
			a, _ := newApp(b, Limits{PresenceMembers: members + 1})
			first, joining := numbered(0), numbered(members)
			if _, _, err := a.Subscribe(sink{}, name, &first); err != nil {
				b.Fatal(err)
			}
			c := a.lock(name)
			for i := 1; i < members; i++ {
				c.members.join(numbered(i), members)
			}
			c.mu.Unlock()
			b.ReportAllocs()
			for b.Loop() {
				s, joined, err := a.Subscribe(sink{}, name, &joining)
				if err != nil {
					b.Fatal(err)
				}
				answer := protocol.Success{Channel: name, Members: joined.Members}.Frame()
				a.Unsubscribe(s)
				b.SetBytes(int64(len(answer)))
			}
		})
	}
}

// A join on a node that has as many users already, and the leave after it.
func BenchmarkClusterJoin(b *testing.B) {
	for _, members := range []int{100, 1_000, 10_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			a := newWorld(b, 1, Limits{PresenceMembers: 2 * members}).apps[0]
			join := func(i int) *Subscription {
				m := numbered(i)
				s, _, err := a.Subscribe(sink{newRecorder().id}, "presence-c", &m)
				if err != nil {
					b.Fatal(err)
				}
				return s
			}
			for i := range members {
				join(i)
			}
			next := members
			b.ReportAllocs()
			for b.Loop() {
				next++
				a.Unsubscribe(join(next))
			}
		})
	}
}

// numbered is one of many members.
func numbered(i int) protocol.Member {
	id := fmt.Sprint(100_000 + i)
	return protocol.Member{UserID: id, UserInfo: []byte(`{"name":"Member ` + id + `","avatar":"/avatars/` + id + `.png"}`)}
}

// decode reads members out of the answer to who joins: what their clients see.
func decode(t testing.TB, members []protocol.Members) []protocol.Member {
	t.Helper()
	var message struct{ Data string }
	if err := json.Unmarshal(protocol.Success{Channel: "presence-c", Members: members}.Frame().JSON(), &message); err != nil {
		t.Fatal(err)
	}
	var data struct {
		Presence struct {
			Count int
			IDs   []string
			Hash  map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(message.Data), &data); err != nil {
		t.Fatal(err)
	}
	p := data.Presence
	if p.Count != len(p.IDs) || p.Count != len(p.Hash) {
		t.Fatalf("count %d, %d ids, a hash of %d", p.Count, len(p.IDs), len(p.Hash))
	}
	list := make([]protocol.Member, len(p.IDs))
	for i, id := range p.IDs {
		info, ok := p.Hash[id]
		if !ok {
			t.Fatalf("the hash lacks %q", id)
		}
		list[i] = protocol.Member{UserID: id, UserInfo: info}
	}
	return list
}
