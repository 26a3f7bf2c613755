//go:build !blocking

package websocket

import (
	"encoding/binary"
	"errors"
	"math"

	"golang.org/x/sys/unix"

	"belfry/protocol"
	"belfry/server/capacity"
	"belfry/server/keepalive"
	"belfry/server/outbox"
	"belfry/server/session"
)

// Exported is what another process needs, beside the descriptor, to go on with a
// connection. Times are those of the watch.
type Exported struct {
	Session session.Exported `json:"session"`
	Outbox  outbox.Exported  `json:"outbox,omitzero"`
	Part    *ExportedPart    `json:"part,omitempty"`
	Seen    keepalive.Time   `json:"seen"`
	Begun   keepalive.Time   `json:"begun,omitzero"`
	Paused  bool             `json:"paused,omitzero"`
}

// ExportedPart is what has come of a message, or of a frame, that is not complete.
type ExportedPart struct {
	Opcode  byte   `json:"opcode,omitzero"`
	Message []byte `json:"message,omitempty"`
	Control []byte `json:"control,omitempty"`
	Frame   []byte `json:"frame,omitempty"` // header of the frame whose payload is not complete
	Read    int    `json:"read,omitzero"`   // bytes of that payload
	Head    []byte `json:"head,omitempty"`  // beginning of a header
}

// Exports are connections that are being handed over.
type Exports struct {
	conns []*parked
}

// Successor is the other process. Its functions are called in the order in which it
// restores.
type Successor struct {
	Apps       map[string]bool                // that it serves, by id
	Frames     func(frames []byte) error      // takes frames that wait, ahead of connections: see Restore
	Connection func(fd int, e Exported) error // takes a connection
	Stays      func(e session.Exported) error // takes a session whose connection stays here, to end
}

// Export gives everything to another process, until a function of that fails. Nothing may
// be done with connections meanwhile: the pollers and the watch are frozen.
func (h *Handler) Export(to Successor) (*Exports, error) {
	exports := new(Exports)
	waiting := &outbox.Exporter{Share: to.Frames}
	for _, c := range h.conns() {
		if c.session == nil {
			continue
		}
		s, alive := c.session.Export()
		if !alive {
			continue
		}
		var p *parked
		var e Exported
		var err error
		if to.Apps[s.App] {
			e, p, err = c.export(s, waiting)
		}
		switch {
		case err != nil:
		case p == nil:
			err = to.Stays(s)
		default:
			exports.conns = append(exports.conns, p)
			err = to.Connection(p.fd, e)
		}
		if err != nil {
			return nil, err
		}
	}
	return exports, nil
}

// export returns nil for a connection that stays: it has TLS, or is being closed.
func (c *conn) export(s session.Exported, waiting *outbox.Exporter) (e Exported, p *parked, err error) {
	p, ok := c.socket.(*parked)
	if !ok || p.sealed != nil || c.ended || c.closing.Load() {
		return e, nil, nil
	}
	e = Exported{Session: s, Part: c.frames.export(), Seen: c.seen.Load(), Begun: c.begun.Load()}
	if e.Outbox, ok, err = c.out.Export(waiting); !ok {
		return e, nil, err
	}
	c.out.Lock()
	defer c.out.Unlock()
	if p.fdClosed {
		return e, nil, nil
	}
	e.Paused = p.paused
	return e, p, nil
}

// HandedOver forgets the connections, which are another process's: their descriptors are
// closed here, and no client notices.
func (e *Exports) HandedOver() {
	for _, p := range e.conns {
		p.closing.Store(true)
		p.out.Abort(func() {
			p.poller.Pause(p.fd) // the other process's descriptor would keep it in the epoll
			p.fdClosed = true
			unix.Close(p.fd)
		})
		p.handler.remove(&p.conn)
	}
}

// errFrames is about what waits for clients.
var errFrames = errors.New("what waits for a client is no frames")

// CheckFrames returns what is wrong with frames that wait for clients.
func CheckFrames(frames []byte) error {
	if len(frames) == 0 || !protocol.WholeFrames(frames) {
		return errFrames
	}
	return nil
}

// Restore goes on with a connection of another process. waiting are the frames that
// Successor.Frames has taken, in their order; each has passed CheckFrames. The pollers are
// frozen until all connections are restored. With an error, the descriptor is the
// caller's.
func (h *Handler) Restore(fd int, e Exported, waiting [][]byte) error {
	for _, s := range e.Outbox.Segments {
		if !protocol.WholeFrames(s.Frames) {
			return errFrames
		}
	}
	p := &parked{fd: fd, poller: h.Pollers.Pick(fd), paused: e.Paused, wantsOut: len(e.Outbox.Segments) > 0}
	p.init(h, p, nil)
	p.seen.Store(e.Seen)
	p.begun.Store(e.Begun)
	err := p.frames.restore(e.Part)
	if err == nil {
		err = p.out.Restore(e.Outbox, waiting)
	}
	if err == nil {
		p.session, err = h.Admission.Restore(e.Session, &p.conn)
	}
	if err != nil {
		return err
	}
	p.place = h.Capacity.Enter(capacity.Client, nil)
	h.Watch.Add(&p.conn, &p.slot, h.Watch.Now())
	p.start(nil)
	return nil
}

func (f *frames) export() *ExportedPart {
	p := f.part
	if p == nil {
		return nil
	}
	e := &ExportedPart{Opcode: p.opcode, Message: p.message, Control: p.control, Head: p.head[:p.headLen]}
	if p.inFrame {
		e.Frame, e.Read = p.frame.append(nil), p.read
	}
	return e
}

var errPart = errors.New("what has come of a message does not fit together")

// restore goes on with what has come of a message, nil for nothing.
func (f *frames) restore(e *ExportedPart) error {
	if e == nil {
		return nil
	}
	p := &part{opcode: e.Opcode, message: e.Message, control: e.Control}
	if e.Opcode > opBinary || len(e.Head) >= maxHeader || len(e.Head) > 0 && len(e.Frame) > 0 {
		return errPart
	}
	if _, whole := parseHeader(e.Head); whole { // whose payload would have begun
		return errPart
	}
	p.headLen = copy(p.head[:], e.Head)
	if len(e.Frame) > 0 {
		h, ok := parseHeader(e.Frame)
		so := e.Message
		if h.control {
			so = e.Control
		}
		if !ok || h.length != len(e.Frame) || (&frames{part: p}).check(h, math.MaxInt) != nil ||
			e.Read < 0 || e.Read > len(so) || int64(e.Read) >= h.payload {
			return errPart
		}
		p.begin(h)
		p.read = e.Read
	}
	f.part = p
	f.forget()
	return nil
}

// append appends the header's bytes, as they have come.
func (h header) append(b []byte) []byte {
	first, mask := h.opcode, byte(0x80)
	if h.fin {
		first |= 0x80
	}
	switch h.length - len(h.mask) {
	case 2:
		b = append(b, first, mask|byte(h.payload))
	case 4:
		b = binary.BigEndian.AppendUint16(append(b, first, mask|126), uint16(h.payload))
	default:
		b = binary.BigEndian.AppendUint64(append(b, first, mask|127), uint64(h.payload))
	}
	return append(b, h.mask[:]...)
}
