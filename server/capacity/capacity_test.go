package capacity

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"belfry/protocol"
)

// guest is dismissed if it is as idle as that.
type guest struct {
	idleness  Idleness
	dismissed int
}

func (g *guest) Dismiss(i Idleness) bool {
	if i < g.idleness || g.dismissed > 0 {
		return false
	}
	g.dismissed++
	return true
}

// However clients come, by WebSocket or by the fallback, there are as many as may be.
func TestClients(t *testing.T) {
	for limits, want := range map[Limits]int{
		{}:                            30,
		{Clients: 10}:                 10,
		{Descriptors: 10}:             10,
		{Descriptors: 10, Reserve: 4}: 6,
		{Clients: 8, Descriptors: 10, Reserve: 4}: 6,
		{Clients: 5, Descriptors: 10, Reserve: 4}: 5,
	} {
		c := New(limits)
		var takers sync.WaitGroup
		var served atomic.Int64
		places := make(chan *Place, 30)
		for i := range cap(places) {
			takers.Go(func() {
				var p *Place
				var e *protocol.Error
				if i%2 == 0 {
					p = c.Enter(HTTP, nil)
					e, _ = p.Serve()
				} else {
					p, e = c.EnterSession()
				}
				switch {
				case e == nil:
					served.Add(1)
					places <- p
				case e.Code != protocol.CodeOverCapacity:
					t.Errorf("%+v: refused with %v", limits, e)
				}
			})
		}
		takers.Wait()
		if n := int(served.Load()); n != want {
			t.Errorf("%+v: %d clients are served, want %d", limits, n, want)
		}
		p := <-places
		p.Leave()
		p.Leave()
		if _, e := c.EnterSession(); e != nil {
			t.Errorf("%+v: a place that was given back is not given again: %v", limits, e)
		}
		if _, e := c.EnterSession(); e == nil && want < 30 {
			t.Errorf("%+v: a place was given back twice", limits)
		}
	}
}

// A refused client is no client, and so many of them are told at a time.
func TestRefused(t *testing.T) {
	c := New(Limits{Clients: 1})
	first := c.Enter(HTTP, nil)
	if e, _ := first.Serve(); e != nil {
		t.Fatal(e)
	}
	for range maxRefused {
		if e, told := c.Enter(HTTP, nil).Serve(); e == nil || !told {
			t.Fatalf("refused: %v, told: %t", e, told)
		}
	}
	p := c.Enter(HTTP, nil)
	if e, told := p.Serve(); e == nil || told {
		t.Errorf("refused: %v, told: %t", e, told)
	}
	if first.Refuse() {
		t.Error("one more is told")
	}
	if e, _ := p.Serve(); e != nil {
		t.Errorf("refused: %v", e)
	}
	reason := &protocol.Error{Code: protocol.CodeReconnect}
	c.RefuseClients(reason)
	if e, told := c.Enter(HTTP, nil).Serve(); e != reason || !told {
		t.Errorf("refused: %v, told: %t", e, told)
	}
	if _, e := c.EnterSession(); e != reason {
		t.Errorf("refused: %v", e)
	}
}

// Connections of all kinds use descriptors, sessions do not, and guests that are idle
// make room.
func TestRoom(t *testing.T) {
	c := New(Limits{Descriptors: 4})
	busy, idle, visitor := &guest{idleness: Idle + 1}, &guest{idleness: Idle}, &guest{idleness: Stranger}
	client := c.Enter(HTTP, idle)
	if e, _ := client.Serve(); e != nil {
		t.Fatal(e)
	}
	c.MakeRoom(1)
	if idle.dismissed > 0 {
		t.Error("a client was dismissed")
	}
	if _, e := c.EnterSession(); e != nil {
		t.Fatal(e)
	}
	c.Enter(HTTP, busy)
	left := c.Enter(HTTP, idle)
	if !c.Room() {
		t.Error("there is no room for the last")
	}
	at := c.Enter(Visitor, visitor)
	if c.Room() {
		t.Error("there is room for one more")
	}
	for most, want := range [][3]int{{0, 0, 0}, {1, 0, 0}, {1, 1, 0}, {1, 1, 0}} {
		visitor.dismissed, idle.dismissed = 0, 0
		c.MakeRoom(most)
		if got := [3]int{visitor.dismissed, idle.dismissed, busy.dismissed}; got != want {
			t.Errorf("to make room for %d, a visitor, an idle one and a busy one are dismissed %v times, want %v", most, got, want)
		}
	}
	left.Leave()
	if !c.Room() {
		t.Error("there is no room when one has left")
	}
	at.Pass()
	if c.Count(Visitor) != 0 || c.Count(HTTP) != 2 {
		t.Errorf("%d visitors, %d of net/http", c.Count(Visitor), c.Count(HTTP))
	}
}

func TestWait(t *testing.T) {
	c := New(Limits{})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	kinds := []Kind{Visitor, HTTP}
	if err := c.Wait(ended, kinds...); err != nil {
		t.Errorf("nobody is there: %v", err)
	}
	places := []*Place{c.Enter(Visitor, nil), c.Enter(HTTP, nil), c.Enter(HTTP, nil)}
	if err := c.Wait(ended, kinds...); err == nil {
		t.Error("Wait has not waited")
	}
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if err := c.Wait(context.Background(), kinds...); err != nil {
				t.Error(err)
			}
			if n := c.Count(Visitor) + c.Count(HTTP); n != 0 {
				t.Errorf("%d are left", n)
			}
		})
	}
	places[0].Pass()
	for _, p := range slices.Backward(places) {
		p.Leave()
	}
	waiting.Wait()
	places[0].Pass()
	places[0].Refuse()
	if n := c.sum(Kinds); n != 0 {
		t.Errorf("%d came back", n)
	}
}
