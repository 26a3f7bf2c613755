package webhooks

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

// by is an event that a source has caused.
func by(source int, e string) protocol.WebhookEvent {
	event := happening(e)
	event.Source = protocol.Source(source)
	return event
}

// slow answers after a while.
func slow(int, http.ResponseWriter, *http.Request) { <-time.After(50 * time.Millisecond) }

// Whatever some sources cause, the events of others go out with the next
// batches, and none is dropped.
func TestFloodsDoNotDelayOthers(t *testing.T) {
	tests := []struct {
		name    string
		sources int
		events  int // of each
		flood   func(i int) string
	}{
		{"channels", 1, 50_000, func(i int) string { return fmt.Sprint([]string{"channel_occupied:", "channel_vacated:"}[i%2], i/2) }},
		{"channels of many", 100, 2000, func(i int) string { return fmt.Sprint("channel_occupied:", i) }},
		{"client events on one channel", 100, 500, func(int) string { return "client_event:c" }},
		{"cache misses of all", 50_000, 1, func(i int) string { return fmt.Sprint("cache_miss:", i) }},
		{"counts of nobody", 0, 50_000, func(i int) string { return fmt.Sprint("subscription_count:", i) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", slow)
				a := w.application("1", to("http://backend"))
				for i := range max(tt.sources, 1) * tt.events {
					e := by(1+i%max(tt.sources, 1), tt.flood(i))
					if tt.sources == 0 {
						e.Source = 0
					}
					a.Happened(e, nil)
				}
				pass(time.Second)
				requests := len(h.requests())
				var want []string
				for member := range 100 {
					e := by(1_000_000+member, fmt.Sprint("member_added:presence-c:", member))
					a.Happened(e, nil)
					want = append(want, "member_added:presence-c:"+e.UserID)
				}
				var got []string
				for n := requests; len(got) < len(want); n++ {
					for n >= len(h.requests()) {
						pass(50 * time.Millisecond)
					}
					if n > requests+60 {
						t.Fatalf("%d of %d events came with 60 requests", len(got), len(want))
					}
					got = append(got, slices.DeleteFunc(h.requests()[n].events(t), func(e string) bool { return !strings.Contains(e, ":presence-c:") })...)
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v", got)
				}
				pass(time.Hour)
				if sent, dropped, most := w.sum("sent_total"), w.sum("dropped_total"), max(tt.sources, 1)*tt.events+100; sent+dropped != most || sent < most/4 {
					t.Errorf("%d were sent, %d dropped, of %d", sent, dropped, most)
				}
			})
		})
	}
}

// A source alone, as all clients are behind a proxy that is not trusted, has what
// the documentation says of a queue; others have room beside it.
func TestOneSourceHasAWholeQueue(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.host("backend", status(503))
		a := w.application("1", to("http://backend"))
		for i := range maxBulk {
			a.Happened(by(1, fmt.Sprint("member_added:presence-c:", i)), nil)
		}
		w.expect(t, `dropped_total{app="1",reason="queue_full"}`, "0")
		for i := range maxQueued - maxBulk {
			a.Happened(by(2+i, fmt.Sprint("member_added:presence-d:", i)), nil)
		}
		w.expect(t, `dropped_total{app="1",reason="queue_full"}`, "0")
	})
}

// The bulk lane leaves room for others when the endpoint takes nothing.
func TestBulkLeavesRoom(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", stall)
		a := w.application("1", to("http://backend"))
		for i := range 2 * maxQueued {
			a.Happened(by(1, fmt.Sprint("channel_occupied:", i)), nil)
			a.happens("client_event:d")
		}
		for i := range 1000 {
			a.Happened(by(2+i, fmt.Sprint("member_added:presence-c:", i)), nil)
			a.Happened(by(2+i, fmt.Sprint("member_added:d:", i)), nil) // behind the client events
		}
		pass(time.Second)
		if n := w.sum("queue_length"); n >= maxQueued {
			t.Errorf("%d events are queued", n)
		}
		h.answers(nil)
		pass(time.Hour)
		next := map[string]int{}
		for _, e := range h.events(t)[len(h.requests()[0].events(t)):] {
			if parts := strings.Split(e, ":"); parts[0] == "member_added" {
				if parts[2] != fmt.Sprint(next[parts[1]]) {
					t.Fatalf("%s comes after %d", e, next[parts[1]]-1)
				}
				next[parts[1]]++
			}
		}
		if next["presence-c"] != 1000 || next["d"] != 1000 {
			t.Errorf("members' events: %v", next)
		}
	})
}

// The order of a channel holds through both lanes, and through a restart.
func TestSpoolKeepsTheOrderOfLanes(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				spool := t.TempDir()
				w := newWorld(t, spool)
				h := w.host("backend", slow)
				a := w.application("1", to("http://backend"))
				const events = 4000
				for i := range events {
					source := 1 + random.IntN(5) // of which two cause most
					if source > 2 && random.IntN(20) > 0 {
						source = 1 + source%2
					}
					a.Happened(by(source, fmt.Sprintf("member_added:%d:%d", random.IntN(200), i)), nil)
					if random.IntN(40) == 0 {
						pass(time.Duration(random.IntN(int(30 * time.Millisecond))))
					}
				}
				pass(2 * batchDelay) // all of it is in the spool, most of it in the bulk lane
				if len(h.requests()) == 0 || a.Queued() < events/4 {
					t.Fatalf("%d requests, and %d events are queued", len(h.requests()), a.Queued())
				}
				after := newWorld(t, crashed(t, spool))
				again := after.host("backend", nil)
				after.application("1", to("http://backend"))
				pass(time.Minute)

				for _, part := range [][]string{h.events(t), again.events(t)} {
					last := make(map[string]int)
					for _, e := range part {
						var channel, n int
						fmt.Sscanf(e, "member_added:%d:%d", &channel, &n)
						if n < last[fmt.Sprint(channel)] {
							t.Fatalf("channel %d: %d comes after %d", channel, n, last[fmt.Sprint(channel)])
						}
						last[fmt.Sprint(channel)] = n
					}
				}
				if n := len(again.events(t)); n < events/4 {
					t.Errorf("%d events came after the restart", n)
				}
			})
		})
	}
}
