package load

import (
	"slices"
	"testing"
)

func TestAnswer(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/javascript\r\n"
	tests := []struct {
		name, in string
		status   int
		body     string
		whole    bool
	}{
		{"length", head + "Content-Length: 4\r\n\r\no\nh\n", 200, "o\nh\n", true},
		{"length, and more to come", head + "Content-Length: 5\r\n\r\no\nh\n", 200, "o\nh\n", false},
		{"no bytes", head + "Content-Length: 0\r\n\r\n", 200, "", true},
		{"a status that has no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n2\r\no\n\r\n00F\r\na[\"0\\r\\n\\r\\n\"]\n\r\n0\r\n\r\n", 200, "o\na[\"0\\r\\n\\r\\n\"]\n", true},
		{"chunks that end with a line", head + "Transfer-Encoding: chunked\r\n\r\n4\r\n0\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", 200, "0\r\n\r\n", true},
		{"chunks, and more to come", head + "Transfer-Encoding: chunked\r\n\r\n2\r\no\n\r\n1f\r\na[", 200, "o\na[", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for cut := range len(tt.in) + 1 {
				a, body, err := readAnswer(tt.in[:cut], tt.in[cut:])
				if err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if a.status != tt.status || body != tt.body || (a.part == nothing) != tt.whole {
					t.Fatalf("cut at %d: status %d, body %q, part %d", cut, a.status, body, a.part)
				}
			}
		})
	}
	for _, bad := range []string{
		"SSH-2.0-x\r\n\r\n",
		head + "\r\no\n",
		head + "Content-Length: 2\r\n\r\no\nh\n",
		head + "Transfer-Encoding: chunked\r\n\r\n\r\no\n",
		head + "Transfer-Encoding: chunked\r\n\r\n2;x\r\no\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n2\r\no\nh\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\nExpires: 0\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1",
	} {
		if a, body, err := readAnswer(bad, ""); err == nil {
			t.Errorf("%q is read as %q with status %d", bad, body, a.status)
		}
	}
}

// readAnswer reads an answer that comes in pieces, in the way of an exchange.
func readAnswer(pieces ...string) (a answer, body string, err error) {
	var held []byte
	for _, p := range pieces {
		b := append(held, p...)
		if a.part == theHead {
			n, err := a.begin(b)
			if err != nil {
				return a, body, err
			}
			if held = b; n == 0 {
				continue
			}
			b, held = b[n:], nil
		}
		data, err := a.body(slices.Clone(b))
		if err != nil {
			return a, body, err
		}
		body += string(data)
	}
	return a, body, nil
}
