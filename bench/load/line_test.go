package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A request must be one that a server understands, and the next one must be
// found behind it.
func TestAppendPost(t *testing.T) {
	b := appendPost(nil, "127.0.0.1:1", "/pusher/app/key/1/a/xhr_send?t=1&n=1", []byte(`["x"]`))
	b = appendPost(b, "127.0.0.1:1", "/pusher/app/key/1/a/xhr?t=1&n=2", nil)
	in := bufio.NewReader(bytes.NewReader(b))
	for _, want := range []struct{ path, body string }{{"/pusher/app/key/1/a/xhr_send", `["x"]`}, {"/pusher/app/key/1/a/xhr", ""}} {
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != want.body || r.URL.Path != want.path || r.Method != http.MethodPost || r.Host != "127.0.0.1:1" {
			t.Errorf("%s %s of %s with %q, error %v", r.Method, r.URL, r.Host, body, err)
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Error("there is more behind the requests")
	}
}

func TestMessageList(t *testing.T) {
	for _, want := range [][]string{{}, {`{"event":"pusher:pong","data":{}}`}, {`{"a":"\\"}`, "é\n"}} {
		var messages [][]byte
		for _, m := range want {
			messages = append(messages, []byte(m))
		}
		list := messageList(messages)
		var got []string
		if err := json.Unmarshal(list, &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is written as %s, error %v", want, list, err)
		}
	}
}

func TestOnlyText(t *testing.T) {
	tests := map[string]string{
		`["{\"a\":1}"]`: `{\"a\":1}`,
		`[""]`:          "",
		`[]`:            "-",
		`["`:            "-",
		`["a", 1]`:      "-",
		` ["a"]`:        "-",
	}
	for list, want := range tests {
		got := "-"
		if text, ok := onlyText([]byte(list)); ok {
			got = string(text)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", list, got, want)
		}
	}
}

func TestClosedByLine(t *testing.T) {
	var closed *ClosedError
	if err := closedByLine([]byte(`[4200,"Server is restarting"]`)); !errors.As(err, &closed) || closed.Code != 4200 || closed.Reason != "Server is restarting" {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"", "[", `["4200",""]`, "{}"} {
		if err := closedByLine([]byte(bad)); err == nil || errors.As(err, &closed) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
