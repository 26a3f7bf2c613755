// Package door accepts connections, and serves what comes by the ten thousand
// without a goroutine for each: WebSocket handshakes, as when clients return, and
// requests to the HTTP API. It serves those that are wholly there with one read, in
// the form that clients send, by the same handler as net/http. Everything else goes
// to net/http with the bytes read so far, so that net/http stays the judge of all
// that is unusual. A strict recogniser of ours sees each first read, and says where the
// body ends; the head of what it recognises is parsed by [http.ReadRequest].
//
// Systems other than Linux, and TLS, have net/http alone.
package door

import (
	"bufio"
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// kind is what the door does with a request.
type kind int

const (
	unusual kind = iota // leaves it to net/http
	handshake
	apiRequest
)

// maxRequest is read at a time, in bytes, so that a larger request is unusual.
const maxRequest = 16 << 10

// form is what the door knows of a request from its bytes.
type form struct {
	kind kind
	head int // length in bytes; behind it is the body, or what is early frames of a handshake
}

// classify says whether b is a usual request. prefix is the path ahead of /app and
// /apps that may be there. A request is usual if each of these holds:
//
//   - The head is complete, each line ends with CRLF, and no line is folded.
//   - All bytes are printable ASCII; names of headers are letters, digits and
//     dashes; there is one Host.
//   - There is no Transfer-Encoding, Expect, Trailer or TE.
//   - It is a handshake: a GET by HTTP/1.1 of a path that begins with /app/, with
//     one Upgrade, to websocket, one Connection that says so, and no
//     Content-Length. Or it is a request to the API: a GET or POST by HTTP/1.1 of a
//     path that begins with /apps/, with no Upgrade, no Connection but one that is
//     keep-alive or close, at most one Content-Length, the whole body and nothing
//     behind it.
func classify(b []byte, prefix string) form {
	head := bytes.Index(b, []byte("\r\n\r\n"))
	if head < 0 {
		return form{}
	}
	head += len("\r\n\r\n")
	line, rest, _ := bytes.Cut(b[:head-len("\r\n")], []byte("\r\n"))
	kind := requestLine(line, prefix)
	hosts, upgrades, connections, lengths, body := 0, 0, 0, 0, 0
	for len(rest) > 0 && kind != unusual {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := header(line)
		if !ok {
			return form{}
		}
		switch {
		case equalFold(name, "host"):
			hosts++
			ok = plainHost(value)
		case equalFold(name, "upgrade"):
			upgrades++
			ok = kind == handshake && equalFold(value, "websocket")
		case equalFold(name, "connection"):
			connections++
			ok = plainConnection(kind, value)
		case equalFold(name, "content-length"):
			lengths++
			body, ok = plainLength(value)
		case equalFold(name, "transfer-encoding"), equalFold(name, "expect"), equalFold(name, "trailer"), equalFold(name, "te"):
			ok = false
		}
		if !ok {
			return form{}
		}
	}
	switch {
	case hosts != 1:
		return form{}
	case kind == handshake && upgrades == 1 && connections == 1 && lengths == 0,
		kind == apiRequest && connections <= 1 && lengths <= 1 && len(b) == head+body:
		return form{kind, head}
	}
	return form{}
}

// requestLine says what the first line begins.
func requestLine(line []byte, prefix string) kind {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	if string(version) != "HTTP/1.1" || !printable(target) {
		return unusual
	}
	get := string(method) == http.MethodGet
	if !get && string(method) != http.MethodPost {
		return unusual
	}
	if after, ok := bytes.CutPrefix(target, []byte(prefix)); ok && prefix != "" {
		target = after
	}
	switch {
	case get && bytes.HasPrefix(target, []byte("/app/")):
		return handshake
	case bytes.HasPrefix(target, []byte("/apps/")):
		return apiRequest
	}
	return unusual
}

// header reads a line of the head.
func header(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, false
	}
	for _, c := range name {
		if !alphanumeric(c) && c != '-' {
			return nil, nil, false
		}
	}
	value = bytes.Trim(value, " ")
	for _, c := range value {
		if c < ' ' || c > '~' {
			return nil, nil, false
		}
	}
	return name, value, true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// printable says whether a request target has no byte that needs a thought.
func printable(target []byte) bool {
	for _, c := range target {
		if c <= ' ' || c > '~' || c == '#' {
			return false
		}
	}
	return len(target) > 0 && target[0] == '/'
}

// plainHost says whether a host is a name or an address, and a port or none.
func plainHost(value []byte) bool {
	for _, c := range value {
		if !alphanumeric(c) && c != '-' && c != '.' && c != ':' && c != '_' {
			return false
		}
	}
	return len(value) > 0
}

// plainConnection says whether the options are those of the kind: keep-alive, or
// not, and Upgrade; or one of keep-alive and close.
func plainConnection(k kind, value []byte) bool {
	if k == apiRequest {
		return equalFold(value, "keep-alive") || equalFold(value, "close")
	}
	upgrade := false
	for option := range bytes.SplitSeq(value, []byte(",")) {
		switch option = bytes.Trim(option, " "); {
		case equalFold(option, "upgrade"):
			upgrade = true
		case !equalFold(option, "keep-alive"):
			return false
		}
	}
	return upgrade
}

// plainLength reads a Content-Length.
func plainLength(value []byte) (n int, ok bool) {
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(string(value))
	return n, err == nil && n <= maxRequest
}

// equalFold compares with a text in lower case.
func equalFold(b []byte, lower string) bool {
	return len(b) == len(lower) && strings.EqualFold(string(b), lower)
}

// parser reads requests that are in memory.
type parser struct {
	source bytes.Reader
	buffer *bufio.Reader
}

var parsers = sync.Pool{New: func() any {
	p := new(parser)
	p.buffer = bufio.NewReaderSize(&p.source, 1<<10)
	return p
}}

// parse makes a request of a head and a body, which it keeps.
func parse(head, body []byte) (*http.Request, error) {
	p := parsers.Get().(*parser)
	defer parsers.Put(p)
	p.source.Reset(head)
	p.buffer.Reset(&p.source)
	r, err := http.ReadRequest(p.buffer)
	if err != nil {
		return nil, err
	}
	r.Body = http.NoBody // the pooled buffer is not kept
	if len(body) > 0 {
		r.Body = &memory{*bytes.NewReader(body)}
	}
	return r, nil
}

// memory is a body.
type memory struct{ bytes.Reader }

// Close implements io.Closer.
func (*memory) Close() error { return nil }
