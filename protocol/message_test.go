package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseMessage(t *testing.T) {
	tests := []struct {
		name, in             string
		event, channel, data string // event is empty for an error
	}{
		{"ping", `{"event":"pusher:ping"}`, "pusher:ping", "", ""},
		{"client event", ` {"event":"client-x","channel":"private-a","data":{"a":1}} `, "client-x", "private-a", `{"a":1}`},
		{"nulls", `{"event":"x","channel":null,"data":null}`, "x", "", "null"},
		{"extra keys", `{"event":"x","user_id":1,"other":[{}]}`, "x", "", ""},
		{"empty", ``, "", "", ""},
		{"truncated", `{"event":"x"`, "", "", ""},
		{"two values", `{"event":"x"}{}`, "", "", ""},
		{"list", `[]`, "", "", ""},
		{"string", `"x"`, "", "", ""},
		{"null", `null`, "", "", ""},
		{"no event", `{}`, "", "", ""},
		{"empty event", `{"event":""}`, "", "", ""},
		{"null event", `{"event":null}`, "", "", ""},
		{"number event", `{"event":1}`, "", "", ""},
		{"number channel", `{"event":"x","channel":1}`, "", "", ""},
		{"deep", `{"event":"x","data":` + strings.Repeat("[", 20000) + `}`, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMessage([]byte(tt.in))
			if tt.event == "" {
				if err == nil {
					t.Fatalf("got %+v, want an error", m)
				}
				if strings.Contains(err.Error(), "Go ") || strings.Contains(err.Error(), "struct") {
					t.Errorf("error %q speaks of Go", err)
				}
				return
			}
			if err != nil || m.Event != tt.event || m.Channel != tt.channel || string(m.Data) != tt.data {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	}
}

func TestParseSubscribe(t *testing.T) {
	tests := []struct {
		name, in string
		want     Subscribe
		ok       bool
	}{
		{"public", `{"auth":"","channel":"a"}`, Subscribe{Channel: "a"}, true},
		{"presence", `{"auth":"k:s","channel":"presence-a","channel_data":"{\"user_id\":1}"}`,
			Subscribe{"presence-a", "k:s", `{"user_id":1}`}, true},
		{"nulls", `{"auth":null,"channel":"a","channel_data":null}`, Subscribe{Channel: "a"}, true},
		{"in a string", `"{\"channel\":\"a\"}"`, Subscribe{Channel: "a"}, true},
		{"empty name", `{"channel":""}`, Subscribe{}, true},
		{"missing data", ``, Subscribe{}, false},
		{"null data", `null`, Subscribe{}, false},
		{"no channel", `{}`, Subscribe{}, false},
		{"number channel", `{"channel":1}`, Subscribe{}, false},
		{"object channel data", `{"channel":"a","channel_data":{}}`, Subscribe{Channel: "a"}, false},
		{"number auth", `{"channel":"a","auth":5}`, Subscribe{Channel: "a"}, false},
		{"list", `[]`, Subscribe{}, false},
		{"string of nothing", `""`, Subscribe{}, false},
		{"string in a string", `"\"{}\""`, Subscribe{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSubscribe(json.RawMessage(tt.in))
			if (err == nil) != tt.ok || got != tt.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseMember(t *testing.T) {
	long := strings.Repeat("x", MaxUserID)
	tests := []struct {
		name, in   string
		user, info string // user is empty for an error
	}{
		{"string", `{"user_id":"7","user_info":{"name":"A"}}`, "7", `{"name":"A"}`},
		{"number", `{"user_id":10}`, "10", ""},
		{"large number", `{"user_id":12345678901234567890}`, "12345678901234567890", ""},
		{"info true", `{"user_id":1,"user_info":true}`, "1", "true"},
		{"info null", `{"user_id":1,"user_info":null}`, "1", "null"},
		{"longest id", `{"user_id":"` + long + `"}`, long, ""},
		{"too long an id", `{"user_id":"` + long + `x"}`, "", ""},
		{"no id", `{}`, "", ""},
		{"null id", `{"user_id":null}`, "", ""},
		{"empty id", `{"user_id":""}`, "", ""},
		{"bool id", `{"user_id":true}`, "", ""},
		{"object id", `{"user_id":{}}`, "", ""},
		{"too much info", `{"user_id":1,"user_info":"` + strings.Repeat("x", 100) + `"}`, "", ""},
		{"nothing", ``, "", ""},
		{"list", `[1]`, "", ""},
		{"not JSON", `user`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMember(tt.in, 100)
			if tt.user == "" {
				if err == nil {
					t.Errorf("got %+v, want an error", m)
				}
				return
			}
			if err != nil || m.UserID != tt.user || string(m.UserInfo) != tt.info {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	}
}

func TestStringData(t *testing.T) {
	tests := []struct {
		in, text string
		length   int // -1 for an error
	}{
		{`"plain"`, `"plain"`, 5},
		{`"{\"a\":1}"`, `"{\"a\":1}"`, 7},
		{`"\u00e9\/"`, `"\u00e9\/"`, 3}, // as it came; é is two bytes
		{`""`, `""`, 0},
		{` "x" `, `"x"`, 1},
		{`{"a": 1}`, `"{\"a\":1}"`, 7},
		{`[1, 2]`, `"[1,2]"`, 5},
		{`12`, `"12"`, 2},
		{`null`, `"null"`, 4},
		{``, `"null"`, 4},
		{`{`, ``, -1},
		{`"\x"`, ``, -1},
	}
	for _, tt := range tests {
		text, length, err := StringData(json.RawMessage(tt.in))
		if tt.length < 0 {
			if err == nil {
				t.Errorf("%s: got %s, want an error", tt.in, text)
			}
			continue
		}
		if err != nil || string(text) != tt.text || length != tt.length {
			t.Errorf("%s: got %s of %d, %v", tt.in, text, length, err)
		}
	}
}

func TestParseRecover(t *testing.T) {
	sockets := func(n int) string { return `["1.1"` + strings.Repeat(`,"2.3"`, n-1) + `]` }
	for _, tt := range []struct {
		name, in          string
		channels, sockets int // -1: an error
	}{
		{"one", `{"channels":{"a":"e-41"}}`, 1, 0},
		{"sockets", `{"channels":{"a":"e-41","b":""},"socket_ids":` + sockets(16) + `}`, 2, 16},
		{"as a string", `"{\"channels\":{\"a\":\"e-41\"}}"`, 1, 0},
		{"other keys", `{"channels":{"a":"x"},"Channels":1,"more":[]}`, 1, 0},
		{"nothing", `{}`, 0, 0},
		{"nulls", `{"channels":null,"socket_ids":null}`, 0, 0},
		{"no object", `[]`, -1, 0},
		{"no data", ``, -1, 0},
		{"null", `null`, -1, 0},
		{"list of channels", `{"channels":["a"]}`, -1, 0},
		{"number", `{"channels":{"a":41}}`, -1, 0},
		{"too many sockets", `{"socket_ids":` + sockets(17) + `}`, -1, 0},
		{"no socket", `{"socket_ids":["x"]}`, -1, 0},
		{"number as socket", `{"socket_ids":[1.1]}`, -1, 0},
		{"truncated", `{"channels":{"a":"e-41"}`, -1, 0},
	} {
		r, err := ParseRecover([]byte(tt.in))
		if (err != nil) != (tt.channels < 0) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if err == nil && (len(r.Channels) != tt.channels || len(r.Sockets) != tt.sockets) {
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		`{"event":"pusher:subscribe","data":{"channel":"presence-a","channel_data":"{\"user_id\":1}"}}`,
		`{"event":"pusher:subscribe"}`, `{"event":"client-x","channel":"private-a","data":"x"}`, `[]`, `{"event":1}`,
		`{"event":"pusher:signin","data":{"auth":"k:s","user_data":"{\"id\":\"1\",\"watchlist\":[\"2\",3]}"}}`,
		`{"event":"pusher:recover","data":{"channels":{"private-a":"e-41"},"socket_ids":["1.2"]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		if m.Event == "" {
			t.Fatal("a message without an event")
		}
		if s, err := ParseSubscribe(m.Data); err == nil {
			_, _ = ParseMember(s.ChannelData, 1024)
			_ = CheckChannel(s.Channel, 200)
		}
		if s, err := ParseSignin(m.Data); err == nil {
			if i, err := ParseIdentity(s.UserData); err == nil && (i.UserID == "" || len(i.Watchlist) > MaxWatchlist) {
				t.Fatalf("signed in as %+v", i)
			}
		}
		if r, err := ParseRecover(m.Data); err == nil && len(r.Sockets) > MaxRecoverSockets {
			t.Fatalf("%d connections before", len(r.Sockets))
		}
		text, length, err := StringData(m.Data)
		if err != nil || !utf8.Valid(b) {
			return
		}
		var s string
		if err := json.Unmarshal(text, &s); err != nil || len(s) != length {
			t.Fatalf("data %s became %s of %d: %v", m.Data, text, length, err)
		}
		var back struct{ Event, Channel, Data string }
		if err := json.Unmarshal(Event{Name: m.Event, Channel: m.Channel, Data: text}.Frame().JSON(), &back); err != nil {
			t.Fatal(err)
		}
		if back.Data != s {
			t.Fatalf("data %q arrives as %q", s, back.Data)
		}
	})
}
