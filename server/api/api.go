// Package api is the HTTP API through which an application's backend
// publishes events and asks about channels (Pusher Channels HTTP API).
//
// Every request is signed; see package auth. Answers are JSON in the shapes
// that Pusher's server libraries decode: {"channels":{}} stays an object when
// it is empty, {"batch":[]} a list. Errors are {"error":"…"} with a text that
// says which check failed and what to change: the libraries print just that.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"belfry/auth"
	"belfry/channels/cluster"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/apps/source"
	"belfry/server/door"
	"belfry/server/handover"
	"belfry/server/metrics"
	"belfry/server/refusals"
)

// API serves /apps/{id}/…, with Prefix or without.
type API struct {
	Apps     *apps.Registry
	Metrics  *metrics.Metrics
	Refusals *refusals.Log
	// Log is told of publishes that are part of a trace, at level debug.
	Log *slog.Logger
	// Prefix comes before /apps in requests of clients that keep it
	// (Laravel's path option): "" or "/name".
	Prefix string
	// MaxRequestBytes bounds a body.
	MaxRequestBytes int64
	// Authorized is called with each request whose signature is right, before its body
	// is read.
	Authorized func(http.ResponseWriter, *http.Request)
	// Verified says that another process has verified the requests, and counted them
	// against the app's rate.
	Verified bool
	// Hurry ends when requests whose bodies have not come are to be refused.
	Hurry context.Context
	// Changes are what requests do. When the state has moved to another process, Elsewhere
	// has that one answer a request, whose body was read.
	Changes   *handover.Changes
	Elsewhere func(w http.ResponseWriter, r *http.Request, body []byte)
}

// request is one that was authenticated.
type request struct {
	app   *apps.App
	name  string // of the path's channel or user, decoded; empty on routes without one
	query url.Values
	body  []byte
	key   string  // idempotency key of the header, empty for none
	later awaiter // nil: the handler may wait

	traceparent string // empty for none
	log         *slog.Logger
}

// awaiter is an http.ResponseWriter whose handler should not wait: what is
// written to it is sent once all that it was told to await is closed.
type awaiter interface {
	Await(closed <-chan struct{})
}

// handler answers a request with the JSON of what it returns.
type handler func(request) (answer any, err error)

// route is a row of the API.
type route struct {
	name    string // for metrics
	method  string
	handler handler
}

func (r route) publishes() bool { return r.name == "events" || r.name == "batch_events" }

// find maps the path behind /apps/{id}/ to its route.
func find(segments []string) (r route, name string, ok bool) {
	switch len(segments) {
	case 1:
		switch segments[0] {
		case "events":
			return route{"events", http.MethodPost, publish}, "", true
		case "batch_events":
			return route{"batch_events", http.MethodPost, publishBatch}, "", true
		case "channels":
			return route{"channels", http.MethodGet, listChannels}, "", true
		case "connections":
			return route{"connections", http.MethodGet, countConnections}, "", true
		}
	case 2:
		if segments[0] == "channels" {
			return route{"channel", http.MethodGet, showChannel}, segments[1], true
		}
	case 3:
		if segments[0] == "channels" && segments[2] == "users" {
			return route{"users", http.MethodGet, listUsers}, segments[1], true
		}
		if segments[0] == "channels" && segments[2] == "history" {
			return route{"history", http.MethodGet, showHistory}, segments[1], true
		}
		if segments[0] == "users" && segments[2] == "terminate_connections" {
			return route{"terminate_connections", http.MethodPost, terminate}, segments[1], true
		}
	}
	return route{}, "", false
}

// Quick says whether the answer to a request takes no longer than to publish an
// event does on a single node, where nothing has to be asked of others: queries
// and terminations visit all channels.
func Quick(r *http.Request) bool {
	return r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/events") || strings.HasSuffix(r.URL.Path, "/batch_events"))
}

