package websocket_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// tagged is a client all of whose messages bear its tag.
type tagged struct {
	*servertest.Client
	tag   string
	count int
	out   []byte   // not written yet
	want  []string // a part of each answer, in order

	open bool   // amid the fragments of a message
	name string // of that message
	rest []byte // of it, not sent yet

	wild  bool // sent anything at all: what comes is not certain any more
	ended bool // sent a close frame
}

func (c *tagged) next() string {
	c.count++
	return fmt.Sprintf("%s-%d.", c.tag, c.count)
}

func (c *tagged) frame(first byte, payload []byte, answer string) {
	c.out = append(c.out, wstest.Frame(first, payload)...)
	if answer != "" && !c.wild && !c.ended {
		c.want = append(c.want, answer)
	}
}

// unknown is a part of the answer to an event of that name.
func unknown(name string) string { return `Unknown event \"` + name + `\"` }

func (c *tagged) finish() {
	if c.open {
		c.frame(wstest.Fin|wstest.Continuation, c.rest, unknown(c.name))
		c.open = false
	}
}

// do appends what an instruction of a program stands for, and returns what is
// left of the program.
func (c *tagged) do(instruction byte, program []byte) []byte {
	take := func() (n int) {
		if len(program) > 0 {
			n, program = int(program[0]), program[1:]
		}
		return n
	}
	message := func(name string, blanks int) []byte {
		return fmt.Appendf(nil, `{"event":"%s"%s}`, name, strings.Repeat(" ", blanks))
	}
	fragment := func() (part []byte) {
		n := min(len(c.rest), take())
		part, c.rest = c.rest[:n], c.rest[n:]
		return part
	}
	switch instruction % 8 {
	case 0:
		payload := c.next() + strings.Repeat("p", take()%80)
		c.frame(wstest.Fin|wstest.Ping, []byte(payload), payload)
	case 1:
		if !c.open {
			name := c.next()
			c.frame(wstest.Fin|wstest.Text, message(name, 16*take()), unknown(name))
		}
	case 2:
		if !c.open {
			c.open, c.name = true, c.next()
			c.rest = message(c.name, 4*take())
			c.frame(wstest.Text, fragment(), "")
		}
	case 3:
		if c.open {
			c.frame(wstest.Continuation, fragment(), "")
		}
	case 4:
		c.finish()
	case 5:
		if !c.open {
			c.frame(wstest.Fin|wstest.Binary, []byte(c.next()), "Binary")
		}
	case 6:
		c.wild = true
		n := min(take(), len(program))
		c.out = append(c.out, program[:n]...)
		program = program[n:]
	case 7:
		if take()%4 == 0 {
			reason := c.next()
			c.frame(wstest.Fin|wstest.Close, wstest.ClosePayload(4000, reason), reason)
			c.ended = true
		}
	}
	return program
}

// flush writes up to n bytes of what is to be written.
func (c *tagged) flush(n int) {
	n = min(n, len(c.out))
	if n == 0 {
		return
	}
	if err := c.TryWrite(c.out[:n]); err != nil {
		c.wild = true // the server has cut it: the other must not notice
	}
	c.out = c.out[n:]
}

// check reads all that comes for a client, whose input has been written.
func (c *tagged) check(t *testing.T, others string) {
	t.Helper()
	var got []wstest.ReceivedFrame
	if c.wild || c.ended {
		_ = c.CloseWrite() // it may have ended already
		got = c.ReadEnd()
	} else {
		for {
			f := c.ReadFrame()
			if string(f.Payload) == wstest.PongText {
				break
			}
			got = append(got, f)
		}
	}
	for i, f := range got {
		if bytes.Contains(f.Payload, []byte(others)) {
			t.Fatalf("a client got %v, of another client", f)
		}
		if i < len(c.want) && !bytes.Contains(f.Payload, []byte(c.want[i])) {
			t.Fatalf("answer %d is %v, want %q in it", i, f, c.want[i])
		}
	}
	if !c.wild && len(got) != len(c.want) {
		t.Fatalf("got %d answers %v, want %d", len(got), got, len(c.want))
	}
}

// FuzzTwoClients lets two clients, who share whatever the server shares among
// its connections, send frames and garbage in interleaved pieces. Neither may
// see anything of the other, or be disturbed.
func FuzzTwoClients(f *testing.F) {
	// One processor while it starts: one poller for both.
	processors := runtime.GOMAXPROCS(1)
	s := servertest.Start(f)
	runtime.GOMAXPROCS(processors)

	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 4096 {
			return
		}
		var clients [2]*tagged
		for i := range clients {
			clients[i] = &tagged{Client: s.Connect(t, "1"), tag: rand.Text()[:10]}
		}
		for len(program) > 0 {
			instruction := program[0]
			c := clients[instruction>>7]
			program = c.do(instruction, program[1:])
			if instruction&0x40 != 0 && len(program) > 0 {
				// Cut somewhere; the other's turn may come before the rest.
				c.flush(int(program[0]))
				program = program[1:]
			} else if instruction&0x20 != 0 {
				c.flush(len(c.out))
			}
		}
		for _, c := range clients {
			c.finish()
			if !c.wild && !c.ended {
				c.out = append(c.out, wstest.TextFrame(`{"event":"pusher:ping"}`)...)
			}
			c.flush(len(c.out))
		}
		for i, c := range clients {
			c.check(t, clients[1-i].tag)
		}
		for _, c := range clients {
			c.Reset()
		}
	})
	if n := s.Metric(f, "belfry_panics_total"); n != 0 {
		f.Errorf("%v panics", n)
	}
}
