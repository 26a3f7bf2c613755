package logging

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLinesAreWrittenInOrder(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	line := []byte("a\n")
	for range 100 {
		w.Write(line)
		line[0]++ // the writer has its own copy
	}
	w.Close()
	if n := strings.Count(out.String(), "\n"); n != 100 || out.String()[:4] != "a\nb\n" || w.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped: %q", n, w.Dropped(), out.String()[:20])
	}
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestReaderThatIsGone(t *testing.T) {
	w := NewWriter(gone{})
	for range 10 {
		w.Write([]byte("x\n"))
	}
	w.Close()
	w.Write([]byte("late\n"))
	if w.Dropped() != 11 {
		t.Errorf("%d lines are counted as dropped, want 11", w.Dropped())
	}
}

func TestReaderThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := io.Pipe()
		w := NewWriter(out)
		w.Write([]byte("x\n"))
		synctest.Wait() // until that one is being written
		for range queue + 5 {
			w.Write([]byte("x\n"))
		}
		if w.Dropped() != 5 {
			t.Errorf("%d lines are counted as dropped, want 5", w.Dropped())
		}
		w.Close() // returns all the same
		r.Close()
		synctest.Wait()
	})
}
