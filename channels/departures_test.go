package channels

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

// departing runs a test with an application whose departures wait.
func departing(t *testing.T, f func(t *testing.T, a *App, b *backend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		broker, b := NewBroker(1, nil), new(backend)
		f(t, broker.NewApp("1", Limits{PresenceMembers: 10}, new(counts), b), b)
		broker.Close()
	})
}

// happens has an event happen, name:channel:user, that a source has caused.
func (a *App) happens(by int, word string) {
	parts := strings.Split(word+"::", ":")
	c := &channel{app: a, name: parts[1], kind: protocol.KindOf(parts[1])}
	c.happenedBy(protocol.Source(by), parts[0], parts[2])
}

// words are what the backend was told, likewise.
func (b *backend) words() (words []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		words = append(words, strings.TrimRight(e.Name+":"+e.Channel+":"+e.UserID, ":"))
	}
	return words
}

// pass lets time pass, which costs none, and everything happen that is due.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestDepartures(t *testing.T) {
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
			departing(t, func(t *testing.T, a *App, b *backend) {
				var got []string
				seen := 0
				for _, word := range strings.Fields(tt.happens + " |") {
					var ms int
					if word == "|" { // what has come by now
						all := b.words()
						got = append(append(got, all[seen:]...), "|")
						seen = len(all)
					} else if n, _ := fmt.Sscan(word, &ms); n == 1 {
						pass(time.Duration(ms) * time.Millisecond)
					} else {
						a.happens(0, word)
					}
				}
				if want := strings.Fields(tt.want + " |"); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		})
	}
}

// What nobody wants to know is not kept.
func TestUnwantedDepartures(t *testing.T) {
	departing(t, func(t *testing.T, a *App, b *backend) {
		b.unwanted = "c"
		a.happens(1, "channel_vacated:c")
		a.happens(1, "channel_vacated:d")
		a.departures.mu.Lock()
		if n := a.departures.queue.Len(); n != 1 {
			t.Errorf("%d departures wait", n)
		}
		a.departures.mu.Unlock()
		pass(Grace)
		if got := b.words(); !slices.Equal(got, []string{"channel_vacated:d"}) {
			t.Errorf("told %v", got)
		}
	})
}

// Over their bound, the oldest departures are told early, in order.
func TestDeparturesAreBounded(t *testing.T) {
	departing(t, func(t *testing.T, a *App, b *backend) {
		for i := range maxDepartures + 10 {
			a.happens(0, fmt.Sprint("channel_vacated:", i))
		}
		if got := b.words(); len(got) != 10 || got[0] != "channel_vacated:0" || got[9] != "channel_vacated:9" {
			t.Errorf("early are %v", got)
		}
		pass(Grace)
		if got := b.words(); len(got) != maxDepartures+10 || got[maxDepartures+9] != fmt.Sprint("channel_vacated:", maxDepartures+9) {
			t.Errorf("%d events, the last one %s", len(got), got[len(got)-1])
		}
	})
}

// A client that leaves more channels than can wait pushes out only its own
// departures: those of others have all of their grace, and end in time.
func TestDeparturesOfOthersDuringAFlood(t *testing.T) {
	for _, sources := range []int{1, 100} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			departing(t, func(t *testing.T, a *App, b *backend) {
				flood := func(from int) {
					for i := range maxDepartures {
						a.happens(1+i%sources, fmt.Sprint("channel_vacated:", from+i))
					}
				}
				presence := func() []string {
					return slices.DeleteFunc(b.words(), func(e string) bool { return !strings.Contains(e, "presence-") })
				}
				flood(0)
				a.happens(1000, "member_removed:presence-c:stays away")
				a.happens(1001, "member_removed:presence-c:comes back")
				a.happens(1001, "channel_vacated:presence-d")
				flood(maxDepartures)
				pass(Grace - time.Millisecond)
				a.happens(1002, "member_added:presence-c:comes back")
				if got := presence(); len(got) != 0 {
					t.Errorf("early: %v", got)
				}
				pass(ripenStep)
				if got := presence(); !slices.Equal(got, []string{"member_removed:presence-c:stays away", "channel_vacated:presence-d"}) {
					t.Errorf("got %v", got)
				}
				if d := &a.departures; d.queue.Len() != 0 || len(d.index) != 0 || len(d.sources) != 0 || d.timing {
					t.Errorf("%d wait, of %d and %d", d.queue.Len(), len(d.index), len(d.sources))
				}
			})
		})
	}
}

// Nobody is forgotten when an application or the broker ends, or when graces do.
func TestDeparturesAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(*App){
		"application": (*App).Close,
		"broker":      func(a *App) { a.broker.Close() },
		"graces":      func(a *App) { a.broker.EndGraces() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker, b := NewBroker(1, nil), new(backend)
				a := broker.NewApp("1", Limits{PresenceMembers: 10}, new(counts), b)
				_, s := subscribe(t, a, "c")
				_, late := subscribe(t, a, "d")
				a.Unsubscribe(s)
				end(a)
				a.Unsubscribe(late)
				if got := b.words(); !slices.Equal(got, []string{"channel_occupied:c", "channel_occupied:d", "channel_vacated:c", "channel_vacated:d"}) {
					t.Errorf("told %v", got)
				}
				if name != "broker" {
					broker.Close()
				}
			})
		})
	}
}
