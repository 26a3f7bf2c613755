package door

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/refusals"
)

// Intake counts accepted connections, and makes room when there is none for another.
// A [Door] has one; Listen is for listeners without a door.
type Intake struct {
	capacity     *capacity.Capacity
	watch        *keepalive.Watch
	log          *slog.Logger
	refusals     *refusals.Log
	acceptErrors prometheus.Counter
	warning      rate.Sometimes

	listener net.Listener // that Listen was called with
	stopped  atomic.Bool  // it is closed before its time
}

// NewIntake returns an intake of connections that c counts from when they are
// accepted. acceptErrors counts how often none could be.
func NewIntake(c *capacity.Capacity, w *keepalive.Watch, log *slog.Logger, r *refusals.Log, acceptErrors prometheus.Counter) *Intake {
	return &Intake{capacity: c, watch: w, log: log, refusals: r, acceptErrors: acceptErrors, warning: rate.Sometimes{Interval: time.Minute}}
}

// acceptAtOnce bounds how many connections are accepted before others have their
// turn, and how many are dismissed at a time when there is no descriptor. Then
// nothing is accepted for retryAccept.
const (
	acceptAtOnce = 64
	retryAccept  = 50 * time.Millisecond
)

// errNoRoom is about server.max_connections and what the system allows.
var errNoRoom = errors.New("all file descriptors that there are for connections are in use")

// makeRoom is for a connection that cannot be accepted for want of a descriptor:
// others make room.
func (i *Intake) makeRoom(err error) {
	i.capacity.MakeRoom(acceptAtOnce)
	i.warnOf("connections wait to be accepted", err)
}

// warnOf tells what happens as there is no descriptor.
func (i *Intake) warnOf(what string, err error) {
	i.acceptErrors.Inc()
	i.warning.Do(func() {
		i.log.Warn(what+" for want of file descriptors: raise their limit, or lower server.max_connections", "error", err)
	})
}

// Listen counts the connections of a listener. They are what net/http serves without
// a door. Unless the listener is to speak TLS, a client that does is told of in the
// log.
func (i *Intake) Listen(l net.Listener, secure bool) net.Listener {
	i.listener = l
	closed, cancel := context.WithCancel(context.Background())
	return listener{l, i, secure, closed, cancel}
}

type listener struct {
	net.Listener
	intake *Intake
	secure bool
	closed context.Context // ends when it is closed
	cancel context.CancelFunc
}

// Close implements net.Listener.
func (l listener) Close() error {
	l.cancel()
	return l.Listener.Close()
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	i := l.intake
	for !i.capacity.Room() && l.closed.Err() == nil { // connections wait meanwhile
		i.makeRoom(errNoRoom)
		select {
		case <-time.After(retryAccept):
		case <-l.closed.Done():
		}
	}
	nc, err := l.Listener.Accept()
	if err != nil && i.stopped.Load() {
		<-l.closed.Done() // net/http takes an error for the end
		return nil, net.ErrClosed
	}
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			i.makeRoom(err) // net/http tries again soon
		}
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	c := &Conn{TCPConn: tcp, watch: i.watch}
	if !l.secure {
		c.refusals = i.refusals
	}
	c.begin(i.watch.Now(), false)
	c.place = i.capacity.Enter(capacity.HTTP, c)
	return c, nil
}

// StopAccepting leaves who comes to whoever shares the listener's socket, and has those
// who are there be served.
func (i *Intake) StopAccepting() {
	i.stopped.Store(true)
	i.listener.Close()
}

// ConnContext is the hook of an http.Server that serves an Intake's connections by
// way of [Serve].
func ConnContext(ctx context.Context, nc net.Conn) context.Context {
	if c := Counted(nc); c != nil {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

type connKey struct{}

// Serve returns a handler that serves by h, which says by [Authorized] whose
// connections are not to be dismissed meanwhile.
func Serve(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*Conn); ok {
			defer c.requestDone()
		}
		h.ServeHTTP(w, r)
	})
}

// Authorized says that a request is signed by an application's secret, or is that of
// a client that was admitted: its connection is not dismissed while it is being
// served, and afterwards behind those that have had none.
func Authorized(w http.ResponseWriter, r *http.Request) {
	if at, ok := w.(interface{ authorize() }); ok {
		at.authorize()
	} else if c, ok := r.Context().Value(connKey{}).(*Conn); ok {
		c.state.CompareAndSwap(idle, busy)
	}
}

// Postpone is called by a handler that has to wait ahead of everything else. If it must not,
// because it runs in a poller's goroutine, Postpone returns true: the handler returns at
// once, and is called again with the same request in a goroutine of its own.
func Postpone(w http.ResponseWriter) bool {
	at, ok := w.(interface{ postpone() bool })
	return ok && at.postpone()
}

// Place returns the place of the connection by which a request came, nil if that is
// not counted.
func Place(w http.ResponseWriter, r *http.Request) *capacity.Place {
	if at, ok := w.(interface{ place() *capacity.Place }); ok {
		return at.place()
	}
	if c, ok := r.Context().Value(connKey{}).(*Conn); ok {
		return c.place
	}
	return nil
}

// Counted returns the counted connection that nc is, by itself or below TLS, or nil.
func Counted(nc net.Conn) *Conn {
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	if c, ok := nc.(interface{ Counted() *Conn }); ok {
		return c.Counted()
	}
	return nil
}
