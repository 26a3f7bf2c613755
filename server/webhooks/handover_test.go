package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels"
	"belfry/server/config"
)

// handOver ends a sender as the process before does, and gives what it has left, as it
// travels.
func (w *world) handOver(t *testing.T, ctx context.Context) (left []Exported) {
	t.Helper()
	w.Retire()
	text, err := json.Marshal(w.HandOver(ctx))
	w.ended = true
	if err == nil {
		err = json.Unmarshal(text, &left)
	}
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// What a process has not delivered, the next one does: once, and ahead of what has
// happened there meanwhile.
func TestHandOver(t *testing.T) {
	for name, spooled := range map[string]bool{"in memory": false, "with a spool": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spool := ""
				if spooled {
					spool = t.TempDir()
				}
				old := newWorld(t, spool)
				h := old.host("backend", func(n int, w http.ResponseWriter, r *http.Request) {
					if n == 0 {
						w.WriteHeader(http.StatusServiceUnavailable) // for all: halved, and tried again
						return
					}
					time.Sleep(3 * time.Second) // of the bubble: under way during the handover
				})
				a := old.application("1", to("http://backend"))
				for i := range 150 {
					a.happens(fmt.Sprintf("member_added:presence-%d:%d", i%7, i))
				}
				pass(time.Second)
				a.happens("member_added:presence-0:150") // in no batch yet

				successor := newWorldOf(t, Options{Spool: spool, Held: true})
				h2 := successor.host("backend", nil)
				b := successor.application("1", to("http://backend"))
				b.happens("member_added:presence-0:151", "member_added:presence-8:152")
				left := old.handOver(t, t.Context())
				a.happens("member_removed:presence-0:150") // nobody's to tell
				taken := h.events(t)[100:]                 // the first ones were refused
				if len(taken) == 0 || len(h2.events(t)) != 0 {
					t.Fatalf("the old one has delivered %d events, the new one %d", len(taken), len(h2.events(t)))
				}
				if spooled != (len(left[0].Batches) == 0) {
					t.Errorf("%d batches are left", len(left[0].Batches))
				}
				successor.Release(left, nil)
				pass(time.Minute)

				got := append(taken, h2.events(t)...)
				var want []string
				for i := range 151 {
					want = append(want, fmt.Sprintf("member_added:presence-%d:%d", i%7, i))
				}
				want[150] = "member_added:presence-0:150"
				want = append(want, "member_added:presence-0:151", "member_added:presence-8:152")
				of := func(events []string, channel string) (found []string) {
					for _, e := range events {
						if strings.Contains(e, ":"+channel+":") {
							found = append(found, e)
						}
					}
					return found
				}
				for i := range 9 {
					channel := fmt.Sprint("presence-", i)
					if got, want := of(got, channel), of(want, channel); !slices.Equal(got, want) {
						t.Errorf("of %s, the backend got\n%v, want\n%v", channel, got, want)
					}
				}
				successor.expect(t, `queue_length{app="1"}`, "0")
			})
		})
	}
}

// A request that takes too long is cut, and made again.
func TestHandOverCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newWorld(t, "")
		old.host("backend", stall)
		a := old.application("1", to("http://backend"), to("http://gone"))
		a.happens("cache_miss:x")
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left := old.handOver(t, ctx)

		successor := newWorldOf(t, Options{Held: true})
		h := successor.host("backend", nil)
		successor.application("1", to("http://backend"))
		successor.Release(left, nil)
		pass(time.Second)
		if got := h.events(t); !slices.Equal(got, []string{"cache_miss:x"}) {
			t.Errorf("got %q", got)
		}
		if n := successor.log.lines("not configured any more"); n != 1 {
			t.Errorf("the log has %d lines of an endpoint that is not configured\n%s", n, successor.log)
		}
	})
}

// Events that the cluster keeps move along with the delivery that they are part of, and in
// the order of their channel with those that it does not keep.
func TestHandOverDeliveries(t *testing.T) {
	for name, spooled := range map[string]bool{"in memory": false, "with a spool": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				spool := ""
				if spooled {
					spool = t.TempDir()
				}
				old := newWorldOf(t, Options{Spool: spool, Shared: true})
				h := old.host("backend", func(n int, w http.ResponseWriter, r *http.Request) {
					time.Sleep(3 * time.Second) // of the bubble: under way during the handover
				})
				a := old.application("1", to("http://backend"))
				var want []string
				happens := func(d *channels.Delivery, e string) {
					want = append(want, e)
					a.Happened(happening(e), d)
				}
				done := make(chan string, 10)
				delivery := func(name string) *channels.Delivery {
					return channels.NewDelivery(name, func(bool) { done <- name })
				}
				expectDone := func(names ...string) {
					t.Helper()
					var got []string
					for len(done) > 0 {
						got = append(got, <-done)
					}
					if !slices.Equal(got, names) {
						t.Errorf("done with %q, want %q", got, names)
					}
				}
				first, second, third := delivery("first"), delivery("second"), delivery("third")
				happens(first, "member_added:presence-c:1")
				first.Release()
				pass(time.Second) // it is in a request
				for i := range 3 {
					happens(second, fmt.Sprint("member_added:presence-c:2", i))
					pass(100 * time.Millisecond)
					happens(nil, "cache_miss:presence-c")
					pass(100 * time.Millisecond)
				}
				second.Release()
				third.Release() // of which the old one has delivered everything

				successor := newWorldOf(t, Options{Spool: spool, Held: true, Shared: true})
				h2 := successor.host("backend", func(n int, w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second) // of the bubble: nothing is delivered at once
				})
				successor.application("1", to("http://backend"))
				left := old.handOver(t, t.Context())
				expectDone("third", "first")
				again := delivery("second again")
				successor.Release(left, func(app, name string) *channels.Delivery {
					if app != "1" || name != "second" {
						t.Errorf("delivery %q of app %q", name, app)
					}
					return again
				})
				again.Release()
				expectDone()
				pass(time.Minute)
				if got := append(h.events(t), h2.events(t)...); !slices.Equal(got, want) {
					t.Errorf("the backend got %q, want %q", got, want)
				}
				expectDone("second again")
			})
		})
	}
}

