package config

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"belfry/protocol"
)

const (
	maxWebhooks = 20 // endpoints of one app
	maxHeaders  = 50 // extra headers of one endpoint
)

// Webhooks is what concerns the webhooks of every app.
type Webhooks struct {
	Spool string `yaml:"spool"` // directory for batches that are not delivered yet; empty: they are only in memory
}

// Webhook is an endpoint that is told what happens in an app. Its URL may hold
// a secret, its headers usually do: nothing prints them, see [Webhook.Endpoint].
type Webhook struct {
	URL     string            `yaml:"url" json:"-"`     // absolute, http or https; each once in an app
	Events  []string          `yaml:"events"`           // names of [protocol.WebhookEvents]
	Headers map[string]string `yaml:"headers" json:"-"` // sent in addition
	Filter  WebhookFilter     `yaml:"filter"`
}

// WebhookFilter limits an endpoint to some channels: those with both.
type WebhookFilter struct {
	ChannelPrefix string `yaml:"channel_prefix"` // empty: any
	ChannelSuffix string `yaml:"channel_suffix"` // empty: any
}

// DefaultWebhook returns an endpoint without a URL that is told everything.
func DefaultWebhook() Webhook { return Webhook{Events: protocol.WebhookEvents()} }

// Endpoint is the URL as it may be shown: scheme, host and path, without user
// information and query.
func (w Webhook) Endpoint() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return "[not a URL]"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// LogValue gives a logger what String shows.
func (w Webhook) LogValue() slog.Value { return slog.StringValue(w.String()) }

// String shows the endpoint without what may be secret.
func (w Webhook) String() string {
	return fmt.Sprintf("{URL:%s Events:%v Headers:%d Filter:%+v}", w.Endpoint(), w.Events, len(w.Headers), w.Filter)
}

// GoString is [Webhook.String].
func (w Webhook) GoString() string { return w.String() }

func (a App) validateWebhooks(check func(key, problem string)) {
	if len(a.Webhooks) > maxWebhooks {
		check("webhooks", fmt.Sprintf("has more than %d endpoints: give fewer", maxWebhooks))
	}
	urls := map[string]int{}
	for i, w := range a.Webhooks {
		at := fmt.Sprintf("webhooks[%d].", i)
		check(at+"url", urlProblem(w.URL))
		if j, ok := urls[w.URL]; ok && w.URL != "" {
			check(at+"url", fmt.Sprintf("is also that of webhooks[%d]: give each once, or tell them apart by a query such as ?second", j))
		}
		urls[w.URL] = i
		if len(w.Events) == 0 {
			check(at+"events", "is an empty list: give "+strings.Join(protocol.WebhookEvents(), ", ")+" or some of them, or leave the key out for all")
		}
		for j, name := range w.Events {
			check(fmt.Sprintf("%sevents[%d]", at, j), webhookEventProblem(name))
		}
		validateHeaders(w.Headers, func(name, problem string) { check(at+"headers"+name, problem) })
	}
}

func validateHeaders(headers map[string]string, check func(name, problem string)) {
	if len(headers) > maxHeaders {
		check("", fmt.Sprintf("has more than %d headers: give fewer", maxHeaders))
	}
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	seen := map[string]string{}
	for _, name := range names {
		if problem := headerNameProblem(name); problem != "" {
			check("", problem)
			continue
		}
		canonical := http.CanonicalHeaderKey(name)
		if other, ok := seen[canonical]; ok {
			check("."+name, "is set as "+strconv.Quote(other)+" too: give each header once")
		}
		seen[canonical] = name
		check("."+name, headerValueProblem(headers[name]))
	}
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
	if near := nearest(name, names); near != "" {
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
