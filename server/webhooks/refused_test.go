package webhooks

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// refuses answers with a status to each request with an event of a channel whose
// name contains a word.
func (h *host) refuses(t *testing.T, word string, code int) {
	h.answers(func(n int, w http.ResponseWriter, _ *http.Request) {
		for _, e := range h.requests()[n].events(t) {
			if strings.Contains(e, word) {
				w.WriteHeader(code)
				return
			}
		}
	})
}

// takes are the events of the requests that a host which refuses a word takes.
func (h *host) takes(t *testing.T, word string) (all []string) {
	for _, r := range h.requests() {
		if events := r.events(t); !strings.Contains(strings.Join(events, " "), word) {
			all = append(all, events...)
		}
	}
	return all
}

// An endpoint that refuses one kind of event, as PHP's and Go's libraries do with
// those of encrypted channels, gets all others at once and in order; the refused
// ones are given up when their time has come, and counted.
func TestRefusedEventsTakeNothingDown(t *testing.T) {
	tests := []struct {
		name   string
		within time.Duration
		bad    func(i int) bool // of 300 events
	}{
		{"the first", 10 * time.Second, func(i int) bool { return i == 0 }},
		{"the last", 10 * time.Second, func(i int) bool { return i == 299 }},
		{"one in ten", 10 * time.Second, func(i int) bool { return i%10 == 3 }},
		{"every other", 2 * time.Minute, func(i int) bool { return i%2 == 1 }},
		{"a run ahead", 10 * time.Second, func(i int) bool { return i < 50 }},
		{"a run behind", 10 * time.Second, func(i int) bool { return i >= 250 }},
		{"a run between", 10 * time.Second, func(i int) bool { return i >= 100 && i < 200 }},
	}
	for _, tt := range tests {
		for _, code := range []int{500, 429, 422} {
			t.Run(fmt.Sprint(tt.name, " ", code), func(t *testing.T) {
				within(t, func(t *testing.T, w *world) {
					h := w.host("backend", nil)
					h.refuses(t, "encrypted", code)
					a := w.application("1", to("http://backend"))
					var good []string
					bad := 0
					for i := range 300 {
						e := fmt.Sprintf("member_added:presence-%d:%d", i%200, i)
						if tt.bad(i) {
							e = fmt.Sprintf("channel_occupied:private-encrypted-%d", i)
							bad++
						} else {
							good = append(good, e)
						}
						a.happens(e)
					}
					pass(tt.within)
					got := h.takes(t, "encrypted")
					if !slices.Equal(byChannel(got), byChannel(good)) {
						t.Errorf("got %d events, want %d:\n%v", len(got), len(good), got)
					}
					pass(10 * time.Minute)
					w.expect(t, `sent_total{app="1"}`, fmt.Sprint(len(good)), `queue_length{app="1"}`, "0")
					if lost := w.sum(`failed_total{app="1"`); lost != bad {
						t.Errorf("%d events were given up, want %d", lost, bad)
					}
					t.Logf("%d requests for %d refused events", len(h.requests()), bad)
				})
			})
		}
	}
}

// While one event after the other is refused, what comes in between is not late.
func TestRefusedEventsDelayNothing(t *testing.T) {
	for _, code := range []int{500, 422} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", nil)
				h.refuses(t, "encrypted", code)
				a := w.application("1", to("http://backend"))
				for i := range 200 {
					a.happens(fmt.Sprint("channel_occupied:private-encrypted-", i))
					pass(500 * time.Millisecond)
					a.happens(fmt.Sprint("channel_occupied:", i))
					pass(2 * time.Second)
					if got := h.takes(t, "encrypted"); len(got) != i+1 || got[i] != fmt.Sprint("channel_occupied:", i) {
						t.Fatalf("after %d, %d came", i, len(got))
					}
				}
			})
		})
	}
}

// byChannel sorts events by their channels, without changing the order in one.
func byChannel(events []string) []string {
	events = slices.Clone(events)
	channel := func(e string) string { return strings.Split(e, ":")[1] }
	slices.SortStableFunc(events, func(a, b string) int { return strings.Compare(channel(a), channel(b)) })
	return events
}

