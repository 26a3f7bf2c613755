package config

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"belfry/channels/cluster/redis"
	"belfry/protocol"
)

var (
	hostname  = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)
	dotPath   = regexp.MustCompile(`/\.\.?(/|$)`)
)

// Patterns of what the functions below accept, for the schema. Each also matches some
// of what they refuse.
const (
	listenPattern      = `^(|[A-Za-z0-9._-]+|\[[^\]]+\]):[0-9]{1,5}$`
	apartPattern       = `^((|[A-Za-z0-9._-]+|\[[^\]]+\]):[0-9]{1,5})?$` // also empty
	pathPattern        = `^(/[A-Za-z0-9._~-]+)+$`
	prefixPattern      = `^/*([A-Za-z0-9._~-]+/)*[A-Za-z0-9._~-]*/*$` // ahead of normalPath
	originPattern      = `^(\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:.]+(%.+)?)$`
	channelPattern     = `^(#server-to-user-[^*]*\*?|[A-Za-z0-9_=@,.;-]+\*?|\*)$`
	passwordPattern    = `^([^\x00-\x1f\x7f]{8,})?$`
	redisPattern       = `^[Rr][Ee][Dd][Ii][Ss][Ss]?://`
	redisPrefixPattern = `^[^\s{}]{1,64}$`
	urlPattern         = `^\s*[Hh][Tt][Tt][Pp][Ss]?://[^#\s][^#]*#?\s*$`
	headerNamePattern  = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
	headerValuePattern = `^(\S([^\x00-\x08\x0a-\x1f\x7f]*\S)?)?$`
)

const hostPortForm = "host:port such as 127.0.0.1:8080, or :8080 for every address"

// The functions below return what is wrong with a value, in words to follow
// the value, or "".

func wordProblem(s, without string) string {
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, odd):
		return "has a space or a control character: give it without"
	case strings.ContainsAny(s, without):
		return fmt.Sprintf("has a character of %q in it: give it without", without)
	}
	return ""
}

// missing is problem for a value that has to be given, said with name.
func missing(name string, problem func(string) string) func(string) string {
	return func(s string) string {
		if s == "" {
			return "is missing or empty: give the app's " + name
		}
		return problem(s)
	}
}

func without(characters string) func(string) string {
	return func(s string) string { return wordProblem(s, characters) }
}

func rangeProblem[N int | int64](n, least N) string {
	if n < least || n > maxLimit {
		return fmt.Sprintf("is out of range: give a whole number from %d to %d", least, maxLimit)
	}
	return ""
}

func durationProblem(d, least, most time.Duration) string {
	if d < least || d > most {
		return fmt.Sprintf("is out of range: give a duration from %s to %s", FormatDuration(least), FormatDuration(most))
	}
	return ""
}

// closeCodeProblem is about the codes whose meaning to a client is certain.
func closeCodeProblem(code int) string {
	if code != protocol.CodeUnauthorized && code != protocol.CodeOverCapacity && code != protocol.CodeReconnect {
		return fmt.Sprintf("is not accepted: give %d (the client stays away), %d (it is back after a second) or %d (at once)",
			protocol.CodeUnauthorized, protocol.CodeOverCapacity, protocol.CodeReconnect)
	}
	return ""
}

