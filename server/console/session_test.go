package console

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/server/config"
)

var withPasswords = config.Console{User: "admin", Password: "hunter2-admin", ViewerUser: "viewer", ViewerPassword: "hunter2-viewer"}

func TestCookies(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	keys := newKeys(withPasswords)
	admin := account{Act, "admin"}
	good := keys.seal(admin, now.Add(sessionTime))
	text, mac, _ := strings.Cut(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	other := newKeys(config.Console{User: "admin", Password: "hunter2-admim", ViewerUser: "viewer"})
	byToken := newKeys(config.Console{User: "admin", ViewerUser: "viewer"})
	for name, tt := range map[string]struct {
		value string
		at    time.Duration
		ok    bool
	}{
		"good":                     {good, 0, true},
		"at its last second":       {good, sessionTime - time.Second, true},
		"expired":                  {good, sessionTime, false},
		"empty":                    {"", 0, false},
		"no MAC":                   {text, 0, false},
		"empty MAC":                {text + ".", 0, false},
		"short MAC":                {text + "." + mac[:20], 0, false},
		"more MAC":                 {good + "AAAA", 0, false},
		"MAC of another":           {encode([]byte("act 1900000000 viewer")) + "." + mac, 0, false},
		"not base64":               {"*." + mac, 0, false},
		"huge":                     {strings.Repeat("A", 1<<20) + "." + mac, 0, false},
		"of other passwords":       {other.seal(admin, now.Add(time.Hour)), 0, false},
		"of a token":               {byToken.seal(admin, now.Add(time.Hour)), 0, false},
		"without an account":       {encode([]byte("act")) + "." + encode(keys.mac("act")), 0, false},
		"without a time":           {encode([]byte("act x admin")) + "." + encode(keys.mac("act x admin")), 0, false},
		"by another of these keys": {newKeyed(t).seal(admin, now.Add(time.Hour)), 0, true}, // after a restart, or on another node
	} {
		if a, ok := keys.open(tt.value, now.Add(tt.at)); ok != tt.ok || ok && a != admin {
			t.Errorf("%s: %v, %v", name, a, ok)
		}
	}
	again := newKeys(config.Console{User: "admin", ViewerUser: "viewer"})
	if _, ok := again.open(byToken.seal(admin, now.Add(time.Hour)), now); ok {
		t.Error("a session by token outlives the run")
	}
}

func newKeyed(t *testing.T) *keys {
	t.Helper()
	k := newKeys(withPasswords)
	return &k
}

func TestFindAccount(t *testing.T) {
	both, noViewer, byToken := newKeyed(t), newKeys(config.Console{User: "admin", Password: "hunter2-admin", ViewerUser: "viewer"}), newKeys(config.Console{User: "admin", ViewerUser: "viewer"})
	for _, tt := range []struct {
		keys *keys
		attempt
		want Role // empty: none
	}{
		{both, attempt{User: "admin", Password: "hunter2-admin"}, Act},
		{both, attempt{User: "viewer", Password: "hunter2-viewer"}, Look},
		{both, attempt{User: "admin", Password: "hunter2-viewer"}, ""},
		{both, attempt{User: "viewer", Password: "hunter2-admin"}, ""},
		{both, attempt{User: "Admin", Password: "hunter2-admin"}, ""},
		{both, attempt{}, ""},
		{&noViewer, attempt{User: "viewer"}, ""},
		{&byToken, attempt{User: "admin"}, ""},
		{&byToken, attempt{User: "viewer"}, ""},
		{&byToken, attempt{}, ""},
		{&byToken, attempt{Token: byToken.token}, Act},
		{&byToken, attempt{Token: byToken.token[1:]}, ""},
	} {
		if a, ok := tt.keys.find(tt.attempt); a.Role != tt.want || ok != (tt.want != "") {
			t.Errorf("%+v: %v, %v", tt.attempt, a, ok)
		}
	}
}

// Attempts of one network, and of all, come back with time, and the networks that are
// known are bounded.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a attempts
		begin := func(remote string) bool {
			undo, _ := a.begin(remote, time.Now())
			return undo != nil
		}
		for i := range networkAttempts {
			if !begin("192.0.2.1:1") {
				t.Fatalf("attempt %d is refused", i+1)
			}
		}
		if _, wait := a.begin("192.0.2.1:2", time.Now()); wait != networkRegain {
			t.Errorf("the next attempt is in %s", wait)
		}
		if !begin("192.0.2.2:1") || !begin("[2001:db8::1]:1") || !begin("@") {
			t.Error("another network is refused")
		}
		time.Sleep(networkRegain)
		if !begin("192.0.2.1:3") || begin("192.0.2.1:4") {
			t.Error("there is not one attempt after a while")
		}
		for i := range networkAttempts {
			begin(fmt.Sprintf("[2001:db8:0:%x::1]:1", i))
		}
		if begin("[2001:db8:0:ffff::1]:1") {
			t.Error("networks of one site have attempts of their own")
		}
		time.Sleep(networkRegain)
		for range 2 * networkAttempts { // of one who succeeds
			undo, wait := a.begin("192.0.2.1:5", time.Now())
			if wait > 0 {
				t.Fatal("refused after success")
			}
			undo()
		}
		if !begin("192.0.2.1:6") || begin("192.0.2.1:7") {
			t.Error("success has given back what was tried before")
		}

		refused := 0
		for i := range 100_000 {
			if !begin(fmt.Sprintf("[2001:%x:%x::1]:1", 0x1000+i>>16, i&0xffff)) {
				refused++
			}
			if i%10_000 == 0 {
				time.Sleep(time.Second)
			}
		}
		if refused < 98_000 || len(a.networks) > everyoneAttempts+200 {
			t.Errorf("%d attempts of many networks were refused, and %d networks are known", refused, len(a.networks))
		}
	})
}

func TestPageHost(t *testing.T) {
	for header, want := range map[string]string{
		"a.example": "a.example", "a.example:1": "a.example", "127.0.0.1:1": "127.0.0.1", "[::1]:1": "::1", "[::1]": "::1", "::1": "::1",
		"": "", ":1": "", "a b": "", "a;b": "", "*": "", "a.example.:1": "", "a,b:1": "", "a\n:1": "", "'self'": "", "[fe80::1%eth0]:1": "", "a..b": "",
		strings.Repeat("a", 254): "",
	} {
		if got := pageHost(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
