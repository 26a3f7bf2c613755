package apps

import (
	"crypto/rand"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"belfry/channels"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/webhooks"
)

// Registry finds applications: those of the configuration and, with a [Finder], those
// that it looks up. All methods may be called concurrently; to find an application that is
// known takes no lock.
type Registry struct {
	broker   *channels.Broker
	webhooks *webhooks.Sender
	metrics  *metrics.Metrics
	finder   *finder // nil: there are only the configured ones

	updating              sync.Mutex // held while applications come, change and go
	byID, byKey, bySecret index      // the last by any of their secrets
}

// index has applications by a name.
type index struct{ m sync.Map }

func (i *index) get(name string) *App {
	a, _ := i.m.Load(name)
	found, _ := a.(*App)
	return found
}

func (i *index) put(name string, a *App) { i.m.Store(name, a) }

// drop takes a name from an application, if it is still that one's.
func (i *index) drop(name string, a *App) { i.m.CompareAndDelete(name, a) }

// Changes are what an update came to. Each list is in the order of ids.
type Changes struct {
	Added, Changed, Removed []*App
}

// NewRegistry makes the applications of a configuration, which has been
// validated: ids and keys are unique.
func NewRegistry(configs []config.App, broker *channels.Broker, hooks *webhooks.Sender, m *metrics.Metrics) *Registry {
	r := &Registry{broker: broker, webhooks: hooks, metrics: m}
	r.Update(configs)
	return r
}

// Update makes the configured applications be those of a validated configuration. One is
// known by its id: it keeps its channels and connections whatever else of it
// changes, its key too. One that is unchanged is not touched. With a Finder, one that is
// not configured any more is looked up from here on.
//
// An application that is removed is found no more when Update returns, its
// series in the metrics are gone, and [App.Refusal] is not nil; nor is that of
// one which was disabled. The caller closes the connections of these.
func (r *Registry) Update(configs []config.App) (c Changes) {
	r.updating.Lock()
	defer r.updating.Unlock()
	configured := make(map[string]bool, len(configs))
	var release []func()
	for _, settings := range configs {
		configured[settings.ID] = true
		a := r.byID.get(settings.ID)
		switch {
		case a == nil:
			a = r.newApp(settings)
			c.Added = append(c.Added, a)
			release = append(release, r.name(a, nil))
		case !reflect.DeepEqual(a.Settings().App, settings):
			before := a.Settings()
			a.set(settings)
			c.Changed = append(c.Changed, a)
			release = append(release, r.name(a, before))
		}
		a.lookedUp.Store(nil)
	}
	for _, drop := range release {
		drop()
	}
	r.All(func(a *App) {
		switch {
		case configured[a.ID] || a.lookedUp.Load() != nil:
		case r.finder != nil:
			a.lookedUp.Store(&lookedUp{due: time.Now()})
		default:
			r.remove(a)
			c.Removed = append(c.Removed, a)
		}
	})
	r.All(func(a *App) { // whose key another one had until now
		if key := a.Settings().Key; r.byKey.get(key) == nil {
			r.byKey.put(key, a)
		}
	})
	for _, list := range [][]*App{c.Added, c.Changed, c.Removed} {
		slices.SortFunc(list, func(a, b *App) int { return strings.Compare(a.ID, b.ID) })
	}
	return c
}

// name has an application be found by its names. before are its settings until now, nil if
// it is new; drop takes away those that it has not any more. It is to be called when others
// have theirs: two applications may swap their keys, and each key is always somebody's.
// updating is held.
func (r *Registry) name(a *App, before *Settings) (drop func()) {
	now := a.Settings()
	r.byID.put(a.ID, a)
	r.byKey.put(now.Key, a)
	for _, secret := range secretsOf(now) {
		r.bySecret.put(secret, a)
	}
	return func() {
		if before == nil {
			return
		}
		if before.Key != now.Key {
			r.byKey.drop(before.Key, a)
		}
		for _, secret := range secretsOf(before) {
			if !slices.Contains(secretsOf(now), secret) {
				r.bySecret.drop(secret, a)
			}
		}
	}
}

// secretsOf are all that sign for an application.
func secretsOf(s *Settings) []string {
	return append([]string{s.Credentials.Secret}, s.Credentials.OldSecrets...)
}

// remove ends an application that is not served any more. updating is held.
func (r *Registry) remove(a *App) {
	a.removed.Store(true)
	r.forget(a)
}

// forget lets go of an application. updating is held.
func (r *Registry) forget(a *App) {
	r.byID.drop(a.ID, a)
	r.byKey.drop(a.Settings().Key, a)
	for _, secret := range secretsOf(a.Settings()) {
		r.bySecret.drop(secret, a)
	}
	a.Channels.Close() // whose departures are the webhooks' to drop
	a.Webhooks.Close()
	r.metrics.Remove(a.Metrics)
}

func (r *Registry) newApp(c config.App) *App {
	a := &App{ID: c.ID, Metrics: r.metrics.App(c.ID)}
	rand.Read(a.sources[:]) // never fails: crypto/rand
	a.Webhooks = r.webhooks.App(c.ID, a.Metrics.Webhooks)
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

// ByKey returns the application of that key, or nil if none is known. It asks nobody.
func (r *Registry) ByKey(key string) *App { return r.byKey.get(key) }

// ByID returns the application of that id, or nil if none is known. It asks nobody.
func (r *Registry) ByID(id string) *App { return r.byID.get(id) }

// WithoutSecret returns what is to be said of a key that is no application's: the key or,
// if a client was given a secret in its place, whose secret it is.
func (r *Registry) WithoutSecret(key string) string {
	if a := r.bySecret.get(key); a != nil {
		return "[the secret of app " + a.ID + "]"
	}
	return key
}

// All calls f with every application that is known.
func (r *Registry) All(f func(*App)) {
	r.byID.m.Range(func(_, a any) bool {
		f(a.(*App))
		return true
	})
}
