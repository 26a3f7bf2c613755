package redis

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

const info = "# Stats\r\ntotal_commands_processed:12\r\ntotal_net_input_bytes:3456\r\ntotal_net_output_bytes:7890\r\n" +
	"# CPU\r\nused_cpu_sys:0.250000\r\nused_cpu_user:1.000007\r\nused_cpu_sys_children:9.000000\r\n"

func TestParseUsage(t *testing.T) {
	got, err := parseUsage([]byte(info))
	want := Usage{In: 3456, Out: 7890, Commands: 12, CPU: 1250007 * time.Microsecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	tests := []struct{ name, old, new string }{
		{"missing", "total_net_input_bytes", "other"},
		{"no number", "3456", "many"},
		{"negative", ":12", ":-12"},
		{"no time", "0.250000", ""},
		{"an hour", "0.250000", "1h"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseUsage([]byte(strings.Replace(info, tt.old, tt.new, 1))); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestReadBulk(t *testing.T) {
	tests := []struct{ answer, want string }{
		{"$5\r\nhello\r\n+OK\r\n", "hello"},
		{"$0\r\n\r\n", ""},
	}
	for _, tt := range tests {
		text, size, err := readBulk(bufio.NewReader(strings.NewReader(tt.answer)))
		if err != nil || string(text) != tt.want || size != len(tt.want)+len("$0\r\n\r\n") {
			t.Errorf("%q: got %q of %d bytes, %v", tt.answer, text, size, err)
		}
	}
	for _, bad := range []string{"", "$5\r\nhel", "$-1\r\n", "-ERR syntax error\r\n", "$99999999\r\n", "5\r\nhello\r\n"} {
		if text, _, err := readBulk(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q: got %q", bad, text)
		}
	}
}

// script answers each question with what Redis would if nobody else used it.
type script struct {
	answers bytes.Buffer
	in      int // bytes so far
	out     int
	asked   int
}

func (s *script) Write(b []byte) (int, error) {
	s.in += len(b)
	text := fmt.Sprintf("total_commands_processed:%d\r\ntotal_net_input_bytes:%d\r\n"+
		"total_net_output_bytes:%d\r\nused_cpu_sys:0.1\r\nused_cpu_user:0.2\r\n", s.asked, s.in, s.out)
	answer := fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	s.out += len(answer)
	s.asked++
	s.answers.WriteString(answer)
	return len(b), nil
}

// What the meter itself causes is not in its figures.
func TestMeterLeavesItselfOut(t *testing.T) {
	s := &script{}
	m := &meter{in: bufio.NewReader(&s.answers), out: s}
	for range 3 {
		u, err := m.read()
		if err != nil || u.In != 0 || u.Out != 0 || u.Commands != 0 {
			t.Fatalf("got %+v, %v", u, err)
		}
	}
}

func TestSince(t *testing.T) {
	got := Usage{10, 20, 30, 40}.Since(Usage{1, 2, 3, 4})
	if want := (Usage{9, 18, 27, 36}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzParseUsage(f *testing.F) {
	f.Add("$3\r\nabc\r\n")
	f.Add(fmt.Sprintf("$%d\r\n%s\r\n", len(info), info))
	f.Fuzz(func(t *testing.T, answer string) {
		text, size, err := readBulk(bufio.NewReader(strings.NewReader(answer)))
		if err != nil {
			return
		}
		if size > len(answer) || len(text) > size {
			t.Fatalf("%d bytes of %d, text of %d", size, len(answer), len(text))
		}
		if u, err := parseUsage(text); err == nil && (u.In < 0 || u.Out < 0 || u.Commands < 0) {
			t.Fatalf("%+v", u)
		}
	})
}
