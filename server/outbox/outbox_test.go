package outbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"belfry/protocol"
)

// socket is a Writer that takes as much as it is told to.
type socket struct {
	got      bytes.Buffer
	room     int   // bytes it still takes
	err      error // of the next write
	finished int
	finish   error
	slow     int
}

func (s *socket) TryWrite(p []byte) (int, error) {
	if s.finished > 0 {
		panic("write after Finish")
	}
	if s.err != nil {
		return 0, s.err
	}
	n := min(len(p), s.room)
	s.room -= n
	s.got.Write(p[:n])
	return n, nil
}

func (s *socket) FrameLen(frames []byte) int { return protocol.FrameLen(frames) }

func (s *socket) Slow() []byte {
	s.slow++
	return frame("goodbye")
}

func (s *socket) Finish(err error) {
	s.finished++
	s.finish = err
}

func frame(text string) protocol.Frame {
	return protocol.Event{Name: text, Data: []byte(`""`)}.Frame()
}

func frames(texts ...string) (all []byte) {
	for _, text := range texts {
		all = append(all, frame(text)...)
	}
	return all
}

const plenty = 1 << 20

// newBudget is one that nothing watches over.
func newBudget(client, total int) *Budget {
	return &Budget{limits: Limits{Client: client, Total: total, Timeout: 30 * time.Second}, over: make(chan struct{}, 1), waiting: make(map[*queue]struct{})}
}

func newOutbox(room, limit int) (*Outbox, *socket) {
	s := &socket{room: room}
	o := new(Outbox)
	o.Init(s, newBudget(limit, 1<<30))
	return o, s
}

func want(t *testing.T, s *socket, texts ...string) {
	t.Helper()
	if got := s.got.Bytes(); !bytes.Equal(got, frames(texts...)) {
		t.Errorf("socket got %q, want %q", got, frames(texts...))
	}
}

func TestWritesStraightThrough(t *testing.T) {
	o, s := newOutbox(plenty, plenty)
	o.Send(frames("a", "b"))
	o.Send(nil)
	o.Send(frame("c"))
	want(t, s, "a", "b", "c")
	if n := o.Waiting(); n != 0 {
		t.Errorf("%d bytes wait", n)
	}
}

// Whatever the socket takes at a time, the bytes are the same.
func TestBlockedSocket(t *testing.T) {
	all := frames("a", "bb", "ccc", "d")
	for room := range len(all) + 1 {
		o, s := newOutbox(room, plenty)
		o.Send(frames("a", "bb"))
		o.Send(frame("ccc"))
		o.Send(frame("d"))
		for s.got.Len() < len(all) {
			s.room = 3
			o.Flush()
		}
		want(t, s, "a", "bb", "ccc", "d")
	}
}

func TestReleasePutsTheAnswerFirst(t *testing.T) {
	size := len(frame("x"))
	tests := []struct {
		name         string
		room         int
		before, held []string
		want         []string
	}{
		{"nothing held", plenty, nil, nil, []string{"answer"}},
		{"held", plenty, nil, []string{"1", "2"}, []string{"answer", "1", "2"}},
		{"blocked", 0, []string{"0"}, []string{"1"}, []string{"0", "answer", "1"}},
		{"blocked within a frame", size / 2, []string{"0"}, []string{"1"}, []string{"0", "answer", "1"}},
		{"blocked, nothing held", size / 2, []string{"0"}, nil, []string{"0", "answer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, s := newOutbox(tt.room, plenty)
			for _, text := range tt.before {
				o.Send(frame(text))
			}
			o.Hold()
			for _, text := range tt.held {
				o.Send(frame(text))
			}
			before := s.got.Len()
			s.room = plenty
			o.Flush() // a socket that becomes writable meanwhile
			if s.got.Len() != before {
				t.Error("wrote while it was held")
			}
			o.Release(frame("answer"))
			want(t, s, tt.want...)
		})
	}
}

func TestReleaseNothing(t *testing.T) {
	o, s := newOutbox(plenty, plenty)
	o.Hold()
	o.Send(frame("a"))
	o.Release(nil)
	want(t, s, "a")
}

