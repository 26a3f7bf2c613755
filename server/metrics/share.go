package metrics

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"belfry/protocol"
)

const (
	// rankInterval is how often series go to whom they are worth most.
	rankInterval = time.Minute
	// quietMinutes is after how many without anything to count an application without
	// connections has no series any more.
	quietMinutes = 10
	// few is how many applications there may be of which each has series from the start, and
	// keeps them: an alert on an increase misses what a counter begins with.
	few = 20
	// busier is how many times as busy an application has to be as another that has series
	// of its own, to get some in its place. Less, and applications that are alike would take
	// turns.
	busier = 2
)

// Limit bounds how many applications have series of their own; the others share those of
// [OtherApps]. It is to be called before there are applications. Without it there is no
// bound.
func (m *Metrics) Limit(perApp int) { m.perApp = perApp }

// Run gives series of their own to the busiest applications, and takes those of the quiet
// ones, until the context ends. What is counted always goes to one value of the label app,
// and each counter only grows: sums over all applications are right.
func (m *Metrics) Run(ctx context.Context) {
	ticker := time.NewTicker(rankInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.rank()
		}
	}
}

// give gives an application series to count in.
func (m *Metrics) give(a *App) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begin(a)
}

// begin gives an application series, if it has none. mu is held.
func (m *Metrics) begin(a *App) *series {
	if s := a.counting.Load(); s != nil {
		return s
	}
	if m.own < m.perApp {
		return m.giveOwn(a)
	}
	return m.share(a)
}

// giveOwn gives an application series of its own. mu is held.
func (m *Metrics) giveOwn(a *App) *series {
	s := m.newSeries(a.id)
	m.own++
	a.counting.Store(s)
	return s
}

// share gives an application the series of all that have none of their own. mu is held.
func (m *Metrics) share(a *App) *series {
	if m.others == nil {
		m.others = m.newSeries(OtherApps)
	}
	a.counting.Store(m.others)
	return m.others
}

// take takes the series that an application has. mu is held.
func (m *Metrics) take(a *App) {
	if m.hasOwn(a) {
		m.own--
		m.dropSeries(a.id)
	}
	a.counting.Store(nil)
}

// hasOwn reports whether an application has series of its own. mu is held.
func (m *Metrics) hasOwn(a *App) bool {
	s := a.counting.Load()
	return s != nil && s != m.others
}

// rank looks at what applications did since it was last called. It holds no lock while it
// asks them what is live.
func (m *Metrics) rank() {
	m.mu.RLock()
	apps := slices.DeleteFunc(slices.Collect(maps.Values(m.apps)), func(a *App) bool { return a.counting.Load() == nil })
	m.mu.RUnlock()
	quiet := make(map[*App]bool)
	for _, a := range apps {
		if a.look(); a.quiet >= quietMinutes && a.idle() {
			quiet[a] = true
		}
	}
	slices.SortFunc(apps, func(a, b *App) int { return cmp.Compare(b.recent, a.recent) })

	m.mu.Lock()
	defer m.mu.Unlock()
	var have, want []*App // the busiest first
	for _, a := range apps {
		switch {
		case m.apps[a.id] != a: // it was removed
		case quiet[a] && len(m.apps) > few:
			m.take(a)
		case m.hasOwn(a):
			have = append(have, a)
		default:
			want = append(want, a)
		}
	}
	for _, a := range want {
		if m.own == m.perApp {
			if len(have) == 0 || a.recent <= busier*have[len(have)-1].recent {
				return
			}
			least := have[len(have)-1]
			have = have[:len(have)-1]
			m.take(least)
			m.share(least)
		}
		m.giveOwn(a)
	}
}

// look notes what an application did since it was last looked at.
func (a *App) look() {
	work := a.work.Load()
	done := work - a.before
	a.before, a.recent = work, a.recent/2+done
	if a.quiet++; done > 0 {
		a.quiet = 0
	}
}

// idle reports whether there is nothing to show of an application.
func (a *App) idle() bool {
	now := a.live.Load()
	if now == nil {
		return true
	}
	for t := range protocol.NumTransports {
		if (*now).Connections(t) > 0 {
			return false
		}
	}
	return (*now).WebhooksQueued() == 0
}

// shown is what is exported under one value of the label app.
type shown struct {
	series *series
	live   live // nil if there is nothing to show yet
}

// shown returns it by that value. Applications that do nothing are not in it.
func (m *Metrics) shown() map[string]*shown {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make(map[string]*shown, m.own+1)
	if m.others != nil {
		all[OtherApps] = &shown{m.others, live{}}
	}
	for id, a := range m.apps {
		s := a.counting.Load()
		if s == nil {
			continue
		}
		under := all[OtherApps]
		if s != m.others {
			under = &shown{series: s}
			all[id] = under
		}
		if now := a.live.Load(); now != nil {
			under.live = append(under.live, *now)
		}
	}
	return all
}
