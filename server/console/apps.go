package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/metrics"
)

type appsAnswer struct {
	Total int        `json:"total"` // that match
	Apps  []appState `json:"apps"`
}

// appOrders are what applications may be sorted by; their ids decide what is alike.
var appOrders = map[string]func(a, b *apps.App) int{
	"id":          func(*apps.App, *apps.App) int { return 0 },
	"connections": func(a, b *apps.App) int { return cmp.Compare(b.Connections(), a.Connections()) },
}

// appState is an application beside its limits.
type appState struct {
	appName
	Use []usage `json:"use"`
	Met []met   `json:"met"` // limits that have kept something from happening
	// Shared says that the application has no series of its own in the metrics: it is not
	// known how much it does, nor what it took at most, nor which limits it meets.
	Shared bool `json:"shared"`
}

// usage is how much there is of something.
type usage struct {
	Name  string  `json:"name"`
	Now   float64 `json:"now"`
	Peak  float64 `json:"peak"`  // since the server was started
	Limit float64 `json:"limit"` // 0: none
	Key   string  `json:"key"`   // of the configuration, for the limit; empty: there is no such key
}

// met says how often a limit was met, since the application has its series.
type met struct {
	Key   string  `json:"key"`
	Limit float64 `json:"limit"` // seconds, if it is a time
	Times uint64  `json:"times"`
}

// listApps is GET api/apps, of those whose id or key has the query in it.
func (c *Console) listApps(r *http.Request) (any, error) {
	p, order, err := pageOf(r.URL.Query(), appOrders, "id")
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(c.allApps(), func(a *apps.App) bool {
		return !strings.Contains(strings.ToLower(a.ID), p.query) && !strings.Contains(strings.ToLower(a.Settings().Key), p.query)
	})
	slices.SortStableFunc(all, order)
	answer := appsAnswer{Total: len(all), Apps: []appState{}}
	for _, a := range cut(all, p.offset, p.limit) {
		s := a.Settings()
		now, peak, limits := c.samples.of(a)
		state := appState{appName: nameOf(a), Shared: a.Metrics.Shares(), Met: []met{}, Use: []usage{
			{"connections", now.Connections, peak.Connections, float64(s.MaxConnections), "max_connections"},
			{"subscriptions", now.Subscriptions, peak.Subscriptions, 0, ""},
			{"channels", now.Channels, peak.Channels, 0, ""},
			{"events", round(now.Events), round(peak.Events), 0, ""},
			{"messages", round(now.Messages), round(peak.Messages), 0, ""},
			{"requests", round(now.Requests), round(peak.Requests), float64(s.APIRequestRate), "api_request_rate"},
		}}
		for key, times := range limits {
			state.Met = append(state.Met, met{string(key), limitOf(&s.App, key), times})
		}
		slices.SortFunc(state.Met, func(a, b met) int { return cmp.Or(cmp.Compare(b.Times, a.Times), strings.Compare(a.Key, b.Key)) })
		answer.Apps = append(answer.Apps, state)
	}
	return answer, nil
}

// of says what an application takes now: rates are those of the last sample.
func (s *samples) of(a *apps.App) (now, peak use, met map[metrics.Limit]uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now = s.now[a.ID]
	now.Connections, now.Subscriptions, now.Channels = float64(a.Connections()), float64(a.Channels.Subscriptions()), 0
	for _, kind := range protocol.Kinds() {
		if kind == protocol.User {
			continue // they are not the application's own, and not in the list
		}
		now.Channels += float64(a.Channels.OccupiedChannels(kind))
	}
	peak = now.most(s.peaks[a.ID])
	peak.Connections = float64(a.PeakConnections())
	return now, peak, s.last.apps[a.ID].LimitsMet // which is not changed any more
}

// limitOf is a limit as it is configured.
func limitOf(a *config.App, l metrics.Limit) float64 {
	switch l {
	case metrics.MaxConnections:
		return float64(a.MaxConnections)
	case metrics.MaxConnectionsPerAddress:
		return float64(a.MaxConnectionsPerAddress)
	case metrics.ConnectRatePerAddress:
		return float64(a.ConnectRatePerAddress)
	case metrics.MaxChannelsPerConnection:
		return float64(a.MaxChannelsPerConnection)
	case metrics.MaxPresenceMembers:
		return float64(a.MaxPresenceMembers)
	case metrics.MaxMessageBytes:
		return float64(a.MaxMessageBytes)
	case metrics.MaxEventBytes:
		return float64(a.MaxEventBytes)
	case metrics.MessageRate:
		return float64(a.MessageRate)
	case metrics.MessageTimeout:
		return a.MessageTimeout.Seconds()
	case metrics.ClientEventRate:
		return float64(a.ClientEventRate)
	case metrics.RequireSignin:
		return a.RequireSignin.Seconds()
	case metrics.APIRequestRate:
		return float64(a.APIRequestRate)
	}
	return 0
}
