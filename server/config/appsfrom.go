package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// AppsFrom is where applications are looked up that are not in the configuration. Its
// URL and token may hold secrets: nothing prints them.
type AppsFrom struct {
	URL         string        `json:"-"` // see [AppsFrom.Scheme]; empty: nowhere
	Table       string        // of a database; up to three names with dots between
	Query       string        // SELECT in the place of the table
	Token       string        `json:"-"` // bearer token for https and http; empty: none
	TTL         time.Duration // how long an application that was found is served before it is looked up again
	NegativeTTL time.Duration // how long it is known that there is none
}

// The schemes of [AppsFrom.URL].
const (
	SchemePostgres = "postgres" // also written postgresql
	SchemeMySQL    = "mysql"
	SchemeSQLite   = "sqlite"
	SchemeHTTPS    = "https"
	SchemeHTTP     = "http"
)

var appsFromSchemes = []string{SchemePostgres, SchemeMySQL, SchemeSQLite, SchemeHTTPS, SchemeHTTP}

// Scheme is one of the constants above, or "" if the URL has another one or is empty.
func (f AppsFrom) Scheme() string {
	scheme, _, _ := strings.Cut(f.URL, ":")
	if scheme = strings.ToLower(scheme); scheme == "postgresql" {
		return SchemePostgres
	}
	if slices.Contains(appsFromSchemes, scheme) {
		return scheme
	}
	return ""
}

// LogValue gives a logger what String shows.
func (f AppsFrom) LogValue() slog.Value { return slog.StringValue(f.String()) }

// String shows the settings without the URL and the token.
func (f AppsFrom) String() string {
	return fmt.Sprintf("{URL:%s Table:%s Query:%s Token:%s TTL:%s NegativeTTL:%s}", hide(f.URL), f.Table, f.Query, hide(f.Token), f.TTL, f.NegativeTTL)
}

// GoString is [AppsFrom.String].
func (f AppsFrom) GoString() string { return f.String() }

const (
	appsFromPattern = `^(([Pp][Oo][Ss][Tt][Gg][Rr][Ee][Ss]([Qq][Ll])?|[Mm][Yy][Ss][Qq][Ll]|[Hh][Tt][Tt][Pp][Ss]?)://[^#]*$|[Ss][Qq][Ll][Ii][Tt][Ee]:/?[^/?#][^?#]*$|$)`
	tablePattern    = `^[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+){0,2}$`
	queryPattern    = `^(|\s*[Ss][Ee][Ll][Ee][Cc][Tt]\s[^\x00]*|\s*[Ww][Ii][Tt][Hh]\s[^\x00]*)$`
)

var (
	tableName = regexp.MustCompile(tablePattern)
	queryText = regexp.MustCompile(queryPattern)
	parameter = regexp.MustCompile(`\$[0-9]`)
)

// appsFromProblem is about what all drivers need; they know better when they open the
// source.
func appsFromProblem(s string) string {
	const give = "give one such as postgres://belfry:password@db.example/shop, mysql://belfry:password@db.example/shop, sqlite:/var/lib/shop.sqlite or https://shop.example/belfry/app"
	switch scheme := (AppsFrom{URL: s}).Scheme(); {
	case s == "":
		return ""
	case scheme == "":
		return "begins with no scheme that is known: " + give
	case scheme == SchemeSQLite:
		if file := s[len("sqlite:"):]; strings.Trim(file, "/") == "" || strings.HasPrefix(file, "//") || strings.ContainsAny(file, "?#\x00") {
			return "has no plain path after sqlite: give one such as sqlite:/var/lib/shop.sqlite or sqlite:shop.sqlite"
		}
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a URL (write a special character of the password as % and two hexadecimal digits): " + give
	case u.Opaque != "" || !strings.Contains(s, "://"):
		return "has no // after its scheme: " + give
	case u.Fragment != "":
		return "has a #, which ends a URL: write it as %23"
	case u.Host == "" && (u.Scheme == SchemeHTTPS || u.Scheme == SchemeHTTP):
		return "has no host: " + give
	}
	if port := u.Port(); port != "" {
		return portProblem(port)
	}
	return ""
}

func tableProblem(s string) string {
	switch {
	case !tableName.MatchString(s):
		return "is not the name of a table: give one of letters, digits, _, $ and -, such as apps or realtime.apps"
	case len(s) > maxTable:
		return fmt.Sprintf("is %d characters long: give at most %d", len(s), maxTable)
	}
	return ""
}

func (c *Config) queryProblem(s string) string {
	scheme := c.AppsFrom.Scheme()
	switch {
	case s == "":
		return ""
	case len(s) > maxQuery:
		return fmt.Sprintf("is %d characters long: give at most %d, or make a view of it", len(s), maxQuery)
	case !queryText.MatchString(s):
		return "does not begin with SELECT or WITH: give a SELECT whose columns have the names of the keys of an app"
	case strings.HasSuffix(strings.TrimSpace(s), ";"):
		return "ends in a semicolon, and is used within another query: give it without"
	case scheme == SchemeHTTPS || scheme == SchemeHTTP:
		return "is for a database, and apps_from.url is none: leave it out"
	case scheme == SchemePostgres && parameter.MatchString(s), (scheme == SchemeMySQL || scheme == SchemeSQLite) && strings.Contains(s, "?"):
		return "has a placeholder: give a SELECT of all apps, of which Belfry asks for one"
	}
	return ""
}

func (c *Config) appsTokenProblem(s string) string {
	if scheme := c.AppsFrom.Scheme(); s != "" && scheme != SchemeHTTPS && scheme != SchemeHTTP {
		return "is sent to https:// and http:// only: leave it out, and give a database's password in apps_from.url"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return "has a character that no header may have: give it of letters, digits and -._~+/="
		}
	}
	return ""
}

// warn tells of what would let others read the applications' secrets.
func (f AppsFrom) warn(l *loader) {
	if f.Scheme() != SchemeHTTP {
		return
	}
	if u, err := url.Parse(f.URL); err == nil && !loopback(net.JoinHostPort(u.Hostname(), "0")) {
		l.warn("apps_from.url is http://, so the secrets of apps cross the network in the clear: use https://")
	}
}
