package webhooks

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"belfry/protocol"
	"belfry/server/config"
)

// A batch is closed after its time, or when it is full.
func TestBatches(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		a := w.application("1", to("http://backend"))
		a.happens("cache_miss:a")
		pass(batchDelay / 2)
		a.happens("cache_miss:b")
		pass(batchDelay/2 - 1)
		if n := len(h.requests()); n != 0 {
			t.Fatalf("%d requests before the time", n)
		}
		pass(1)
		if got := h.events(t); !slices.Equal(got, []string{"cache_miss:a", "cache_miss:b"}) {
			t.Fatalf("got %v", got)
		}
		pass(time.Second)
		for i := range 2*batchEvents + 50 {
			a.happens(fmt.Sprint("cache_miss:", i))
		}
		pass(0)
		full := h.requests()[1:]
		pass(batchDelay)
		if rest := h.requests()[1:]; len(full) != 2 || len(rest) != 3 {
			t.Errorf("%d requests at once, %d in the end", len(full), len(rest))
		}
		got := h.events(t)[2:]
		for i := range got {
			if got[i] != fmt.Sprint("cache_miss:", i) {
				t.Fatalf("event %d is %s", i, got[i])
			}
		}
		if len(got) != 2*batchEvents+50 || h.opened != 1 {
			t.Errorf("%d events over %d connections", len(got), h.opened)
		}
	})
}

// Large events share a batch only up to its size.
func TestBatchBytes(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		a := w.application("1", to("http://backend"))
		for _, size := range []int{batchBytes / 3, batchBytes / 2, batchBytes / 2, 2 * batchBytes, 1} {
			a.Happened(protocol.WebhookEvent{Name: protocol.WebhookChannelOccupied, Channel: strings.Repeat("x", size)}, nil)
		}
		pass(time.Second)
		var sizes []int
		for _, r := range h.requests() {
			sizes = append(sizes, len(r.events(t)))
		}
		if !slices.Equal(sizes, []int{2, 1, 1, 1}) {
			t.Errorf("events of the requests: %v", sizes)
		}
	})
}

func TestTargets(t *testing.T) {
	only := func(events ...string) func(*config.Webhook) {
		return func(w *config.Webhook) { w.Events = events }
	}
	filter := func(prefix, suffix string) func(*config.Webhook) {
		return func(w *config.Webhook) { w.Filter = config.WebhookFilter{ChannelPrefix: prefix, ChannelSuffix: suffix} }
	}
	happened := []string{"channel_occupied:a-x", "channel_occupied:b-x", "cache_miss:a-y", "client_event:a-x", "subscription_count:b-y",
		"member_added:a-x:7", "channel_vacated:gone", "member_removed:gone:7"}
	tests := []struct {
		name string
		edit func(*config.Webhook)
		want []string
	}{
		{"all", func(*config.Webhook) {}, happened},
		{"some", only("cache_miss", "member_added"), []string{"cache_miss:a-y", "member_added:a-x:7"}},
		{"departures", only("channel_vacated", "member_removed"), []string{"channel_vacated:gone", "member_removed:gone:7"}},
		{"prefix", filter("a-", ""), []string{"channel_occupied:a-x", "cache_miss:a-y", "client_event:a-x", "member_added:a-x:7"}},
		{"suffix", filter("", "-y"), []string{"cache_miss:a-y", "subscription_count:b-y"}},
		{"both", filter("b", "y"), []string{"subscription_count:b-y"}},
		{"overlapping", filter("a-x", "a-x"), []string{"channel_occupied:a-x", "client_event:a-x", "member_added:a-x:7"}},
		{"none", filter("c", ""), nil},
	}
	within(t, func(t *testing.T, w *world) {
		var hooks []config.Webhook
		var hosts []*host
		for _, tt := range tests {
			hosts = append(hosts, w.host(tt.name, nil))
			hook := to("http://" + tt.name)
			tt.edit(&hook)
			hooks = append(hooks, hook)
		}
		w.application("1", hooks...).happens(happened...)
		pass(time.Minute)
		for i, tt := range tests {
			if got := hosts[i].events(t); !slices.Equal(got, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
	})
}

// What fails for now is sent again, the same and in order.
func TestRetries(t *testing.T) {
	tests := []struct {
		name   string
		answer func(n int, w http.ResponseWriter, r *http.Request)
	}{
		{"status", status(500, 503, 429, 408, 599, 200)},
		{"no answer", func(n int, w http.ResponseWriter, r *http.Request) {
			if n < 5 {
				stall(n, w, r)
			}
		}},
		{"broken answer", func(n int, w http.ResponseWriter, r *http.Request) {
			if n < 5 {
				panic(http.ErrAbortHandler)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", tt.answer)
				a := w.application("1", to("http://backend"))
				a.happens("channel_occupied:c")
				pass(2 * batchDelay)
				a.happens("client_event:c", "cache_miss:c")
				pass(3 * time.Minute)
				got := h.requests()
				if len(got) != 7 {
					t.Fatalf("%d requests", len(got))
				}
				for i, r := range got[:6] {
					if r.body != got[0].body {
						t.Errorf("request %d has body %s", i, r.body)
					}
					if i > 0 && r.at.Sub(got[i-1].at) > RequestTimeout+firstRetry<<(i-1) {
						t.Errorf("request %d comes after %v", i, r.at.Sub(got[i-1].at))
					}
				}
				if events := got[6].events(t); !slices.Equal(events, []string{"client_event:c", "cache_miss:c"}) {
					t.Errorf("then %v", events)
				}
				w.expect(t, `sent_total{app="1"}`, "3", `retried_total{app="1"}`, "5", `queue_length{app="1"}`, "0")
				if warned, debug := w.log.lines("level=WARN"), w.log.lines("level=DEBUG"); warned != 1 || debug != 4 || w.log.lines("taken again") != 1 {
					t.Errorf("log:\n%s", w.log)
				}
			})
		})
	}
}

// A host that is not there yet is one that fails for now.
func TestConnectionRefused(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		a := w.application("1", to("http://backend/path"))
		a.happens("channel_occupied:c")
		pass(time.Minute)
		h := w.host("backend", nil)
		pass(time.Minute)
		if got := h.events(t); !slices.Equal(got, []string{"channel_occupied:c"}) {
			t.Errorf("got %v", got)
		}
		if w.log.lines("connection refused") < 1 || w.log.lines("endpoint=http://backend/path") < 2 {
			t.Errorf("log:\n%s", w.log)
		}
	})
}

