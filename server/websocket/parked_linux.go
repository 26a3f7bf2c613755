package websocket

import (
	"bufio"
	"errors"

	"net"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"belfry/server/session"
)

// sendBuffer bounds, in bytes, what the kernel keeps for a client that does
// not read; it would grow to megabytes by itself, uncounted. The kernel
// doubles it for its own bookkeeping.
const sendBuffer = 128 << 10

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

	// Owned by the poller's goroutine.
	br      *bufio.Reader // the library's
	feed    []byte        // whole messages that the library may read now
	partial []byte        // bytes of an unfinished message, nil mostly
	scanner scanner
}

// newConn takes over a connection: parked if it is a plain TCP socket.
func (h *Handler) newConn(nc net.Conn, br *bufio.Reader) (*conn, error) {
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
	// Not fatal: the kernel's own bound is only larger.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	p := &parked{fd: fd, br: br, poller: h.pollers.pick(fd)}
	p.init(h, p)
	return &p.conn, nil
}

func (p *parked) start(early []byte) {
	if len(early) > 0 {
		var buf []byte
		p.take(early, &buf)
	}
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
// our last frame, and its own end comes to the poller.
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

// Read gives the library what it is to read now.
func (p *parked) Read(b []byte) (int, error) {
	if len(p.feed) == 0 {
		return 0, errParked
	}
	n := copy(b, p.feed)
	p.feed = p.feed[n:]
	return n, nil
}

// readable is called by the poller, with its buffers.
func (p *parked) readable(input []byte, message *[]byte) {
	defer p.recovered()
	n, err := unix.Read(p.fd, input)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil || n == 0:
		p.gone()
		return
	}
	p.seen.Store(p.handler.Watch.Now())
	p.take(input[:n], message)
}

// take handles the whole messages in what came, and keeps the rest.
func (p *parked) take(came []byte, message *[]byte) {
	if p.ended || p.closing.Load() {
		return // only the end matters now
	}
	data := came
	if p.partial != nil {
		p.partial = append(p.partial, came...)
		data = p.partial
	}
	n, verdict := p.scanner.whole(data, p.session.App().MaxMessageBytes)
	p.feed = data[:n]
	for !p.ended && (len(p.feed) > 0 || p.br.Buffered() > 0) && p.receive(message) {
	}
	if verdict == tooBig && !p.ended {
		p.breach(websocket.StatusMessageTooBig, "message is larger than max_message_bytes")
	}
	p.feed = nil
	if rest := data[n:]; len(rest) == 0 || p.ended {
		p.partial = nil
	} else if p.partial != nil {
		p.partial = append(p.partial[:0], rest...)
	} else {
		p.partial = append(make([]byte, 0, len(rest)+512), rest...)
	}
}

// gone closes the descriptor: the peer has gone, or was cut.
func (p *parked) gone() {
	p.ended = true
	p.leave(session.ByClient)
	p.poller.remove(p)
	p.out.Abort(func() {
		p.fdClosed = true
		unix.Close(p.fd)
	})
	_ = p.ws.CloseNow()
	p.handler.remove(&p.conn)
}
