package protocol

import (
	"strings"
	"testing"
)

func TestKindOf(t *testing.T) {
	tests := []struct {
		channel                             string
		kind                                Kind
		auth, presence, cache, clientEvents bool
	}{
		{"orders", Public, false, false, false, false},
		{"privateer", Public, false, false, false, false},
		{"foo-private-x", Public, false, false, false, false},
		{"private-x", Private, true, false, false, true},
		{"private-", Private, true, false, false, true},
		{"private-encryptedx", Private, true, false, false, true},
		{"presence-x", Presence, true, true, false, true},
		{"private-encrypted-x", Encrypted, true, false, false, false},
		{"cache-x", Cache, false, false, true, false},
		{"private-cache-x", PrivateCache, true, false, true, true},
		{"presence-cache-x", PresenceCache, true, true, true, true},
		{"private-encrypted-cache-x", EncryptedCache, true, false, true, false},
		{"#server-to-user-1", User, false, false, false, false},
		{"server-to-user-1", Public, false, false, false, false},
		{"Private-x", Public, false, false, false, false},
	}
	for _, tt := range tests {
		k := KindOf(tt.channel)
		if k != tt.kind || k.Authorized() != tt.auth || k.IsPresence() != tt.presence || k.IsCache() != tt.cache || k.ClientEvents() != tt.clientEvents {
			t.Errorf("%s is %s: authorized %t, presence %t, cache %t, client events %t",
				tt.channel, k, k.Authorized(), k.IsPresence(), k.IsCache(), k.ClientEvents())
		}
	}
}

func TestKindNamesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds() {
		if name := k.String(); seen[name] || strings.Contains(name, "(") {
			t.Errorf("kind %d is called %s", k, name)
		} else {
			seen[name] = true
		}
	}
}

func TestCheckChannel(t *testing.T) {
	tests := []struct {
		name string
		ok   bool
	}{
		{"a", true},
		{"private-App.Models.User.1", true},
		{"AZaz09_-=@,.;", true},
		{strings.Repeat("x", 200), true},
		{strings.Repeat("x", 201), false},
		{"", false},
		{"a b", false},
		{"a/b", false},
		{"a:b", false},
		{"a\nb", false},
		{"é", false},
		{"#server-to-user-1", true},
		{"#server-to-user-anna:b@example.com/é", true},
		{"#server-to-user-" + strings.Repeat("é", MaxUserID), true},
		{"#server-to-user-" + strings.Repeat("é", MaxUserID+1), false},
		{"#server-to-user-", false},
		{"#server-to-users-1", false},
		{"#", false},
	}
	for _, tt := range tests {
		if err := CheckChannel(tt.name, 200); (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.name, err)
		}
	}
}

func TestSocketID(t *testing.T) {
	for _, random := range []uint64{0, 1, 1 << 63, ^uint64(0), 999_999_999<<32 | 1_000_000_000} {
		id := NewSocketID(random)
		s := id.String()
		if !WellFormedSocketID(s) || strings.HasPrefix(s, "0") || strings.Contains(s, ".0") {
			t.Errorf("%d makes %s", random, s)
		}
		if back, ok := ParseSocketID(s); !ok || back != id {
			t.Errorf("%s came back as %s, %t", s, back, ok)
		}
	}
	for _, s := range []string{"", ".", "1.", ".1", "1", "1.2.3", "-1.2", "1.+2", "a.b", "1 .2"} {
		if WellFormedSocketID(s) {
			t.Errorf("%q is well-formed", s)
		}
		if _, ok := ParseSocketID(s); ok {
			t.Errorf("%q was parsed", s)
		}
	}
	// Well-formed, but nobody's.
	if _, ok := ParseSocketID("99999999999.1"); ok {
		t.Error("parsed an id beyond the range")
	}
}

func FuzzCheckChannel(f *testing.F) {
	for _, s := range []string{"", "private-x", "presence-cache-é", "#server-to-user-1", "a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckChannel(name, 50) != nil {
			return
		}
		if KindOf(name) == User {
			return // any user id
		}
		if name == "" || len(name) > 50 || strings.ContainsAny(name, ": \n\"\\#/") {
			t.Fatalf("%q passed", name)
		}
	})
}
