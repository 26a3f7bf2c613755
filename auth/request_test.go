package auth

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

var signedAt = time.Unix(1353088179, 0)

const (
	eventBody = `{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}`

	// authParams begin every query below.
	authParams = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0"
)

func TestSignRequest(t *testing.T) {
	tests := []struct {
		method, path, query, body, bodyMD5, signature string
	}{
		{"POST", "/apps/3/events", "", eventBody, "ec365a775a4cd0599faeb73354201b6f",
			"da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"},
		{"GET", "/apps/3/channels", "filter_by_prefix=presence-&info=user_count", "", "",
			"16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291"},
		{"get", "/apps/3/channels/presence-foobar/users", "", "", "",
			"5567dd30e7f8575e66be615d2aac3f608a0c311c31ddab8513a278b022e9597e"},
		{"POST", "/apps/3/users/12345/terminate_connections", "", "{}", "99914b932bd37a50b983c5e7c90ae93b",
			"01fa634edeb0cae84115307cad5c23f65a46cd286461b1c89637a3b5871a8f0e"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			query := ParseQuery(tt.query)
			before := len(query)
			signed := creds.SignRequest(tt.method, tt.path, query, []byte(tt.body), signedAt)
			if got := signed.Get("auth_signature"); got != tt.signature {
				t.Errorf("got signature %s, want %s", got, tt.signature)
			}
			if got := signed.Get("body_md5"); got != tt.bodyMD5 {
				t.Errorf("got body_md5 %q, want %q", got, tt.bodyMD5)
			}
			if len(query) != before {
				t.Errorf("the query passed in became %v", query)
			}
			r := Request{Method: tt.method, Paths: []string{tt.path}, Query: ParseQuery(signed.Encode()), Body: []byte(tt.body)}
			if err := creds.VerifyRequest(r, signedAt); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVerifyRequestAcceptsLibraries holds what the server libraries send where
// they differ from each other.
func TestVerifyRequestAcceptsLibraries(t *testing.T) {
	const channels = "/apps/3/channels"
	tests := []struct {
		name, path, query, signature string
	}{
		{"php: indexed array", channels, "info%5B0%5D=user_count&info%5B1%5D=subscription_count",
			"b5d3066c50a4e758b7d677e4f65cf6e909baab523911ba9dea505a65412149e6"},
		{"php: array of more than ten", channels,
			"k[0]=a&k[1]=b&k[2]=c&k[3]=d&k[4]=e&k[5]=f&k[6]=g&k[7]=h&k[8]=i&k[9]=j&k[10]=k&k[11]=l",
			"9c5a38ed0de5279c73ef3ec342c51006031d2fa645f18aebd99941a99e07c359"},
		{"ruby: bracketed array", channels, "info[]=user_count&info[]=subscription_count",
			"175192df3115c9975cc5fa47eec612907413e243ddbfa27967814593f0e0bf82"},
		{"bracketed array, signed joined", channels, "info[]=user_count&info[]=subscription_count",
			"b5d3066c50a4e758b7d677e4f65cf6e909baab523911ba9dea505a65412149e6"},
		{"repeated name, signed as sent", channels, "info=user_count&info=subscription_count",
			"a534319c9954736507edf9360a6715bf56fc97dbcb3ba5f862b72531d8c2114c"},
		{"repeated name, signed joined", channels, "info=user_count&info=subscription_count",
			"b5d3066c50a4e758b7d677e4f65cf6e909baab523911ba9dea505a65412149e6"},
		{"node 5.3.4: array", channels, "filter_by_prefix=presence-&info=user_count,subscription_count",
			"ff97d40ab3fbbd15394386a29c12998c33635305357b2e2abd18dc67efe3f87d"},
		{"node 5.3.4: capitals and semicolon", channels, "Info=cache&filter_by_prefix=presence-a;b",
			"e22f9ef4f7b8b710020c2975e3e5dbf7f6c5792cdaf7db1da0584c8f2a97bf72"},
		{"capitals, signed in lower case", channels, "Filter_By_Prefix=presence-",
			"8b6e6f349874eed20eab8f85a966b2c7016cac589f458d53ac958538eace7c7c"},
		{"capitals, signed as sent", channels, "Filter_By_Prefix=presence-",
			"c835dbc841a390effbd9293d08f5254bbff22e0f6785c73f7f8c16ed481eddcf"},
		{"not encoded", channels, "filter_by_prefix=presence-a;b=c@d,e",
			"728edfa99abe60b6000fc236e18cf38572c62d4b52dc9d6c656c57bad1c6e121"},
		{"encoded", channels, "filter_by_prefix=presence-a%3Bb%3Dc%40d%2Ce",
			"728edfa99abe60b6000fc236e18cf38572c62d4b52dc9d6c656c57bad1c6e121"},
		{"python: digest of no body", channels, "body_md5=d41d8cd98f00b204e9800998ecf8427e",
			"5c3cd75022c4f62c35ad22f6a9cce366c860477a3b7092ca790ecfc17e6af302"},
		{"encoded path", "/apps/3/channels/presence-a%40b", "",
			"d729ee6e699fe9dc37e2301235c86bb3f5e05cabb4d331c31bf7cafd357945c0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{
				Method: "GET",
				Paths:  []string{"/prefix" + tt.path, tt.path},
				Query:  ParseQuery(tt.query + "&" + authParams + "&auth_signature=" + tt.signature),
			}
			if err := creds.VerifyRequest(r, signedAt); err != nil {
				t.Error(err)
			}
			r.Method = "POST"
			wantRefusal(t, creds.VerifyRequest(r, signedAt), ErrSignature)
		})
	}
}

func TestVerifyRequestRefuses(t *testing.T) {
	const path = "/apps/3/events"
	tests := []struct {
		name   string
		change func(r *Request)
		kind   error
		parts  []string
	}{
		{"unsigned", func(r *Request) { r.Query = nil }, ErrNoSignature, []string{"auth_key", "proxy"}},
		{"no key", func(r *Request) { r.Query.Del("auth_key") }, ErrKey, []string{"auth_key is missing"}},
		{"another key", func(r *Request) { r.Query.Set("auth_key", "other") }, ErrKey, []string{`"other"`, creds.Key}},
		{"key and secret swapped", func(r *Request) { r.Query.Set("auth_key", creds.Secret) }, ErrKey, []string{"swapped"}},
		{"two keys", func(r *Request) { r.Query.Add("auth_key", "other") }, ErrKey, []string{"2 times"}},
		{"no version", func(r *Request) { r.Query.Del("auth_version") }, ErrVersion, []string{"auth_version is missing"}},
		{"version 2", func(r *Request) { r.Query.Set("auth_version", "2.0") }, ErrVersion, []string{`"2.0"`, "send 1.0"}},
		{"no timestamp", func(r *Request) { r.Query.Del("auth_timestamp") }, ErrTimestamp, []string{"auth_timestamp is missing"}},
		{"timestamp no number", func(r *Request) { r.Query.Set("auth_timestamp", "now") }, ErrTimestamp, []string{`"now"`, "Unix seconds"}},
		{"timestamp in ms", func(r *Request) { r.Query.Set("auth_timestamp", "1353088179000") }, ErrTimestamp, []string{"milliseconds"}},
		{"timestamp of the far past", func(r *Request) { r.Query.Set("auth_timestamp", "-9223372036854775808") }, ErrTimestamp, nil},
		{"body without body_md5", func(r *Request) { r.Query.Del("body_md5") }, ErrBodyMD5, []string{"body_md5 is missing"}},
		{"another body", func(r *Request) { r.Body = []byte("{}") }, ErrBodyMD5, []string{"2 byte body", "proxy"}},
		{"body lost", func(r *Request) { r.Body = nil }, ErrBodyMD5, []string{"0 byte body"}},
		{"no signature", func(r *Request) { r.Query.Del("auth_signature") }, ErrNoSignature, []string{"auth_signature is missing"}},
		{"two signatures", func(r *Request) { r.Query.Add("auth_signature", "0") }, ErrSignature, []string{"2 times"}},
		{"empty signature", func(r *Request) { r.Query.Set("auth_signature", "") }, ErrSignature, nil},
		{"another method", func(r *Request) { r.Method = "put" }, ErrSignature, []string{`method "PUT"`}},
		{"another path", func(r *Request) { r.Paths = []string{"/ws" + path, "/b"} }, ErrSignature, []string{`"/ws/apps/3/events" or "/b"`, "prefix"}},
		{"no path", func(r *Request) { r.Paths = nil }, ErrSignature, nil},
		{"a parameter more", func(r *Request) { r.Query.Set("info", "x") }, ErrSignature,
			[]string{`"auth_key" "auth_timestamp" "auth_version" "body_md5" "info";`, "secret"}},
		{"ampersand in a value", func(r *Request) { r.Query.Set("a", "1&b=2") }, ErrSignature, []string{`"a"`, "body"}},
		{"line break in a name", func(r *Request) { r.Query.Set("a\n", "1") }, ErrSignature, []string{`"a\n"`}},
		{"equals sign in a name", func(r *Request) { r.Query.Set("a=b", "1") }, ErrSignature, []string{`"a=b"`}},
		{"thousands of parameters", func(r *Request) {
			for i := range 5000 {
				r.Query.Set(fmt.Sprint("p", i), "")
			}
		}, ErrSignature, []string{"more than 1000"}},
		{"many long parameters", func(r *Request) {
			for i := range 500 {
				r.Query.Set(fmt.Sprint(i, strings.Repeat("p", 1000)), "")
			}
		}, ErrSignature, []string{"…"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Request{Method: "POST", Paths: []string{path}, Body: []byte(eventBody)}
			r.Query = creds.SignRequest(r.Method, path, nil, r.Body, signedAt)
			signature := r.Query.Get("auth_signature")
			tt.change(&r)
			err := creds.VerifyRequest(r, signedAt)
			wantRefusal(t, err, tt.kind, tt.parts...)
			right := creds.SignRequest(r.Method, path, r.Query, r.Body, signedAt).Get("auth_signature")
			if right != signature && strings.Contains(err.Error(), right) {
				t.Errorf("error %q holds the digest", err)
			}
		})
	}
}

func TestTimestampGrace(t *testing.T) {
	query := creds.SignRequest("GET", "/apps/3/channels", nil, nil, signedAt)
	r := Request{Method: "GET", Paths: []string{"/apps/3/channels"}, Query: query}
	for _, offset := range []time.Duration{-600 * time.Second, 0, 600 * time.Second} {
		if err := creds.VerifyRequest(r, signedAt.Add(offset)); err != nil {
			t.Errorf("server time %s after the signature: %v", offset, err)
		}
	}
	for _, offset := range []time.Duration{-601 * time.Second, 601 * time.Second} {
		wantRefusal(t, creds.VerifyRequest(r, signedAt.Add(offset)), ErrTimestamp)
	}
	wantRefusal(t, creds.VerifyRequest(r, signedAt.Add(time.Hour)), ErrTimestamp,
		"Timestamp expired: Given timestamp (2012-11-16T17:49:39Z) not within 600s of server time (2012-11-16T18:49:39Z)")
}

func TestAnyChangeToARequestFails(t *testing.T) {
	const path = "/apps/3/events"
	signed := creds.SignRequest("POST", path, url.Values{"info": {"a", "b"}, "z": {""}}, []byte(eventBody), signedAt)
	verify := func(r Request) {
		t.Helper()
		if creds.VerifyRequest(r, signedAt) == nil {
			t.Errorf("verified %s %s %v %s", r.Method, r.Paths, r.Query, r.Body)
		}
	}
	with := func(change func(q url.Values)) url.Values {
		q := make(url.Values)
		for name, values := range signed {
			q[name] = slices.Clone(values)
		}
		change(q)
		return q
	}
	base := Request{Method: "POST", Paths: []string{path}, Query: signed, Body: []byte(eventBody)}
	if err := creds.VerifyRequest(base, signedAt); err != nil {
		t.Fatal(err)
	}
	for _, changed := range changes(path) {
		r := base
		r.Paths = []string{changed}
		verify(r)
	}
	for _, changed := range changes(eventBody) {
		r := base
		r.Body = []byte(changed)
		verify(r)
	}
	for _, name := range slices.Sorted(maps.Keys(signed)) {
		r := base
		r.Query = with(func(q url.Values) { q.Del(name) })
		verify(r)
		for i, value := range signed[name] {
			for _, changed := range changes(value) {
				r.Query = with(func(q url.Values) { q[name][i] = changed })
				verify(r)
			}
		}
		for _, changed := range changes(name) {
			r.Query = with(func(q url.Values) { q[changed] = q[name]; delete(q, name) })
			verify(r)
		}
	}
	r := base
	r.Query = with(func(q url.Values) { slices.Reverse(q["info"]) })
	verify(r)
	r.Query = with(func(q url.Values) { q.Set("more", "") })
	verify(r)
	r = base
	r.Method = "GET"
	verify(r)
}

func TestParseQuery(t *testing.T) {
	tests := []struct {
		raw  string
		want url.Values
	}{
		{"", url.Values{}},
		{"&&", url.Values{}},
		{"a=1&b=2&a=3", url.Values{"a": {"1", "3"}, "b": {"2"}}},
		{"a", url.Values{"a": {""}}},
		{"=1", url.Values{"": {"1"}}},
		{"a=b=c", url.Values{"a": {"b=c"}}},
		{"a=x;y", url.Values{"a": {"x;y"}}},
		{"a=x%3By%26+z", url.Values{"a": {"x;y& z"}}},
		{"a%5B%5D=x", url.Values{"a[]": {"x"}}},
		{"a=100%&b=%zz", url.Values{"a": {"100%"}, "b": {"%zz"}}},
	}
	for _, tt := range tests {
		if got := ParseQuery(tt.raw); !maps.EqualFunc(got, tt.want, slices.Equal) {
			t.Errorf("%q: got %v, want %v", tt.raw, got, tt.want)
		}
	}
}

// FuzzVerifyRequest takes any query string: verifying must not panic, must not
// repeat the secret, and must hold for what we sign ourselves.
func FuzzVerifyRequest(f *testing.F) {
	f.Add(authParams + "&auth_signature=00")
	f.Add("info[]=a&info[]=b&Info=c&info[2]=d")
	f.Fuzz(func(t *testing.T, raw string) {
		const path = "/apps/3/events"
		r := Request{Method: "POST", Paths: []string{path}, Query: ParseQuery(raw), Body: []byte(eventBody)}
		if err := creds.VerifyRequest(r, signedAt); err != nil {
			if !strings.Contains(raw, creds.Secret) && strings.Contains(err.Error(), creds.Secret) {
				t.Errorf("error %q holds the secret", err)
			}
			right := creds.SignRequest("POST", path, r.Query, r.Body, signedAt).Get("auth_signature")
			if !strings.Contains(raw, right) && strings.Contains(err.Error(), right) {
				t.Errorf("error %q holds the digest", err)
			}
		}

		r.Query = creds.SignRequest("POST", path, r.Query, r.Body, signedAt)
		expressible := len(r.Query) <= maxParams
		for name, values := range r.Query {
			if ambiguous(name) || strings.Contains(name, "=") || slices.ContainsFunc(values, ambiguous) {
				expressible = false
			}
		}
		if err := creds.VerifyRequest(r, signedAt); (err == nil) != expressible {
			t.Errorf("query %v that we signed: %v", r.Query, err)
		}
	})
}

func BenchmarkVerifyRequest(b *testing.B) {
	const path = "/apps/3/events"
	r := Request{Method: "POST", Paths: []string{path}, Body: []byte(eventBody)}
	r.Query = creds.SignRequest(r.Method, path, nil, r.Body, signedAt)
	changing := Credentials{Key: creds.Key, Secret: "new", OldSecrets: []string{creds.Secret}}
	for name, c := range map[string]Credentials{"one secret": creds, "old secret of two": changing} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.VerifyRequest(r, signedAt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
