package channels

import (
	"strings"
	"sync"
	"testing"
	"time"

	"belfry/channels/cluster/local"
	"belfry/protocol"
)

// passages is a tracer that follows every event while it is on.
type passages struct {
	mu  sync.Mutex
	on  bool
	all []Passage

	passed sync.Cond
}

func (p *passages) Watched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

func (p *passages) Follows(Passage) bool { return true }

func (p *passages) Passed(passage Passage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, passage)
	p.passed.Broadcast()
}

// await is take for so many.
func (p *passages) await(n int) []Passage {
	p.mu.Lock()
	for len(p.all) < n {
		p.passed.Wait()
	}
	p.mu.Unlock()
	return p.take()
}

func watching() *passages {
	p := &passages{on: true}
	p.passed.L = &p.mu
	return p
}

// take returns what has passed since the last call.
func (p *passages) take() []Passage {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all
	p.all = nil
	return all
}

func traced(t *testing.T) (*App, *passages) {
	t.Helper()
	b := NewBroker(2, nil)
	t.Cleanup(b.Close)
	p := watching()
	b.TraceTo(p)
	return b.NewApp("1", Limits{PresenceMembers: 10, CacheTTL: time.Minute}, new(counts), nil), p
}

func socket(n int) sink { return sink{protocol.NewSocketID(uint64(n)<<32 | uint64(n))} }

func TestTraceCountsRecipients(t *testing.T) {
	for _, n := range []int{1, 2, 40, 2000} {
		a, p := traced(t)
		for i := range n {
			if _, _, err := a.Subscribe(socket(i), "c", nil); err != nil {
				t.Fatal(err)
			}
		}
		e := event("c", "x")
		if err := a.Publish(Publication{Event: e}, Publication{Event: e, Except: socket(0).id}); err != nil {
			t.Fatal(err)
		}
		a.broker.Close()
		all := p.take()
		if len(all) != 2 || all[0].Recipients != n || all[1].Recipients != n-1 {
			t.Errorf("with %d subscribers: %+v", n, all)
		}
		for _, passage := range all {
			if passage.App != "1" || passage.Channel != "c" || passage.Event != e.Name || string(passage.Data) != string(e.Data) || passage.From != Backend || passage.Relayed {
				t.Errorf("the passage is %+v", passage)
			}
		}
	}
}

func TestTraceOfWhatReachesNobody(t *testing.T) {
	a, p := traced(t)
	for _, channel := range []string{"c", "cache-c"} {
		if err := a.Publish(Publication{Event: event(channel, "x")}); err != nil {
			t.Fatal(err)
		}
		if all := p.take(); len(all) != 1 || all[0].Channel != channel || all[0].Recipients != 0 {
			t.Errorf("on %s: %+v", channel, all)
		}
	}
	for range 2 {
		if err := a.Publish(Publication{Event: event("c", "x"), Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if all := p.take(); len(all) != 2 || all[0].Repeated || !all[1].Repeated {
		t.Errorf("with a key: %+v", all)
	}
}

func TestTraceOfClientEvents(t *testing.T) {
	a, p := traced(t)
	var own *Subscription
	for i := range 3 {
		s, _, err := a.Subscribe(socket(i), "private-c", nil)
		if err != nil {
			t.Fatal(err)
		}
		own = s
	}
	e := protocol.Event{Name: "client-x", Channel: "private-c", Data: []byte(`"x"`)}
	if err := a.PublishFrom(own, e, ""); err != nil {
		t.Fatal(err)
	}
	all := p.take()
	if len(all) != 1 || all[0].From != Client || all[0].Recipients != 2 || all[0].Except != own.id || all[0].Event != "client-x" {
		t.Errorf("the passages are %+v", all)
	}
}

func TestNothingIsTracedWhileNobodyWatches(t *testing.T) {
	a, p := traced(t)
	p.on = false
	if _, _, err := a.Subscribe(socket(1), "c", nil); err != nil {
		t.Fatal(err)
	}
	if err := a.Publish(Publication{Event: event("c", "x")}); err != nil {
		t.Fatal(err)
	}
	if all := p.take(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// On a node of a cluster, the event goes there, and comes to subscribers as another passage.
func TestTraceInACluster(t *testing.T) {
	b := NewBroker(1, local.NewHub().Node())
	t.Cleanup(b.Close)
	p := watching()
	b.TraceTo(p)
	a := b.NewApp("1", Limits{CacheTTL: time.Minute}, new(counts), nil)
	for _, channel := range []string{"private-c", "private-cache-c"} {
		s, _, err := a.Subscribe(socket(1), channel, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = a.Subscribe(socket(2), channel, nil); err != nil {
			t.Fatal(err)
		}
		if err := a.Publish(Publication{Event: event(channel, "x")}); err != nil {
			t.Fatal(err)
		}
		if err := a.PublishFrom(s, protocol.Event{Name: "client-x", Channel: channel, Data: []byte(`"y"`)}, ""); err != nil {
			t.Fatal(err)
		}
		all := p.await(4)
		count := func(f func(Passage) bool) (n int) {
			for _, passage := range all {
				if f(passage) {
					n++
				}
			}
			return n
		}
		for name, f := range map[string]func(Passage) bool{
			"to the cluster": func(p Passage) bool { return p.Relayed && p.From == Backend },
			"of the client":  func(p Passage) bool { return p.Relayed && p.From == Client },
			"to both": func(p Passage) bool {
				return !p.Relayed && p.From == Cluster && p.Recipients == 2 && strings.Contains(string(p.Data), "x")
			},
			"to the other": func(p Passage) bool {
				return !p.Relayed && p.From == Cluster && p.Recipients == 1 && p.Event == "client-x"
			},
		} {
			if count(f) != 1 {
				t.Errorf("on %s, not one passage %s: %+v", channel, name, all)
			}
		}
	}
}
