//go:build !blocking

package websocket

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"golang.org/x/sys/unix"

	"belfry/server/capacity"
	"belfry/server/door"
	"belfry/server/poller"
	"belfry/server/session"
)

// Parks says that connections are parked on this system.
const Parks = true

// parked is a connection that has no goroutine. Its descriptor belongs to a
// poller, which alone reads from it and closes it.
type parked struct {
	conn
	poller *poller.Poller
	fd     int
	sealed *sealed // nil without TLS

	// Guarded by the outbox's lock.
	watched        bool // the poller knows the descriptor
	wantsOut       bool // it tells when the socket becomes writable
	fdClosed       bool // the number may be another's by now
	shutAfterFlush bool // end the stream when the last records have gone out
	paused         bool // nothing is read
}

// sealed is the TLS of a connection.
type sealed struct {
	*tls.Conn
	socket *tlsSocket
}

// newConn takes over a connection of net/http's: parked if it is a counted one of
// TCP, with TLS or without.
func (h *Handler) newConn(nc net.Conn, place *capacity.Place) (c *conn, early []byte, err error) {
	counted := door.Counted(nc)
	if counted == nil {
		return newBlocking(h, nc, place), nil, nil
	}
	var s *sealed
	if secure, ok := nc.(*tls.Conn); ok {
		s = &sealed{secure, secure.NetConn().(*tlsSocket)}
	}
	fd, err := poller.Duplicate(counted.TCPConn)
	if err != nil {
		return nil, nil, err
	}
	early, ok := counted.Take()
	if !ok {
		unix.Close(fd)
		return nil, nil, net.ErrClosed
	}
	counted.TCPConn.Close() // the duplicate keeps the connection; Go's poller is rid of it
	if s != nil {
		s.socket.park(fd)
	}
	p := &parked{fd: fd, poller: h.Pollers.Pick(fd), sealed: s}
	p.init(h, p, place)
	return &p.conn, early, nil
}

// takeOver makes a connection of one that is still at the door, nil if it is
// net/http's.
func (h *Handler) takeOver(w http.ResponseWriter, place *capacity.Place) (c *conn, early []byte) {
	t, ok := w.(*door.Takeover)
	if !ok {
		return nil, nil
	}
	fd, watching, early := t.Take()
	p := &parked{fd: fd, poller: watching, watched: true}
	p.init(h, p, place)
	p.poller.Replace(fd, p)
	return &p.conn, early
}

func (p *parked) start(early []byte) {
	p.takeEarly(early)
	if p.sealed != nil {
		p.openEarly()
	}
	if err := p.watch(); err != nil {
		p.handler.Log.Error("cannot watch a connection; it is closed", "error", err)
		p.gone()
	}
}

// watch has the poller read, unless it does, or the connection is paused.
func (p *parked) watch() error {
	p.out.Lock()
	defer p.out.Unlock()
	if p.fdClosed || p.watched || p.paused {
		return nil
	}
	p.watched = true
	return p.poller.Add(p.fd, p, p.wantsOut)
}

// pause implements socket.
func (p *parked) pause() {
	p.out.Lock()
	defer p.out.Unlock()
	if p.watched && !p.fdClosed {
		p.watched, p.paused = false, true
		p.poller.Pause(p.fd)
	}
	p.handler.Watch.Earlier(p.slot, p.handler.Watch.Now()+1)
}

// resume implements socket.
func (p *parked) resume() {
	p.out.Lock()
	defer p.out.Unlock()
	if !p.paused || p.fdClosed {
		return
	}
	p.watched, p.paused = true, false
	if err := p.poller.Add(p.fd, p, p.wantsOut); err != nil {
		p.handler.Log.Error("cannot watch a connection; it is cut", "error", err)
		p.cut()
	}
}

// TryWrite implements outbox.Writer.
func (p *parked) TryWrite(b []byte) (n int, err error) {
	if p.sealed != nil {
		return p.seal(b)
	}
	if n, err = poller.WriteSome(p.fd, b); err != nil {
		return n, err
	}
	return n, p.watchWritable(n < len(b))
}

// maxRecord is the most that a TLS record carries, in bytes (RFC 8446 section
// 5.1).
const maxRecord = 16 << 10

