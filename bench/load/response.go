package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

var endOfHead = []byte("\r\n\r\n")

// response is an HTTP/1.1 answer.
type response struct {
	status int
	body   []byte // as it was sent: chunked when it is chunked
	size   int    // bytes, with the head
}

// parseResponse reads the answer that b begins with. ok is false when b does
// not hold all of it. An answer that ends with its connection is whole when
// ended is true.
func parseResponse(b []byte, ended bool) (r response, ok bool, err error) {
	h, ok, err := parseHead(b)
	if !ok || err != nil {
		return r, false, err
	}
	r.status = h.status
	body := b[h.size:]
	size := h.length
	if h.chunked {
		// The last chunk and no trailers. The answers of a trigger are short
		// JSON, so that these bytes are not within a chunk.
		if i := bytes.Index(body, []byte("0\r\n\r\n")); i >= 0 {
			size = i + 5
		}
	} else if size < 0 && ended {
		size = len(body)
	}
	if size < 0 || len(body) < size {
		return r, false, nil
	}
	r.body = body[:size]
	r.size = h.size + size
	return r, true, nil
}

// head is what an HTTP/1.1 answer begins with.
type head struct {
	status  int
	length  int // of the body, in bytes; -1: chunked, or until the connection ends
	chunked bool
	size    int // of the head, in bytes
}

// parseHead reads the head that b begins with. ok is false when b does not hold
// all of it.
func parseHead(b []byte) (h head, ok bool, err error) {
	end := bytes.Index(b, endOfHead)
	if end < 0 {
		return h, false, nil
	}
	fields := b[:end+2]
	h.size, h.length = end+len(endOfHead), -1
	if h.status, err = parseStatus(fields); err != nil {
		return h, false, err
	}
	if h.status/100 == 1 || h.status == 204 || h.status == 304 { // RFC 9112 section 6.3
		h.length = 0
	} else if length, found := header(fields, "content-length"); found {
		if h.length, err = strconv.Atoi(string(length)); err != nil || h.length < 0 {
			return h, false, fmt.Errorf("Content-Length is %q", length)
		}
	} else {
		_, h.chunked = header(fields, "transfer-encoding")
	}
	return h, true, nil
}

// parseStatus reads "HTTP/1.1 200 OK".
func parseStatus(head []byte) (int, error) {
	const start, end = len("HTTP/1.1 "), len("HTTP/1.1 200")
	if len(head) < end || !bytes.HasPrefix(head, []byte("HTTP/1.")) {
		return 0, errors.New("not an HTTP answer")
	}
	status, err := strconv.Atoi(string(head[start:end]))
	if err != nil {
		return 0, errors.New("not an HTTP answer")
	}
	return status, nil
}

// header finds a field by its name in lower case. head holds whole lines.
func header(head []byte, name string) (value []byte, found bool) {
	for {
		_, rest, more := bytes.Cut(head, []byte("\r\n"))
		if !more || len(rest) == 0 {
			return nil, false
		}
		head = rest
		if len(head) > len(name) && head[len(name)] == ':' && bytes.EqualFold(head[:len(name)], []byte(name)) {
			value, _, _ := bytes.Cut(head[len(name)+1:], []byte("\r\n"))
			return bytes.TrimSpace(value), true
		}
	}
}
