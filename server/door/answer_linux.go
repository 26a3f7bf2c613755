//go:build !blocking

package door

import (
	"bytes"
	"net/http"
	"strconv"
	"sync"
	"time"

	"belfry/server/capacity"
	"belfry/server/poller"
)

// answer is the ResponseWriter of a request, and keeps what is written to it.
type answer struct {
	header http.Header
	status int // 0 until WriteHeader
	body   []byte
	await  []<-chan struct{}

	authorized bool
	mayWait    bool // the handler: it does not run in a poller's goroutine
	postponed  bool // the handler has done nothing, as it would have had to wait
}

func (a *answer) authorize() { a.authorized = true }

func (a *answer) postpone() bool {
	a.postponed = !a.mayWait
	return a.postponed
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, p...)
	return len(p), nil
}

// Await has the answer wait until a channel is closed. The handler must not wait:
// it may run in a poller's goroutine.
func (a *answer) Await(closed <-chan struct{}) { a.await = append(a.await, closed) }

// appendTo appends the answer in the form of HTTP/1.1, closing says that it is the
// connection's last.
func (a *answer) appendTo(b *bytes.Buffer, closing bool) {
	a.WriteHeader(http.StatusOK)
	if len(a.body) > 0 && a.header.Get("Content-Type") == "" {
		a.header.Set("Content-Type", http.DetectContentType(a.body))
	}
	b.WriteString("HTTP/1.1 ")
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(a.status), 10))
	b.WriteByte(' ')
	b.WriteString(http.StatusText(a.status))
	b.WriteString("\r\n")
	_ = a.header.Write(b) // a buffer takes everything
	b.WriteString("Date: ")
	b.Write(time.Now().UTC().AppendFormat(b.AvailableBuffer(), http.TimeFormat))
	b.WriteString("\r\nContent-Length: ")
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(len(a.body)), 10))
	if closing {
		b.WriteString("\r\nConnection: close")
	}
	b.WriteString("\r\n\r\n")
	b.Write(a.body)
}

// answers are buffers to make answers in; a very long one is not kept.
var answers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const maxKeptAnswer = 64 << 10

// Takeover is the ResponseWriter of a handshake at the door. What is written to it
// is sent if the connection is not taken over.
type Takeover struct {
	answer
	visitor *visitor
	early   []byte
	taken   bool
}

func (t *Takeover) place() *capacity.Place { return t.visitor.place }

// Take gives away the connection: its descriptor, which its poller watches, its
// place, and what has come behind the request.
func (t *Takeover) Take() (fd int, p *poller.Poller, early []byte) {
	t.taken = true
	t.visitor.leave()
	return t.visitor.fd, t.visitor.poller, t.early
}
