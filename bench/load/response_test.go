package load

import (
	"strings"
	"testing"
)

func TestParseResponse(t *testing.T) {
	const length = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length:  2 \r\n\r\n{}"
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
	const untilEnd = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\nno signature"
	tests := []struct {
		name, in string
		ended    bool
		status   int
		body     string
		ok       bool
	}{
		{"length", length, false, 200, "{}", true},
		{"length, and more", length + "HTTP/1.1", false, 200, "{}", true},
		{"no body", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, 204, "", true},
		{"a status that has no body", "HTTP/1.1 204 No Content\r\n\r\n", false, 204, "", true},
		{"chunked", chunked, false, 200, "2\r\n{}\r\n0\r\n\r\n", true},
		{"until the end", untilEnd, true, 401, "no signature", true},
		{"until the end, which is yet to come", untilEnd, false, 0, "", false},
		{"no fields", "HTTP/1.1 101 Switching Protocols\r\n\r\n", true, 101, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, ok, err := parseResponse([]byte(tt.in), tt.ended)
			if err != nil || ok != tt.ok {
				t.Fatalf("got %v, %v, want %v", ok, err, tt.ok)
			}
			if ok && (r.status != tt.status || string(r.body) != tt.body || !strings.HasSuffix(tt.in[:r.size], tt.body)) {
				t.Errorf("got %d %q of %d bytes, want %d %q", r.status, r.body, r.size, tt.status, tt.body)
			}
		})
	}
	for _, whole := range []string{length, chunked} {
		for i := range whole {
			if _, ok, err := parseResponse([]byte(whole[:i]), false); ok || err != nil {
				t.Errorf("%q: got %v, %v, want to wait for more", whole[:i], ok, err)
			}
		}
	}
	for _, bad := range []string{"SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"} {
		if _, _, err := parseResponse([]byte(bad), true); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