// failure is an answer other than 200.
type failure struct {
	status  int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(status int, format string, args ...any) error {
	return &failure{status, fmt.Sprintf(format, args...)}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	call := call{api: a, route: route{name: "unknown"}}
	defer func() { call.app.Release() }()
	answer, err := call.serve(w, r)
	if err == errElsewhere || err == errPostponed {
		return
	}
	status := http.StatusOK
	if err != nil {
		status, answer = call.refusal(r, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(answer) // an error means that the client has gone
	a.Metrics.Request(call.appID(), call.route.name, status, time.Since(start).Seconds())
}

// Others answer in these cases: another process has, or another goroutine will.
var (
	errElsewhere = errors.New("answered elsewhere")
	errPostponed = errors.New("postponed")
)

// call is what is known of a request while it is served.
type call struct {
	api   *API
	route route
	app   *apps.App // nil while unknown

	traceparent string // of a request to publish; empty for none
}

func (c *call) appID() string {
	if c.app == nil {
		return ""
	}
	return c.app.ID
}

// serve checks in the order of Pusher's documentation: the app of the path,
// its signature, then what is asked. A body is read once the signature is known
// to be the application's.
func (c *call) serve(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	full := r.URL.EscapedPath()
	path := full
	if rest, ok := strings.CutPrefix(full, c.api.Prefix); ok && strings.HasPrefix(rest, "/apps/") {
		path = rest
	}
	segments := strings.Split(strings.TrimPrefix(path, "/apps/"), "/")
	route, name, ok := find(segments[1:])
	if !ok {
		return nil, fail(http.StatusNotFound, "no such route: %q", clip(full))
	}
	c.route = route
	if route.publishes() {
		c.traceparent = traceparent(r.Header)
	}
	id, err := url.PathUnescape(segments[0])
	if err == nil {
		name, err = url.PathUnescape(name)
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "path is not correctly percent-encoded: %q", clip(full))
	}
	if err := c.find(w, r, id); err != nil {
		return nil, err
	}
	if r.Method != route.method {
		w.Header().Set("Allow", route.method)
		return nil, fail(http.StatusMethodNotAllowed, "%q is not allowed here, use %s", clip(r.Method), route.method)
	}
	query := auth.ParseQuery(r.URL.RawQuery)
	settings := c.app.Settings()
	signed := auth.Request{Method: r.Method, Paths: candidates(path, full), Query: query, HasBody: r.ContentLength > 0}
	if !c.api.Verified {
		if err := settings.Credentials.VerifyQuery(signed, time.Now()); err != nil {
			return nil, &failure{http.StatusUnauthorized, err.Error()}
		}
	}
	c.api.Authorized(w, r)
	if !settings.Enabled {
		return nil, fail(http.StatusForbidden, "app %s is disabled: enabled is false", c.app.ID)
	}
	if !c.api.Verified && !c.app.AllowRequest() {
		w.Header().Set("Retry-After", "1") // second
		return nil, fail(http.StatusTooManyRequests, "app %s sends more than %d requests a second: see api_request_rate", c.app.ID, settings.APIRequestRate)
	}
	body, err := c.readBody(w, r)
	if err != nil {
		return nil, err
	}
	if err := auth.VerifyBody(query, body); !c.api.Verified && err != nil {
		return nil, &failure{http.StatusUnauthorized, err.Error()}
	}
	moved := c.api.Changes.Begin()
	if moved {
		c.api.Changes.End()
		c.api.Elsewhere(w, r, body)
		return nil, errElsewhere
	}
	later, _ := w.(awaiter)
	answer, err := c.change(request{c.app, name, query, body, r.Header.Get("X-Idempotency-Key"), later, c.traceparent, c.api.Log})
	if tooLarge := new(protocol.RequestError); errors.As(err, &tooLarge) && tooLarge.Status == http.StatusRequestEntityTooLarge {
		c.app.Metrics.LimitMet(metrics.MaxEventBytes)
	}
	if err != nil {
		return nil, err
	}
	if raw, ok := answer.(json.RawMessage); ok {
		return raw, nil
	}
	return json.Marshal(answer)
}

// change has the route's handler answer, within a change.
func (c *call) change(r request) (any, error) {
	defer c.api.Changes.End()
	return c.route.handler(r)
}

// find finds the application, which the call holds from here on.
func (c *call) find(w http.ResponseWriter, r *http.Request, id string) (err error) {
	known := false
	if c.app, known = c.api.Apps.Known(source.ByID, id); !known {
		if door.Postpone(w) {
			return errPostponed
		}
		c.app, err = c.api.Apps.Find(r.Context(), source.ByID, id, r.RemoteAddr)
	}
	status := http.StatusServiceUnavailable
	if errors.Is(err, apps.ErrGuessing) {
		status = http.StatusTooManyRequests
	}
	switch {
	case err != nil:
		w.Header().Set("Retry-After", "1") // second
		return fail(status, "app %q %s", clip(id), err)
	case c.app == nil:
		return fail(http.StatusNotFound, "no app with id %q: compare it with the id in the server's configuration", clip(id))
	}
	return nil
}

func (c *call) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if _, inMemory := w.(awaiter); !inMemory {
		connection := http.NewResponseController(w)
		defer context.AfterFunc(c.api.Hurry, func() {
			_ = connection.SetReadDeadline(time.Now()) // an error: the connection has gone
		})()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, c.api.MaxRequestBytes))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, fail(http.StatusRequestEntityTooLarge,
			"request body of %s bytes is larger than max_request_bytes %d", length(r), c.api.MaxRequestBytes)
	}
	if err != nil && c.api.Hurry.Err() != nil {
		w.Header().Set("Connection", "close")
		return nil, fail(http.StatusServiceUnavailable, "the server is stopping or being replaced, and the request's body had not come in time: send it again")
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "request body could not be read")
	}
	return body, nil
}

