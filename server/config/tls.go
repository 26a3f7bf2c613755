package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const (
	domainPattern = `^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`
	emailPattern  = `^([^@\s:]+@[^@\s]+)?$`
	httpsPattern  = `^[Hh][Tt][Tt][Pp][Ss]://`
)

var domainName = regexp.MustCompile(domainPattern)

// pairProblem is about a file that needs another one.
func pairProblem(file, other string) string {
	if file == "" && other != "" {
		return "is missing or empty: give cert_file and key_file, or neither"
	}
	return ""
}

// checkDomains looks at the list as a whole.
func (c *Config) checkDomains(l *loader, path string) {
	t := c.Server.TLS
	switch a := t.ACME; {
	case len(a.Domains) == 0 && (a.Email != "" || a.Storage != "" || a.Directory != DefaultDirectory):
		l.refuse(path, "is missing or empty: give the host names that need a certificate, or leave acme out")
	case len(a.Domains) > 0 && t.CertFile+t.KeyFile != "":
		l.refuse(path, "is given beside cert_file and key_file: give these or acme, not both")
	case len(a.Domains) > maxDomains:
		l.refuse(path, fmt.Sprintf("has more than %d names: give fewer", maxDomains))
	}
	for i, d := range t.ACME.Domains {
		if j := slices.Index(t.ACME.Domains, d); j < i && d != "" {
			l.refuse(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("is also that of domains[%d]: give each once", j))
		}
	}
}

func domainProblem(s string) string {
	const give = "give a host name such as ws.example.com"
	_, notIP := netip.ParseAddr(s)
	switch {
	case s == "":
		return "is empty: " + give
	case strings.Contains(s, "*"):
		return "is a wildcard, which an authority gives by DNS only: give each host name"
	case notIP == nil:
		return "is an IP address: " + give
	case strings.Contains(s, "/"):
		return "has a slash: " + give
	case strings.Contains(s, ":"):
		return "has a port: " + give
	case !domainName.MatchString(s):
		return "is not a host name (write an international one in its xn-- form): " + give
	case len(s) > maxDomain:
		return fmt.Sprintf("is %d characters long: a host name has at most %d", len(s), maxDomain)
	}
	return ""
}

func emailProblem(s string) string {
	user, host, _ := strings.Cut(s, "@")
	switch {
	case s == "":
		return ""
	case user == "" || strings.Contains(user, ":") || !hostname.MatchString(host):
		return "is not an email address: give one such as admin@example.com"
	case len(s) > maxEmail:
		return fmt.Sprintf("is %d characters long: give at most %d", len(s), maxEmail)
	}
	return wordProblem(s, ",?")
}

func directoryProblem(s string) string {
	const give = ": give one such as " + DefaultDirectory
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "is empty" + give
	case err != nil || u.Scheme != "https" || u.Opaque != "" || u.Hostname() == "":
		return "is not an https URL" + give
	case u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.ForceQuery: // it is shown
		return "has more than host, port and path" + give
	}
	return ""
}

func (c *Config) storageProblem(s string) string {
	switch {
	case s == StorageRedis && c.Cluster.Driver != ClusterRedis:
		return "is for a cluster: set cluster.driver: redis, or give a directory"
	case s != StorageRedis && strings.EqualFold(s, StorageRedis):
		return "is not in lower case: give redis, or ./ before the name of a directory"
	case strings.Contains(s, "://"):
		return "is a URL: give redis, which is that of cluster.redis.url, or a directory"
	}
	return ""
}

func (c *Config) redirectProblem(s string) string {
	switch {
	case s == "":
		return ""
	case c.Server.TLS.Mode() == TLSOff:
		return "needs https to send to: give server.tls, or leave it empty"
	case s == c.Server.Listen && !anyPort(s):
		return "is the same as server.listen, where https is: give another port, such as :80"
	}
	return listenProblem(s)
}

// warnOfPorts warns of certificates that no authority will give, unless something else
// forwards a port to this server.
func (c *Config) warnOfPorts(l *loader) {
	s := c.Server
	if s.TLS.Mode() == TLSACME && port(s.Listen) != "443" && port(s.RedirectHTTP) != "80" {
		l.warn("the authority of server.tls.acme connects to port 443 of each domain, or to port 80 if server.redirect_http is set: listen on one of them, or forward it to this server")
	}
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