// seal is TryWrite with TLS. A record that was made has to go out, so the next
// one is made when the socket has taken it.
func (p *parked) seal(b []byte) (n int, err error) {
	blocked, err := p.sealed.socket.flush()
	for err == nil && !blocked && n < len(b) {
		var m int
		if m, err = p.sealed.Write(b[n:min(len(b), n+maxRecord)]); err == nil {
			n += m
			blocked, err = p.sealed.socket.flush()
		}
	}
	if err != nil {
		return n, err
	}
	return n, p.watchWritable(blocked)
}

// flushRecords writes records that are left. The outbox's lock is held.
func (p *parked) flushRecords() {
	blocked, err := p.sealed.socket.flush()
	switch {
	case p.fdClosed:
	case err != nil:
		p.cut()
	default:
		_ = p.watchWritable(blocked) // an error shows at the next write
		if !blocked && p.shutAfterFlush {
			_ = unix.Shutdown(p.fd, unix.SHUT_WR)
		}
	}
}

func (p *parked) watchWritable(want bool) error {
	if p.wantsOut == want {
		return nil
	}
	p.wantsOut = want
	if !p.watched {
		return nil // start will say it
	}
	return p.poller.Watch(p.fd, want)
}

// Finish implements outbox.Writer. The peer sees the end of the stream behind
// our last frame, and its own end comes to the poller. To close at once would
// be a call less, but if the peer still sends, as it must not behind a close
// frame, the reset would overtake what it has not read yet.
func (p *parked) Finish(err error) {
	switch {
	case err != nil:
		p.cut()
	case p.sealed != nil:
		_ = p.sealed.CloseWrite() // says goodbye, behind what is left
		p.shutAfterFlush = true
		p.flushRecords()
	default:
		_ = unix.Shutdown(p.fd, unix.SHUT_WR)
	}
}

func (p *parked) cut() {
	if p.fdClosed {
		return
	}
	_ = unix.Shutdown(p.fd, unix.SHUT_RDWR)
	if p.paused { // the poller has to see it
		p.watched, p.paused = true, false
		_ = p.poller.Add(p.fd, p, false) // fails for want of memory at most
	}
}

// Ready implements poller.Handler.
func (p *parked) Ready(events poller.Events) {
	defer p.handler.Bugs.Recover(p.panicked)
	if events.Writable() {
		p.flush()
	}
	if events.Readable() {
		p.read()
	}
}

// flush writes what is left: records, and then what waits.
func (p *parked) flush() {
	p.out.Lock()
	defer p.out.Unlock()
	if p.sealed != nil {
		p.flushRecords()
	}
	p.out.FlushLocked()
}

func (p *parked) read() {
	input := p.poller.Input
	n, err := poller.Read(p.fd, input)
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil || n == 0:
		p.gone()
		return
	}
	p.seen.Store(p.handler.Watch.Now())
	switch {
	case p.sealed == nil:
		p.take(input[:n])
	case !p.ended && !p.closing.Load():
		p.open(input[:n], p.poller.Opened)
	}
}

// openEarly is open for what the TLS connection has read already.
func (p *parked) openEarly() {
	defer p.handler.Bugs.Recover(p.panicked)
	p.open(nil, make([]byte, 512))
}

// open takes what is in TLS records, of which b has come, by way of a buffer.
func (p *parked) open(b, opened []byte) {
	p.sealed.socket.in = b
	for {
		n, err := p.sealed.Read(opened)
		p.take(opened[:n])
		if err == nil {
			continue
		}
		if !errors.Is(err, errNothingToRead) {
			p.gone() // closed, or no TLS
			return
		}
		// Reading may have written: a key update is answered (RFC 8446 section 4.6.3).
		if blocked, _ := p.sealed.socket.flush(); blocked {
			p.flush()
		}
		if p.sealed.socket.stuffed() {
			p.leave(session.SlowConsumer)
			p.gone()
		}
		return
	}
}

// gone closes the descriptor: the peer has gone, or was cut.
func (p *parked) gone() {
	p.ended = true
	// Deferred, so that a bug in what leaves keeps no descriptor.
	defer p.handler.remove(&p.conn)
	defer p.out.Abort(func() {
		p.fdClosed = true
		if p.sealed != nil {
			p.sealed.socket.close()
		} else {
			unix.Close(p.fd)
		}
	})
	defer p.poller.Remove(p.fd)
	p.leave(session.ByClient)
}
