package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// parseHop reads one address of X-Forwarded-For. Proxies write it with the port
// too, as Azure's do, and IPv6 in brackets.
func parseHop(hop string) (a netip.Addr, ok bool) {
	hop = strings.Trim(strings.TrimSpace(hop), `"`)
	if ap, err := netip.ParseAddrPort(hop); err == nil {
		return ap.Addr(), true
	}
	if inside, found := strings.CutPrefix(hop, "["); found {
		hop = strings.TrimSuffix(inside, "]")
	}
	a, err := netip.ParseAddr(hop)
	return a, err == nil
}

// trust makes RemoteAddr the client's address when the request comes through
// proxies that are trusted: the last address in X-Forwarded-For that is not
// one of theirs. Anybody else's header is not believed.
func trust(proxies []netip.Prefix, next http.Handler) http.Handler {
	if len(proxies) == 0 {
		return next
	}
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		peer, err := netip.ParseAddr(host)
		if err != nil || !trusted(peer) {
			next.ServeHTTP(w, r)
			return
		}
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			a, ok := parseHop(hop)
			if !ok {
				break
			}
			r.RemoteAddr = a.String()
			if !trusted(a) {
				break
			}
		}
		next.ServeHTTP(w, r)
	})
}
