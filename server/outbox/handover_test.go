package outbox

import (
	"slices"
	"testing"
)

// What waits goes out behind what has gone out, wherever the socket has stopped.
func TestRestore(t *testing.T) {
	all := frames("a", "bb", "ccc", "d")
	for room := range len(all) + 1 {
		before, gone := newOutbox(room, plenty)
		before.Send(frames("a", "bb"))
		before.Deliver(slices.Concat(frame("ccc"), frame("d")), func() bool { return false })
		e, ok := before.Export()
		if !ok {
			t.Fatal("an open outbox is not exported")
		}
		after, s := newOutbox(0, plenty)
		if err := after.Restore(e); err != nil {
			t.Fatal(err)
		}
		if n := after.Waiting(); n != len(all)-room {
			t.Errorf("after %d bytes, %d wait of %d", room, n, len(all))
		}
		after.Send(frame("later"))
		s.room = plenty
		after.Flush()
		if got := slices.Concat(gone.got.Bytes(), s.got.Bytes()); !slices.Equal(got, slices.Concat(all, frame("later"))) {
			t.Errorf("after %d bytes, the socket has got %q", room, got)
		}
		if n := after.budget.Bytes(); n != 0 {
			t.Errorf("%d bytes are counted", n)
		}
	}
}

// A slow consumer still gets the rest of the frame that it has a part of.
func TestRestoreSlow(t *testing.T) {
	first := frame("first")
	for sent := range len(first) + 1 {
		before, gone := newOutbox(sent, plenty)
		before.Send(slices.Concat(first, frame("second")))
		e, _ := before.Export()
		after, s := newOutbox(0, plenty)
		if err := after.Restore(e); err != nil {
			t.Fatal(err)
		}
		after.cutOff()
		s.room = plenty
		after.Flush()
		want := slices.Clone(first)
		if sent == 0 {
			want = nil
		}
		if got := slices.Concat(gone.got.Bytes(), s.got.Bytes()); !slices.Equal(got, append(want, frame("goodbye")...)) {
			t.Errorf("after %d bytes, the socket has got %q", sent, got)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	o, _ := newOutbox(0, plenty)
	o.Close(frame("goodbye"))
	if _, ok := o.Export(); ok {
		t.Error("an outbox that is closing is exported")
	}
	for _, e := range []Exported{{Frames: frame("x"), Sent: -1}, {Frames: frame("x"), Sent: len(frame("x"))}} {
		o, _ := newOutbox(0, plenty)
		if err := o.Restore(e); err == nil {
			t.Errorf("%v is restored", e)
		}
	}
}