func TestStart(t *testing.T) {
	const preface = "HTTP/1.1 101 Switching Protocols\r\n\r\n"
	both := preface + string(frames("a", "b"))
	for room := range len(both) + 1 {
		o, s := newOutbox(room, plenty)
		o.Await()
		o.Send(frame("a"))
		o.Send(frame("b"))
		o.Start([]byte(preface))
		if room < len(preface) {
			if !errors.Is(s.finish, io.ErrShortWrite) {
				t.Fatalf("room for %d bytes: finished with %v", room, s.finish)
			}
			continue
		}
		s.room = plenty
		o.Flush()
		o.Send(frame("c"))
		if got := s.got.String(); got != both+string(frame("c")) || s.finished > 0 {
			t.Fatalf("room for %d bytes: got %q", room, got)
		}
	}
}

// Nothing goes out ahead of the preface, not even a goodbye.
func TestNotCutOffBeforeStart(t *testing.T) {
	o, s := newOutbox(plenty, plenty)
	o.Await()
	o.Send(frame("a"))
	o.cutOff()
	if s.got.Len() > 0 || s.slow > 0 || s.finished > 0 {
		t.Fatalf("got %q, cut off %d times, finished %d times", s.got.Bytes(), s.slow, s.finished)
	}
	o.Start([]byte("preface"))
	if got := s.got.String(); got != "preface"+string(frame("a")) {
		t.Errorf("got %q", got)
	}
	o.cutOff()
	if s.slow != 1 || s.finished != 1 {
		t.Errorf("cut off %d times, finished %d times", s.slow, s.finished)
	}
}

func TestDeliverNothingOnceLeft(t *testing.T) {
	o, s := newOutbox(plenty, plenty)
	o.Deliver(frame("a"), func() bool { return false })
	o.Deliver(frame("b"), func() bool { return true })
	want(t, s, "a")
}

// A slow consumer is sent the rest of the frame it has a part of, and the
// goodbye; nothing of what waited, and nothing after.
func TestSlowConsumer(t *testing.T) {
	size := len(frame("1"))
	for _, room := range []int{0, 1, size - 1, size, size + 1} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			o, s := newOutbox(room, 3*size)
			for i := range 10 {
				o.Send(frame(fmt.Sprint(i)))
			}
			if s.slow != 1 || s.finished != 0 {
				t.Fatalf("cut off %d times, finished %d times", s.slow, s.finished)
			}
			s.room = plenty
			o.Flush()
			switch {
			case room == 0:
				want(t, s, "goodbye")
			case room <= size:
				want(t, s, "0", "goodbye")
			default:
				want(t, s, "0", "1", "goodbye")
			}
			if s.finished != 1 || s.finish != nil {
				t.Errorf("finished %d times with %v", s.finished, s.finish)
			}
		})
	}
}

func TestSlowConsumerWhileHeld(t *testing.T) {
	o, s := newOutbox(plenty, 50)
	o.Hold()
	for range 10 {
		o.Send(frame("x"))
	}
	o.Release(frame("answer"))
	want(t, s, "goodbye")
	if s.finished != 1 {
		t.Errorf("finished %d times", s.finished)
	}
}

// The limit, and the largest item beside it, may wait.
func TestLimit(t *testing.T) {
	o, s := newOutbox(0, len(frames("a", "b")))
	for _, text := range []string{"a", "b", "c", "d"} {
		o.Send(frame(text))
	}
	if s.slow != 0 {
		t.Error("cut off at the limit")
	}
	o.Send(frame("e"))
	if s.slow != 1 {
		t.Error("not cut off over the limit")
	}
}

// A client that has asked for a large answer is not slow for the events that come
// while it reads that.
func TestLargeAnswer(t *testing.T) {
	small := frame("small")
	limit := 10 * len(small)
	o, s := newOutbox(0, limit)
	o.Hold()
	o.Release(frame(strings.Repeat("x", 5*limit)))
	for range 10 {
		o.Send(small)
	}
	if s.slow != 0 {
		t.Fatal("cut off")
	}
	for range 10 {
		o.Send(small)
	}
	if s.slow != 1 {
		t.Error("not cut off when it does not read")
	}
}