// Whatever the endpoint does, events of a channel keep their order, and each
// comes once or is counted.
func TestOrder(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				random, luck := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 1)) // ours, and the endpoint's
				taken := make(map[string][]int)                                                // numbers of events, by channel
				var fails atomic.Int32                                                         // one of so many
				h := w.host("backend", nil)
				h.answers(func(n int, w http.ResponseWriter, r *http.Request) {
					events := h.requests()[n].events(t)
					bad := slices.ContainsFunc(events, func(e string) bool { return strings.HasSuffix(e, "13") })
					switch {
					case bad:
						w.WriteHeader([]int{500, 400}[seed%2])
						return
					case fails.Load() > 0 && luck.Int32N(fails.Load()) == 0:
						if luck.IntN(4) == 0 {
							panic(http.ErrAbortHandler)
						}
						w.WriteHeader(503)
						return
					}
					for _, e := range events {
						var c, number int
						fmt.Sscanf(e, "member_added:%d:%d", &c, &number)
						channel := fmt.Sprint(c)
						if of := taken[channel]; len(of) > 0 && of[len(of)-1] >= number {
							t.Errorf("channel %s: %d comes after %v", channel, number, of)
						}
						taken[channel] = append(taken[channel], number)
					}
				})
				a := w.application("1", to("http://backend"))
				const events = 3000
				for i := range events {
					fails.Store([]int32{0, 3, 2, 30}[i*4/events])
					c := random.IntN(1 + int(seed)*4)
					a.Happened(protocol.WebhookEvent{Name: protocol.WebhookMemberAdded, Channel: fmt.Sprint(c), UserID: fmt.Sprint(i),
						Source: protocol.Source(c % 3)}, nil)
					if random.IntN(10) == 0 {
						pass(time.Duration(random.IntN(int(time.Second))))
					}
				}
				fails.Store(0)
				pass(20 * time.Minute)
				n := 0
				for _, of := range taken {
					n += len(of)
				}
				lost := w.sum(`failed_total{app="1"`)
				if n+lost != events || a.Queued() != 0 || lost < events/100 || lost > events/10 {
					t.Errorf("%d events came, %d were lost, %d are queued, of %d", n, lost, a.Queued(), events)
				}
			})
		})
	}
}

