package protocol

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"unicode/utf8"
)

func encoded(members ...Member) Members {
	var m Members
	for _, added := range members {
		m.Add(added)
	}
	return m
}

func TestMembers(t *testing.T) {
	a, b, c := Member{UserID: "a"}, Member{UserID: `b"\`, UserInfo: []byte(`{"b":"\"\\"}`)}, Member{UserID: "ć\x01", UserInfo: []byte("[1,\n2]")}
	tests := []struct {
		name   string
		change func(m *Members)
		want   []Member
	}{
		{"add", func(m *Members) { m.Add(Member{UserID: "d", UserInfo: []byte{}}) }, []Member{a, b, c, {UserID: "d"}}},
		{"delete the first", func(m *Members) { m.Delete(0) }, []Member{b, c}},
		{"delete between", func(m *Members) { m.Delete(1) }, []Member{a, c}},
		{"delete the last", func(m *Members) { m.Delete(2) }, []Member{a, b}},
		{"delete all", func(m *Members) { m.Delete(2); m.Delete(0); m.Delete(0) }, nil},
		{"delete and add", func(m *Members) { m.Delete(0); m.Add(a) }, []Member{b, c, a}},
		{"add all", func(m *Members) { m.AddAll(encoded(Member{UserID: "d"}, Member{UserID: "e"})) }, []Member{a, b, c, {UserID: "d"}, {UserID: "e"}}},
		{"add nobody", func(m *Members) { m.AddAll(Members{}) }, []Member{a, b, c}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := encoded(a, b, c)
			snapshot := m
			tt.change(&m)
			check(t, []Members{m}, tt.want)
			check(t, []Members{snapshot}, []Member{a, b, c})
		})
	}
}

// Parts and their members, however changed, are answered as if they were
// encoded together.
func FuzzMembers(f *testing.F) {
	f.Add("ann\x00ben\x00\"carl\\\x00\xff\x00", []byte{0, 1, 2, 40, 3, 81, 4, 200, 0})
	f.Fuzz(func(t *testing.T, text string, operations []byte) {
		const parts = 3
		members := make([]Members, parts)
		model := make([][]Member, parts)
		for i, operation := range operations {
			part := i % parts
			switch n := len(model[part]); {
			case operation >= 192:
				members[part].AddAll(members[(part+1)%parts])
				model[part] = append(model[part], model[(part+1)%parts]...)
			case operation >= 128 && n > 0:
				members[part].Delete(int(operation) % n)
				model[part] = slices.Delete(model[part], int(operation)%n, int(operation)%n+1)
			default:
				m := Member{UserID: text[:int(operation)%(len(text)+1)] + "/" + strconv.Itoa(i)}
				if operation%2 == 0 {
					m.UserInfo = AppendString(nil, text)
				}
				members[part].Add(m)
				model[part] = append(model[part], m)
			}
			if members[part].Len() > 1000 {
				return
			}
		}
		check(t, members, slices.Concat(model...))
	})
}

// check compares the answer with one that is encoded at once, and with what
// encoding/json reads in it.
func check(t *testing.T, members []Members, want []Member) {
	t.Helper()
	data := append([]byte(`{"presence":{"count":`), strconv.Itoa(len(want))...)
	data = append(data, `,"ids":[`...)
	for i, m := range want {
		if i > 0 {
			data = append(data, ',')
		}
		data = AppendString(data, m.UserID)
	}
	data = append(data, `],"hash":{`...)
	for i, m := range want {
		if i > 0 {
			data = append(data, ',')
		}
		data = append(AppendString(data, m.UserID), ':')
		if len(m.UserInfo) == 0 {
			data = append(data, "null"...)
		}
		data = append(data, m.UserInfo...)
	}
	data = append(data, "}}}"...)
	frame := Success{Channel: "presence-x", Members: members}.Frame()
	if wanted := dataFrame(EventSubscriptionSucceeded, "presence-x", data); string(frame) != string(wanted) {
		t.Fatalf("got  %s\nwant %s", frame.JSON(), wanted.JSON())
	}

	var message struct{ Data string }
	if err := json.Unmarshal(frame.JSON(), &message); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Presence struct {
			Count int
			IDs   []string
			Hash  map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(message.Data), &answer); err != nil {
		t.Fatalf("%v in %s", err, message.Data)
	}
	p := answer.Presence
	if p.Count != len(want) || len(p.IDs) != len(want) {
		t.Fatalf("count %d, %d ids; want %d", p.Count, len(p.IDs), len(want))
	}
	for i, m := range want {
		if !utf8.ValidString(m.UserID) {
			continue
		}
		info := m.UserInfo
		if len(info) == 0 {
			info = []byte("null")
		}
		if p.IDs[i] != m.UserID || string(p.Hash[m.UserID]) != string(info) {
			t.Fatalf("member %d is %q, %s; want %q, %s", i, p.IDs[i], p.Hash[p.IDs[i]], m.UserID, info)
		}
	}
}
