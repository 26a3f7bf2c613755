package protocol

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// keyed has the keys of testdata/json-keys.mjs.
type keyed struct {
	Event    jsontext.Value `json:"event"`
	Channel  jsontext.Value `json:"channel"`
	ID       jsontext.Value `json:"id"`
	UserID   jsontext.Value `json:"user_id"`
	SocketID jsontext.Value `json:"socket_id"`
	Data     jsontext.Value `json:"data"`
}

// members are the values of the keys that were there.
func (k keyed) members(t *testing.T) map[string]any {
	t.Helper()
	members := make(map[string]any)
	for key, raw := range map[string]jsontext.Value{
		"event": k.Event, "channel": k.Channel, "id": k.ID, "user_id": k.UserID, "socket_id": k.SocketID, "data": k.Data,
	} {
		if raw == nil {
			continue
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %q: %v", key, raw, err)
		}
		members[key] = v
	}
	return members
}

// The table holds what JSON.parse of Node reads.
func TestReadJSONAsJavaScript(t *testing.T) {
	table, err := os.ReadFile("testdata/json-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Text  string         `json:"text"`
		Valid bool           `json:"valid"`
		Read  map[string]any `json:"read"`
	}
	if err := json.Unmarshal(table, &rows); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		var got keyed
		err := ReadJSON([]byte(row.Text), &got)
		if object := strings.HasPrefix(strings.TrimSpace(row.Text), "{"); !object || !row.Valid {
			if err == nil && object {
				t.Errorf("%q is accepted", row.Text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", row.Text, err)
			continue
		}
		if read := got.members(t); !reflect.DeepEqual(read, row.Read) {
			t.Errorf("%q: read %v, JSON.parse reads %v", row.Text, read, row.Read)
		}
	}
}

// A JSON object in a map is read with exact keys by encoding/json too, and the
// last of several equal ones counts.
func FuzzReadJSON(f *testing.F) {
	for _, seed := range []string{
		`{"event":"a","EVENT":"b"}`, `{"id":1,"id":2}`, `{"\u0069d":"a"}`, "{\"\u017focket_id\":\"1.2\"}", `{"data":{"a":[1,{"b":null}]}}`,
		`{"id":"\ud800"}`, `{"id":`, `[{}]`, `null`, "\xff", `{"id":1e999}`, `{"event":"a"}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(b, &want)
		var got keyed
		err := ReadJSON(b, &got)
		if accepted := wantErr == nil && utf8.Valid(b); accepted != (err == nil) {
			t.Fatalf("%q: %v, encoding/json: %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		for key, raw := range map[string]jsontext.Value{
			"event": got.Event, "channel": got.Channel, "id": got.ID, "user_id": got.UserID, "socket_id": got.SocketID, "data": got.Data,
		} {
			if string(raw) != string(want[key]) {
				t.Fatalf("%q: %s is %q, encoding/json: %q", b, key, raw, want[key])
			}
		}
	})
}

func TestReadJSONErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "it is empty",
		" \n":                               "it is empty",
		"\ufeff{}":                          "byte order mark",
		"name=e&channel=c&data=x":           "looks like a form",
		"--------b\r\nContent-Disposition":  "multipart/form-data",
		"<xml/>":                            "XML or HTML",
		"\x1f\x8b\x08\x00":                  "gzip",
		"\xff":                              "not valid UTF-8",
		`{"event":5}`:                       "event must not be a number",
		`{"nested":[{"id":"a"},{"id":[]}]}`: "nested[1].id must not be a list",
		`[]`:                                "found a list",
		`{"event":"a"`:                      "unexpected EOF",
	} {
		var v struct {
			Event  string `json:"event"`
			Nested []struct {
				ID string `json:"id"`
			} `json:"nested"`
		}
		err := ReadJSON([]byte(text), &v)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestIdentityIsExact(t *testing.T) {
	for _, text := range []string{
		`{"id":"mallory","ID":"alice"}`, `{"ID":"alice","id":"mallory"}`, `{"Id":"alice","id":"mallory","user_info":null}`, `{"id":"alice","id":"mallory"}`,
	} {
		if i, err := ParseIdentity(text); err != nil || i.UserID != "mallory" {
			t.Errorf("user_data %s: %q, %v", text, i.UserID, err)
		}
	}
	for _, text := range []string{`{"user_id":"7","User_ID":"8"}`, `{"USER_ID":"8","user_id":"7"}`, "{\"u\u017fer_id\":\"8\",\"user_id\":\"7\"}"} {
		if m, err := ParseMember(text, 100); err != nil || m.UserID != "7" {
			t.Errorf("channel_data %s: %q, %v", text, m.UserID, err)
		}
	}
	if m, err := ParseMessage([]byte(`{"EVENT":"pusher:ping"}`)); err == nil {
		t.Errorf("EVENT is read as %q", m.Event)
	}
	for _, text := range []string{`{"Name":"e","channel":"c","data":"x"}`, `{"name":"e","Channel":"c","data":"x"}`, `{"name":"e","channel":"c","Data":"x"}`} {
		if p, err := ParsePublish([]byte(text), "", Limits{EventBytes: 100, Name: 100, ChannelsPerEvent: 10}); err == nil {
			t.Errorf("%s is published as %+v", text, p)
		}
	}
}
