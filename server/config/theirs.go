package config

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"belfry/protocol"
)

// foreign is a key that another server has for one of ours.
type foreign struct {
	within  string // what has both: "" is the app, webhooks[] each webhook
	name    string // theirs, in snake case
	key     string // ours
	convert func(string) (value, problem string)
}

// theirs are the keys of an app of Soketi (src/app.ts, and the columns of its
// documentation), Sockudo (sql/ and sockudo-core's app.rs) and Reverb (config/reverb.php).
// Those with the same name as ours, such as max_connections, are not among them; those
// that count together are in [row.translateApp].
//
// Left out, because nothing here is like them: enable_watchlist_events,
// channel_delta_compression, idempotency and connection_recovery of Sockudo, and its
// retry and request_timeout_ms of a webhook.
var theirs = []foreign{
	{"", "app_id", "id", nil}, // of Reverb, and AppId of Soketi in DynamoDB
	{"", "app_key", "key", nil},
	{"", "app_secret", "secret", nil},
	{"", "enable_client_messages", "client_events", clientMessages},
	{"", "accept_client_events_from", "client_events", fromAudience},
	{"", "max_client_events_per_sec", "client_event_rate", fromLimit},
	{"", eventsInTime, "client_event_rate", fromLimit},
	{"", "enable_user_authentication", "require_signin", userAuthentication},
	{"", "max_presence_members_per_channel", "max_presence_members", nil},
	{"", "max_presence_member_size_in_kb", "max_presence_user_bytes", fromKiB},
	{"", "max_event_channels_at_once", "max_channels_per_event", nil},
	{"", "max_event_payload_in_kb", "max_event_bytes", fromKiB},
	{"", "max_event_batch_size", "max_batch_events", nil},
	{"", "max_message_size", "max_message_bytes", nil},
	{"webhooks[]", "event_types", "events", nil},
	{"webhooks[].filter", "channel_name_starts_with", "channel_prefix", nil},
	{"webhooks[].filter", "channel_name_ends_with", "channel_suffix", nil},
}

// apiRates are the two rates that Soketi and Sockudo have for the HTTP API, each by both
// names.
var apiRates = [2][2]string{
	{"max_backend_events_per_sec", "max_backend_events_per_second"},
	{"max_read_req_per_sec", "max_read_requests_per_second"},
}

// Sockudo's limit of client events is for a time in seconds, or for one second.
const (
	eventsInTime = "max_client_events_per_second"
	timeOfEvents = "decay_seconds"
)

// nameLengths are the two lengths that they have where Belfry has one.
var nameLengths = [2]string{"max_channel_name_length", "max_event_name_length"}

func clientMessages(v string) (string, string) {
	switch cmp.Or(truth[v], v) {
	case "true":
		return ClientEventsMembers, ""
	case "false":
		return ClientEventsNone, ""
	}
	return "", "is neither true nor false: give one of them"
}

