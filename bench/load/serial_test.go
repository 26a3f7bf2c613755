//go:build linux

package load

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"belfry/protocol"
)

// serialMessages are the events 1, 2 and so on of a channel with a history, with these
// ends.
func serialMessages(ends ...string) (messages [][]byte) {
	for i, end := range ends {
		message, at := delivery(testChannel, 100)
		appendStamp(message[:at], uint64(i+1), time.Millisecond)
		messages = append(messages, append(message[:len(message)-1], end...))
	}
	return messages
}

func withSerials(transport protocol.Transport) (*Audience, *Subscriber) {
	a := &Audience{Channel: testChannel, Tally: NewTally()}
	a.Expect(&Target{Exact: true, Serials: true, Transport: transport}, 100)
	s := &Subscriber{audience: a, state: subscribed}
	a.Members = []*Subscriber{s}
	return a, s
}

func TestSerials(t *testing.T) {
	const first = `,"serial":"e7-41"}`
	tests := []struct {
		name string
		ends []string
		want string // of the error; empty: none
	}{
		{"in a row", []string{first, `,"serial":"e7-42"}`}, ""},
		{"with gaps and more digits", []string{`,"serial":"e7-9"}`, `,"serial":"e7-10"}`, `,"serial":"e7-1000000000000000000"}`}, ""},
		{"an epoch with a hyphen", []string{`,"serial":"e-7-1"}`, `,"serial":"e-7-2"}`}, ""},
		{"the same again", []string{first, first}, "serial 41 after 41"},
		{"an earlier one", []string{first, `,"serial":"e7-40"}`}, "serial 40 after 41"},
		{"the number of none", []string{`,"serial":"e7-0"}`}, "not as"},
		{"another epoch", []string{first, `,"serial":"e8-42"}`}, "not as"},
		{"missing", []string{"}"}, "not as"},
		{"missing later", []string{first, "}"}, "not as"},
		{"empty", []string{`,"serial":""}`}, "not as"},
		{"without an epoch", []string{`,"serial":"-41"}`}, "not as"},
		{"without a number", []string{`,"serial":"e7-"}`}, "not as"},
		{"a zero ahead", []string{`,"serial":"e7-041"}`}, "not as"},
		{"no number", []string{`,"serial":"e7-4x"}`}, "not as"},
		{"a number that overflows", []string{`,"serial":"e7-18446744073709551657"}`}, "not as"},
		{"another field ahead", []string{`,"a":1,"serial":"e7-41"}`}, "not as"},
		{"another field behind", []string{`,"serial":"e7-41","a":"b-1"}`}, "not as"},
		{"more behind", []string{first + " "}, "not as"},
		{"cut off", []string{`,"serial":"e7-41"`}, "not as"},
	}
	for _, tt := range tests {
		for _, transport := range []protocol.Transport{protocol.WebSocket, protocol.XHRStreaming} {
			t.Run(fmt.Sprint(tt.name, " over ", transport), func(t *testing.T) {
				a, s := withSerials(transport)
				var err error
				for i, m := range serialMessages(tt.ends...) {
					if transport.Lines() {
						m = escape(m)
					}
					if err != nil {
						t.Fatalf("event %d: %v", i, err)
					}
					err = s.message(m, time.Second)
				}
				switch {
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want %q", err, tt.want)
				case tt.want == "" && err != nil:
					t.Error(err)
				case tt.want == "" && int(a.Tally.Deliveries) != len(tt.ends):
					t.Errorf("%d events were counted", a.Tally.Deliveries)
				}
			})
		}
	}
}

// Events that are measured later have higher serials, also when those before are
// forgotten and the size is another one.
func TestSerialsGoOn(t *testing.T) {
	a, s := withSerials(protocol.WebSocket)
	message := serialMessages(`,"serial":"e7-41"}`)[0]
	if err := s.message(message, 0); err != nil {
		t.Fatal(err)
	}
	a.Reset()
	a.Expect(&Target{Exact: true, Serials: true}, 101)
	larger := bytes.Replace(message, []byte("xx"), []byte("xxx"), 1)
	if err := s.message(larger, 0); err == nil || !strings.Contains(err.Error(), "serial 41 after 41") {
		t.Errorf("got %v", err)
	}
	if err := s.message(bytes.Replace(larger, []byte("e7-41"), []byte("e8-42"), 1), 0); err == nil || !strings.Contains(err.Error(), "not as") {
		t.Errorf("another epoch: got %v", err)
	}
}

func TestDifferentSerials(t *testing.T) {
	a, s := withSerials(protocol.WebSocket)
	other := &Subscriber{audience: a, state: subscribed}
	a.Members = append(a.Members, other)
	for i, m := range serialMessages(`,"serial":"e7-41"}`, `,"serial":"e7-42"}`) {
		if err := s.message(m, 0); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			m = bytes.Replace(m, []byte("e7-42"), []byte("e7-43"), 1)
		}
		if err := other.message(m, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Check(2, 1+2); err == nil || !strings.Contains(err.Error(), "different serials") {
		t.Errorf("got %v", err)
	}
}

// Where no channel has a history, a serial is not allowed.
func TestSerialNobodyExpects(t *testing.T) {
	_, s := subscriber(100)
	if err := s.message(serialMessages(`,"serial":"e7-41"}`)[0], 0); err == nil || !strings.Contains(err.Error(), "not as") {
		t.Errorf("got %v", err)
	}
}

// The check costs no more than the rest of a delivery.
func TestSerialsDoNotAllocate(t *testing.T) {
	_, s := withSerials(protocol.WebSocket)
	messages := serialMessages(`,"serial":"e7-41"}`, `,"serial":"e7-42"}`)
	if err := s.message(messages[0], 0); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		s.serial = 41
		if err := s.message(messages[1], 0); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
