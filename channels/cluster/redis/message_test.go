package redis

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"belfry/channels/cluster"
	"belfry/protocol"
)

func TestParseMessage(t *testing.T) {
	at := cluster.Topic{App: "1", Channel: "c"}
	v := cluster.Version{Epoch: "E", Number: 7}
	for text, want := range map[string]cluster.Message{
		"p":             {Kind: cluster.Published, Payload: []byte{}},
		"p a b\x00":     {Kind: cluster.Published, Payload: []byte(" a b\x00")},
		"k7 3 E a b":    {Kind: cluster.Published, Version: v, After: 3, Payload: []byte("a b")},
		"k7 0 E ":       {Kind: cluster.Published, Version: v, Payload: []byte{}},
		"m7 3 E +1 u0 ": {Kind: cluster.Members, Version: v, After: 3, Joined: []protocol.Member{{UserID: "u"}}},
		"m7 3 E -3 a b+4 é 17 {\"a\":1}+0 0 ": {Kind: cluster.Members, Version: v, After: 3, Left: []string{"a b"}, Joined: []protocol.Member{
			{UserID: "é 1", UserInfo: json.RawMessage(`{"a":1}`)}, {UserID: ""}}},
		"c0":  {Kind: cluster.Count},
		"c12": {Kind: cluster.Count, Count: 12},
		"o1":  {Kind: cluster.Occupancy, Occupied: true},
		"o0":  {Kind: cluster.Occupancy},
	} {
		want.Topic = at
		got, err := parseMessage(at, text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: error %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"", "x", "k", "k1", "k1 2", "k1 2 E", "k1 2  x", "kx 2 E y", "k-1 2 E y", "k18446744073709551616 2 E x",
		"m7 3 E x1 u", "m7 3 E +2 u", "m7 3 E +1 u", "m7 3 E +1 u1 ", "m7 3 E -", "m7 3 E -1", "m7 3 E -99999999999999999999 u",
		"c", "c-1", "c1 ", "c2147483648", "o", "o2", "o01", "z1 x"} {
		if got, err := parseMessage(at, text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, seed := range []string{"", "p payload", "k12 2 E ", "m1 0 E +1 u2 {}", "m1 0 E -3 a u", "c5", "o1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMessage(cluster.Topic{}, text)
		if err != nil {
			return
		}
		// What was read is what was there.
		version := fmt.Sprint(m.Version.Number, " ", m.After, " ", m.Version.Epoch, " ")
		var again string
		switch m.Kind {
		case cluster.Published:
			again = "p" + string(m.Payload)
			if m.Version.Epoch != "" {
				again = "k" + version + string(m.Payload)
			}
		case cluster.Members:
			again = "m" + version
			for _, id := range m.Left {
				again += fmt.Sprint("-", len(id), " ", id)
			}
			for _, one := range m.Joined {
				again += fmt.Sprint("+", len(one.UserID), " ", one.UserID, len(one.UserInfo), " ", string(one.UserInfo))
			}
			if len(m.Left) > 0 && len(m.Joined) > 0 {
				return // in whatever order
			}
		case cluster.Count:
			again = fmt.Sprint("c", m.Count)
		case cluster.Occupancy:
			again = "o" + bool01(m.Occupied)
		}
		if again != text && withoutZeros(again) != withoutZeros(text) {
			t.Errorf("%q was read as %q", text, again)
		}
	})
}

// withoutZeros leaves out what a number may begin with.
func withoutZeros(text string) string { return strings.ReplaceAll(text, "0", "") }
