//go:build !blocking

package door

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"
)

// witness answers with all that it sees of a request.
var witness = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	seen := map[string]any{
		"method": r.Method, "url": r.URL, "uri": r.RequestURI, "proto": r.Proto, "host": r.Host, "header": r.Header,
		"length": r.ContentLength, "transfer": r.TransferEncoding, "trailer": r.Trailer, "close": r.Close, "body": body, "error": err,
	}
	if err := json.NewEncoder(w).Encode(seen); err != nil {
		panic(err)
	}
})

// outcome is what a client sees of an answer.
type outcome struct {
	Status                   int
	Type, Connection, Length string
	Body                     string
}

// ask sends bytes, ends the stream, and reads all answers.
func ask(t *testing.T, address string, b []byte) (outcomes []outcome) {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(b); err != nil {
		return nil
	}
	_ = nc.(*net.TCPConn).CloseWrite() // an error: it is closed
	answers := bufio.NewReader(nc)
	for {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return outcomes
		}
		body, _ := io.ReadAll(resp.Body) // what was cut counts as it is
		length := resp.Header.Get("Content-Length")
		if len(resp.TransferEncoding) > 0 { // net/http sends answers of more than 2 KiB so
			length = strconv.Itoa(len(body))
		}
		outcomes = append(outcomes, outcome{
			resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Connection"), length, string(body),
		})
	}
}

// judges are a door and a bare net/http server with the same handler.
type judges struct{ door, bare string }

func newJudges(f *testing.F) judges {
	h := open(f, witness)
	bare := httptest.NewUnstartedServer(witness)
	bare.Listener = h.Listen(bare.Listener, false)
	bare.Start()
	f.Cleanup(bare.Close)
	return judges{h.address, bare.Listener.Addr().String()}
}

// compare has both answer the same bytes.
func (j judges) compare(t *testing.T, b []byte) {
	t.Helper()
	if got, want := ask(t, j.door, b), ask(t, j.bare, b); !slices.Equal(got, want) {
		t.Errorf("%q\n got %+v\nwant %+v", b, got, want)
	}
}

// Any bytes are answered as by net/http.
func FuzzBytes(f *testing.F) {
	for _, seed := range []string{
		request("1/events", `{"name":"e","channel":"c","data":"x"}`),
		request("1/events", "x", "Connection: close"),
		request("1/events", "x", "Connection: keep-alive", "Accept: */*"),
		request("1/events?auth_key=a&b=%20+[]", "x"),
		request("a%2fb/..//c/%zz", "x"),
		request("1/events", "x", "X-A: 1", "x-a: 2", "Cookie: a=b", "Content-Type: application/json"),
		request("1/events", "x", "Host: b"),
		request("1/events", "x", "Content-Length: 2"),
		request("1/events", "x", "Transfer-Encoding: chunked"),
		request("1/events", "x") + request("1/events", "y"),
		request("slow", "x"),
		lines("GET /apps/1/channels HTTP/1.1", "Host: a"),
		lines("GET /apps/1/channels HTTP/1.1", "Host: a:"),
		lines("GET /apps/1/channels HTTP/1.1", "Host: a", "Expect: 100-continue"),
		lines("GET /apps/1/channels HTTP/1.0", "Host: a"),
		lines("GET /apps/1/channels HTTP/1.1"),
		lines("HEAD /apps/1/channels HTTP/1.1", "Host: a"),
		lines("GET /app/key HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade"),
		lines("GET /app/key HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade") + "\x81\x80abcd",
		lines("GET /app/key HTTP/1.1", "Host: a", "Upgrade: websocket", "Connection: Upgrade") + request("1/events", "x"),
		lines("POST /apps/1/events HTTP/1.1", "Host: a", "Content-Length: 2") + "x",
		"POST /apps/1/events HTTP/1.1\nHost: a\n\n",
		lines("POST /apps/1/events HTTP/1.1", "Host: a", "A: b", " c"),
	} {
		f.Add([]byte(seed))
	}
	j := newJudges(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) <= maxRequest {
			j.compare(t, b)
		}
	})
}

// So is what looks like a request to the API.
func FuzzFields(f *testing.F) {
	f.Add("1/events?a=b", "A", "b", "{}", false)
	f.Add("1/channels/%20;/../x", "Content-Encoding", "gzip, \"a\"", "", true)
	f.Add("slow//%41?%zz;=&&", "X-Forwarded-For", "1.2.3.4, [::1]:5", "\x00\xff", false)
	f.Add("", "Connection", "close", "x", false)
	f.Add("?", "connection", "Keep-Alive", "x", true)
	f.Add("@:", "-", "", "x", true)
	f.Add("*", "Pragma", "no-cache", "x", true)
	f.Add("[", "Cookie", "a=b; c", "x", true)
	j := newJudges(f)
	f.Fuzz(func(t *testing.T, path, name, value, body string, get bool) {
		text := request(path, body, name+": "+value)
		if get {
			text = "GET" + text[len("POST"):]
		}
		if len(text) <= maxRequest {
			j.compare(t, []byte(text))
		}
	})
}
