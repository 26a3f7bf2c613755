package outbox

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// sharing is an Exporter that keeps what is shared.
func sharing(shared *[][]byte) *Exporter {
	return &Exporter{Share: func(frames []byte) error {
		*shared = append(*shared, slices.Clone(frames))
		return nil
	}}
}

// What waits goes out behind what has gone out, wherever the socket has stopped.
func TestRestore(t *testing.T) {
	long := strings.Repeat("c", leastShared)
	all := frames("a", "bb", long, "d")
	for room := range len(all) + 1 {
		before, gone := newOutbox(room, plenty)
		before.Send(frames("a", "bb"))
		before.Deliver(slices.Concat(frame(long), frame("d")), func() bool { return false })
		var shared [][]byte
		e, ok, err := before.Export(sharing(&shared))
		if !ok || err != nil {
			t.Fatalf("an open outbox is not exported: %v", err)
		}
		after, s := newOutbox(0, plenty)
		if err := after.Restore(e, shared); err != nil {
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
		var shared [][]byte
		e, _, _ := before.Export(sharing(&shared))
		after, s := newOutbox(0, plenty)
		if err := after.Restore(e, shared); err != nil {
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
	if _, ok, _ := o.Export(new(Exporter)); ok {
		t.Error("an outbox that is closing is exported")
	}
	o, _ = newOutbox(0, plenty)
	o.Send(bytes.Repeat(frame("x"), leastShared))
	failed := errors.New("failed")
	if _, _, err := o.Export(&Exporter{Share: func([]byte) error { return failed }}); err != failed {
		t.Errorf("the error of Share has become %v", err)
	}
	x := []ExportedSegment{{Frames: frame("x")}}
	for _, e := range []Exported{
		{Segments: x, Sent: -1}, {Segments: x, Sent: len(frame("x"))},
		{Segments: []ExportedSegment{{Number: 1}}}, {Segments: []ExportedSegment{{Number: -1}}},
	} {
		o, _ := newOutbox(0, plenty)
		if err := o.Restore(e, [][]byte{frame("y")}); err == nil {
			t.Errorf("%v is restored", e)
		}
	}
}

// A broadcast that waits for many clients is exported once, and is in memory once behind
// that. It counts for each client, as before.
func TestExportShares(t *testing.T) {
	const clients = 200
	broadcast := frame(strings.Repeat("x", 1<<16))
	var shared [][]byte
	exporter := sharing(&shared)
	budget := newBudget(plenty, clients*plenty)
	for i := range clients {
		before, _ := newOutbox(i%2, plenty) // has sent a byte, or none
		before.Send(frame("own"))
		before.Deliver(broadcast, func() bool { return false })
		e, ok, err := before.Export(exporter)
		if !ok || err != nil {
			t.Fatalf("an open outbox is not exported: %v", err)
		}
		var after Outbox
		s := new(socket)
		after.Init(s, budget)
		if err := after.Restore(e, shared); err != nil {
			t.Fatal(err)
		}
		if got := after.waiting.segments[1]; unsafe.SliceData(got) != unsafe.SliceData(shared[0]) {
			t.Fatal("the broadcast is copied for a client")
		}
		if before, after := before.waiting.len(), after.waiting.len(); after != before {
			t.Fatalf("%d bytes waited for a client, and %d do", before, after)
		}
	}
	if len(shared) != 1 || !slices.Equal(shared[0], broadcast) {
		t.Errorf("%d runs of frames are shared", len(shared))
	}
	if got, want := budget.Bytes(), clients*len(frames("own"))+clients*len(broadcast)-clients/2; got != want {
		t.Errorf("%d bytes are counted, not %d", got, want)
	}
}