// FormatDuration is d as the configuration is written: 2m, and not 2m0s.
func FormatDuration(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func choiceProblem(s string, accepted ...string) string {
	if slices.Contains(accepted, s) {
		return ""
	}
	give := ": give " + either(accepted)
	if s == "" {
		return "is empty" + give
	}
	return "is not accepted" + give
}

// either is "a, b or c".
func either(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func listenProblem(s string) string {
	if s == "" {
		return "is empty: give " + hostPortForm
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "is not an address to listen on: give " + hostPortForm
	}
	if host == "" {
		return portProblem(port)
	}
	return cmp.Or(hostProblem(host), portProblem(port))
}

func hostProblem(host string) string {
	if _, err := netip.ParseAddr(host); err != nil && !hostname.MatchString(host) {
		return "has no valid host: give a host name or an IP address, IPv6 in brackets before a port"
	}
	return ""
}

func portProblem(port string) string {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "has no valid port: give a number from 0 (any free port) to 65535"
	}
	return ""
}

// normalPath returns a prefix with one slash before it and none behind.
func normalPath(p string) string {
	if p = strings.Trim(p, "/"); p == "" {
		return ""
	}
	return "/" + p
}

func pathProblem(p string) string {
	if !plainPath.MatchString(p) || dotPath.MatchString(p) {
		return "is not a plain path: give a slash and a name of letters, digits and -._~ once or more, such as /ws"
	}
	return ""
}

// originProblem says what is wrong with a pattern for the host of an Origin
// header.
func originProblem(s string) string {
	const give = "give a host such as example.com, *.example.com for its subdomains, or * for any"
	host := strings.TrimPrefix(s, "*.")
	_, notIP := netip.ParseAddr(s)
	switch {
	case s == "*" || notIP == nil:
		return ""
	case s == "":
		return "is empty: " + give
	case strings.Contains(s, "://"):
		return "has a scheme, but only the host is compared: " + give
	case strings.Contains(s, "/"):
		return "has a path, but only the host is compared: " + give
	case strings.Contains(s, ":"):
		return "has a port, but only the host is compared: " + give
	case strings.Contains(host, "*"):
		return "has a * that is not its whole first label: " + give
	case !hostname.MatchString(host):
		return "is not a host name (write an international one in its xn-- form): " + give
	}
	return ""
}

func redisProblem(url string) string {
	if err := redis.CheckURL(url); err != nil {
		return "is not usable: " + err.Error()
	}
	return ""
}

func redisPrefixProblem(p string) string {
	switch {
	case p == "":
		return "is empty: give a name such as belfry"
	case len(p) > maxRedisPrefix:
		return fmt.Sprintf("is %d characters long: give at most %d", len(p), maxRedisPrefix)
	case strings.ContainsAny(p, "{}"):
		return "has a brace, which Redis Cluster takes for a hash tag: give a name such as belfry"
	}
	return wordProblem(p, "")
}

func urlProblem(s string) string {
	const give = "give one such as https://app.example/pusher/webhook"
	u, err := url.Parse(s)
	switch {
	case s == "":
		return "is missing or empty: " + give
	case err != nil:
		return "is not a URL: " + give
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "":
		return "is not an absolute http or https URL: " + give
	case u.Hostname() == "":
		return "has no host: " + give
	case u.Fragment != "":
		return "has a fragment, which is never sent: give it without #"
	}
	if port := u.Port(); port != "" {
		return portProblem(port)
	}
	return ""
}

func webhookEventProblem(name string) string {
	names := protocol.WebhookEvents()
	if slices.Contains(names, name) {
		return ""
	}
	problem := "is not a webhook event"
	if near := Nearest(name, names); near != "" {
		problem += ", did you mean " + near + "?"
	} else {
		problem += ":"
	}
	return problem + " there are " + strings.Join(names, ", ")
}

// ownHeaders are those that a delivery sets itself, or that say how the
// connection is used.
var ownHeaders = []string{
	"Content-Type", "Content-Length", "Content-Encoding", "Host", "Connection", "Keep-Alive",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// headerNameProblem holds a name to the token of RFC 9110, section 5.6.2.
func headerNameProblem(name string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case name == "" || strings.ContainsFunc(name, odd):
		return "has " + quote(name) + ", which is not a header's name: give one of letters, digits and dashes"
	case slices.Contains(ownHeaders, canonical) || strings.HasPrefix(canonical, "X-Pusher-"):
		return "has " + quote(name) + ", which Belfry sets itself: leave it out"
	}
	return ""
}

func headerValueProblem(value string) string {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "has a control character: give it without"
		}
	}
	if strings.TrimSpace(value) != value {
		return "begins or ends with a space: give it without"
	}
	return ""
}