// userAuthentication gives clients the time that Soketi gives them.
func userAuthentication(v string) (string, string) {
	switch cmp.Or(truth[v], v) {
	case "true":
		return "30s", ""
	case "false":
		return "0s", ""
	}
	return "", "is neither true nor false: give one of them"
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

// translate appends to the members at a path those of ours that they stand for.
func (r *row) translate(m members, path string) members {
	within := index.ReplaceAllString(path, "[]")
	for _, f := range theirs {
		found, ok := m.find(f.name)
		if _, ours := m.find(f.key); ours || !ok || f.within != within {
			continue
		}
		raw := found.raw
		if k := raw.Kind(); f.convert != nil && k != '[' && k != '{' {
			value, problem := f.convert(literal(raw))
			if problem != "" {
				at := join(path, f.key)
				r.theirs[at] = join(path, found.name)
				r.l.refuse(at, problem)
			}
			raw = quoted(value)
		}
		m = append(m, member{found.name, f.key, raw})
	}
	return m
}

// foreignNames are the names that others have for keys at a path.
func foreignNames(path string) (names []string) {
	within := index.ReplaceAllString(path, "[]")
	for _, f := range theirs {
		if f.within == within {
			names = append(names, f.name)
		}
	}
	if within == "" {
		names = slices.Concat(names, apiRates[0][:], apiRates[1][:], nameLengths[:], []string{timeOfEvents, "settings", "options", "policy"})
	}
	return names
}

// layers are the members of an app: those of Sockudo's policy, which counts for Sockudo
// when there is one, those beside it, and those of settings and options.
func (r *row) layers(object jsontext.Value) (members, bool) {
	beside, _ := r.object(object, "")
	var all members
	if policy, ok := beside.find("policy"); ok {
		inner, _ := r.object(policy.raw, "policy")
		for _, name := range []string{"limits", "features", "channels"} {
			if part, ok := inner.find(name); ok {
				members, _ := r.object(part.raw, "policy."+name)
				all = append(all, members...)
			}
		}
		if hooks, ok := inner.find("webhooks"); ok {
			all = append(all, hooks)
		}
	}
	all = append(all, beside...)
	for _, name := range []string{"settings", "options"} {
		if more, ok := beside.find(name); ok {
			inner, ok := r.object(more.raw, name)
			if !ok && unwrap(more.raw).Kind() != 'n' {
				r.l.add(0, more.name, "the value is not a JSON object: give one with keys of an app, or leave it out")
			}
			all = append(all, inner...)
		}
	}
	return r.translateApp(r.translate(all, "")), true
}

// translateApp does what needs more than one member, or the inside of one.
func (r *row) translateApp(m members) members {
	if events, reads := m.rate(apiRates[0][:]...), m.rate(apiRates[1][:]...); events > 0 && reads > 0 {
		// One rate stands for both, and lets through what either would; where one of the two
		// has no limit, there is none.
		m = append(m, member{apiRates[0][0], "api_request_rate", number64(events + reads)})
	}
	// Where one length stands for both, no name that was accepted there is refused here.
	longest := 0
	for _, name := range nameLengths {
		length := DefaultMaxChannelName
		if found, ok := m.find(name); ok {
			n, err := strconv.Atoi(literal(found.raw))
			if err != nil {
				n = 0
			}
			length = n
		}
		longest = max(longest, length)
	}
	if found, ok := m.find(nameLengths[0]); ok {
		m = append(m, member{found.name, "max_channel_name", number64(int64(longest))})
	}
	most, seconds := m.rate(eventsInTime), m.rate(timeOfEvents)
	for i := range m {
		switch m[i].key {
		case "client_event_rate":
			if most > 0 && seconds > 1 && snake(m[i].name) == eventsInTime {
				m[i].raw = number64((most-1)/seconds + 1)
			}
		case "allowed_origins":
			m[i].raw = r.origins(m[i].raw)
		case "webhooks":
			m[i].raw = r.webhooks(m[i].raw)
		}
	}
	return slices.DeleteFunc(m, func(m member) bool { return m.key == "allowed_origins" && string(m.raw) == "[]" })
}

func number64(n int64) jsontext.Value { return jsontext.Value(strconv.FormatInt(n, 10)) }

// rate is the value of the first of the names that is there; no number, or none, is -1.
func (m members) rate(names ...string) int64 {
	for _, name := range names {
		if found, ok := m.find(name); ok {
			if n, err := strconv.ParseInt(literal(found.raw), 10, 32); err == nil {
				return n
			}
		}
	}
	return -1
}

// origins takes text with commas for a list, and of Sockudo's patterns what Belfry
// compares: the host. An empty list is Sockudo's for any origin.
func (r *row) origins(raw jsontext.Value) jsontext.Value {
	var patterns []string
	switch raw = unwrap(raw); raw.Kind() {
	case '"':
		patterns = strings.Split(literal(raw), ",")
	case '[':
		for _, value := range tokens(raw) {
			if value.Kind() != '"' {
				return raw
			}
			patterns = append(patterns, literal(value))
		}
	default:
		return raw
	}
	hosts := []jsontext.Value{}
	for _, pattern := range patterns {
		host := strings.TrimSpace(pattern)
		if host == "" && raw.Kind() == '"' {
			continue // a comma at the end
		}
		_, behind, scheme := strings.Cut(host, "://")
		if scheme {
			host = strings.TrimSuffix(behind, "/")
		}
		if name, port, err := net.SplitHostPort(host); err == nil && (scheme || portProblem(port) == "") {
			host = name
		}
		if strings.EqualFold(host, "any") {
			host = "*"
		} else if host != strings.TrimSpace(pattern) {
			r.warn("allowed_origins", quote(pattern)+" is compared by its host alone")
		}
		hosts = append(hosts, quoted(host))
	}
	if len(hosts) == 0 && raw.Kind() == '"' {
		hosts = append(hosts, quoted("")) // nothing but commas: a mistake, not any origin
	}
	return array(hosts)
}

func array(values []jsontext.Value) jsontext.Value {
	b := []byte{'['}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, v...)
	}
	return append(b, ']')
}

// webhooks leaves out what only others can: functions of AWS, and events that are not told
// here. What is told of nothing is left out, too.
func (r *row) webhooks(raw jsontext.Value) jsontext.Value {
	if raw = unwrap(raw); raw.Kind() != '[' {
		return raw
	}
	kept := []jsontext.Value{}
	for _, hook := range tokens(raw) {
		if hook, ok := r.webhook(hook, fmt.Sprintf("webhooks[%d]", len(kept))); ok {
			kept = append(kept, hook)
		}
	}
	return array(kept)
}

func (r *row) webhook(raw jsontext.Value, path string) (_ jsontext.Value, keep bool) {
	var m members
	if raw = unwrap(raw); raw.Kind() == '{' {
		for name, value := range tokens(raw) {
			m = append(m, member{name, snake(name), value})
		}
	}
	has := func(key string) bool {
		found, ok := m.find(key)
		return ok && found.raw.Kind() != 'n'
	}
	if !has("url") && (has("lambda_function") || has("lambda")) {
		r.warn(path, "is a function of AWS, and left out: give a url")
		return nil, false
	}
	if filter, ok := m.find("filter"); ok {
		for name := range tokens(objectOr(unwrap(filter.raw))) {
			if key := snake(name); key == "channel_pattern" || key == "channel_namespace" || key == "channel_namespaces" {
				r.warn(path+".filter", key+" is not offered: the endpoint is told of channels that it leaves out")
			}
		}
	}
	types, ok := m.find("event_types")
	if list := unwrap(types.raw); ok && !has("events") && list.Kind() == '[' {
		known := []jsontext.Value{}
		for _, name := range tokens(list) {
			if slices.Contains(protocol.WebhookEvents(), literal(name)) {
				known = append(known, name)
			} else {
				r.warn(path, quote(literal(name))+" is no event that is told here")
			}
		}
		if len(known) == 0 {
			return nil, false
		}
		for i := range m {
			if m[i].key == "event_types" {
				m[i].raw = array(known)
			}
		}
		return m.object(), true
	}
	return raw, true
}

// objectOr is v, or an object with nothing in it where v is none.
func objectOr(v jsontext.Value) jsontext.Value {
	if v.Kind() != '{' {
		return jsontext.Value("{}")
	}
	return v
}

// object is the members as JSON.
func (m members) object() jsontext.Value {
	b := []byte{'{'}
	for i, member := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, quoted(member.name)...), ':'), member.raw...)
	}
	return append(b, '}')
}
