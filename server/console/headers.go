package console

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"

	"belfry/server/config"
)

// setHeaders sets what every answer has. Nothing is loaded or run but what the server
// itself has, whatever text of a stranger gets into the page.
func (c *Console) setHeaders(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"+
		c.clientSources(r)+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// clientSources is where clients connect, as sources of the policy, if that is another
// listener: the page tests whether this browser can.
func (c *Console) clientSources(r *http.Request) string {
	host := pageHost(r.Host)
	if c.same() || host == "" {
		return ""
	}
	at := "://" + net.JoinHostPort(host, port(c.Clients))
	if c.secure() {
		return " https" + at + " wss" + at
	}
	return " http" + at + " ws" + at
}

// same says whether clients connect where the console is.
func (c *Console) same() bool { return c.Address.String() == c.Clients.String() }

// secure says whether the listeners speak TLS.
func (c *Console) secure() bool { return c.Config.Server.TLS.Mode() != config.TLSOff }

var hostname = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)

// pageHost is the name or the address in a Host header, without brackets and port, or ""
// if it has anything else: it becomes a part of a header.
func pageHost(header string) string {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = header
		if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
			host = host[1 : n-1]
		}
	}
	const longest = 253 // RFC 1035 section 2.3.4
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		return a.String()
	}
	if len(host) > longest || !hostname.MatchString(host) {
		return ""
	}
	return host
}
