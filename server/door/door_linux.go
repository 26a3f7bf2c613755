//go:build !blocking

package door

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"belfry/server/bugs"
	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/poller"
)

// Door accepts the connections of one listener.
type Door struct {
	*Intake
	Handler http.Handler
	// Quick says whether the handler serves a request without waiting. If something
	// has to be waited for ahead of the answer, it says so by a method of its
	// ResponseWriter, Await(closed <-chan struct{}). Other requests are served by a
	// goroutine each.
	Quick   func(*http.Request) bool
	Prefix  string // path that may be ahead of /app and /apps
	Pollers *poller.Pollers
	Bugs    *bugs.Log
	// Head is how long the first bytes may take, and Idle how long a connection may
	// be without a request after that, in whole seconds. Write is how long a peer may
	// take to read an answer.
	Head, Idle, Write time.Duration

	listener net.Listener
	poller   *poller.Poller
	toHTTP   chan net.Conn
	httpEnd  context.Context // ends when net/http takes no more
	endHTTP  context.CancelCauseFunc
	closing  atomic.Bool // nothing is accepted any more

	mu sync.Mutex // held while connections are accepted, so that fd is not closed meanwhile
	fd int        // the listener's, of our own; -1 once it is closed
}

// Prepare takes a listener over, and accepts nothing yet. The result is the
// listener of the connections that net/http is to serve; to close it closes the
// door.
func (d *Door) Prepare(l net.Listener) (net.Listener, error) {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, errors.New("door: not a TCP listener")
	}
	fd, err := poller.Duplicate(tcp)
	if err != nil {
		return nil, err
	}
	// Go sets this for each connection, whatever comes of it; ours inherit it.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	d.listener, d.fd, d.poller = l, fd, d.Pollers.Pick(fd)
	d.toHTTP = make(chan net.Conn)
	d.httpEnd, d.endHTTP = context.WithCancelCause(context.Background())
	return handedOver{d}, nil
}

// Open begins to accept connections.
func (d *Door) Open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	return d.poller.Add(d.fd, accepter{d}, false)
}

// handedOver is the listener of what the door does not take.
type handedOver struct{ d *Door }

// Accept implements net.Listener.
func (h handedOver) Accept() (net.Conn, error) {
	select {
	case nc := <-h.d.toHTTP:
		return nc, nil
	case <-h.d.httpEnd.Done():
		return nil, context.Cause(h.d.httpEnd)
	}
}

// Addr implements net.Listener.
func (h handedOver) Addr() net.Addr { return h.d.listener.Addr() }

// Close implements net.Listener: the door is closed, and whoever is still at it is
// cut if it comes to be net/http's.
func (h handedOver) Close() error {
	h.d.Close()
	h.d.endHTTP(net.ErrClosed)
	return nil
}

// Close accepts nothing any more, and has visitors go who have no request.
func (d *Door) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing.Store(true)
	d.closeListener()
	d.watch.All(func(w keepalive.Watched) {
		if v, ok := w.(*visitor); ok {
			v.endRequests()
		}
	})
}

// StopAccepting leaves who comes to whoever shares the listener's socket, and serves
// those who are there.
func (d *Door) StopAccepting() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closeListener()
}

// Drain closes the door. It returns when no visitor is left, each request that had
// come being answered or net/http's, or the context ends: then only the end of the
// process closes the connections of those who are left.
func (d *Door) Drain(ctx context.Context) {
	d.Close()
	_ = d.capacity.Wait(ctx, capacity.Visitor)
}

// accepter is the listener's part in its poller.
type accepter struct{ d *Door }

// Ready implements poller.Handler.
func (a accepter) Ready(poller.Events) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	a.d.accept(acceptAtOnce)
}

// accept accepts connections that wait, that many at most. mu is held.
func (d *Door) accept(most int) {
	for range most {
		if d.fd < 0 {
			return
		}
		if !d.capacity.Room() {
			d.pause(errNoRoom)
			return
		}
		fd, from, err := unix.Accept4(d.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			d.enter(fd, from)
		case errors.Is(err, unix.EAGAIN):
			return // that was all
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EBADF), errors.Is(err, unix.ENOTSOCK):
			d.fail(err)
			return
		default: // EMFILE and its like, or an error of the network that passes
			d.pause(err)
			return
		}
	}
}

// pause accepts nothing for a moment, as there is no descriptor for a connection:
// the listener would be ready all the time. mu is held.
func (d *Door) pause(err error) {
	d.makeRoom(err)
	d.poller.Pause(d.fd)
	time.AfterFunc(retryAccept, func() {
		if err := d.Open(); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.fail(err)
		}
	})
}

// fail is for a listener that is broken: then net/http's fails with the same error,
// and the server ends. mu is held.
func (d *Door) fail(err error) {
	d.log.Error("cannot accept connections any more", "error", err)
	d.endHTTP(err)
	d.closeListener()
}

// closeListener closes the listener. A process that shares its socket goes on with
// that. mu is held.
func (d *Door) closeListener() {
	if d.fd >= 0 {
		d.listener.Close()
		d.poller.Pause(d.fd)
		unix.Close(d.fd)
		d.fd = -1
	}
}

// enter begins with a connection.
func (d *Door) enter(fd int, from unix.Sockaddr) {
	v := &visitor{door: d, fd: fd, poller: d.Pollers.Pick(fd), remote: address(from)}
	defer d.Bugs.Recover(v.panicked)
	v.begin(d.watch.Now(), false)
	v.place = d.capacity.Enter(capacity.Visitor, v)
	d.watch.Add(v, &v.slot, v.since.Load()+seconds(d.Head)+1)
	if err := v.poller.Add(fd, v, false); err != nil {
		d.log.Error("cannot watch a connection; it is closed", "error", err)
		v.close()
		return
	}
	if d.closing.Load() { // close may have looked for visitors before
		v.endRequests()
	}
}

// pass gives a connection to net/http, which accepts it at once or never.
func (d *Door) pass(nc net.Conn) {
	select {
	case d.toHTTP <- nc:
	case <-d.httpEnd.Done():
		nc.Close()
	}
}

func seconds(t time.Duration) keepalive.Time { return keepalive.Time(t / time.Second) }

func address(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port))
	}
	return netip.AddrPort{}
}
