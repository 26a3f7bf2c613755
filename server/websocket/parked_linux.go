package websocket

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"belfry/server/session"
)

// parked is a connection that has no goroutine. Its descriptor belongs to a
// poller, which alone reads from it and closes it.
type parked struct {
	conn
	poller *poller
	fd     int

	// Guarded by the outbox's lock.
	watched  bool // the poller knows the descriptor
	wantsOut bool // it tells when the socket becomes writable
	fdClosed bool // the number may be another's by now
}

// newConn takes over a connection: parked if it is a plain TCP socket.
func (h *Handler) newConn(nc net.Conn) (*conn, error) {
	if wrapped, ok := nc.(interface{ TCP() *net.TCPConn }); ok {
		nc = wrapped.TCP()
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return newBlocking(h, nc), nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if ctlErr := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	}); ctlErr != nil || err != nil {
		return nil, errors.Join(ctlErr, err)
	}
	tcp.Close() // the duplicate keeps the connection; Go's poller is rid of it
	p := &parked{fd: fd, poller: h.pollers.pick(fd)}
	p.init(h, p)
	return &p.conn, nil
}

func (p *parked) start(early []byte) {
	p.takeEarly(early)
	var err error
	p.out.Locked(func() {
		p.watched = true
		err = p.poller.add(p, p.wantsOut)
	})
	if err != nil {
		p.handler.Log.Error("cannot watch a connection; it is closed", "error", err)
		p.gone()
	}
}

// TryWrite implements outbox.Writer.
func (p *parked) TryWrite(b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Write(p.fd, b[n:])
		switch err {
		case nil:
			n += m
			continue
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return n, p.watchWritable(true)
		}
		return n, err
	}
	return n, p.watchWritable(false)
}

func (p *parked) watchWritable(want bool) error {
	if p.wantsOut == want {
		return nil
	}
	p.wantsOut = want
	if !p.watched {
		return nil // start will say it
	}
	return p.poller.control(unix.EPOLL_CTL_MOD, p.fd, want)
}

// Finish implements outbox.Writer. The peer sees the end of the stream behind
// our last frame, and its own end comes to the poller. To close at once would
// be a call less, but if the peer still sends, as it must not behind a close
// frame, the reset would overtake what it has not read yet.
func (p *parked) Finish(err error) {
	if err != nil {
		p.cut()
	} else {
		_ = unix.Shutdown(p.fd, unix.SHUT_WR)
	}
}

func (p *parked) cut() {
	if !p.fdClosed {
		_ = unix.Shutdown(p.fd, unix.SHUT_RDWR)
	}
}

// ready is called by the poller, whose input buffer it uses.
func (p *parked) ready(events uint32, input []byte) {
	defer p.recovered()
	if events&unix.EPOLLOUT != 0 {
		p.out.Flush()
	}
	if events&^unix.EPOLLOUT != 0 {
		p.read(input)
	}
}

func (p *parked) read(input []byte) {
	n, err := unix.Read(p.fd, input)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil || n == 0:
		p.gone()
		return
	}
	p.seen.Store(p.handler.Watch.Now())
	p.take(input[:n])
}

// gone closes the descriptor: the peer has gone, or was cut.
func (p *parked) gone() {
	p.ended = true
	// Deferred, so that a bug in what leaves keeps no descriptor.
	defer p.handler.remove(&p.conn)
	defer p.out.Abort(func() {
		p.fdClosed = true
		unix.Close(p.fd)
	})
	defer p.poller.remove(p)
	p.leave(session.ByClient)
}
