package redis

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Usage is what a server has done.
type Usage struct {
	In, Out  int64         // bytes that came, and that were sent
	Commands int64         // those that scripts run are counted too
	CPU      time.Duration // user and system
}

// Since is what was done between before and u.
func (u Usage) Since(before Usage) Usage {
	return Usage{
		In:       u.In - before.In,
		Out:      u.Out - before.Out,
		Commands: u.Commands - before.Commands,
		CPU:      u.CPU - before.CPU,
	}
}

// question is the command that the figures are in the answer of, which names
// several sections since Redis 7.0.
const question = "INFO stats cpu\r\n"

// longest is the answer that is read at most, in bytes. It has some 3 kB.
const longest = 1 << 20

// meter asks for figures over a connection that has no other use, and takes its
// own questions and answers out of them.
type meter struct {
	in  *bufio.Reader
	out io.Writer
	own Usage // In, Out and Commands
}

func (m *meter) read() (Usage, error) {
	// Redis counts a question before it writes the answer, but itself as a
	// command, and the bytes of its answer, after.
	m.own.In += int64(len(question))
	if _, err := io.WriteString(m.out, question); err != nil {
		return Usage{}, err
	}
	info, size, err := readBulk(m.in)
	if err != nil {
		return Usage{}, err
	}
	u, err := parseUsage(info)
	if err != nil {
		return Usage{}, err
	}
	u.In -= m.own.In
	u.Out -= m.own.Out
	u.Commands -= m.own.Commands
	m.own.Out += int64(size)
	m.own.Commands++
	return u, nil
}

// readBulk reads an answer like "$5\r\nhello\r\n". size is that of all of it, in
// bytes.
func readBulk(r *bufio.Reader) (text []byte, size int, err error) {
	head, err := r.ReadSlice('\n')
	if err != nil {
		return nil, 0, err
	}
	digits, ok := bytes.CutPrefix(bytes.TrimSpace(head), []byte("$"))
	n, err := strconv.Atoi(string(digits))
	if !ok || err != nil || n < 0 || n > longest {
		return nil, 0, fmt.Errorf("the answer begins with %q", head[:min(len(head), 100)])
	}
	size = len(head) + n + 2
	text = make([]byte, n+2)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, 0, err
	}
	return text[:n], size, nil
}

// parseUsage reads lines like "total_net_input_bytes:1234".
func parseUsage(info []byte) (u Usage, err error) {
	fields := make(map[string]string)
	for line := range bytes.Lines(info) {
		if name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(":")); ok {
			fields[string(name)] = string(value)
		}
	}
	count := func(name string) int64 {
		n, e := strconv.ParseInt(fields[name], 10, 64)
		if e == nil && n < 0 {
			e = errors.New("it is negative")
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
		}
		return n
	}
	seconds := func(name string) time.Duration {
		d, e := time.ParseDuration(fields[name] + "s")
		if e == nil && d < 0 {
			e = errors.New("it is negative")
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
		}
		return d
	}
	u = Usage{
		In:       count("total_net_input_bytes"),
		Out:      count("total_net_output_bytes"),
		Commands: count("total_commands_processed"),
		CPU:      seconds("used_cpu_user") + seconds("used_cpu_sys"),
	}
	return u, err
}
