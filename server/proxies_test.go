package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestTrust(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	tests := []struct {
		name, remote string
		forwarded    []string // headers
		want         string
	}{
		{"no proxy, no header", "192.0.2.1:1000", nil, "192.0.2.1:1000"},
		{"no proxy, and a header to fool us", "192.0.2.1:1000", []string{"198.51.100.1"}, "192.0.2.1:1000"},
		{"proxy without a header", "10.0.0.1:1000", nil, "10.0.0.1:1000"},
		{"proxy with an empty header", "10.0.0.1:1000", []string{""}, "10.0.0.1:1000"},
		{"proxy", "10.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"proxy, spaces", "10.0.0.1:1000", []string{"  198.51.100.1 "}, "198.51.100.1"},
		{"two proxies", "10.0.0.1:1000", []string{"198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"two headers", "10.0.0.1:1000", []string{"198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"what the client claims itself", "10.0.0.1:1000", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"what the client claims of a proxy", "10.0.0.1:1000", []string{"10.9.9.9, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"proxies only", "10.0.0.1:1000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"nonsense", "10.0.0.1:1000", []string{"unknown"}, "10.0.0.1:1000"},
		{"nonsense ahead of an address", "10.0.0.1:1000", []string{"unknown, 198.51.100.1"}, "198.51.100.1"},
		{"nonsense behind an address", "10.0.0.1:1000", []string{"198.51.100.1, unknown"}, "10.0.0.1:1000"},
		{"nonsense between proxies", "10.0.0.1:1000", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"IPv6 proxy and client", "[2001:db8::1]:1000", []string{"2001:db9::1"}, "2001:db9::1"},
		{"with a port", "10.0.0.1:1000", []string{"198.51.100.1:5678"}, "198.51.100.1"},
		{"IPv6 with a port", "10.0.0.1:1000", []string{"[2001:db9::1]:443"}, "2001:db9::1"},
		{"IPv6 in brackets", "10.0.0.1:1000", []string{"[2001:db9::1]"}, "2001:db9::1"},
		{"IPv6 in quotes", "10.0.0.1:1000", []string{`"[2001:db9::1]:443"`}, "2001:db9::1"},
		{"with a zone", "10.0.0.1:1000", []string{"fe80::1%eth0"}, "fe80::1%eth0"},
		{"two proxies with ports", "10.0.0.1:1000", []string{"198.51.100.1:1, 10.0.0.2:2"}, "198.51.100.1"},
		{"half a bracket", "10.0.0.1:1000", []string{"[2001:db9::1"}, "2001:db9::1"},
		{"no port behind the colon", "10.0.0.1:1000", []string{"198.51.100.1:"}, "10.0.0.1:1000"},
		{"IPv4 proxy in IPv6", "[::ffff:10.0.0.1]:1000", []string{"198.51.100.1"}, "198.51.100.1"},
		{"no port", "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"no address", "@", []string{"198.51.100.1"}, "@"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			h := trust(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.remote
			for _, value := range tt.forwarded {
				r.Header.Add("X-Forwarded-For", value)
			}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if got != tt.want {
				t.Errorf("RemoteAddr is %s, want %s", got, tt.want)
			}
		})
	}
	t.Run("nobody is trusted", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("X-Forwarded-For", "198.51.100.1")
		trust(nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.RemoteAddr != "127.0.0.1:1" {
				t.Errorf("RemoteAddr is %s", r.RemoteAddr)
			}
		})).ServeHTTP(httptest.NewRecorder(), r)
	})
}
