//go:build linux

package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"belfry/protocol"
)

// restartLength is how much of one streaming response, in characters, pusher-js
// reads before it asks for another one: MAX_BUFFER_LENGTH in
// src/core/http/http_request.ts of 8.6.0. All lines here are ASCII.
const restartLength = 256 << 10

// session is a subscriber's session over the HTTP fallback, as pusher-js has
// it: a request that receives, and one now and then that sends.
type session struct {
	*Subscriber
	loop   *Loop
	number int    // decides which address it connects from
	path   string // of all requests, up to the last part

	receiving exchange
	sending   exchange
	waiting   [][]byte // messages for the next request to send

	requests int  // so far
	opened   bool // the line that opens a session has come
	length   int  // of the lines of this response
	closing  bool // it leaves
}

func (l *Loop) openSession(s *Subscriber) error {
	f := &session{Subscriber: s, loop: l, number: l.dialed}
	f.path = fmt.Sprintf("/pusher/app/%s/%d/%08x/", s.target.App.Key, rand.IntN(1000), rand.Uint32())
	f.receiving = exchange{session: f, fd: -1}
	f.sending = exchange{session: f, fd: -1}
	s.link = f
	l.dialed++
	return f.receive()
}

// receive asks for what there is.
func (f *session) receive() error {
	f.length = 0
	resource := "xhr"
	if f.streams() {
		resource += "_streaming"
	}
	return f.receiving.send(f.request(resource+"?protocol=7&client=bench&version=1&", nil))
}

func (f *session) streams() bool { return f.target.Transport == protocol.XHRStreaming }

func (f *session) request(resource string, body []byte) []byte {
	f.requests++
	return appendPost(nil, f.target.Host, f.path+resource+"t=1700000000000&n="+strconv.Itoa(f.requests), body)
}

// send implements link. Without messages it is a sign of life, which any
// request is.
func (f *session) send(messages ...[]byte) error {
	f.waiting = append(f.waiting, messages...)
	if f.sending.request != nil {
		return nil
	}
	return f.flush()
}

func (f *session) flush() error {
	body := messageList(f.waiting)
	f.waiting = nil
	return f.sending.send(f.request("xhr_send?", body))
}

// close implements link: a client that leaves aborts its request.
func (f *session) close() error {
	f.closing = true
	return os.NewSyscallError("shutdown", unix.Shutdown(f.receiving.fd, unix.SHUT_RDWR))
}

// receiver implements link.
func (f *session) receiver() int { return f.receiving.fd }

// end closes the connections and tells the owner.
func (f *session) end(err error) error {
	if f.closing {
		err = nil
	}
	f.receiving.hangUp()
	f.sending.hangUp()
	return f.owner.ended(f.Subscriber, err)
}

// answered goes on when an answer is whole: a polling client asks again at once.
func (f *session) answered(x *exchange) error {
	switch {
	case x == &f.sending && len(f.waiting) > 0:
		return f.flush()
	case x == &f.sending:
		return nil
	case f.streams():
		return errors.New("the server ended a stream")
	default:
		return f.receive()
	}
}

// take takes what has come of an answer's body, and returns what is to be seen
// again with what follows.
func (f *session) take(x *exchange, body []byte) (rest []byte, err error) {
	if x == &f.sending {
		if x.answer.status != http.StatusNoContent {
			return nil, fmt.Errorf("what a session sends was answered with status %d: %s", x.answer.status, clip(body))
		}
		return nil, nil
	}
	if x.answer.status != http.StatusOK {
		return nil, fmt.Errorf("%s was answered with status %d: %s", f.target.Transport, x.answer.status, clip(body))
	}
	rest, err = f.lines(body, f.loop.clock.Now())
	if err == nil && f.streams() && len(rest) == 0 && f.length > restartLength {
		x.hangUp()
		err = f.receive()
	}
	return rest, err
}

// lines takes whole lines and returns the rest.
func (f *session) lines(b []byte, now time.Duration) (rest []byte, err error) {
	for {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			return b, nil
		}
		if err := f.line(b[:end], now); err != nil {
			return nil, err
		}
		f.length += end + 1
		b = b[end+1:]
	}
}

func (f *session) line(b []byte, now time.Duration) error {
	switch {
	case len(b) == 0:
		return errors.New("the server sent an empty line")
	case b[0] == 'o' && f.opened:
		return errors.New("the server has lost the session")
	case b[0] == 'o':
		f.opened = true
		return nil
	case b[0] == 'h' && f.opened && f.streams():
		return f.send()
	case b[0] == 'h':
		return nil // ahead of a stream, or instead of an answer
	case b[0] == 'a' && f.opened:
		return f.messages(b[1:], now)
	case b[0] == 'c':
		return closedByLine(b[1:])
	default:
		return fmt.Errorf("unexpected line: %s", clip(b))
	}
}

// messages takes a list of messages. An event of the expected bytes is not
// decoded: its list is compared as it is.
func (f *session) messages(list []byte, now time.Duration) error {
	if f.state == subscribed && f.audience.exact != nil {
		if text, ok := onlyText(list); ok {
			if ok, err := f.audience.receive(f.Subscriber, text, now); ok || err != nil {
				return err
			}
		}
	}
	var messages []string
	if err := json.Unmarshal(list, &messages); err != nil {
		return fmt.Errorf("not a list of messages: %s", clip(list))
	}
	for _, m := range messages {
		if err := f.message([]byte(m), now); err != nil {
			return err
		}
	}
	return nil
}
