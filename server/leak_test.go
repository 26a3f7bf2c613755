package server_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
	"belfry/server/websocket"
)

// visit connects, subscribes to a private and a presence channel, waits for
// all others, and leaves in one of four ways.
func visit(t *testing.T, s *servertest.Server, i int, everybody *sync.WaitGroup) error {
	c, err := s.Open(t, "1")
	if err == nil {
		err = subscribeTwice(c, i)
	}
	everybody.Done()
	if err != nil {
		return err
	}
	everybody.Wait()
	switch i % 4 {
	case 0, 2:
		return c.Leave()
	case 1:
		c.Drop()
	case 3:
		c.Reset()
	}
	return nil
}

func subscribeTwice(c *servertest.Client, i int) error {
	private, presence := fmt.Sprint("private-", i%50), fmt.Sprint("presence-", i%20)
	for _, m := range []string{
		c.SubscribeText(private, ""),
		c.SubscribeText(presence, fmt.Sprintf(`{"user_id":%d}`, i)),
	} {
		if err := c.TryWrite(wstest.TextFrame(m)); err != nil {
			return err
		}
	}
	for answers := 0; answers < 2; {
		f, err := c.TryReadFrame()
		if err != nil {
			return err
		}
		e, err := wstest.ParseEvent(f.Payload)
		if err != nil {
			return err
		}
		switch e.Event {
		case "pusher_internal:subscription_succeeded":
			answers++
		case "pusher_internal:member_added", "pusher_internal:member_removed":
		default:
			return fmt.Errorf("got %s", f.Payload)
		}
	}
	return nil
}

func TestNothingIsLeft(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit)
			batches, batch := 4, 250
			if tt.name == "TLS" {
				batches, batch = 2, 50
			}
			// What the server needs anyway is there once a client was.
			if err := s.Connect(t, "1").Leave(); err != nil {
				t.Fatal(err)
			}
			servertest.Eventually(t, "the first one is gone", func() bool { return s.Metric(t, `belfry_connections{app="1"}`) == 0 })
			s.Client.CloseIdleConnections()
			before := goleak.IgnoreCurrent()

			for n := range batches {
				var clients, everybody sync.WaitGroup
				everybody.Add(batch)
				errs := make(chan error, batch)
				for i := range batch {
					clients.Go(func() { errs <- visit(t, s, n*batch+i, &everybody) })
				}
				clients.Wait()
				for range batch {
					if err := <-errs; err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, series := range []string{`belfry_connections{app="1"}`, `belfry_subscriptions{app="1"}`} {
				servertest.Eventually(t, series+" is 0", func() bool { return s.Metric(t, series) == 0 })
			}
			for _, kind := range []string{"private", "presence"} {
				if n := s.Metric(t, fmt.Sprintf(`belfry_channels{app="1",kind=%q}`, kind)); n != 0 {
					t.Errorf("%v %s channels are left", n, kind)
				}
			}
			if n := s.Metric(t, `belfry_connections_opened_total{app="1"}`); n != float64(1+batches*batch) {
				t.Errorf("%v connections were opened", n)
			}
			if n := s.Metric(t, `belfry_connections_closed_total{app="1",reason="client"}`); n != float64(1+batches*batch) {
				t.Errorf("%v connections were closed by their clients", n)
			}
			if a := s.Get(t, "1", "channels"); a.Body != `{"channels":{}}` {
				t.Errorf("channels are %s", a.Body)
			}
			if a := s.Get(t, "1", "connections"); a.Body != `{"connections":0}` {
				t.Errorf("connections are %s", a.Body)
			}
			s.Client.CloseIdleConnections()
			goleak.VerifyNone(t, before)
		})
	}
}

// An idle connection that can be parked has no goroutine, with TLS or without.
func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	if !websocket.Parks {
		t.Skip("connections are not parked")
	}
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit)
			s.Connect(t, "1").Sync()
			before := runtime.NumGoroutine()
			const idle = 50
			for range idle {
				s.Connect(t, "1").Sync()
			}
			servertest.Eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() < before+idle/2 })
		})
	}
}

// What was a connection's is collected when it has gone.
func TestConnectionsLeaveNoMemory(t *testing.T) {
	s := servertest.Start(t)
	const connections, limit = 2000, 2 << 20
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	visit := func(n int) {
		t.Run("visits", func(t *testing.T) { // whose end lets go of the clients
			for i := range n {
				c := s.Connect(t, "1")
				c.Sync()
				if i%2 == 0 {
					c.Reset()
				} else if err := c.Leave(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	visit(100)
	before := heap()
	visit(connections)
	servertest.Eventually(t, "all are gone", func() bool { return s.Metric(t, `belfry_connections{app="1"}`) == 0 })
	if after := heap(); after > before+limit {
		t.Errorf("%d connections left %d bytes each", connections, (after-before)/connections)
	}
}