// There is room for what a client may have wait, or for anything if nothing waits, up to half
// of what may wait for all.
func TestRoom(t *testing.T) {
	o, s := newOutbox(0, 1000)
	o.budget.limits.Total = 20_000
	expect := func(bytes int, want bool) {
		t.Helper()
		if got := o.Room(bytes); got != want {
			t.Errorf("with %d bytes waiting, room for %d is %t", o.Waiting(), bytes, got)
		}
	}
	expect(10_000, true)
	expect(10_001, false)
	o.Send(frames("f"))
	expect(1000-o.Waiting(), true)
	expect(1001-o.Waiting(), false)
	s.room = 1 << 20
	o.Flush()
	expect(10_000, true)
}

// request takes lines, while it has the outbox flush.
type request struct {
	socket
	taking bool
	woken  int
}

func (r *request) TryWrite(p []byte) (int, error) {
	if !r.taking {
		r.woken++
		return 0, nil
	}
	return r.socket.TryWrite(p)
}

func (r *request) FrameLen(lines []byte) int { return bytes.IndexByte(lines, '\n') + 1 }

func (r *request) Slow() []byte { return []byte("goodbye\n") }

// What is pulled waits until then, and is cut off between two lines.
func TestPull(t *testing.T) {
	r, o := new(request), new(Outbox)
	o.Init(r, newBudget(10, plenty))
	pull := func(room int, want string) {
		t.Helper()
		o.Lock()
		defer o.Unlock()
		r.taking, r.room = true, room
		o.FlushLocked()
		r.taking = false
		if got := r.got.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.got.Reset()
	}
	o.Send([]byte("a\n"))
	if r.woken != 1 {
		t.Errorf("woken %d times", r.woken)
	}
	o.Hold()
	pull(plenty, "")
	o.Send([]byte("c\n"))
	o.Release([]byte("b\n"))
	pull(plenty, "a\nb\nc\n")
	o.Send([]byte("d\nee\nf\n"))
	pull(2, "d\n")
	for range 10 {
		o.Send([]byte("g\n"))
	}
	o.Close([]byte("late\n"))
	pull(plenty, "goodbye\n")
	if r.finished != 1 || o.Waiting() != 0 {
		t.Errorf("finished %d times, %d bytes wait", r.finished, o.Waiting())
	}
}

// What waits for many is kept once, and is not what a batch is made in.
func TestSharedBytes(t *testing.T) {
	large := frame(strings.Repeat("x", leastShared))
	o, s := newOutbox(0, plenty)
	never := func() bool { return false }
	if o.Deliver(frame("small"), never) {
		t.Error("a small frame is kept")
	}
	for range 2 {
		if !o.Deliver(large, never) {
			t.Error("a large frame is copied")
		}
	}
	o.Send(frame("last"))
	for s.got.Len() < len(frames("small", "last"))+2*len(large) {
		s.room = 7
		o.Flush()
	}
	want(t, s, "small", strings.Repeat("x", leastShared), strings.Repeat("x", leastShared), "last")
	if n := o.budget.Bytes(); n != 0 || len(o.budget.waiting) != 0 {
		t.Errorf("%d bytes of %d queues are counted", n, len(o.budget.waiting))
	}
}

// Clients that take nothing are cut off in time, and those who take something
// are not.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(Limits{Client: plenty, Total: plenty, Timeout: 30 * time.Second})
		defer b.Close()
		var stalled, reads Outbox
		no, little := &socket{}, &socket{}
		stalled.Init(no, b)
		reads.Init(little, b)
		for _, o := range []*Outbox{&stalled, &reads} {
			o.Send(frame(strings.Repeat("x", 1000)))
		}
		for range 40 {
			time.Sleep(time.Second)
			synctest.Wait()
			reads.Lock()
			little.room = 1
			reads.Unlock()
			reads.Flush()
		}
		if no.slow != 1 || little.slow != 0 {
			t.Errorf("cut off: who takes nothing %d times, who takes little %d times", no.slow, little.slow)
		}
	})
}