// Later events of a channel wait behind the refused one, and only those.
func TestEventsWaitBehindARefusedOne(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		h.refuses(t, "occupied:c", 500)
		a := w.application("1", to("http://backend"))
		a.happens("channel_occupied:c", "channel_occupied:d")
		pass(time.Second)
		a.happens("client_event:c", "client_event:d")
		pass(time.Second)
		if got := h.takes(t, "occupied:c"); !slices.Equal(got, []string{"channel_occupied:d", "client_event:d"}) {
			t.Errorf("at first %v", got)
		}
		h.answers(nil)
		a.happens("cache_miss:c")
		pass(time.Minute)
		all := h.events(t)
		if got := all[len(all)-3:]; !slices.Equal(got, []string{"channel_occupied:c", "client_event:c", "cache_miss:c"}) {
			t.Errorf("then %v", got)
		}
		w.expect(t, `sent_total{app="1"}`, "5", `failed_total{app="1",reason="expired"}`, "0")
	})
}

// Events that wait behind a refused one of their channel are given up too, tried
// or not, when they have waited for twice as long.
func TestEventsBehindARefusedOneAreGivenUp(t *testing.T) {
	for _, channels := range []int{1, 3} {
		for run := range 20 { // as pauses are random
			t.Run(fmt.Sprint(channels, " channels, run ", run), func(t *testing.T) {
				within(t, func(t *testing.T, w *world) {
					w.host("backend", status(500))
					a := w.application("1", to("http://backend"))
					const events = 126
					for i := range events {
						if i == channels { // the others come when these are refused
							pass(time.Second)
						}
						a.happens(fmt.Sprint("client_event:", i%channels))
					}
					pass(2*giveUp + batchDelay)
					w.expect(t, `failed_total{app="1",reason="expired"}`, fmt.Sprint(events), `queue_length{app="1"}`, "0")
				})
			})
		}
	}
}

// An endpoint that refuses everything is asked about as often as one batch would
// be tried, and gets the last five minutes when it takes webhooks again.
func TestEndpointThatRefusesEverything(t *testing.T) {
	for _, code := range []int{500, 429} {
		for _, each := range []int{1, 60} { // events a second
			t.Run(fmt.Sprintf("%d, %d a second", code, each), func(t *testing.T) {
				within(t, func(t *testing.T, w *world) {
					h := w.host("backend", status(code))
					a := w.application("1", to("http://backend"))
					const minutes = 20
					for second := range minutes * 60 {
						for i := range each {
							a.happens(fmt.Sprintf("channel_occupied:%d-%d", second, i))
						}
						pass(time.Second)
					}
					// One batch is tried six times in its first minute, then about every
					// half a minute. That is once for what is new and once for what was
					// refused, and the first one is halved at once.
					if n, most := len(h.requests()), 2*(6+2*minutes)+freeRefusals+minutes; n > most {
						t.Errorf("%d requests, want %d at most", n, most)
					}
					h.answers(nil)
					pass(2 * time.Minute)
					if n := len(h.takenLast(t, 2*time.Minute)); n < 200*each || n > 400*each {
						t.Errorf("%d events came at last, %d a second", n, each)
					}
				})
			})
		}
	}
}

// takenLast are the events of the requests of the last while.
func (h *host) takenLast(t *testing.T, while time.Duration) (all []string) {
	for _, r := range h.requests() {
		if time.Since(r.at) < while {
			all = append(all, r.events(t)...)
		}
	}
	return all
}

// The spool has what was not taken of a batch, and no more.
func TestSpoolOfARefusedEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		h := w.host("backend", nil)
		h.refuses(t, "encrypted", 500)
		a := w.application("1", to("http://backend"))
		for i := range 50 {
			a.happens(fmt.Sprint("cache_miss:", i))
		}
		a.happens("channel_occupied:private-encrypted-c")
		pass(3 * time.Second)
		a.happens("channel_vacated:private-encrypted-c") // in a batch of its own
		pass(7 * time.Second)
		after := newWorld(t, crashed(t, spool))
		left := files(t, after.spool.dir)
		if len(left) != 2 {
			t.Errorf("in the spool: %v", left)
		}
		h = after.host("backend", nil)
		after.application("1", to("http://backend"))
		pass(time.Second)
		if got := h.events(t); !slices.Equal(got, []string{"channel_occupied:private-encrypted-c", "channel_vacated:private-encrypted-c"}) {
			t.Errorf("after a crash: %v", got)
		}

		// A file that cannot be replaced is logged like one that cannot be written.
		dir := a.endpoints["http://backend"].spool.dir
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		a.happens("cache_miss:d")
		pass(time.Second)
		if w.log.lines("cannot be written to the spool") != 1 || w.log.lines(filepath.Base(dir)+" is a file") != 1 {
			t.Errorf("log:\n%s", w.log)
		}
	})
}
