package webhooks

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"belfry/auth"
	"belfry/channels"
	"belfry/protocol"
	"belfry/server/config"
	"belfry/server/metrics"
)

// App is one application's webhooks. All methods may be called concurrently.
type App struct {
	id     string
	sender *Sender
	counts metrics.Webhooks

	credentials atomic.Pointer[auth.Credentials]
	targets     atomic.Pointer[[]target] // not changed, but replaced, under mu

	configuring sync.Mutex // guards the following
	endpoints   map[string]*endpoint
	configured  []config.Webhook

	removed atomic.Bool // by Close

	mu     sync.Mutex // guards closed, and the order in which events go to endpoints
	closed bool
}

// target is what an endpoint wants to know.
type target struct {
	*endpoint
	kinds          kinds
	prefix, suffix string
}

func (t *target) wants(k kinds, channel string) bool {
	return t.kinds&k != 0 && strings.HasPrefix(channel, t.prefix) && strings.HasSuffix(channel, t.suffix)
}

// Configure replaces the credentials and the endpoints, whose URLs are distinct.
// An endpoint keeps its queue with its URL, or when the URL changes only in user
// information or query and no other one could be meant. A new endpoint finds in
// the spool what was not delivered before. What is queued for one that is gone
// stays in the spool, or is dropped without one.
//
// It reads the spool, and waits for requests that it ends.
func (a *App) Configure(c auth.Credentials, webhooks []config.Webhook) {
	a.configuring.Lock()
	defer a.configuring.Unlock()
	if a.isClosed() {
		return
	}
	a.credentials.Store(&c)
	a.configured = webhooks
	before := a.endpoints
	a.endpoints = successors(before, webhooks)
	kept := make(map[*endpoint]bool, len(webhooks))
	var targets []target
	for _, w := range webhooks {
		e := a.endpoints[w.URL]
		if e == nil {
			e = newEndpoint(a, w)
			if !a.sender.Held() {
				e.begin(a.directory(w, webhooks), Exported{}, nil)
			}
			a.endpoints[w.URL] = e
		} else {
			e.configure(w)
		}
		kept[e] = true
		t := target{endpoint: e, prefix: w.Filter.ChannelPrefix, suffix: w.Filter.ChannelSuffix}
		for _, name := range w.Events {
			t.kinds |= kind(name)
		}
		targets = append(targets, t)
	}

	a.mu.Lock()
	a.targets.Store(&targets)
	a.mu.Unlock()

	for _, e := range before {
		if !kept[e] {
			e.remove()
		}
	}
}

// successors says which of the endpoints before, given by their URLs, go on, by their
// URLs from here on: those that have it already, and those that are the only ones to go
// while only one comes with the same address.
func successors[E any](before map[string]*E, webhooks []config.Webhook) map[string]*E {
	if len(webhooks) == 0 {
		return nil
	}
	next := make(map[string]*E, len(webhooks))
	gone := make(map[string][]*E)     // by address
	come := make(map[string][]string) // URLs, by address
	for _, w := range webhooks {
		if e := before[w.URL]; e != nil {
			next[w.URL] = e
		} else {
			come[w.Endpoint()] = append(come[w.Endpoint()], w.URL)
		}
	}
	for url, e := range before {
		if next[url] == nil {
			address := config.Webhook{URL: url}.Endpoint()
			gone[address] = append(gone[address], e)
		}
	}
	for address, urls := range come {
		if endpoints := gone[address]; len(urls) == 1 && len(endpoints) == 1 {
			next[urls[0]] = endpoints[0]
		}
	}
	return next
}

// directory is what an endpoint has in the spool, by its address, or by its URL
// if another one has that address; nil without a spool.
func (a *App) directory(w config.Webhook, webhooks []config.Webhook) *spoolDir {
	if a.sender.spool == nil {
		return nil
	}
	name, same := w.Endpoint(), 0
	for _, other := range webhooks {
		if other.Endpoint() == name {
			same++
		}
	}
	if same > 1 {
		name = w.URL
	}
	return a.sender.spool.use(a.id, name)
}

// Close ends the webhooks of an application that is not served any more. What
// is queued stays in the spool, or is dropped without one. Deliveries of the cluster fail.
func (a *App) Close() {
	a.removed.Store(true)
	a.sender.forget(a)
	a.Configure(auth.Credentials{}, nil)
}

