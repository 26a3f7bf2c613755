package metrics

import (
	"strconv"
	"sync/atomic"
	"time"

	"belfry/protocol"
)

// App counts one application's share. Where there are many, it has no series before something
// is counted of it, and then its own or those of [OtherApps]: see [Metrics.Run]. All methods
// may be called concurrently; the hot path only adds.
type App struct {
	id string
	m  *Metrics

	// Webhooks counts its webhooks.
	Webhooks Webhooks

	counting atomic.Pointer[series] // where to; nil: nowhere yet. Changed under m.mu
	work     atomic.Uint64          // how often something was counted
	live     atomic.Pointer[Live]   // nil until there is something to show

	// Owned by rank.
	before uint64 // work, when it was last looked at
	recent uint64 // work of the last minutes, where the last one counts most
	quiet  int    // minutes without any
}

// App returns the counters of an application, which are exported until Remove.
func (m *Metrics) App(id string) *App {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.apps[id]
	if a == nil {
		a = &App{id: id, m: m}
		a.Webhooks.app = a
		m.apps[id] = a
		if len(m.apps) <= few {
			m.begin(a)
		}
	}
	return a
}

// Show begins to export gauges of what is live.
func (a *App) Show(now Live) { a.live.Store(&now) }

// Remove forgets an application and the series that it has of its own. What is counted of
// it afterwards, by somebody who still holds it, is not exported.
func (m *Metrics) Remove(a *App) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.apps[a.id] != a {
		return
	}
	delete(m.apps, a.id)
	m.take(a)
	a.counting.Store(unseen())
}

// Begin has the application be exported, though nothing of it is counted.
func (a *App) Begin() { a.series() }

// series is where something that happened is to be counted.
func (a *App) series() *series {
	a.work.Add(1)
	if s := a.counting.Load(); s != nil {
		return s
	}
	return a.m.give(a)
}

// Delivered implements channels.Observer.
func (a *App) Delivered(messages, bytes int) {
	s := a.series()
	s.sent.Add(uint64(messages))
	s.sentBytes.Add(uint64(bytes))
}

// Delay implements channels.Observer.
func (a *App) Delay(d time.Duration) { a.series().delays.Observe(d.Seconds()) }

// Received counts a message from a client.
func (a *App) Received(bytes int) {
	s := a.series()
	s.received.Add(1)
	s.receivedBytes.Add(uint64(bytes))
}

// Published counts events that the backend has published, and those of each channel apart.
func (a *App) Published(events int) { a.series().publishedHTTP.Add(uint64(events)) }

// ClientEvent counts an event that a client has published.
func (a *App) ClientEvent() { a.series().publishedClient.Add(1) }

// SlowConsumer counts a connection that is closed because its client does not read.
func (a *App) SlowConsumer() { a.series().slow.Add(1) }

// Recovered counts a subscription that was given what it had missed.
func (a *App) Recovered() { a.series().recovered.Add(1) }

// Missed counts a subscription that could not be given what it had missed.
func (a *App) Missed() { a.series().missed.Add(1) }

// Opened counts a connection's beginning.
func (a *App) Opened(t protocol.Transport) { a.series().opened[t].Add(1) }

// Closed counts a connection's end.
func (a *App) Closed(t protocol.Transport, reason CloseReason) {
	a.series().closed.add(1, values{string(reason), t.String()})
}

// Error counts an error event sent to a connected client.
func (a *App) Error(code int) { a.series().errors.add(1, values{codeLabel(code)}) }

// Rejected counts a refused handshake.
func (a *App) Rejected(code int) { a.series().rejected.add(1, values{codeLabel(code)}) }

// Rejected counts a refused handshake. app is empty for an unknown key.
func (m *Metrics) Rejected(app string, code int) {
	m.known(app).rejected.add(1, values{codeLabel(code)})
}

// Request counts an answered HTTP API request. app is empty for an unknown id.
func (m *Metrics) Request(app, route string, status int, seconds float64) {
	m.known(app).requests.add(1, values{route, strconv.Itoa(status)})
	m.duration.WithLabelValues(route).Observe(seconds)
}

// known are the series of an application by its id.
func (m *Metrics) known(id string) *series {
	if id == "" {
		return m.unknown
	}
	m.mu.RLock()
	a := m.apps[id]
	m.mu.RUnlock()
	if a == nil {
		return unseen() // it was removed
	}
	return a.series()
}
