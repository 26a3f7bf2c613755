//go:build !blocking

package door

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/poller"
)

// visitor is a connection that is neither a WebSocket nor net/http's. Its poller
// reads and answers, or, between Pause and Add, a goroutine does.
type visitor struct {
	door   *Door
	fd     int
	poller *poller.Poller
	slot   keepalive.Slot
	place  *capacity.Place
	remote netip.AddrPort

	leisure

	mu   sync.Mutex // guards the following
	gone bool       // the descriptor is closed, or somebody else's
	busy bool       // a goroutine serves a request
	last bool       // the request that is being served is the last
	over bool       // no request is read any more
}

// Due implements keepalive.Watched.
func (v *visitor) Due(now keepalive.Time) keepalive.Time {
	limit := v.door.Head
	if v.authorized.Load() {
		limit = v.door.Idle
	}
	if due := v.since.Load() + seconds(limit) + 1; due > now {
		return due
	}
	v.endRequests()
	return keepalive.Never
}

// endRequests has the connection closed once the requests that have come are
// answered: the poller finds the stream's end behind them. It does nothing to one
// that has left.
func (v *visitor) endRequests() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.end()
}

// end is endRequests with mu held, and reports whether it has done something.
func (v *visitor) end() bool {
	if v.gone || v.over {
		return false
	}
	v.over = true
	_ = unix.Shutdown(v.fd, unix.SHUT_RD)
	return true
}

// Dismiss implements capacity.Guest.
func (v *visitor) Dismiss(i capacity.Idleness) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.busy && v.is(i, v.door.watch.Now()) && v.end()
}

// setBusy says that a goroutine serves a request, until replyAndResume.
func (v *visitor) setBusy() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.busy = true
}

// leave ends watching the visitor, whose descriptor and place are the caller's from
// here on.
func (v *visitor) leave() {
	v.mu.Lock()
	v.gone = true
	v.mu.Unlock()
	v.door.watch.Remove(v.slot)
}

func (v *visitor) close() {
	v.poller.Remove(v.fd)
	v.leave()
	unix.Close(v.fd)
	v.place.Leave()
}

// panicked closes a connection that has met a bug, unless it has left: whoever has it
// since closes it.
func (v *visitor) panicked() {
	v.mu.Lock()
	gone := v.gone
	v.mu.Unlock()
	if !gone {
		v.close()
	}
}

// inputs are buffers to read requests into.
var inputs = sync.Pool{New: func() any { return new([maxRequest]byte) }}

// Ready implements poller.Handler.
func (v *visitor) Ready(poller.Events) {
	defer v.door.Bugs.Recover(v.panicked)
	input := inputs.Get().(*[maxRequest]byte)
	defer inputs.Put(input)
	n, err := poller.Read(v.fd, input[:])
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil || n == 0:
		v.close()
		return
	}
	b := input[:n]
	switch f := classify(b, v.door.Prefix); f.kind {
	case handshake:
		v.upgrade(b, f)
	case apiRequest:
		v.request(b, f)
	default:
		v.handOver(bytes.Clone(b))
	}
}

// handOver gives the connection to net/http, with what was read.
func (v *visitor) handOver(read []byte) {
	v.poller.Pause(v.fd)
	v.leave()
	go v.pass(read, unsent{}) // as a poller does not wait
}

// unsent is what is left of an answer.
type unsent struct {
	rest       []byte
	last       bool // it is the connection's last
	authorized bool
}

// pass has net/http serve the connection, once what is left of an answer is
// written, unless that was its last. The visitor has left.
func (v *visitor) pass(read []byte, u unsent) {
	d := v.door
	nc, err := connection(v.fd)
	if err != nil {
		v.place.Leave()
		d.warnOf("a connection is closed", err)
		return
	}
	c := &Conn{TCPConn: nc, place: v.place, watch: d.watch, unread: read, refusals: d.refusals}
	defer d.Bugs.Recover(func() { c.Close() })
	c.begin(v.since.Load(), v.authorized.Load())
	if u.authorized {
		c.state.Store(busy)
	}
	c.place.Lend(c)
	if len(u.rest) > 0 {
		cut := context.AfterFunc(d.httpEnd, func() { c.Close() })
		err := nc.SetWriteDeadline(time.Now().Add(d.Write))
		if err == nil {
			_, err = nc.Write(u.rest)
		}
		if !cut() || err != nil || u.last {
			c.Close()
			return
		}
		if d.closing.Load() {
			_ = nc.CloseRead() // net/http waits for no other request
		}
	}
	c.requestDone()
	d.pass(c)
	c.place.Pass() // now that net/http knows of it, nobody else waits for it
}

