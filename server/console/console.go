// Package console is the page inside the binary that shows what the server is doing, and
// why something did not arrive: static files, a JSON API for them, and one stream.
//
// session.go decides who may see it, and headers.go sets what every answer carries. The page
// addresses everything relatively, so that it works behind any prefix.
package console

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/keepalive"
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
	// Sessions yields those of every transport, among them some that have just ended.
	Sessions func() iter.Seq[*session.Session]
	// Watch is the clock of the sessions' times.
	Watch *keepalive.Watch
	// Changes are frozen during a handover.
	Changes *handover.Changes
	// Nodes returns the live nodes of the cluster. Beside an error, it returns this one.
	Nodes func(context.Context) ([]Node, error)
	// Authorized, if it is set, is called with each request of somebody who is signed in.
	Authorized func(http.ResponseWriter, *http.Request)

	Version, Revision, GoVersion string

	// Address is where the console is, and Clients where clients connect; they may be the
	// same.
	Address, Clients net.Addr
}

// Console serves the page. It is an http.Handler of everything below its path.
type Console struct {
	Options
	mux      *http.ServeMux
	keys     keys
	attempts attempts
	cookie   string // its name
	cross    http.CrossOriginProtection
	started  time.Time
	run      string        // names this run of the server
	lists    chan struct{} // has an entry while a list is made; see turn
	samples  samples
	latest   atomic.Pointer[config.Config]

	open  context.Context // ends with Close
	close context.CancelFunc
}

// New makes a console. Its plots are empty until Run has taken samples.
func New(o Options) *Console {
	c := &Console{Options: o, mux: http.NewServeMux(), started: time.Now(), run: rand.Text(), lists: make(chan struct{}, 1), keys: newKeys(o.Config.Console), cookie: "belfry_console_" + port(o.Address)}
	c.latest.Store(o.Config)
	c.open, c.close = context.WithCancel(context.Background())
	c.Refusals.Keep()
	look := func(pattern string, h handler) { c.mux.Handle(pattern, c.allow(Look, c.answer(h))) }
	act := func(pattern string, h handler) { c.mux.Handle(pattern, c.allow(Act, c.answer(h))) }
	c.mux.Handle("GET /api/session", c.answer(c.showSession))
	c.mux.HandleFunc("POST /api/session", c.signIn)
	c.mux.HandleFunc("DELETE /api/session", c.signOut)
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
	c.mux.Handle("GET /api/live", c.allow(Look, http.HandlerFunc(c.live)))
	c.mux.Handle("GET /{$}", c.file("index.html"))
	c.mux.HandleFunc("GET /static", c.nothing)
	c.mux.Handle("GET /static/", http.StripPrefix("/static/", http.HandlerFunc(c.serveFile)))
	c.mux.HandleFunc("/", c.nothing)
	return c
}

func (c *Console) nothing(w http.ResponseWriter, _ *http.Request) {
	c.refuse(w, fail(http.StatusNotFound, "no such path"))
}

// Run samples the metrics, for the plots of the last hour, until ctx ends.
func (c *Console) Run(ctx context.Context) {
	c.samples.run(ctx, c.Metrics, func(app string) bool { return c.Apps.ByID(app) != nil })
}

// Close ends the streams. The console goes on answering requests.
func (c *Console) Close() { c.close() }

// Configured replaces the configuration in which the page looks up what to change. The
// console's own settings stay.
func (c *Console) Configured(cfg *config.Config) { c.latest.Store(cfg) }

// ServeHTTP implements http.Handler. The caller has taken the prefix off the path.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.setHeaders(w.Header(), r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := c.cross.Check(r); err != nil {
			c.Refusals.Add(refusals.Refusal{What: "console request refused", Code: http.StatusForbidden, Reason: err.Error()},
				slog.String("remote", r.RemoteAddr), slog.String("origin", r.Header.Get("Origin")))
			c.refuse(w, fail(http.StatusForbidden, "the request is from another page than the console: have the proxy in front pass the Host header on"))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, c.maxBody(r))
	}
	c.mux.ServeHTTP(w, r)
}

// maxBody bounds the body of a request, in bytes. One with an event may be larger by what
// a request of the HTTP API may have.
func (c *Console) maxBody(r *http.Request) int64 {
	const most = 64 << 10
	if r.URL.Path == "/api/events" {
		return most + c.Config.Server.MaxRequestBytes
	}
	return most
}

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

func write(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // an error means that the browser has gone
}

// refuse writes why there is no answer.
func (c *Console) refuse(w http.ResponseWriter, err error) {
	status, answer := http.StatusInternalServerError, any(map[string]string{"error": err.Error()})
	failed, signIn, tooLarge := new(failure), new(unknown), new(http.MaxBytesError)
	switch {
	case errors.As(err, &signIn):
		status, answer = http.StatusUnauthorized, signIn
	case errors.As(err, &failed):
		status = failed.status
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	}
	write(w, status, answer)
}

// readJSON reads the body of a request.
func readJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return err
	}
	if err != nil || protocol.ReadJSON(body, into) != nil {
		return fail(http.StatusBadRequest, "the body is not the JSON that is expected")
	}
	return nil
}

// turn waits until no other list is made. Lists take time that clients would miss if
// somebody asked for many at once. done ends the turn.
func (c *Console) turn(ctx context.Context) (done func(), err error) {
	select {
	case c.lists <- struct{}{}:
		return func() { <-c.lists }, nil
	case <-ctx.Done():
		return nil, fail(http.StatusServiceUnavailable, "the request has ended")
	}
}

// app returns the application with an id. The error says that there is none.
func (c *Console) app(id string) (*apps.App, error) {
	if a := c.Apps.ByID(id); a != nil {
		return a, nil
	}
	return nil, fail(http.StatusNotFound, "no app with id %q", id)
}

func port(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}
