package webhooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"belfry/protocol"
	"belfry/server/config"
)

const (
	reportedRequests = 20 // of an endpoint
	maxTests         = 4  // under way, of all applications
)

// Report is what an operator is shown of an endpoint.
type Report struct {
	URL            string // without user information and query
	Events         []string
	Prefix, Suffix string    // of channels
	Queued         int       // events
	NextTry        time.Time // zero: nothing waits for its time
	FailingSince   time.Time // zero: the last request was taken, or there was none
	Requests       []Request // the newest first, at most 20; not to be changed
}

// Request is one that was made.
type Request struct {
	At       time.Time
	Status   int    // of the answer; 0: none came
	Failure  string // why it was not taken; empty if it was
	Events   int
	Duration time.Duration
}

// progress is what deliver shows of itself. It does not change once it is shown.
type progress struct {
	nextTry, failingSince time.Time
	requests              []Request // the newest first
}

// show replaces the progress that Report shows. Only deliver calls it.
func (e *endpoint) show(nextTry time.Time) {
	s := &e.delivering
	e.progress.Store(&progress{nextTry, s.failingSince, s.requests})
}

// remember adds a request to those that are shown from the next show on.
func (s *delivering) remember(r Request) {
	s.requests = append([]Request{r}, s.requests[:min(len(s.requests), reportedRequests-1)]...)
}

func requestOf(o outcome, start time.Time, events int) Request {
	r := Request{At: start, Status: o.status, Events: events, Duration: time.Since(start)}
	if !o.delivered() {
		r.Failure = o.String()
	}
	return r
}

// Report describes all endpoints, in the order in which they are configured.
func (a *App) Report() []Report {
	var reports []Report
	for _, t := range a.list() {
		r := Report{URL: t.shownURL(), Events: t.kinds.names(), Prefix: t.prefix, Suffix: t.suffix, Queued: t.length()}
		if p := t.progress.Load(); p != nil {
			r.NextTry, r.FailingSince, r.Requests = p.nextTry, p.failingSince, p.requests
		}
		reports = append(reports, r)
	}
	return reports
}

// shownURL is without user information and query.
func (e *endpoint) shownURL() string { return config.Webhook{URL: *e.url.Load()}.Endpoint() }

// names returns the names of the kinds.
func (k kinds) names() []string {
	return slices.DeleteFunc(protocol.WebhookEvents(), func(name string) bool { return k&kind(name) == 0 })
}

// Errors of [App.Test].
var (
	ErrNoEndpoint   = errors.New("no such endpoint is configured any more")
	ErrManyTests    = fmt.Errorf("%d tests are under way: wait for one", maxTests)
	ErrUnknownEvent = errors.New("no such webhook event")
)

// testName is the channel, and the user, of a test.
const testName = "belfry-test"

// Test posts one event to the endpoint with that index and URL, as [App.Report] has them,
// at once and beside the queue, and returns what came of it. It waits for the answer.
func (a *App) Test(ctx context.Context, index int, url, event string) (Request, error) {
	targets := a.list()
	if index < 0 || index >= len(targets) || targets[index].shownURL() != url {
		return Request{}, ErrNoEndpoint
	}
	if kind(event) == 0 {
		return Request{}, ErrUnknownEvent
	}
	select {
	case a.sender.tests <- struct{}{}:
	default:
		return Request{}, ErrManyTests
	}
	defer func() { <-a.sender.tests }()
	e := targets[index].endpoint
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	start := time.Now()
	o := e.post(ctx, protocol.WebhookBody(start.UnixMilli(), [][]byte{testEvent(event).Append(nil)}))
	if o.status == 0 && ctx.Err() != nil {
		o.failure = "ended before the answer came"
	}
	return requestOf(o, start, 1), nil
}

func testEvent(name string) protocol.WebhookEvent {
	e := protocol.WebhookEvent{Name: name, Channel: testName, Event: protocol.PrefixClient + "test", Data: []byte(`"{}"`), Count: 1}
	if kind(name)&(added|removed|clientEvent) != 0 {
		e.UserID = testName
	}
	return e
}
