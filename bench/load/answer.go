package load

import (
	"errors"
	"fmt"
)

// answer is an HTTP/1.1 answer that is read while it comes: its head with
// begin, the rest with body. It does not end with its connection.
type answer struct {
	status int
	part   part
	left   int // bytes of the body, or of its chunk; -1: no digit of that was read
}

// part is what of an answer is to come next.
type part uint8

const (
	theHead  part = iota
	counted       // the body, as long as Content-Length says
	size          // the line with a chunk's size
	chunk         // a chunk
	chunkEnd      // the end of its line
	lastEnd       // the empty line behind the last chunk; there are no trailers
	nothing       // the answer is whole
)

var errChunk = errors.New("not a chunked body")

// mostChunk bounds a chunk, in bytes: whatever is larger is a mistake.
const mostChunk = 1 << 28

// begin reads the head that b begins with. n is its length, or 0 when b does
// not hold all of it.
func (a *answer) begin(b []byte) (n int, err error) {
	h, ok, err := parseHead(b)
	if !ok || err != nil {
		return 0, err
	}
	a.status = h.status
	switch {
	case h.chunked:
		a.part, a.left = size, -1
	case h.length < 0:
		return 0, errors.New("the answer has no length")
	case h.length == 0:
		a.part = nothing
	default:
		a.part, a.left = counted, h.length
	}
	return h.size, nil
}

// body reads the next bytes of the answer behind its head. What of them is its
// body is moved to the front of b.
func (a *answer) body(b []byte) (data []byte, err error) {
	data = b[:0]
	for len(b) > 0 {
		switch a.part {
		case counted, chunk:
			n := min(a.left, len(b))
			data = append(data, b[:n]...)
			b = b[n:]
			a.left -= n
			switch {
			case a.left > 0:
			case a.part == chunk:
				a.part = chunkEnd
			default:
				a.part = nothing
			}
		case nothing:
			return nil, fmt.Errorf("the server sent more than an answer: %q", clip(b))
		default:
			if err := a.line(b[0]); err != nil {
				return nil, err
			}
			b = b[1:]
		}
	}
	return data, nil
}

// line reads a byte of what is between chunks.
func (a *answer) line(c byte) error {
	switch {
	case c == '\r':
	case c == '\n' && a.part == chunkEnd:
		a.part, a.left = size, -1
	case c == '\n' && a.part == lastEnd:
		a.part = nothing
	case c == '\n' && a.left > 0:
		a.part = chunk
	case c == '\n' && a.left == 0:
		a.part = lastEnd
	case a.part == size:
		digit, ok := hexDigit(c)
		if !ok || a.left > mostChunk>>4 {
			return errChunk
		}
		a.left = max(a.left, 0)<<4 | digit
	default:
		return errChunk
	}
	return nil
}

func hexDigit(c byte) (digit int, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10, true
	default:
		return 0, false
	}
}
