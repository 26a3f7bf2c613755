// Package logging writes log lines where nobody has to wait for them.
package logging

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// queue is how many lines may wait for the reader of the log.
const queue = 4096

// closeTimeout is how long Close waits for a reader that does not read.
const closeTimeout = time.Second

// Writer writes lines in the background. A reader of the log that stalls, or is
// gone, costs lines, which are counted, and holds up nobody. Its methods may be
// called concurrently.
type Writer struct {
	dropped atomic.Uint64

	mu     sync.Mutex // guards the following, and sending on lines
	closed bool
	lines  chan []byte

	done chan struct{}
}

// NewWriter begins to write to w. Close must be called.
func NewWriter(w io.Writer) *Writer {
	l := &Writer{lines: make(chan []byte, queue), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for line := range l.lines {
			if _, err := w.Write(line); err != nil {
				l.dropped.Add(1)
			}
		}
	}()
	return l
}

// Write implements io.Writer for a line. It never waits and never fails.
func (l *Writer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Whoever sends holds mu, so that room which is there stays until the line is sent.
	if l.closed || len(l.lines) == cap(l.lines) {
		l.dropped.Add(1)
		return len(line), nil
	}
	l.lines <- bytes.Clone(line)
	return len(line), nil
}

// Dropped is how many lines were not written.
func (l *Writer) Dropped() uint64 { return l.dropped.Load() }

// Close writes what waits, for a second at most.
func (l *Writer) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.lines)
	}
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(closeTimeout):
	}
}
