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
	for text, want := range map[string]cluster.Message{
		"p0 ":                     {Kind: cluster.Published, Payload: []byte{}},
		"p7 a b\x00":              {Kind: cluster.Published, Version: 7, Payload: []byte("a b\x00")},
		"p18446744073709551615 x": {Kind: cluster.Published, Version: 1<<64 - 1, Payload: []byte("x")},
		"a3 1 u":                  {Kind: cluster.MemberAdded, Version: 3, Member: protocol.Member{UserID: "u"}},
		`a3 4 é 1{"a":1}`:         {Kind: cluster.MemberAdded, Version: 3, Member: protocol.Member{UserID: "é 1", UserInfo: json.RawMessage(`{"a":1}`)}},
		"r4 a b":                  {Kind: cluster.MemberRemoved, Version: 4, Member: protocol.Member{UserID: "a b"}},
		"c0":                      {Kind: cluster.Count},
		"c12":                     {Kind: cluster.Count, Count: 12},
		"o1":                      {Kind: cluster.Occupancy, Occupied: true},
		"o0":                      {Kind: cluster.Occupancy},
	} {
		want.Topic = at
		got, err := parseMessage(at, text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: error %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"", "x", "p", "p1", "px y", "p-1 y", "p18446744073709551616 x", "a1 u", "a1 2 u", "a1 -1 u", "a1 99999999999999999999 u",
		"r", "r1", "c", "c-1", "c1 ", "c2147483648", "o", "o2", "o01", "z1 x"} {
		if got, err := parseMessage(at, text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, seed := range []string{"", "p0 payload", "p12 ", "a1 1 u{}", "a1 3 u", "r2 u", "c5", "o1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMessage(cluster.Topic{}, text)
		if err != nil {
			return
		}
		// What was read is what was there.
		var again string
		switch m.Kind {
		case cluster.Published:
			again = fmt.Sprint("p", m.Version, " ", string(m.Payload))
		case cluster.MemberAdded:
			again = fmt.Sprint("a", m.Version, " ", len(m.Member.UserID), " ", m.Member.UserID, string(m.Member.UserInfo))
		case cluster.MemberRemoved:
			again = fmt.Sprint("r", m.Version, " ", m.Member.UserID)
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
