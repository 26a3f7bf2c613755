package keepalive

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alarm notes when it was due, and asks for the next times in turn.
type alarm struct {
	next []Time
	at   []Time
	do   func(now Time)
}

func (a *alarm) Due(now Time) Time {
	a.at = append(a.at, now)
	if a.do != nil {
		a.do(now)
	}
	if len(a.next) == 0 {
		return ^Time(0)
	}
	next := a.next[0]
	a.next = a.next[1:]
	return next
}

func equal(got []Time, want ...Time) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if got[i] != want[i] {
			return false
		}
	}
	return true
}

// What a connection does that was never watched concerns no other.
func TestNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var watched, not Slot
		a := &alarm{}
		w.Add(a, &watched, 3)
		w.Set(not, 2)
		w.Earlier(not, 1)
		w.Remove(not)
		w.Add(&alarm{}, new(Slot), 5)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if !equal(a.at, 3) {
			t.Errorf("due at %v", a.at)
		}
	})
}

func TestDueTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		one, two := &alarm{next: []Time{5, 6}}, &alarm{}
		var slots [2]Slot
		w.Add(one, &slots[0], 3)
		w.Add(two, &slots[1], 4)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !equal(one.at, 3, 5, 6) || !equal(two.at, 4) {
			t.Errorf("due at %v and %v", one.at, two.at)
		}
	})
}

// A time that is asked for while Due is about to return a later one is kept, and
// so is one that Due returns while a later one is asked for.
func TestEarlierDuringDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var one, two *alarm
		var slots [2]Slot
		one = &alarm{next: []Time{52}, do: func(now Time) {
			if now == 2 {
				w.Earlier(slots[0], 3)
			}
		}}
		two = &alarm{next: []Time{5}, do: func(now Time) {
			if now == 2 {
				w.Earlier(slots[1], 52)
			}
		}}
		w.Add(one, &slots[0], 2)
		w.Add(two, &slots[1], 2)
		time.Sleep(60 * time.Second)
		synctest.Wait()
		if !equal(one.at, 2, 3) || !equal(two.at, 2, 5) {
			t.Errorf("due at %v and %v", one.at, two.at)
		}
	})
}

func TestSetAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		moved, removed := &alarm{}, &alarm{}
		var slot, gone, again Slot
		w.Add(moved, &slot, 3)
		w.Add(removed, &gone, 4)
		w.Set(slot, 6)
		w.Remove(gone)
		reused := &alarm{}
		if w.Add(reused, &again, 8); again != gone {
			t.Errorf("slot %d, want the free one, %d", again, gone)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if !equal(moved.at, 6) || len(removed.at) != 0 || !equal(reused.at, 8) {
			t.Errorf("moved %v, removed %v, reused %v", moved.at, removed.at, reused.at)
		}
	})
}

// What Due sets for itself stands, whatever it returns.
func TestSetWithinDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var slot Slot
		a := &alarm{}
		a.do = func(now Time) {
			if now == 2 {
				w.Set(slot, 5)
			}
		}
		w.Add(a, &slot, 2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !equal(a.at, 2, 5) {
			t.Errorf("due at %v", a.at)
		}
	})
}

func TestAll(t *testing.T) {
	w := New()
	defer w.Close()
	var slots [3]Slot
	for i := range slots {
		w.Add(&alarm{}, &slots[i], ^Time(0))
	}
	w.Remove(slots[1])
	n := 0
	w.All(func(Watched) { n++ })
	if n != 2 {
		t.Errorf("%d are watched, want 2", n)
	}
}

// quiet is never due before a minute.
type quiet struct{}

func (*quiet) Due(now Time) Time { return now + 60 }

// One sweep over 50,000 connections, of which none is due, as it is once a
// second: ns/op over 10^9 is the share of a core.
func BenchmarkSweep50000(b *testing.B) {
	w := &Watch{}
	for range 50000 {
		w.Add(&quiet{}, new(Slot), 100)
	}
	var overdue []entry
	b.ReportAllocs()
	for b.Loop() {
		overdue = w.sweep(2, overdue[:0])
	}
}

// A clock that goes on from another one's does so even if a sweep was about to begin.
func TestContinue(t *testing.T) {
	w := &Watch{due: make([]Time, 1), watched: make([]Watched, 1)}
	w.sweep(1, nil)
	w.Freeze()
	w.Continue(1000)
	w.Thaw()
	a := &alarm{next: []Time{1001}}
	var slot Slot
	w.Add(a, &slot, 1000)
	w.sweep(1, nil) // the same second
	w.sweep(2, nil)
	if !equal(a.at, 1000, 1001) || w.Now() != 1001 {
		t.Errorf("due at %v; it is %d", a.at, w.Now())
	}
}
