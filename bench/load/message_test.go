package load

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"belfry/auth"
)

var testApp = App{ID: "1", Credentials: auth.Credentials{Key: "key", Secret: "secret"}}

func TestStamp(t *testing.T) {
	b := appendStamp(nil, 42, 1234567890)
	if string(b) != "stamp=00000042@000001234567890" || len(b) != stampLen {
		t.Errorf("got %s", b)
	}
	number, at, ok := findStamp(append([]byte(`{"data":"`), b...))
	if number != 42 || at != 1234567890 || !ok {
		t.Errorf("got %d, %d, %v", number, at, ok)
	}
	for _, bad := range []string{"", "stamp=", "stamp=0000004x@000001234567890", "stamp=00000042@00000123456789"} {
		if _, _, ok := findStamp([]byte(bad)); ok {
			t.Errorf("%q has a stamp", bad)
		}
	}
}

func TestFindSocketID(t *testing.T) {
	tests := map[string]string{
		`{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.345\",\"activity_timeout\":120}"}`:     "12.345",
		`{"event": "pusher:connection_established", "data": "{\"activity_timeout\": 30, \"socket_id\": \"6.7\" }" }`: "6.7",
		`{"event":"pusher:error","data":{"code":4001}}`:                                                              "",
		`{"socket_id":""}`: "",
	}
	for message, want := range tests {
		if got := string(findSocketID([]byte(message))); got != want {
			t.Errorf("%s: got %q, want %q", message, got, want)
		}
	}
}

// A request must be one that a server accepts, each time.
func TestTopicIsSigned(t *testing.T) {
	topic := NewTopic(testApp, "127.0.0.1:1", "c", 100)
	for number := uint64(1); number <= 2; number++ {
		raw := topic.Next(time.Duration(number))
		head, body, _ := bytes.Cut(raw, endOfHead)
		_, rest, _ := bytes.Cut(head, []byte("?"))
		query, _, _ := bytes.Cut(rest, []byte(" "))
		request := auth.Request{Method: http.MethodPost, Paths: []string{"/apps/1/events"}, Query: auth.ParseQuery(string(query)), Body: body}
		if err := testApp.VerifyRequest(request, time.Now()); err != nil {
			t.Error(err)
		}
		got, at, ok := findStamp(body)
		if !ok || got != number || at != time.Duration(number) || topic.Sent != number {
			t.Errorf("event %d is stamped %d, %d, %v", number, got, at, ok)
		}
	}
	if topic.Sum != 3 {
		t.Errorf("the sum of 1 and 2 is %d", topic.Sum)
	}
}
