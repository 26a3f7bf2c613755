package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

var limits = Limits{EventBytes: 20, Name: 30, ChannelsPerEvent: 3, BatchEvents: 2}

func TestParsePublish(t *testing.T) {
	tests := []struct {
		name, in string
		status   int // 0: accepted
		channels []string
		data     string
	}{
		{"one channel", `{"name":"e","channel":"a","data":"x"}`, 0, []string{"a"}, `"x"`},
		{"channels", `{"name":"e","channels":["a","b"],"data":"{\"x\":1}"}`, 0, []string{"a", "b"}, `"{\"x\":1}"`},
		{"channels win", `{"name":"e","channel":"c","channels":["a"],"data":""}`, 0, []string{"a"}, `""`},
		{"repeated", `{"name":"e","channels":["a","b","a"],"data":"x"}`, 0, []string{"a", "b"}, `"x"`},
		{"object data", `{"name":"e","channel":"a","data":{"x": 1}}`, 0, []string{"a"}, `"{\"x\":1}"`},
		{"Laravel's name", `{"name":"App\\Events\\OrderShipped","channel":"a","data":"[]"}`, 0, []string{"a"}, `"[]"`},
		{"most data", `{"name":"e","channel":"a","data":"` + strings.Repeat("x", 20) + `"}`, 0, []string{"a"}, `"` + strings.Repeat("x", 20) + `"`},
		{"most escaped data", `{"name":"e","channel":"a","data":"` + strings.Repeat(`\n`, 20) + `"}`, 0, []string{"a"}, `"` + strings.Repeat(`\n`, 20) + `"`},
		{"too much data", `{"name":"e","channel":"a","data":"` + strings.Repeat("x", 21) + `"}`, statusTooLarge, nil, ""},
		{"no data", `{"name":"e","channel":"a"}`, statusBadRequest, nil, ""},
		{"no name", `{"channel":"a","data":"x"}`, statusBadRequest, nil, ""},
		{"long name", `{"name":"` + strings.Repeat("x", 31) + `","channel":"a","data":"x"}`, statusBadRequest, nil, ""},
		{"reserved name", `{"name":"pusher:x","channel":"a","data":"x"}`, statusBadRequest, nil, ""},
		{"internal name", `{"name":"pusher_internal:x","channel":"a","data":"x"}`, statusBadRequest, nil, ""},
		{"no channel", `{"name":"e","data":"x"}`, statusBadRequest, nil, ""},
		{"empty channels", `{"name":"e","channels":[],"data":"x"}`, statusBadRequest, nil, ""},
		{"too many channels", `{"name":"e","channels":["a","b","c","d"],"data":"x"}`, statusBadRequest, nil, ""},
		{"bad channel", `{"name":"e","channels":["a","b c"],"data":"x"}`, statusBadRequest, nil, ""},
		{"number channel", `{"name":"e","channels":[1],"data":"x"}`, statusBadRequest, nil, ""},
		{"bad socket id", `{"name":"e","channel":"a","data":"x","socket_id":"1"}`, statusBadRequest, nil, ""},
		{"empty socket id", `{"name":"e","channel":"a","data":"x","socket_id":""}`, 0, []string{"a"}, `"x"`},
		{"unknown info", `{"name":"e","channel":"a","data":"x","info":"colour"}`, statusBadRequest, nil, ""},
		{"list", `[]`, statusBadRequest, nil, ""},
		{"nothing", ``, statusBadRequest, nil, ""},
		{"invalid UTF-8", "{\"name\":\"e\",\"channel\":\"a\",\"data\":\"\xff\"}", statusBadRequest, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ParsePublish([]byte(tt.in), "", limits)
			if tt.status != 0 {
				refused := new(RequestError)
				if !errors.As(err, &refused) || refused.Status != tt.status {
					t.Errorf("got %+v, %v, want status %d", p, err, tt.status)
				}
				return
			}
			if err != nil || !slices.Equal(p.Channels, tt.channels) || string(p.Data) != tt.data {
				t.Errorf("got %+v, data %s, %v", p, p.Data, err)
			}
		})
	}
}

func TestParsePublishOptions(t *testing.T) {
	p, err := ParsePublish([]byte(`{"name":"e","channel":"a","data":"x","socket_id":"12.34","info":"user_count, subscription_count"}`), "", limits)
	if err != nil {
		t.Fatal(err)
	}
	if p.Except != (SocketID{12, 34}) || p.Info != (Info{UserCount: true, SubscriptionCount: true}) {
		t.Errorf("got %+v", p)
	}
}

