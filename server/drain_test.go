package server_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

func TestDrain(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit)
			idle, subscribed := s.Connect(t, "1"), s.Connect(t, "1")
			subscribed.Subscribe("private-a")
			if a := s.HTTP(t, http.MethodGet, "/ready", nil, nil); a.Status != http.StatusOK {
				t.Errorf("/ready is %d before", a.Status)
			}
			s.Stop()
			for _, c := range []*servertest.Client{idle, subscribed} {
				expectRefusal(t, c.Conn, 4200)
				c.Drop()
			}
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
			if nc, err := net.Dial("tcp", s.Addr().String()); err == nil {
				nc.Close()
				t.Error("a connection was accepted after the end")
			}
		})
	}
}

// Until clients are told to go, everything goes on but /ready, and whoever comes back
// at once is answered, by a code with which clients wait for a second.
func TestDrainDelay(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, func(c *config.Config) {
				c.Server.DrainDelay = 500 * time.Millisecond
				c.Server.ShutdownGrace = 5 * time.Second
			})
			first := s.Connect(t, "1")
			s.Stop()
			servertest.Eventually(t, "/ready says so", func() bool {
				return s.HTTP(t, http.MethodGet, "/ready", nil, nil).Status == http.StatusServiceUnavailable
			})
			second := s.Connect(t, "1")
			second.Subscribe("a")
			s.Publish(t, "1", "e", "x", "a")
			second.Expect(servertest.EventText("e", "a", "x"))
			expectRefusal(t, first.Conn, 4200) // and stays, which holds up the end
			third := s.Dialer().Dial(t, servertest.Path("1"))
			expectRefusal(t, third, 4100)
			for _, c := range []*wstest.Conn{first.Conn, second.Conn, third} {
				c.Drop()
			}
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A client that neither reads nor leaves does not hold up the end for longer
// than shutdown_grace.
func TestDrainCuts(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, func(c *config.Config) { c.Server.ShutdownGrace = 100 * time.Millisecond })
			c := s.Connect(t, "1")
			s.Stop()
			if err := s.Wait(); err != nil {
				t.Error(err)
			}
			c.ReadEnd()
		})
	}
}

// What was published before is delivered ahead of the goodbye.
func TestDrainDelivers(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	c.Subscribe("a")
	for range 100 {
		s.Publish(t, "1", "e", "x", "a")
	}
	s.Stop()
	for range 100 {
		c.Expect(servertest.EventText("e", "a", "x"))
	}
	expectRefusal(t, c.Conn, 4200)
	c.Drop()
}

// Clients that come just when the server begins to drain are told so like all
// others.
func TestDrainAmidConnects(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Server.ShutdownGrace = 2 * time.Second })
	var stopping atomic.Bool
	var clients sync.WaitGroup
	connected := make(chan struct{}, 100)
	errs := make(chan error, 8)
	for range cap(errs) {
		clients.Go(func() {
			for {
				c, err := s.Dialer().Open(t, servertest.Path("1"))
				if err != nil {
					return // no more is accepted
				}
				stays := stopping.Load()
				f, err := c.TryReadFrame()
				if err == nil && !stays {
					select {
					case connected <- struct{}{}:
					default:
					}
					c.Drop()
					continue
				}
				for err == nil && f.Opcode != wstest.Close {
					f, err = c.TryReadFrame()
				}
				if err != nil || !bytes.HasPrefix(f.Payload, wstest.ClosePayload(4200, "")) && !bytes.HasPrefix(f.Payload, wstest.ClosePayload(4100, "")) {
					errs <- fmt.Errorf("the end of a client is %v, error %v", f, err)
				}
				c.Drop()
				return
			}
		})
	}
	for range cap(connected) {
		<-connected
	}
	stopping.Store(true)
	s.Stop()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	clients.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}