// Whoever is held and ends delivers what there is, or counts it.
func TestHeldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, Options{Held: true})
		h := w.host("backend", nil)
		a := w.application("1", to("http://backend"), to("http://removed"))
		a.happens("cache_miss:x")
		a.Configure(credentials, []config.Webhook{to("http://backend")})
		w.expect(t, `dropped_total{app="1",reason="removed"}`, "1")
		w.ended = true
		w.Close(t.Context())
		if got := h.events(t); !slices.Equal(got, []string{"cache_miss:x"}) {
			t.Errorf("got %q", got)
		}
	})
}

// An endpoint whose secret changes with the process takes what was left to it, as at a
// reload. Nobody knows for which of several it was.
func TestHandOverToAnotherURL(t *testing.T) {
	for _, tt := range []struct {
		name, before, after string
		want                string // path and query of the request; empty for none
	}{
		{"another query", "http://backend/hook?token=1", "http://backend/hook?token=2", "/hook?token=2"},
		{"another user", "http://u:1@backend/hook", "http://u:2@backend/hook", "/hook"},
		{"another path", "http://backend/hook", "http://backend/other", ""},
		{"one for two", "http://backend?1 http://backend?2", "http://backend?3", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				endpoints := func(urls string) (list []config.Webhook) {
					for url := range strings.FieldsSeq(urls) {
						list = append(list, to(url))
					}
					return list
				}
				old := newWorld(t, "")
				first := endpoints(tt.before)
				for i := range first[1:] {
					first[1+i].Events = []string{"channel_vacated"} // there is nothing to leave to these
				}
				old.application("1", first...).happens("cache_miss:x")
				left := old.handOver(t, t.Context())

				successor := newWorldOf(t, Options{Held: true})
				h := successor.host("backend", nil)
				successor.application("1", endpoints(tt.after)...)
				successor.Release(left, nil)
				pass(time.Second)
				var got []string
				for _, r := range h.requests() {
					got = append(got, r.url)
				}
				dropped := successor.log.lines("not configured any more")
				if strings.Join(got, " ") != tt.want || (dropped > 0) != (tt.want == "") {
					t.Errorf("requests %q, and %d lines of what is dropped", got, dropped)
				}
			})
		})
	}
}

// An endpoint that is to be left alone is left alone by the next process, too.
func TestHandOverKeepsPauses(t *testing.T) {
	for name, tt := range map[string]struct {
		retryAfter string
		refusals   int
	}{
		"that the endpoint asks for": {"120", 1},
		"after failures":             {"", 12},
	} {
		for _, spooled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, spool: %v", name, spooled), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					spool := ""
					if spooled {
						spool = t.TempDir()
					}
					old := newWorld(t, spool)
					before := old.host("backend", func(_ int, w http.ResponseWriter, _ *http.Request) {
						if tt.retryAfter != "" {
							w.Header().Set("Retry-After", tt.retryAfter)
						}
						w.WriteHeader(http.StatusServiceUnavailable)
					})
					a := old.application("1", to("http://backend"))
					for len(before.requests()) < tt.refusals {
						a.happens("cache_miss:x")
						pass(time.Minute)
					}
					e := a.list()[0].endpoint
					until := e.delivering.fresh.until
					if len(before.requests()) > 1 { // a pause that is certain
						until = time.Now().Add(maxRetry)
						e.delivering.fresh.until = until
					}
					left := old.handOver(t, t.Context())

					successor := newWorldOf(t, Options{Spool: spool, Held: true})
					h := successor.host("backend", nil)
					successor.application("1", to("http://backend"))
					successor.Release(left, nil)
					pass(10 * time.Minute)
					if got := h.requests(); len(got) == 0 || got[0].at.Before(until) {
						t.Errorf("%d requests; the endpoint is to be left alone until %v\n%+v", len(got), until, got)
					}
					if n := successor.log.lines("webhooks are taken again"); n != 1 {
						t.Errorf("the log has %d lines that the endpoint takes webhooks again\n%s", n, successor.log)
					}
				})
			})
		}
	}
}
