package metrics

import "belfry/protocol"

// Counts are some of what is exported under one value of the label app.
type Counts struct {
	Connections, Subscriptions          uint64
	Channels                            uint64 // without those of users, which are not the application's own
	Published, Received, Sent, Requests uint64
	LimitsMet                           map[Limit]uint64 // without those that were not
}

// Counts returns them by that value.
func (m *Metrics) Counts() map[string]Counts {
	all := make(map[string]Counts)
	for app, shown := range m.shown() {
		s, l := shown.series, shown.live
		c := Counts{
			Subscriptions: l.sum(Live.Subscriptions),
			Published:     s.publishedHTTP.Load() + s.publishedClient.Load(),
			Received:      s.received.Load(),
			Sent:          s.sent.Load(),
			LimitsMet:     make(map[Limit]uint64),
		}
		for t := range protocol.NumTransports {
			c.Connections += l.sum(func(one Live) int { return one.Connections(t) })
		}
		for _, kind := range protocol.Kinds() {
			if kind != protocol.User {
				c.Channels += l.sum(func(one Live) int { return one.OccupiedChannels(kind) })
			}
		}
		s.requests.each(nil, func(n uint64, _ values) { c.Requests += n })
		s.limits.each(nil, func(n uint64, v values) { c.LimitsMet[Limit(v[0])] = n })
		all[app] = c
	}
	return all
}

// Shares reports whether what is counted of an application goes to the series of
// [OtherApps].
func (a *App) Shares() bool {
	a.m.mu.RLock()
	defer a.m.mu.RUnlock()
	return a.m.others != nil && a.counting.Load() == a.m.others
}
