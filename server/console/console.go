// Package console is the page inside the binary that shows what the server is doing, and
// why something did not arrive: static files, a JSON API for them, and one stream.
package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"

	"belfry/channels"
	"belfry/server/apps"
	"belfry/server/capacity"
	"belfry/server/config"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
	"belfry/server/trace"
)

// Options of a Console.
type Options struct {
	Config   *config.Config
	Log      *slog.Logger
	Apps     *apps.Registry
	Broker   *channels.Broker
	Metrics  *metrics.Metrics
	Refusals *refusals.Log
	Trace    *trace.Trace
	Capacity *capacity.Capacity
	// Sessions are all that are open, of every transport.
	Sessions func() iter.Seq[*session.Session]
}

// Console serves the page. It is an http.Handler of everything below its path.
type Console struct {
	Options
	mux *http.ServeMux

	open  context.Context // ends with Close
	close context.CancelFunc
}

// New makes a console.
func New(o Options) *Console {
	c := &Console{Options: o, mux: http.NewServeMux()}
	c.open, c.close = context.WithCancel(context.Background())
	c.Refusals.Keep()
	look := func(pattern string, h handler) { c.mux.Handle(pattern, c.answer(h)) }
	act := look // TODO(frame): asks for the role that may act
	look("GET /api/server", c.server)
	look("GET /api/refusals", c.listRefusals)
	look("GET /api/connections", c.listConnections)
	look("GET /api/connections/{id}", c.showConnection)
	act("POST /api/connections/{id}/disconnect", c.disconnect)
	look("GET /api/channels", c.listChannels)
	look("GET /api/channel", c.showChannel)
	act("POST /api/events", c.sendEvent)
	look("GET /api/webhooks", c.listWebhooks)
	act("POST /api/webhooks/test", c.testWebhook)
	look("GET /api/apps", c.listApps)
	look("GET /api/node", c.node)
	c.mux.HandleFunc("GET /api/live", c.live)
	return c
}

// Close ends the streams. Requests are answered further.
func (c *Console) Close() { c.close() }

// ServeHTTP implements http.Handler. The path has no prefix any more.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// handler answers a request with the JSON of what it returns.
type handler func(*http.Request) (answer any, err error)

// failure is an answer other than 200.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(status int, format string, args ...any) error {
	return &failure{status, fmt.Sprintf(format, args...)}
}

// answer writes what a handler returns.
func (c *Console) answer(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := h(r)
		if err != nil {
			c.refuse(w, err)
			return
		}
		write(w, http.StatusOK, answer)
	})
}

// refuse writes why there is no answer.
func (c *Console) refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if failed := new(failure); errors.As(err, &failed) {
		status = failed.status
	}
	write(w, status, map[string]string{"error": err.Error()})
}

func write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // an error means that the browser has gone
}

// app is the one that a request names, or an error that says that there is none.
func (c *Console) app(id string) (*apps.App, error) {
	if a := c.Apps.ByID(id); a != nil {
		return a, nil
	}
	return nil, fail(http.StatusNotFound, "no app with id %q", id)
}
