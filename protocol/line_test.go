package protocol

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

func TestLines(t *testing.T) {
	frames := slices.Concat(
		Event{Name: `App\Events\X`, Channel: "a", Data: []byte(`"{\"a\":\"é😀\"}"`)}.Frame(),
		MemberAddedFrame("presence-a", Member{UserID: "1", UserInfo: json.RawMessage("{\n\"a\":1}")}),
		Event{Name: "long", Channel: "a", Data: []byte(`"` + strings.Repeat("x", 70_000) + `"`)}.Frame(),
		PongFrame,
	)
	lines := strings.SplitAfter(string(AppendLines(nil, frames)), "\n")
	if n := len(lines); n != 5 || lines[4] != "" {
		t.Fatalf("%d lines, the last of them %q", n, lines[n-1])
	}
	for _, line := range lines[:4] {
		var messages []string
		kind, list := line[:1], line[1:]
		if err := json.Unmarshal([]byte(list), &messages); err != nil || kind != "a" || len(messages) != 1 {
			t.Fatalf("line %q: %v", line, err)
		}
		size := FrameLen(frames)
		if want := string(Frame(frames[:size]).JSON()); messages[0] != want {
			t.Errorf("got message %q, want %q", messages[0], want)
		}
		frames = frames[size:]
	}
}

func TestCloseLine(t *testing.T) {
	if got, want := string(AppendCloseLine(nil, 4200, "a \"b\"\n\xff")), `c[4200,"a \"b\"\n`+"\ufffd\"]\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLineUnits(t *testing.T) {
	for _, s := range []string{"", "o\n", `a["é…😀\u2028"]` + "\n", "\u07ff\u0800\uffff\U00010000\U0010ffff"} {
		if got, want := LineUnits([]byte(s)), len(utf16.Encode([]rune(s))); got != want {
			t.Errorf("%q has %d units, want %d", s, got, want)
		}
	}
}

func TestParseMessages(t *testing.T) {
	tests := []struct {
		body string
		want []string // nil for an error
	}{
		{`[]`, []string{}},
		{` [ ] `, []string{}},
		{`["{\"event\":\"pusher:ping\"}"]`, []string{`{"event":"pusher:ping"}`}},
		{`["a","","é😀"]`, []string{"a", "", "é😀"}},
		{`["\ud83d\ude00\ud83d"]`, []string{"😀\ufffd"}},
		{``, nil},
		{`null`, nil},
		{`[null]`, nil},
		{`{}`, nil},
		{`"a"`, nil},
		{`["a",1]`, nil},
		{`[["a"]]`, nil},
		{`["a"`, nil},
		{`["a"]["b"]`, nil},
		{"[\"\xff\"]", nil},
		{"[\"a\nb\"]", nil},
		{strings.Repeat("[", 20_000), nil},
	}
	for _, tt := range tests {
		got, err := ParseMessages([]byte(tt.body))
		if !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) || (err == nil) != (tt.want != nil) {
			t.Errorf("%.40q is read as %q, error %v", tt.body, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "Go ") {
			t.Errorf("error %q speaks of Go", err)
		}
	}
}

func FuzzParseMessages(f *testing.F) {
	for _, s := range []string{
		`[]`, `["{\"event\":\"pusher:subscribe\",\"data\":{\"auth\":\"\",\"channel\":\"a\"}}"]`, `["a","\ud800"]`, `[null]`, `[1]`, `{`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		messages, err := ParseMessages(body)
		if err != nil {
			return
		}
		for _, m := range messages {
			if !utf8.ValidString(m) {
				t.Fatalf("message %q is not UTF-8", m)
			}
		}
		again, err := json.Marshal(messages)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseMessages(again); err != nil || !slices.Equal(back, messages) {
			t.Fatalf("%q came back as %q, error %v", messages, back, err)
		}
	})
}

// Whatever is sent arrives, on one line, and is as long as the client counts.
func FuzzLine(f *testing.F) {
	f.Add(`{"a":"é😀"}`)
	f.Add("a\xff\x00\n\"\\")
	f.Fuzz(func(t *testing.T, s string) {
		frame := textFrame(len(s), func(b []byte) []byte { return append(b, s...) })
		line := string(frame.AppendLine(nil))
		if strings.IndexByte(line, '\n') != len(line)-1 || line[0] != 'a' {
			t.Fatalf("%q is no line", line)
		}
		messages, err := ParseMessages([]byte(line[1:]))
		if err != nil || len(messages) != 1 || utf8.ValidString(s) && messages[0] != s {
			t.Fatalf("%q arrives as %q, error %v", s, messages, err)
		}
		if got, want := LineUnits([]byte(line)), len(utf16.Encode([]rune(line))); got != want {
			t.Fatalf("%q has %d units, want %d", line, got, want)
		}
	})
}