// An event has the key of its own, of the body or of the header, in this order. Events of
// one batch differ in theirs.
func TestKeys(t *testing.T) {
	const start = `{"name":"e","channel":"a","data":"x"`
	for body, want := range map[string]string{
		start + `}`:                             "header",
		start + `,"idempotency_key":"own"}`:     "own",
		start + `,"idempotency_key":""}`:        "",
		start + `,"idempotency_key":null}`:      "header",
		start + `,"idempotency_key":"\u00fcA"}`: "üA",
	} {
		p, err := ParsePublish([]byte(body), "header", limits)
		if err != nil || p.Key != want {
			t.Errorf("%s: key %q, %v", body, p.Key, err)
		}
	}
	long := `,"idempotency_key":"` + strings.Repeat("ü", maxKey+1) + `"}`
	for _, body := range []string{start + long, start + `,"idempotency_key":1}`} {
		if _, err := ParsePublish([]byte(body), "", limits); err == nil {
			t.Errorf("%s is accepted", body)
		}
	}
	if _, err := ParsePublish([]byte(start+`}`), strings.Repeat("x", maxKey+1), limits); err == nil {
		t.Error("a long key of the header is accepted")
	}
	for body, want := range map[string][]string{
		`{"batch":[` + start + `},` + start + `}]}`:                                                      {"0 header", "1 header"},
		`{"batch":[` + start + `},` + start + `,"idempotency_key":"own"}]}`:                              {"0 header", "own"},
		`{"batch":[` + start + `},` + start + `}],"idempotency_key":"body"}`:                             {"0 body", "1 body"},
		`{"batch":[` + start + `},` + start + `,"idempotency_key":""}],"idempotency_key":"` + "b" + `"}`: {"0 b", ""},
	} {
		batch, err := ParseBatch([]byte(body), "header", limits)
		var got []string
		for _, p := range batch {
			got = append(got, p.Key)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: keys %q, %v", body, got, err)
		}
	}
}

func TestParseBatch(t *testing.T) {
	item := func(channel string) string { return fmt.Sprintf(`{"name":"e","channel":%q,"data":"x"}`, channel) }
	batch := func(items ...string) string { return `{"batch":[` + strings.Join(items, ",") + `]}` }
	tests := []struct {
		name, in string
		status   int
		message  string
		n        int
	}{
		{"two", batch(item("a"), item("b")), 0, "", 2},
		{"none", batch(), 0, "", 0},
		{"too many", batch(item("a"), item("b"), item("c")), statusBadRequest, "3 events", 0},
		{"one is bad", batch(item("a"), item("b c")), statusBadRequest, "batch[1]", 0},
		{"one is too large", batch(item("a"), `{"name":"e","channel":"a","data":"`+strings.Repeat("x", 21)+`"}`), statusTooLarge, "batch[1]", 0},
		{"channels in an item", batch(`{"name":"e","channels":["a"],"data":"x"}`), statusBadRequest, "channel is missing", 0},
		{"no batch", `{}`, statusBadRequest, "batch is missing", 0},
		{"a list", `[]`, statusBadRequest, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseBatch([]byte(tt.in), "", limits)
			if tt.status == 0 {
				if err != nil || len(got) != tt.n {
					t.Errorf("got %d, %v", len(got), err)
				}
				return
			}
			refused := new(RequestError)
			if !errors.As(err, &refused) || refused.Status != tt.status || !strings.Contains(refused.Message, tt.message) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzParsePublish(f *testing.F) {
	f.Add([]byte(`{"name":"e","channels":["a","a"],"data":"x","socket_id":"1.2","info":"user_count"}`))
	f.Add([]byte(`{"batch":[{"name":"e","channel":"a","data":{}}]}`))
	f.Add([]byte(`{"name":"e","channel":"a","data":"\ud800"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := ParsePublish(body, "", limits)
		if refused := new(RequestError); err != nil && !errors.As(err, &refused) {
			t.Fatalf("%T: %v", err, err)
		}
		if err == nil {
			for _, channel := range p.Channels {
				if frame := (Event{Name: p.Name, Channel: channel, Data: p.Data}).Frame(); !json.Valid(frame.JSON()) {
					t.Fatalf("%s is not JSON", frame.JSON())
				}
			}
		}
		if _, err := ParseBatch(body, "", limits); err != nil {
			if refused := new(RequestError); !errors.As(err, &refused) {
				t.Fatalf("%T: %v", err, err)
			}
		}
	})
}