// connection makes Go's of a descriptor, which it closes.
func connection(fd int) (*net.TCPConn, error) {
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	nc, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	tcp := nc.(*net.TCPConn)
	_ = tcp.SetKeepAlive(false) // Go sets it here, as the server's listener does not
	return tcp, nil
}

// upgrade has the handler take the connection over. It runs in the poller's
// goroutine: nothing in it waits. If the handler refuses, and the client has not
// waited for that, net/http has the same bytes, and its say.
func (v *visitor) upgrade(b []byte, f form) {
	r, err := parse(b[:f.head], nil)
	if err != nil {
		v.handOver(bytes.Clone(b))
		return
	}
	r.RemoteAddr = v.remote.String()
	w := &Takeover{answer: answer{header: make(http.Header)}, visitor: v, early: bytes.Clone(b[f.head:])}
	v.door.Handler.ServeHTTP(w, r)
	switch {
	case w.taken:
	case len(w.early) > 0, w.postponed:
		v.handOver(bytes.Clone(b))
	default:
		v.reply(&w.answer, false)
	}
}

// request serves a request: in the poller's goroutine if nothing in it waits.
func (v *visitor) request(b []byte, f form) {
	r, err := parse(b[:f.head], b[f.head:])
	if err != nil {
		v.handOver(bytes.Clone(b))
		return
	}
	r.RemoteAddr = v.remote.String()
	quick := v.door.Quick(r)
	w := &answer{header: make(http.Header), mayWait: !quick}
	if quick {
		v.door.Handler.ServeHTTP(w, r)
		switch {
		case w.postponed:
			quick = false
			r, _ = parse(b[:f.head], b[f.head:]) // as it came: handlers ahead may have changed its path and its address
			r.RemoteAddr = v.remote.String()
			w = &answer{header: make(http.Header), mayWait: true}
		case len(w.await) == 0:
			v.reply(w, r.Close)
			return
		}
	}
	if !quick && len(b) > f.head {
		r.Body = &memory{*bytes.NewReader(bytes.Clone(b[f.head:]))} // b is the poller's
	}
	v.setBusy()
	v.poller.Pause(v.fd)
	go func() {
		defer v.door.Bugs.Recover(v.panicked)
		if !quick {
			v.door.Handler.ServeHTTP(w, r)
		}
		for _, closed := range w.await {
			<-closed
		}
		v.replyAndResume(w, r.Close)
	}()
}

// replyAndResume writes the answer, and has the poller read again.
func (v *visitor) replyAndResume(w *answer, last bool) {
	end, err := v.writeAndResume(w, last)
	if err != nil {
		v.door.log.Error("cannot watch a connection; it is closed", "error", err)
		end = v.close
	}
	if end != nil {
		end()
	}
}

// writeAndResume is one step, as the client may send another request as soon as it has
// the answer: then nobody may take the visitor for one that is busy. See Export.
func (v *visitor) writeAndResume(w *answer, last bool) (end func(), err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if end = v.write(w, last || v.last); end == nil {
		v.busy = false
		err = v.poller.Add(v.fd, v, false)
	}
	return end, err
}

// reply writes the answer.
func (v *visitor) reply(w *answer, last bool) {
	if end := v.write(w, last); end != nil {
		end()
	}
}

// write writes the answer. It returns what is to be called if the connection does not go
// on here.
func (v *visitor) write(w *answer, last bool) (end func()) {
	last = last || v.door.closing.Load()
	if w.authorized {
		v.begin(v.door.watch.Now(), true)
	}
	b := answers.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= maxKeptAnswer {
			b.Reset()
			answers.Put(b)
		}
	}()
	w.appendTo(b, last)
	n, err := poller.WriteSome(v.fd, b.Bytes())
	switch {
	case err == nil && n < b.Len():
		rest := unsent{bytes.Clone(b.Bytes()[n:]), last, w.authorized}
		return func() {
			v.poller.Pause(v.fd)
			v.leave()
			go v.pass(nil, rest)
		}
	case err != nil || last:
		return v.close
	}
	return nil
}
