package webhooks

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"belfry/server/config"
)

func TestGrace(t *testing.T) {
	const (
		on, off   = "channel_occupied:c", "channel_vacated:c"
		inA, outA = "member_added:c:a", "member_removed:c:a"
		inB, outB = "member_added:c:b", "member_removed:c:b"
	)
	// A number is a time to pass, in milliseconds.
	tests := []struct{ name, happens, want string }{
		{"leaves", off + " 2999 | 60 |", "| " + off + " |"},
		{"comes back", off + " 2000 " + on + " 9000", ""},
		{"comes back at the last moment", off + " 2999 " + on + " 9000", ""},
		{"comes back when due", off + " 3000 " + on + " 9000", off + " " + on},
		{"comes back too late", off + " 3001 " + on + " 9000", off + " " + on},
		{"flaps", off + " 2000 " + on + " 2000 " + off + " 2000 " + on + " 9000", ""},
		{"flaps and leaves", off + " 2000 " + on + " 2000 " + off + " 2900 | 200 |", "| " + off + " |"},
		{"comes and leaves", on + " 1000 " + off + " 1000 " + on + " 1000 " + off + " 9000", on + " " + off},
		{"another channel", off + " 1000 channel_occupied:d 9000", "channel_occupied:d " + off},
		{"member comes back", outA + " 2000 " + inA + " 9000", ""},
		{"another member", outA + " 2000 " + inB + " 9000", inB + " " + outA},
		{"the same user elsewhere", outA + " member_added:d:a 9000", "member_added:d:a " + outA},
		{"last member leaves", outA + " " + off + " 9000", outA + " " + off},
		{"last member leaves and comes back", outA + " " + off + " 1000 " + on + " " + inA + " 9000", ""},
		{"last member leaves and another comes", outA + " " + off + " 1000 " + on + " " + inB + " 9000", inB + " " + outA},
		{"members leave one by one", outA + " 500 " + outB + " " + off + " 9000", outA + " " + outB + " " + off},
		{"one of two comes back", outA + " 500 " + outB + " " + off + " 1000 " + on + " " + inB + " 9000", outA},
		{"back between the two ends", outA + " 1000 " + off + " 2500 " + on + " " + inA + " 9000", outA + " " + inA},
		{"others do not wait", off + " cache_miss:c subscription_count:c 100 | 9000", "cache_miss:c subscription_count:c | " + off},
		{"others do not cancel", off + " client_event:c 9000", "client_event:c " + off},
		{"twice", off + " 1000 " + off + " 2500 | 9000", "| " + off},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", nil)
				a := w.application("1", to("http://backend"))
				var got []string
				seen := 0
				for _, word := range strings.Fields(tt.happens + " |") {
					var ms int
					if word == "|" { // what has come by now
						all := h.events(t)
						got = append(append(got, all[seen:]...), "|")
						seen = len(all)
					} else if n, _ := fmt.Sscan(word, &ms); n == 1 {
						pass(time.Duration(ms) * time.Millisecond)
					} else {
						a.happens(word)
					}
				}
				if want := strings.Fields(tt.want + " |"); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

// A departure and its arrival vanish together, whichever of them an endpoint
// wants.
func TestGraceForOneOfAPair(t *testing.T) {
	for _, only := range []string{"channel_occupied", "channel_vacated", "member_added", "member_removed"} {
		t.Run(only, func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", nil)
				hook := to("http://backend")
				hook.Events = []string{only}
				a := w.application("1", hook)
				a.happens("member_removed:c:a", "channel_vacated:c")
				pass(time.Second)
				a.happens("channel_occupied:c", "member_added:c:a")
				pass(time.Minute)
				if got := h.events(t); len(got) != 0 {
					t.Errorf("got %v", got)
				}
			})
		})
	}
}

// Over their bound, the oldest departures go early, in order, and that is
// logged once.
func TestGraceIsBounded(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		hook := to("http://backend")
		a := w.application("1", hook)
		for i := range maxWaiting + 10 {
			a.happens(fmt.Sprint("channel_vacated:", i))
		}
		pass(time.Second)
		if got := h.events(t); len(got) != 10 || got[0] != "channel_vacated:0" || got[9] != "channel_vacated:9" {
			t.Errorf("early are %v", got)
		}
		a.Configure(credentials, []config.Webhook{hook})
		pass(time.Minute)
		if got := h.events(t); len(got) != maxWaiting+10 || got[maxWaiting+9] != fmt.Sprint("channel_vacated:", maxWaiting+9) {
			t.Errorf("%d events, the last one %s", len(got), got[len(got)-1])
		}
		if w.log.lines("go out early") != 1 {
			t.Errorf("log:\n%s", w.log)
		}
	})
}

// Many applications share the one who looks after graces.
func TestGraceOfSeveralApplications(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", nil)
		for i := range 5 {
			w.application(fmt.Sprint(i), to("http://backend")).happens(fmt.Sprint("channel_vacated:", i))
			pass(time.Second)
		}
		if got := h.events(t); len(got) != 2 {
			t.Errorf("after %v: %v", 5*time.Second, got)
		}
		pass(Grace)
		if got := h.events(t); len(got) != 5 {
			t.Errorf("in the end: %v", got)
		}
	})
}

// A client that leaves more channels than can wait pushes out only its own
// departures: those of others have all of their grace, and end in time.
func TestGraceOfOthersDuringAFlood(t *testing.T) {
	for _, sources := range []int{1, 100} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			within(t, func(t *testing.T, w *world) {
				h := w.host("backend", nil)
				hook := to("http://backend")
				hook.Filter.ChannelPrefix = "presence-"
				a := w.application("1", hook, to("http://nowhere"))
				flood := func(from int) {
					for i := range maxWaiting {
						a.Happened(by(1+i%sources, fmt.Sprint("channel_vacated:", from+i)))
					}
				}
				flood(0)
				a.Happened(by(1000, "member_removed:presence-c:stays away"))
				a.Happened(by(1001, "member_removed:presence-c:comes back"))
				a.Happened(by(1001, "channel_vacated:presence-d"))
				flood(maxWaiting)
				pass(Grace - time.Millisecond)
				a.Happened(by(1002, "member_added:presence-c:comes back"))
				if got := h.events(t); len(got) != 0 {
					t.Errorf("early: %v", got)
				}
				pass(2*batchDelay + time.Millisecond)
				if got := h.events(t); !slices.Equal(got, []string{"member_removed:presence-c:stays away", "channel_vacated:presence-d"}) {
					t.Errorf("got %v", got)
				}
				if a.grace.queue.Len() != 0 || len(a.grace.index) != 0 || len(a.grace.sources) != 0 {
					t.Errorf("%d wait, of %d and %d", a.grace.queue.Len(), len(a.grace.index), len(a.grace.sources))
				}
			})
		})
	}
}
