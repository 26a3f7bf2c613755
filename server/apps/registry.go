package apps

import (
	"crypto/rand"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"belfry/channels"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/webhooks"
)

// Registry finds applications. All methods may be called concurrently; a lookup
// takes no lock.
type Registry struct {
	broker   *channels.Broker
	webhooks *webhooks.Sender
	metrics  *metrics.Metrics

	updating sync.Mutex // held while index is replaced
	index    atomic.Pointer[index]
}

// index does not change once made.
type index struct {
	byID, byKey map[string]*App
	bySecret    map[string]*App // of any of their secrets
}

// Changes are what an update came to. Each list is in the order of ids.
type Changes struct {
	Added, Changed, Removed []*App
}

// NewRegistry makes the applications of a configuration, which has been
// validated: ids and keys are unique.
func NewRegistry(configs []config.App, broker *channels.Broker, hooks *webhooks.Sender, m *metrics.Metrics) *Registry {
	r := &Registry{broker: broker, webhooks: hooks, metrics: m}
	r.index.Store(new(index))
	r.Update(configs)
	return r
}

// Update makes the applications be those of a validated configuration. One is
// known by its id: it keeps its channels and connections whatever else of it
// changes, its key too. One that is unchanged is not touched.
//
// An application that is removed is found no more when Update returns, its
// series in the metrics are gone, and [App.Refusal] is not nil; nor is that of
// one which was disabled. The caller closes the connections of these.
func (r *Registry) Update(configs []config.App) (c Changes) {
	r.updating.Lock()
	defer r.updating.Unlock()
	old := r.index.Load()
	next := &index{byID: make(map[string]*App), byKey: make(map[string]*App), bySecret: make(map[string]*App)}
	for _, settings := range configs {
		a := old.byID[settings.ID]
		switch {
		case a == nil:
			a = r.newApp(settings)
			c.Added = append(c.Added, a)
		case !reflect.DeepEqual(a.Settings().App, settings):
			a.set(settings)
			c.Changed = append(c.Changed, a)
		}
		next.byID[settings.ID] = a
		next.byKey[settings.Key] = a
		credentials := settings.Credentials()
		for _, secret := range append([]string{credentials.Secret}, credentials.OldSecrets...) {
			next.bySecret[secret] = a
		}
	}
	r.index.Store(next)
	for id, a := range old.byID {
		if next.byID[id] == nil {
			a.removed.Store(true)
			a.Channels.Close() // whose departures are the webhooks' to drop
			a.Webhooks.Close()
			r.metrics.Remove(id)
			c.Removed = append(c.Removed, a)
		}
	}
	for _, list := range [][]*App{c.Added, c.Changed, c.Removed} {
		slices.SortFunc(list, func(a, b *App) int { return strings.Compare(a.ID, b.ID) })
	}
	return c
}

func (r *Registry) newApp(c config.App) *App {
	a := &App{ID: c.ID, Metrics: r.metrics.App(c.ID)}
	rand.Read(a.sources[:]) // never fails: crypto/rand
	a.Webhooks = r.webhooks.App(c.ID, &a.Metrics.Webhooks)
	a.Channels = r.broker.NewApp(c.ID, channelLimits(c), a.Metrics, a.Webhooks)
	a.set(c)
	a.Metrics.Show(live{a})
	return a
}

// set puts settings in force.
func (a *App) set(c config.App) {
	s := &Settings{App: c, Credentials: c.Credentials()}
	a.settings.Store(s)
	a.limitRequests(c.APIRequestRate)
	a.Webhooks.Configure(s.Credentials, s.Webhooks)
	a.Channels.SetLimits(channelLimits(c))
}

// limitRequests lets an unchanged limit go on where it is.
func (a *App) limitRequests(perSecond int) {
	switch now := a.requests.Load(); {
	case perSecond == 0:
		a.requests.Store(nil)
	case now == nil || now.Burst() != perSecond:
		a.requests.Store(rate.NewLimiter(rate.Limit(perSecond), perSecond))
	}
}

func channelLimits(c config.App) channels.Limits {
	var histories []channels.HistoryRule
	for _, h := range c.History {
		histories = append(histories, channels.HistoryRule{Channels: h.Channels, Retention: channels.Retention{Events: h.Events, Age: h.Age, Rewind: h.Rewind}})
	}
	return channels.Limits{
		PresenceMembers:   c.MaxPresenceMembers,
		CacheTTL:          c.CacheTTL,
		SubscriptionCount: c.SubscriptionCount,
		Histories:         histories,
	}
}

// ByID returns the application of an HTTP API path, or nil.
func (r *Registry) ByID(id string) *App { return r.index.Load().byID[id] }

// ByKey returns the application a client connects to, or nil.
func (r *Registry) ByKey(key string) *App { return r.index.Load().byKey[key] }

// WithoutSecret returns what is to be said of a key that is no application's: the key or,
// if a client was given a secret in its place, whose secret it is.
func (r *Registry) WithoutSecret(key string) string {
	if a := r.index.Load().bySecret[key]; a != nil {
		return "[the secret of app " + a.ID + "]"
	}
	return key
}

// All calls f with every application.
func (r *Registry) All(f func(*App)) {
	for _, a := range r.index.Load().byID {
		f(a)
	}
}
