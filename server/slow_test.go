package server_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// forms are plain connections and TLS.
func forms(t *testing.T) []struct {
	name string
	edit func(*config.Config)
} {
	return []struct {
		name string
		edit func(*config.Config)
	}{
		{"plain", func(*config.Config) {}},
		{"TLS", servertest.Secure(t)},
	}
}

// sequence checks that numbered events come without a gap.
type sequence struct{ next int }

func (s *sequence) take(f wstest.ReceivedFrame) error {
	e, err := wstest.ParseEvent(f.Payload)
	if err != nil {
		return err
	}
	number, _, _ := strings.Cut(e.String(), " ")
	if want := fmt.Sprint(s.next); e.Event != "n" || number != want {
		return fmt.Errorf("got event %q number %q, want number %s", e.Event, number, want)
	}
	s.next++
	return nil
}

func TestSlowConsumer(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := servertest.Start(t, tt.edit, func(c *config.Config) { c.Server.MaxOutboxBytes = config.MinOutboxBytes })
			d := s.Dialer()
			d.ReadBuffer = 128 << 10
			slow, err := servertest.Greeted("1", d.Dial(t, servertest.Path("1")))
			if err != nil {
				t.Fatal(err)
			}
			slow.Subscribe("a")

			const healthy = 3
			type result struct {
				events int
				err    error
			}
			results := make(chan result, healthy)
			var received [healthy]atomic.Int64
			for i := range healthy {
				c := s.Connect(t, "1")
				c.Subscribe("a")
				go func() {
					var seq sequence
					for {
						f, err := c.TryReadFrame()
						if err == nil && string(f.Payload) == servertest.EventText("end", "a", "") {
							break
						}
						if err == nil {
							err = seq.take(f)
							received[i].Add(1)
						}
						if err != nil {
							results <- result{seq.next, err}
							return
						}
					}
					results <- result{seq.next, nil}
				}()
			}

			const slowConsumers = `belfry_slow_consumers_total{app="1"}`
			payload := strings.Repeat(" ", 10_000)
			published := 0
			for s.Metric(t, slowConsumers) == 0 {
				// The outbox is 64 KiB; the kernel's buffers are bounded too.
				if published >= 200 {
					t.Fatalf("the client that does not read is still there with %d kB waiting", published*len(payload)/1000)
				}
				for range 5 { // less than the outbox, for those who read
					s.Publish(t, "1", "n", fmt.Sprint(published)+payload, "a")
					published++
				}
				for i := range received {
					servertest.Eventually(t, "who reads has all", func() bool { return received[i].Load() >= int64(published) })
				}
			}
			s.Publish(t, "1", "end", "", "a")
			for range healthy {
				if r := <-results; r.events != published || r.err != nil {
					t.Errorf("a client that reads got %d events of %d and error %v", r.events, published, r.err)
				}
			}
			for series, want := range map[string]float64{
				slowConsumers:                   1,
				`belfry_connections{app="1"}`:   healthy,
				`belfry_subscriptions{app="1"}`: healthy,
				`belfry_connections_closed_total{app="1",reason="slow_consumer"}`: 1,
			} {
				if got := s.Metric(t, series); got != want {
					t.Errorf("%s is %v, want %v", series, got, want)
				}
			}

			// It gets what was on its way, whole and in order, and is told why
			// if it reads that in time.
			var seq sequence
			for {
				f, err := slow.TryReadFrame()
				if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if e, err := wstest.ParseEvent(f.Payload); err == nil && e.Event == "pusher:error" {
					if code, _ := e.Error(); code != 4100 {
						t.Errorf("told %s, want 4100", f.Payload)
					}
					slow.ExpectClose(4100)
					break
				}
				if err := seq.take(f); err != nil {
					t.Fatal(err)
				}
			}
			if seq.next == 0 || seq.next >= published {
				t.Errorf("the client that did not read got %d events of %d", seq.next, published)
			}
		})
	}
}

// A client that reads is not slow, however large what it has asked for is, and
// whatever comes while it reads that.
func TestLargeRosters(t *testing.T) {
	const members = 300
	s := servertest.Start(t, func(c *config.Config) {
		c.Server.MaxOutboxBytes = config.MinOutboxBytes // a tenth of the last roster
		c.Apps[0].MaxPresenceMembers = members
	})
	info := `{"name":"` + strings.Repeat(`\"`, 450) + `"}` // doubled by escaping
	var reading sync.WaitGroup
	defer reading.Wait()
	for i := range members {
		c := s.Connect(t, "1")
		c.Send(c.SubscribeText("presence-a", fmt.Sprintf(`{"user_id":"%d","user_info":%s}`, i, info)))
		f, err := c.TryReadFrame()
		if err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
		if e, err := wstest.ParseEvent(f.Payload); err != nil || e.Event != "pusher_internal:subscription_succeeded" {
			t.Fatalf("member %d: %.200s", i, f.Payload)
		}
		defer c.Drop()
		reading.Go(func() {
			for {
				if _, err := c.TryReadFrame(); err != nil {
					return
				}
			}
		})
	}
	if n := s.Metric(t, `belfry_slow_consumers_total{app="1"}`); n != 0 {
		t.Errorf("%v clients that read are slow", n)
	}
}

// A client that takes nothing of what it has asked for is cut off in time.
func TestUnreadAnswers(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) {
		c.Server.OutboxTimeout = time.Second
		c.Apps[0].MessageRate = 0
	})
	s.Publish(t, "1", "n", strings.Repeat(" ", 10_000), "cache-a")
	d := s.Dialer()
	d.ReadBuffer = 4 << 10
	c, err := servertest.Greeted("1", d.Dial(t, servertest.Path("1")))
	if err != nil {
		t.Fatal(err)
	}
	pair := strings.Repeat(string(wstest.TextFrame(subscribe("cache-a")))+string(wstest.TextFrame(`{"event":"pusher:unsubscribe","data":{"channel":"cache-a"}}`)), 40)
	c.Write([]byte(pair)) // 400 kB of answers: more than the kernel takes, less than the outbox
	servertest.Eventually(t, "it is cut off", func() bool { return s.Metric(t, `belfry_slow_consumers_total{app="1"}`) == 1 })
}
