package websocket

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Sizes of the library's buffers: the writer's must hold a whole control
// frame, so that it is one Write.
const (
	readBuffer  = 128
	writeBuffer = 128
)

// reader is the WebSocket library's connection: it unmasks, checks and joins
// the frames of a client, and answers control frames. It weighs more than all
// else that an idle connection needs, so a parked connection has none: a poller
// lends it one for the length of one read.
//
// Two clients never meet in a reader. It is lent with whole messages only, and
// is taken back only if it is as it was: nothing of the input left in it, no
// error met, no close frame seen or sent. Otherwise it is thrown away.
//
// reader is the net.Conn that the library reads and writes. One goroutine uses
// it at a time.
type reader struct {
	ws      *websocket.Conn
	br      *bufio.Reader // the library's
	message []byte        // the last one received; used again

	conn *conn  // whose bytes are read now, nil between two
	feed []byte // whole messages that may be read now

	dead atomic.Bool // the library closed it, by a timeout of its own
}

// parts are what Hijack returns for this reader.
func (r *reader) parts() (net.Conn, *bufio.ReadWriter) {
	r.br = bufio.NewReaderSize(r, readBuffer)
	return r, bufio.NewReadWriter(r.br, bufio.NewWriterSize(r, writeBuffer))
}

// newReader makes a reader that is no connection's, by the only way that the
// library offers: accepting one.
func newReader() (*reader, error) {
	r := new(reader)
	ws, err := websocket.Accept(&spareResponse{r}, spareRequest, nil)
	if err != nil {
		return nil, err
	}
	r.ws = ws
	return r, nil
}

var spareRequest = &http.Request{
	Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1,
	Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"AAAAAAAAAAAAAAAAAAAAAA=="},
	},
}

// spareResponse answers nobody.
type spareResponse struct{ r *reader }

func (spareResponse) Header() http.Header         { return make(http.Header) }
func (spareResponse) Write(p []byte) (int, error) { return len(p), nil }
func (spareResponse) WriteHeader(int)             {}
func (s *spareResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw := s.r.parts()
	return nc, brw, nil
}

// lend gives the reader whole messages of a connection.
func (r *reader) lend(c *conn, feed []byte, limit int) {
	r.conn, r.feed = c, feed
	r.ws.SetReadLimit(int64(limit))
}

// unread reports whether there is more of what was lent.
func (r *reader) unread() bool { return len(r.feed) > 0 || r.br.Buffered() > 0 }

// keptMessage is the largest buffer for a message that a reader keeps, in
// bytes.
const keptMessage = 64 << 10

// takeBack ends a loan, and reports whether the reader may be lent again. It
// may not after a connection that ended.
func (r *reader) takeBack() (clean bool) {
	clean = !r.conn.ended && !r.unread() && !r.dead.Load()
	r.conn, r.feed = nil, nil
	if cap(r.message) > keptMessage {
		r.message = nil
	}
	return clean
}

// discard lets go of the library's connection. It has a finalizer and points to
// itself, so without this it would never be collected.
func (r *reader) discard() {
	r.conn, r.feed = nil, nil
	_ = r.ws.CloseNow()
}

// errParked says that there is no more to read now. The library passes it on
// and stays usable, as it comes between two messages.
var errParked = errors.New("nothing to read")

// receive reads one message into r.message.
func (r *reader) receive() (websocket.MessageType, error) {
	kind, body, err := r.ws.Reader(forever)
	if err != nil {
		return 0, err
	}
	b := r.message[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		r.message = b
		if err == io.EOF {
			return kind, nil
		}
		if errors.Is(err, errParked) {
			return 0, io.ErrUnexpectedEOF // amid a message it is the end
		}
		if err != nil {
			return 0, err
		}
	}
}

// Read implements net.Conn.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.feed) == 0 {
		return 0, errParked
	}
	n := copy(p, r.feed)
	r.feed = r.feed[n:]
	return n, nil
}

// Write implements net.Conn: one whole control frame at a time.
func (r *reader) Write(p []byte) (int, error) {
	if r.conn == nil {
		return 0, net.ErrClosed
	}
	r.conn.control(p)
	return len(p), nil
}

// Close implements net.Conn. The connection itself ends by its own rules.
func (r *reader) Close() error {
	r.dead.Store(true)
	return nil
}

// The library sets no deadlines and asks for no addresses on a server.

func (*reader) LocalAddr() net.Addr              { return nil }
func (*reader) RemoteAddr() net.Addr             { return nil }
func (*reader) SetDeadline(time.Time) error      { return nil }
func (*reader) SetReadDeadline(time.Time) error  { return nil }
func (*reader) SetWriteDeadline(time.Time) error { return nil }