// An endpoint that refuses everything is in the log, but does not fill it.
func TestLossesAreLoggedOnceAMinute(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.host("backend", status(404))
		a := w.application("1", to("http://backend"))
		for range 90 {
			a.happens("cache_miss:c")
			pass(time.Second)
		}
		if w.log.lines("webhooks are given up") != 2 || w.log.lines("events=59") != 1 {
			t.Errorf("log:\n%s", w.log)
		}
	})
}

// A dead endpoint is tried for five minutes, and keeps nothing that is older.
func TestGivingUp(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", stall)
		a := w.application("1", to("http://backend"))
		const batch = batchEvents * 3 / 5 // two of them are not joined
		for range 20 * 60 {               // 20 minutes of a batch a second
			for range batch {
				a.happens("cache_miss:c")
			}
			pass(time.Second)
			if n := a.Queued(); n > batch*int((giveUp+RequestTimeout+maxRetry)/time.Second+1) {
				t.Fatalf("%d events are queued, %d a second", n, batch)
			}
		}
		h.answers(nil)
		pass(2 * time.Minute)
		sent, failed := w.metric(`belfry_webhooks_sent_total{app="1"}`), w.metric(`belfry_webhooks_failed_total{app="1",reason="expired"}`)
		var s, f int
		fmt.Sscan(sent, &s)
		fmt.Sscan(failed, &f)
		if s+f != 20*60*batch || s < 200*batch || f < 800*batch || a.Queued() != 0 {
			t.Errorf("sent %s, given up %s, queued %d", sent, failed, a.Queued())
		}
	})
}

// An old batch is tried once if the endpoint takes what came before.
func TestSlowEndpointLosesNothing(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", func(int, http.ResponseWriter, *http.Request) { <-time.After(9 * time.Second) })
		a := w.application("1", to("http://backend"))
		for i := range 60 * batchEvents { // nine minutes of work
			a.happens(fmt.Sprint("channel_occupied:", i))
		}
		pass(time.Hour)
		if got := h.events(t); len(got) != 60*batchEvents {
			t.Errorf("%d events", len(got))
		}
	})
}

// An endpoint that answers nothing delays neither another one nor another app.
func TestIsolation(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		w.host("stalled", stall)
		h, other := w.host("backend", nil), w.host("other", nil)
		a, b := w.application("1", to("http://stalled"), to("http://backend")), w.application("2", to("http://other"), to("http://stalled"))
		for i := range 100 {
			a.happens(fmt.Sprint("cache_miss:", i))
			b.happens(fmt.Sprint("cache_miss:", i))
			pass(batchDelay)
			if n, m := len(h.requests()), len(other.requests()); n != i+1 || m != i+1 {
				t.Fatalf("%d and %d requests after %d events", n, m, i+1)
			}
		}
		w.expect(t, `queue_length{app="1"}`, "100", `queue_length{app="2"}`, "100")
	})
}

// A full queue drops what is new, and counts it.
func TestFullQueue(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", status(503))
		a := w.application("1", to("http://backend"))
		e := happening("channel_occupied:c")
		for range maxQueued + 10 {
			a.Happened(e, nil)
		}
		pass(time.Second)
		a.Happened(e, nil)
		w.expect(t, `dropped_total{app="1",reason="queue_full"}`, "11", `queue_length{app="1"}`, fmt.Sprint(maxQueued))
		h.answers(nil)
		pass(2 * time.Minute)
		a.Happened(e, nil)
		pass(time.Second)
		w.expect(t, `sent_total{app="1"}`, fmt.Sprint(maxQueued+1), `queue_length{app="1"}`, "0")
		if w.log.lines("the queue is full") != 2 { // the second a minute after the first
			t.Errorf("log:\n%s", w.log)
		}
	})
}

func TestFullQueueOfBytes(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		a := w.application("1", to("http://backend"))
		large := protocol.WebhookEvent{Name: protocol.WebhookChannelOccupied, Channel: strings.Repeat("x", 1<<20)}
		for range 28 {
			a.Happened(large, nil)
		}
		pass(time.Second)
		for range 3 { // small ones still fit
			a.happens("cache_miss:c")
			pass(time.Second)
		}
		w.expect(t, `dropped_total{app="1",reason="queue_full"}`, "5", `queue_length{app="1"}`, "26")
		if w.log.lines("the queue is full") != 1 {
			t.Errorf("log:\n%s", w.log)
		}
	})
}