// candidates are the paths that a client may have signed: without a prefix, as
// sent, decoded or, behind a proxy that decodes, encoded again, or the whole.
func candidates(path, full string) []string {
	paths := []string{path}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	segments := strings.Split(decoded, "/")
	for i, segment := range segments {
		segments[i] = url.QueryEscape(segment) // as encodeURIComponent does, but for a space, which no name has
	}
	for _, other := range []string{decoded, strings.Join(segments, "/")} {
		if !slices.Contains(paths, other) {
			paths = append(paths, other)
		}
	}
	if full != path {
		paths = append(paths, full)
	}
	return paths
}

func length(r *http.Request) string {
	if r.ContentLength < 0 {
		return "unknown"
	}
	return fmt.Sprint(r.ContentLength)
}

// refusal logs an error and makes an answer of it.
func (c *call) refusal(r *http.Request, err error) (status int, answer []byte) {
	var failed *failure
	var invalid *protocol.RequestError
	switch {
	case errors.As(err, &failed):
		status = failed.status
	case errors.As(err, &invalid):
		status = invalid.Status
	case errors.Is(err, cluster.ErrUnknown):
		status, err = http.StatusServiceUnavailable, cluster.ErrUnknown
	case errors.Is(err, cluster.ErrUnavailable):
		status = http.StatusServiceUnavailable
		err = cluster.ErrUnavailable // where the cluster is, is in the log
	default:
		status = http.StatusInternalServerError
	}
	attrs := []slog.Attr{slog.String("route", c.route.name), slog.String("remote", r.RemoteAddr)}
	if c.traceparent != "" {
		attrs = append(attrs, slog.String("traceparent", c.traceparent))
	}
	c.api.Refusals.Add(refusals.Refusal{What: "request refused", App: c.appID(), Code: status, Reason: err.Error()}, attrs...)
	answer, err = json.Marshal(map[string]string{"error": err.Error()})
	if err != nil {
		return http.StatusInternalServerError, []byte(`{"error":"internal error"}`)
	}
	return status, answer
}

// clip is what is repeated of what a stranger sent.
func clip(s string) string { return protocol.Clip(s, 100) }