// list returns the endpoints, and what they want.
func (a *App) list() []target {
	if targets := a.targets.Load(); targets != nil {
		return *targets
	}
	return nil
}

// Happened delivers an event to the endpoints that want it, in a while. It does
// not block; events of one channel are delivered in the order of its calls. The event's
// data is not kept. Each endpoint that has the event holds the delivery, if it is not nil,
// until the event is delivered or given up. What is left when the process ends is held for
// good: then another node is to deliver the event.
func (a *App) Happened(e protocol.WebhookEvent, d *channels.Delivery) {
	k := kind(e.Name)
	if a.sender.retired.Load() {
		d.Hold()
		return
	}
	if !wanted(a.list(), k, e.Channel) {
		if a.removed.Load() { // else nobody wants it
			d.Fail()
		}
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.removed.Load():
		d.Fail()
	case !a.closed:
		a.send(k, e, d)
	case d != nil:
		d.Hold()
	default:
		a.drop(metrics.DroppedShutdown, k, e.Channel)
	}
}

// Lost counts events of a channel that never came here.
func (a *App) Lost(channel string, events int) {
	for _, t := range a.list() {
		if t.wants(arrivals|departures, channel) {
			t.lose(metrics.DroppedQueueFull, events, "too many wait in the cluster")
		}
	}
}

// Wants reports whether any endpoint wants to know when a channel or its members
// come, or when they go.
func (a *App) Wants(channel string) bool { return wanted(a.list(), arrivals|departures, channel) }

// wanted says whether any endpoint wants to know one of these kinds.
func wanted(targets []target, k kinds, channel string) bool {
	for i := range targets {
		if targets[i].wants(k, channel) {
			return true
		}
	}
	return false
}

// eventOverhead is about what an event's JSON takes beside its values.
const eventOverhead = 112

// send queues an event at its endpoints. The caller holds a.mu.
func (a *App) send(k kinds, e protocol.WebhookEvent, d *channels.Delivery) {
	targets := a.list()
	var encoded []byte
	for i := range targets {
		if t := &targets[i]; t.wants(k, e.Channel) {
			if encoded == nil {
				encoded = e.Append(make([]byte, 0, eventOverhead+len(e.Channel)+len(e.UserID)+len(e.Event)+len(e.Data)))
			}
			t.add(k, e, encoded, d)
		}
	}
}

// drop counts an event that goes nowhere. The caller holds a.mu.
func (a *App) drop(reason string, k kinds, channel string) {
	for _, t := range a.list() {
		if t.wants(k, channel) {
			t.lose(reason, 1, nil)
		}
	}
}

// refuse lets no more events in, and returns the endpoints, which do not change any
// more.
func (a *App) refuse() []*endpoint {
	a.configuring.Lock()
	defer a.configuring.Unlock()
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	return slices.Collect(maps.Values(a.endpoints))
}

func (a *App) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// Queued is how many events wait for an endpoint to take them, those in a
// request included: one that goes to two endpoints is two.
func (a *App) Queued() int {
	n := 0
	for _, t := range a.list() {
		n += t.length()
	}
	return n
}

// kinds is a set of kinds of events.
type kinds uint8

const (
	occupied kinds = 1 << iota
	vacated
	added
	removed
	clientEvent
	cacheMiss
	subscriptionCount

	arrivals   = occupied | added
	departures = vacated | removed
	minor      = clientEvent | cacheMiss | subscriptionCount // about neither a channel nor a member itself
)

func kind(name string) kinds {
	switch name {
	case protocol.WebhookChannelOccupied:
		return occupied
	case protocol.WebhookChannelVacated:
		return vacated
	case protocol.WebhookMemberAdded:
		return added
	case protocol.WebhookMemberRemoved:
		return removed
	case protocol.WebhookClientEvent:
		return clientEvent
	case protocol.WebhookCacheMiss:
		return cacheMiss
	case protocol.WebhookSubscriptionCount:
		return subscriptionCount
	}
	return 0
}

// counterpart of an arrival is its departure, and the other way round.
func (k kinds) counterpart() kinds {
	switch k {
	case occupied:
		return vacated
	case vacated:
		return occupied
	case added:
		return removed
	case removed:
		return added
	}
	return 0
}
