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
	end := bytes.Index(b, endOfHead)
	if end < 0 {
		return r, false, nil
	}
	head, body := b[:end+2], b[end+4:]
	if r.status, err = parseStatus(head); err != nil {
		return r, false, err
	}
	size := -1
	if length, found := header(head, "content-length"); found {
		if size, err = strconv.Atoi(string(length)); err != nil || size < 0 {
			return r, false, fmt.Errorf("Content-Length is %q", length)
		}
	} else if _, found := header(head, "transfer-encoding"); found {
		// The last chunk and no trailers. The answers of a trigger are short
		// JSON, so that these bytes are not within a chunk.
		if i := bytes.Index(body, []byte("0\r\n\r\n")); i >= 0 {
			size = i + 5
		}
	} else if ended {
		size = len(body)
	}
	if size < 0 || len(body) < size {
		return r, false, nil
	}
	r.body = body[:size]
	r.size = end + 4 + size
	return r, true, nil
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
