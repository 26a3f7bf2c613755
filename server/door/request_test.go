package door

import (
	"strings"
	"testing"
)

// lines makes a head of its lines.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }

func TestClassify(t *testing.T) {
	const post, host = "POST /apps/1/events HTTP/1.1", "Host: 127.0.0.1:8080"
	const get, upgrade, connection = "GET /app/key?protocol=7 HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"
	long := strings.Repeat("x", maxRequest)
	tests := []struct {
		name, request string
		want          kind
	}{
		{"handshake", lines(get, host, upgrade, connection), handshake},
		{"handshake of Firefox", lines(get, host, "upgrade: WebSocket", "connection: keep-alive, Upgrade"), handshake},
		{"handshake with a prefix", lines("GET /ws/app/key HTTP/1.1", host, upgrade, connection), handshake},
		{"handshake with frames behind it", lines(get, host, upgrade, connection) + "\x81\x80abcd", handshake},
		{"POST of nothing", lines(post, host), apiRequest},
		{"POST with a body", lines(post, host, "Content-Length: 2") + "{}", apiRequest},
		{"POST with a prefix", lines("POST /ws/apps/1/events HTTP/1.1", host, "content-length: 2") + "{}", apiRequest},
		{"GET of the API", lines("GET /apps/1/channels?info=a%20b&x=[] HTTP/1.1", host, "Connection: keep-alive"), apiRequest},
		{"GET that is the last", lines("GET /apps/1/channels HTTP/1.1", host, "Connection: Close"), apiRequest},
		{"a value with spaces around it", lines(post, host, "Accept:   */*  "), apiRequest},
		{"a header without a value", lines(post, host, "Accept:"), apiRequest},
		{"body of any bytes", lines(post, host, "Content-Length: 4") + "\x00\xff\r\n", apiRequest},
		{"leading zeros of a length", lines(post, host, "Content-Length: 002") + "{}", apiRequest},

		{"nothing", "", unusual},
		{"half a head", "POST /apps/1/events HTTP/1.1\r\nHost: a\r\n", unusual},
		{"half a body", lines(post, host, "Content-Length: 3") + "{}", unusual},
		{"more than a body", lines(post, host, "Content-Length: 2") + "{}\r\n", unusual},
		{"two requests", lines(post, host) + lines(post, host), unusual},
		{"a blank line ahead", "\r\n" + lines(post, host), unusual},
		{"a body without a length", lines(post, host) + "{}", unusual},
		{"two lengths", lines(post, host, "Content-Length: 2", "Content-Length: 2") + "{}", unusual},
		{"a list of lengths", lines(post, host, "Content-Length: 2, 2") + "{}", unusual},
		{"a length with a sign", lines(post, host, "Content-Length: +2") + "{}", unusual},
		{"a negative length", lines(post, host, "Content-Length: -1"), unusual},
		{"a hexadecimal length", lines(post, host, "Content-Length: 0x2") + "{}", unusual},
		{"an empty length", lines(post, host, "Content-Length:"), unusual},
		{"an enormous length", lines(post, host, "Content-Length: 99999999999999999999") + "{}", unusual},
		{"a body that is too long", lines(post, host, "Content-Length: 16385") + long + "x", unusual},
		{"chunks", lines(post, host, "Transfer-Encoding: chunked") + "0\r\n\r\n", unusual},
		{"chunks and a length", lines(post, host, "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", unusual},
		{"identity", lines(post, host, "transfer-encoding: identity"), unusual},
		{"Expect", lines(post, host, "Expect: 100-continue"), unusual},
		{"Trailer", lines(post, host, "Trailer: X"), unusual},
		{"TE", lines(post, host, "TE: trailers"), unusual},
		{"upgrade of an API request", lines(post, host, upgrade, connection), unusual},
		{"an Upgrade without a Connection", lines(post, host, upgrade), unusual},
		{"two Connections", lines(post, host, "Connection: close", "Connection: close"), unusual},
		{"a list of options", lines(post, host, "Connection: close, keep-alive"), unusual},
		{"another option", lines(post, host, "Connection: TE"), unusual},
		{"an empty option", lines(post, host, "Connection:"), unusual},
		{"HTTP/1.0", lines("POST /apps/1/events HTTP/1.0", host), unusual},
		{"HTTP/2", lines("PRI * HTTP/2.0"), unusual},
		{"no version", lines("POST /apps/1/events", host), unusual},
		{"version in lower case", lines("POST /apps/1/events http/1.1", host), unusual},
		{"two spaces", lines("POST  /apps/1/events HTTP/1.1", host), unusual},
		{"a space behind the version", lines("POST /apps/1/events HTTP/1.1 ", host), unusual},
		{"a tab", lines("POST\t/apps/1/events HTTP/1.1", host), unusual},
		{"a method in lower case", lines("post /apps/1/events HTTP/1.1", host), unusual},
		{"HEAD", lines("HEAD /apps/1/channels HTTP/1.1", host), unusual},
		{"OPTIONS", lines("OPTIONS /apps/1/events HTTP/1.1", host), unusual},
		{"PUT", lines("PUT /apps/1/events HTTP/1.1", host), unusual},
		{"another path", lines("GET /up HTTP/1.1", host), unusual},
		{"the API itself", lines("GET /apps HTTP/1.1", host), unusual},
		{"two slashes", lines("POST //apps/1/events HTTP/1.1", host), unusual},
		{"an escaped path", lines("POST /%61pps/1/events HTTP/1.1", host), unusual},
		{"a path without a slash", lines("POST apps/1/events HTTP/1.1", host), unusual},
		{"another prefix", lines("POST /wss/apps/1/events HTTP/1.1", host), unusual},
		{"a whole URL", lines("POST http://a/apps/1/events HTTP/1.1", host), unusual},
		{"CONNECT", lines("CONNECT a:1 HTTP/1.1", host), unusual},
		{"a fragment", lines("GET /apps/1/channels#x HTTP/1.1", host), unusual},
		{"UTF-8 in the path", lines("GET /apps/1/channels/ä HTTP/1.1", host), unusual},
		{"no Host", lines(post), unusual},
		{"two Hosts", lines(post, host, host), unusual},
		{"an empty Host", lines(post, "Host:"), unusual},
		{"an odd Host", lines(post, "Host: a/b"), unusual},
		{"a user in Host", lines(post, "Host: a@b"), unusual},
		{"a folded line", lines(post, host, "A: b", " c"), unusual},
		{"a space ahead of the colon", lines(post, host, "Content-Length : 2") + "{}", unusual},
		{"no colon", lines(post, host, "A"), unusual},
		{"no name", lines(post, host, ": a"), unusual},
		{"an underscore in a name", lines(post, host, "Content_Length: 2"), unusual},
		{"UTF-8 in a value", lines(post, host, "A: ä"), unusual},
		{"a tab in a value", lines(post, host, "A: b\tc"), unusual},
		{"a zero byte in a value", lines(post, host, "A: b\x00"), unusual},
		{"a carriage return in a value", lines(post, host, "A: b\rC: d"), unusual},
		{"line feeds only", "POST /apps/1/events HTTP/1.1\nHost: a\n\n", unusual},
		{"a line feed among them", "POST /apps/1/events HTTP/1.1\r\nHost: a\nB: c\r\n\r\n", unusual},
		{"a line feed at the end", "POST /apps/1/events HTTP/1.1\r\nHost: a\r\n\n", unusual},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", unusual},

		{"handshake by POST", lines("POST /app/key HTTP/1.1", host, upgrade, connection), unusual},
		{"handshake with a length", lines(get, host, upgrade, connection, "Content-Length: 0"), unusual},
		{"handshake without Upgrade", lines(get, host, connection), unusual},
		{"handshake without Connection", lines(get, host, upgrade), unusual},
		{"upgrade to h2c", lines(get, host, "Upgrade: h2c", connection), unusual},
		{"upgrade to two", lines(get, host, "Upgrade: h2c, websocket", connection), unusual},
		{"two Upgrades", lines(get, host, upgrade, upgrade, connection), unusual},
		{"handshake that closes", lines(get, host, upgrade, "Connection: close, Upgrade"), unusual},
		{"a plain GET of an application", lines(get, host), unusual},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := classify([]byte(tt.request), "/ws")
			if f.kind != tt.want {
				t.Fatalf("%q is %d, want %d", tt.request, f.kind, tt.want)
			}
			if f.kind == unusual {
				return
			}
			if head := strings.Index(tt.request, "\r\n\r\n") + 4; f.head != head {
				t.Errorf("a head of %d bytes", f.head)
			}
			if _, err := parse([]byte(tt.request[:f.head]), nil); err != nil {
				t.Errorf("net/http: %v", err)
			}
		})
	}
}

// Without a prefix there is no other way to the API.
func TestClassifyWithoutPrefix(t *testing.T) {
	for request, want := range map[string]kind{
		lines("POST /apps/1/events HTTP/1.1", "Host: a"):    apiRequest,
		lines("POST /ws/apps/1/events HTTP/1.1", "Host: a"): unusual,
	} {
		if f := classify([]byte(request), ""); f.kind != want {
			t.Errorf("%q is %d, want %d", request, f.kind, want)
		}
	}
}
