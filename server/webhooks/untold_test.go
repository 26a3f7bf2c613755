package webhooks

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A backend never hears the end of a channel or member whose beginning was
// dropped; what comes after that is whole again.
func TestNoEndWithoutItsBeginning(t *testing.T) {
	within(t, func(t *testing.T, w *world) {
		h := w.host("backend", status(503))
		a := w.application("1", to("http://backend"))
		for i := range maxBulk + 1000 { // more than there is room for
			a.Happened(by(1, fmt.Sprint("cache_miss:", i)), nil)
		}
		a.Happened(by(1, "channel_occupied:presence-c"), nil)
		a.Happened(by(1, "member_added:presence-c:a"), nil)
		a.Happened(by(2, "member_added:presence-c:b"), nil)
		h.answers(nil)
		pass(time.Minute)
		for _, e := range []string{
			"member_removed:presence-c:b", "member_removed:presence-c:a", "channel_vacated:presence-c",
		} {
			a.Happened(by(3, e), nil)
		}
		pass(time.Minute)
		a.Happened(by(1, "channel_occupied:presence-c"), nil)
		a.Happened(by(1, "channel_vacated:presence-c"), nil)
		pass(time.Minute)
		got := slices.DeleteFunc(h.takenLast(t, 3*time.Minute), func(e string) bool { return strings.HasPrefix(e, "cache_miss:") })
		if want := []string{"member_added:presence-c:b", "member_removed:presence-c:b", "channel_occupied:presence-c", "channel_vacated:presence-c"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if n := len(a.endpoints["http://backend"].untold.beginnings); n != 0 {
			t.Errorf("%d beginnings are remembered", n)
		}
	})
}

func TestUntoldIsBounded(t *testing.T) {
	var u untold
	for i := range maxUntold + 10 {
		u.add(endKey{vacated, fmt.Sprint(i), ""})
	}
	if len(u.beginnings) != maxUntold {
		t.Errorf("%d beginnings are remembered", len(u.beginnings))
	}
	if !u.take(endKey{vacated, fmt.Sprint(maxUntold + 9), ""}) {
		t.Error("the last one is forgotten")
	}
}
