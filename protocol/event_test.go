package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFrames(t *testing.T) {
	id := SocketID{131160, 155806628}
	members := []Member{
		{UserID: "1", UserInfo: json.RawMessage(`{"name":"A"}`)},
		{UserID: `2"`},
	}
	tests := []struct {
		name  string
		frame Frame
		want  string
	}{
		{"established", ConnectionEstablishedFrame(id, 120),
			`{"event":"pusher:connection_established","data":"{\"socket_id\":\"131160.155806628\",\"activity_timeout\":120}"}`},
		{"pong", PongFrame, `{"event":"pusher:pong","data":"{}"}`},
		{"error", ErrorFrame(&Error{4001, `no "x"`}), `{"event":"pusher:error","data":{"code":4001,"message":"no \"x\""}}`},
		{"error without code", ErrorFrame(&Error{Message: "m"}), `{"event":"pusher:error","data":{"code":null,"message":"m"}}`},
		{"succeeded", Success{Channel: "my-channel"}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"my-channel","data":"{}"}`},
		{"presence succeeded", Success{Channel: "presence-x", Members: []Members{encoded(members[0]), encoded(members[1])}}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"presence-x","data":"{\"presence\":{\"count\":2,\"ids\":[\"1\",\"2\\\"\"],\"hash\":{\"1\":{\"name\":\"A\"},\"2\\\"\":null}}}"}`},
		{"presence of nobody", Success{Channel: "presence-x"}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"presence-x","data":"{\"presence\":{\"count\":0,\"ids\":[],\"hash\":{}}}"}`},
		{"succeeded with a serial", Success{Channel: "c", Serial: Serial{"ep", 41}}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}","serial":"ep-41"}`},
		{"recovered", Success{Channel: "c", Serial: Serial{"ep", 0}, Recovery: Recovered}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{\"recovered\":true}","serial":"ep-0"}`},
		{"missed", Success{Channel: "c", Recovery: Missed}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{\"recovered\":false}"}`},
		{"presence recovered", Success{Channel: "presence-x", Members: []Members{encoded(members[0])}, Serial: Serial{"ep", 41}, Recovery: Recovered}.Frame(),
			`{"event":"pusher_internal:subscription_succeeded","channel":"presence-x","data":"{\"presence\":{\"count\":1,\"ids\":[\"1\"],\"hash\":{\"1\":{\"name\":\"A\"}}},\"recovered\":true}","serial":"ep-41"}`},
		{"subscription error", SubscriptionErrorFrame("private-x", SubscriptionAuthError, "no", 401),
			`{"event":"pusher:subscription_error","channel":"private-x","data":"{\"type\":\"AuthError\",\"error\":\"no\",\"status\":401}"}`},
		{"cache miss", CacheMissFrame("cache-x"), `{"event":"pusher:cache_miss","channel":"cache-x","data":"{}"}`},
		{"member added", MemberAddedFrame("presence-x", members[0]),
			`{"event":"pusher_internal:member_added","channel":"presence-x","data":"{\"user_id\":\"1\",\"user_info\":{\"name\":\"A\"}}"}`},
		{"member added without info", MemberAddedFrame("presence-x", Member{UserID: "3"}),
			`{"event":"pusher_internal:member_added","channel":"presence-x","data":"{\"user_id\":\"3\"}"}`},
		{"member removed", MemberRemovedFrame("presence-x", "1"),
			`{"event":"pusher_internal:member_removed","channel":"presence-x","data":"{\"user_id\":\"1\"}"}`},
		{"subscription count", SubscriptionCountFrame("c", 3),
			`{"event":"pusher_internal:subscription_count","channel":"c","data":"{\"subscription_count\":3}"}`},
		{"sign-in", SigninSuccessFrame(`{"id":"1"}`),
			`{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"1\\\"}\"}"}`},
		{"watchlist", WatchlistFrame([]string{"1", `2"`}, []string{"3"}),
			`{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"1\",\"2\\\"\"]},{\"name\":\"offline\",\"user_ids\":[\"3\"]}]}"}`},
		{"watchlist, one went", WatchlistFrame(nil, []string{"3"}),
			`{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"3\"]}]}"}`},
		{"event", Event{Name: `App\Events\OrderShipped`, Channel: "orders", Data: []byte(`"{\"id\":1}"`)}.Frame(),
			`{"event":"App\\Events\\OrderShipped","channel":"orders","data":"{\"id\":1}"}`},
		{"client event", Event{Name: "client-typing", Channel: "presence-x", Data: []byte(`"{}"`), UserID: "1"}.Frame(),
			`{"event":"client-typing","channel":"presence-x","data":"{}","user_id":"1"}`},
		{"event with a serial", Event{Name: "e", Channel: "c", Data: []byte(`"x"`), Serial: Serial{"ep", 41}}.Frame(),
			`{"event":"e","channel":"c","data":"x","serial":"ep-41"}`},
		{"client event with a serial", Event{Name: "client-e", Channel: "presence-x", Data: []byte(`"x"`), UserID: "1", Serial: Serial{"ep", 1<<64 - 1}}.Frame(),
			`{"event":"client-e","channel":"presence-x","data":"x","user_id":"1","serial":"ep-18446744073709551615"}`},
		{"serial added", SerialFrame(Event{Name: "e", Channel: "c", Data: []byte(`"x"`)}.Frame().JSON(), Serial{"ep", 1<<64 - 1}),
			`{"event":"e","channel":"c","data":"x","serial":"ep-18446744073709551615"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.frame.JSON()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.frame[0] != 0x81 || tt.frame[1]&0x80 != 0 {
				t.Errorf("header % x: want a final, unmasked text frame", tt.frame[:2])
			}
			if n := FrameLen(tt.frame); n != len(tt.frame) {
				t.Errorf("FrameLen is %d, the frame %d", n, len(tt.frame))
			}
		})
	}
}

// The three forms of a length (RFC 6455 section 5.2).
func TestFrameLengths(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 0xffff, 0x10000, 0x10001} {
		payload := strings.Repeat("x", size)
		f := textFrame(1, func(b []byte) []byte { return append(b, payload...) })
		if got := string(f.JSON()); got != payload {
			t.Errorf("%d bytes: %d came back", size, len(got))
		}
		header := map[bool]int{true: 2}[size < 126]
		switch {
		case size > 0xffff:
			header = 10
		case size > 125:
			header = 4
		}
		if len(f) != header+size || FrameLen(f) != len(f) {
			t.Errorf("%d bytes: frame of %d, FrameLen %d, want %d", size, len(f), FrameLen(f), header+size)
		}
	}
}

func TestCloseFrame(t *testing.T) {
	tests := []struct {
		name, reason, want string
	}{
		{"short", "gone", "\x88\x06\x10\x04gone"},
		{"none", "", "\x88\x02\x10\x04"},
		{"invalid", "a\xffb", "\x88\x05\x10\x04a?b"},
		{"longest", strings.Repeat("x", 123), "\x88\x7d\x10\x04" + strings.Repeat("x", 123)},
		{"cut", strings.Repeat("x", 200), "\x88\x7d\x10\x04" + strings.Repeat("x", 120) + "…"},
		{"cut before a character", strings.Repeat("x", 119) + "ééé", "\x88\x7c\x10\x04" + strings.Repeat("x", 119) + "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := CloseFrame(4100, tt.reason)
			if got := string(f); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if !utf8.Valid(f[4:]) {
				t.Errorf("reason %q is not UTF-8", f[4:])
			}
		})
	}
}

func TestAppendStringIsJSON(t *testing.T) {
	tests := []string{"", "plain", `"\/`, "\x00\x1f\n\r\t\b\f", "é…😀", "\u2028", "<&>", strings.Repeat(`\`, 100)}
	for _, s := range tests {
		var got string
		b := AppendString(nil, s)
		if err := json.Unmarshal(b, &got); err != nil || got != s {
			t.Errorf("%q became %s: %q, %v", s, b, got, err)
		}
	}
	if got := string(AppendString(nil, "a\xffb\xc3")); got != "\"a\ufffdb\ufffd\"" {
		t.Errorf("invalid UTF-8 became %q", got)
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("")
	f.Add("a\xff\x00\"\\é😀")
	f.Fuzz(func(t *testing.T, s string) {
		b := AppendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q became %q: %v", s, b, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && got != want {
			t.Fatalf("%q came back as %q", s, got)
		}
		if !utf8.Valid(b) {
			t.Fatalf("%q is not UTF-8", b)
		}
	})
}

// An event is encoded once a broadcast: in one allocation when its data needs
// no escaping, whatever its size.
func BenchmarkEventFrame(b *testing.B) {
	e := Event{Name: `App\Events\OrderShipped`, Channel: "private-orders.1", Data: []byte(`"` + strings.Repeat("x", 100) + `"`)}
	b.ReportAllocs()
	for b.Loop() {
		e.Frame()
	}
}
