package websocket

import (
	"io"
	"net"
	"sync"
	"time"

	"belfry/server/capacity"
	"belfry/server/poller"
	"belfry/server/session"
)

// chunk is how many bytes a blocking writer takes at a time: one TLS record.
const chunk = 16 << 10

// blocking is a connection with a goroutine that reads, and another one while
// something is being written.
type blocking struct {
	conn
	nc       net.Conn
	paused   bool          // owned by the reading goroutine
	done     chan struct{} // closed by finished
	finished func()        // says that nothing more will be written

	mu        sync.Mutex // guards the following
	busy      bool       // pending is being written
	finishing bool       // end the stream when it has been
	pending   []byte
}

func newBlocking(h *Handler, nc net.Conn, place *capacity.Place) *conn {
	b := &blocking{nc: nc, done: make(chan struct{})}
	b.finished = sync.OnceFunc(func() { close(b.done) })
	b.init(h, b, place)
	return &b.conn
}

func (b *blocking) start(early []byte) { go b.run(early) }

func (b *blocking) run(early []byte) {
	// Deferred, so that a bug in what leaves keeps no descriptor.
	defer b.handler.remove(&b.conn)
	defer b.out.Abort(b.cut)
	defer b.handler.Bugs.Recover(b.panicked)
	if b.session != nil { // else it was refused, and is closing
		b.serve(early)
	}
	// What still comes is discarded until the peer closes, or is cut: a close
	// with unread input would reset the connection under our last frame.
	_, _ = io.Copy(io.Discard, b.nc)
	if b.closing.Load() {
		<-b.done // the last frame is out, or took longer than closeTimeout
	}
	b.leave(session.ByClient)
}

// serve reads until the connection ends, or must not be read from any more.
func (b *blocking) serve(early []byte) {
	defer b.handler.Bugs.Recover(b.panicked)
	b.take(early)
	input := make([]byte, poller.InputBytes)
	for !b.ended && !b.closing.Load() {
		n, err := b.nc.Read(input)
		if err != nil {
			return
		}
		b.seen.Store(b.handler.Watch.Now())
		b.take(input[:n])
		if b.paused {
			b.paused = false
			select {
			case <-time.After(time.Second):
			case <-b.done:
			}
		}
	}
}

// pause implements socket.
func (b *blocking) pause() { b.paused = true }

// resume implements socket: the reader waits by itself.
func (b *blocking) resume() {}

// TryWrite implements outbox.Writer: it takes a chunk whenever the last one
// has been written.
func (b *blocking) TryWrite(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		return 0, nil
	}
	b.busy = true
	b.pending = append(b.pending[:0], p[:min(len(p), chunk)]...)
	go b.write()
	return len(b.pending), nil
}

func (b *blocking) write() {
	_, err := b.nc.Write(b.pending)
	b.mu.Lock()
	b.busy = false
	finishing := b.finishing
	b.mu.Unlock()
	switch {
	case err != nil:
		b.out.Abort(b.cut)
	case finishing:
		b.closeWrite()
	default:
		b.out.Flush()
	}
}

// Finish implements outbox.Writer.
func (b *blocking) Finish(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy {
		b.finishing = true
		return
	}
	go b.closeWrite()
}

// closeWrite ends our half of the stream; the reader sees the peer end its.
func (b *blocking) closeWrite() {
	defer b.finished()
	half, ok := b.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		b.nc.Close()
	}
}

// cut closes in the background, as TLS says goodbye with a write.
func (b *blocking) cut() {
	b.finished()
	go b.nc.Close()
}