// When too much waits for all together, those with most are cut off.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, size = 20, 1000
		b := NewBudget(Limits{Client: plenty, Total: clients * size, Timeout: time.Hour})
		defer b.Close()
		var sockets [clients]socket
		var outboxes [clients]Outbox
		for i := range outboxes {
			outboxes[i].Init(&sockets[i], b)
			outboxes[i].Send(frame(strings.Repeat("x", size/2)))
		}
		synctest.Wait()
		outboxes[7].Send(frame(strings.Repeat("x", clients*size)))
		synctest.Wait()
		for i := range sockets {
			if (sockets[i].slow == 1) != (i == 7) {
				t.Errorf("client %d was cut off %d times", i, sockets[i].slow)
			}
		}
		if n := b.Bytes(); n > clients*size {
			t.Errorf("%d bytes wait", n)
		}
		for i := range outboxes {
			outboxes[i].Abort(func() {})
		}
		if n := b.Bytes(); n != 0 || len(b.waiting) != 0 {
			t.Errorf("%d bytes of %d queues are counted in the end", n, len(b.waiting))
		}
	})
}

// What waits for clients that are closing counts against the total, too, and no
// other client is cut off in their place.
func TestBudgetOfClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const closing, healthy, total = 3, 3, 20_000
		b := NewBudget(Limits{Client: plenty, Total: total, Timeout: time.Hour})
		defer b.Close()
		var sockets [closing + healthy]socket
		var outboxes [closing + healthy]Outbox
		for i := range outboxes {
			outboxes[i].Init(&sockets[i], b)
			size := 1000
			if i < closing {
				size = 12_000
			}
			sockets[i].room = 10
			outboxes[i].Send(frame("begun"))
			outboxes[i].Send(frame(strings.Repeat("x", size)))
			if i < closing {
				outboxes[i].Close(frame("last"))
			}
		}
		synctest.Wait()
		for i := range sockets {
			if i >= closing && sockets[i].slow > 0 {
				t.Error("a healthy client was cut off")
			}
		}
		if n := b.Bytes(); n > total {
			t.Errorf("%d bytes wait", n)
		}
		for i := range closing {
			outboxes[i].cutOff() // again
			sockets[i].room = plenty
			outboxes[i].Flush()
			if sockets[i].slow > 1 || sockets[i].finished != 1 {
				t.Errorf("client %d was cut off %d times, finished %d times", i, sockets[i].slow, sockets[i].finished)
			}
		}
		if sockets[0].slow != 1 {
			t.Error("none of those that are closing was cut off")
		}
		want(t, &sockets[0], "begun", "goodbye")
		for i := range outboxes {
			outboxes[i].Abort(func() {})
		}
	})
}

func TestClose(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		o, s := newOutbox(plenty, plenty)
		o.Send(frame("a"))
		o.Close(frame("last"))
		o.Send(frame("late"))
		o.Close(frame("again"))
		want(t, s, "a", "last")
		if s.finished != 1 || s.finish != nil {
			t.Errorf("finished %d times with %v", s.finished, s.finish)
		}
	})
	t.Run("behind what waits", func(t *testing.T) {
		o, s := newOutbox(3, plenty)
		o.Send(frame("a"))
		o.Close(frame("last"))
		if s.finished != 0 {
			t.Error("finished too early")
		}
		o.Hold() // too late: nothing is held back any more
		o.Release(frame("answer"))
		s.room = plenty
		o.Flush()
		want(t, s, "a", "last")
		if s.finished != 1 {
			t.Errorf("finished %d times", s.finished)
		}
	})
	t.Run("while held", func(t *testing.T) {
		o, s := newOutbox(plenty, plenty)
		o.Hold()
		o.Send(frame("a"))
		o.Close(frame("last"))
		o.Release(frame("answer"))
		want(t, s, "a", "last")
	})
}

func TestWriteError(t *testing.T) {
	broken := errors.New("broken")
	o, s := newOutbox(3, plenty)
	o.Send(frame("a"))
	s.err = broken
	o.Flush()
	o.Send(frame("b"))
	o.Flush()
	o.Close(frame("last"))
	if s.finished != 1 || s.finish != broken || o.Waiting() != 0 {
		t.Errorf("finished %d times with %v, %d bytes wait", s.finished, s.finish, o.Waiting())
	}
}

func TestAbort(t *testing.T) {
	o, s := newOutbox(3, plenty)
	o.Send(frame("a"))
	cut := 0
	o.Abort(func() { cut++ })
	o.Send(frame("b"))
	o.Flush()
	o.Close(frame("last"))
	o.Abort(func() { cut++ })
	if cut != 2 || s.finished != 0 || s.got.Len() != 3 {
		t.Errorf("cut %d times, finished %d times, %d bytes written", cut, s.finished, s.got.Len())
	}
}

// Any mixture of writers, a socket that takes bytes by the handful, and
// answers that jump ahead: whole frames in each writer's order.
func TestConcurrentWriters(t *testing.T) {
	o, s := newOutbox(0, plenty)
	const writers, each = 4, 200
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for i := range each {
				text := fmt.Sprintf("%d-%d", w, i)
				if i%5 == 0 && w == 0 {
					o.Hold()
					o.Release(frame(text))
				} else {
					o.Send(frame(text + strings.Repeat("x", rand.IntN(100))))
				}
			}
		})
	}
	stop := make(chan struct{})
	var flusher sync.WaitGroup
	flusher.Go(func() {
		for {
			o.Lock()
			s.room = rand.IntN(300)
			o.Unlock()
			o.Flush()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	done.Wait()
	close(stop)
	flusher.Wait()
	s.room = plenty
	o.Flush()

	next := make([]int, writers)
	for got := s.got.Bytes(); len(got) > 0; {
		n := protocol.FrameLen(got)
		var w, i int
		if _, err := fmt.Sscanf(string(protocol.Frame(got[:n]).JSON()), `{"event":"%d-%d`, &w, &i); err != nil {
			t.Fatalf("frame %q: %v", got[:n], err)
		}
		// Only writer 0 answers, so nothing of it is held back for another.
		if i != next[w] {
			t.Fatalf("writer %d: frame %d came when %d was due", w, i, next[w])
		}
		next[w]++
		got = got[n:]
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d frames of %d", w, n, each)
		}
	}
}

func FuzzOutbox(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 4, 5, 90, 7, 8, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		o, s := newOutbox(0, 400)
		held := false
		for i, op := range ops {
			switch op % 8 {
			case 0, 1, 2:
				o.Send(frame(strings.Repeat("x", int(op))))
			case 3:
				if !held {
					o.Hold()
					held = true
				}
			case 4:
				if held {
					o.Release(frame("answer"))
					held = false
				}
			case 5, 6:
				s.room += int(op)
				o.Flush()
			case 7:
				if i == len(ops)-1 {
					o.Close(frame("last"))
				}
			}
		}
		if held {
			o.Release(nil)
		}
		s.room = plenty
		o.Flush()
		for got := s.got.Bytes(); len(got) > 0; {
			n := protocol.FrameLen(got)
			if n > len(got) || !bytes.HasPrefix(protocol.Frame(got[:n]).JSON(), []byte(`{"event":"`)) {
				t.Fatalf("not a whole frame: %q", got)
			}
			got = got[n:]
		}
		if s.finished > 1 || s.slow > 1 {
			t.Fatalf("finished %d times, cut off %d times", s.finished, s.slow)
		}
	})
}

// What a delivery costs beside the system call.
func BenchmarkSend(b *testing.B) {
	o := new(Outbox)
	o.Init(devNull{}, newBudget(plenty, 1<<30))
	f := frame("x")
	b.ReportAllocs()
	for b.Loop() {
		o.Send(f)
	}
}

type devNull struct{}

func (devNull) TryWrite(p []byte) (int, error) { return len(p), nil }
func (devNull) FrameLen(frames []byte) int     { return len(frames) }
func (devNull) Slow() []byte                   { return nil }
func (devNull) Finish(error)                   {}
