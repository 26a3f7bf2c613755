package session

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"

	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/apps/source"
	"belfry/server/bugs"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/trace"
)

// noContext is for logging: nothing of it is cancelled.
var noContext = context.Background()

// Handshake is what a client says when it connects.
type Handshake struct {
	Transport protocol.Transport
	App       Found    // see Admission.Find
	Protocol  []string // values of the protocol parameter, none when absent
	Client    string   // its library
	Version   string
	Origin    string // header, empty when absent
	Remote    string // network address, with a port or without
}

// Found is what came of the search for a client's application.
type Found struct {
	key string
	app *apps.App // nil if there is none
	err error     // why that is not known; nil if it is
}

// Admission decides which clients may connect.
type Admission struct {
	Apps     *apps.Registry
	Metrics  *metrics.Metrics
	Log      *slog.Logger
	Refusals *refusals.Log
	Bugs     *bugs.Log
	Trace    *trace.Trace // nil: nobody ever watches

	replaying sync.Mutex // held while a session is sent a part of a history; does not block

	waiting sync.RWMutex // read-locked while messages of a session wait for the cluster
}

// internalError is the close of RFC 6455 section 7.4.1 for a bug.
var internalError = &protocol.Error{Code: 1011, Message: "internal error"}

// Find looks for the application of a client with that network address, which may take a
// while. Release is due, when the client has been admitted or not.
func (a *Admission) Find(ctx context.Context, key, remote string) Found {
	app, err := a.Apps.Find(ctx, source.ByKey, key, remote)
	return Found{key, app, err}
}

// FindKnown is Find for who cannot wait. known is false if the application has to be looked
// up.
func (a *Admission) FindKnown(key string) (f Found, known bool) {
	app, known := a.Apps.Known(source.ByKey, key)
	return Found{key: key, app: app}, known
}

// Release ends Find.
func (f Found) Release() { f.app.Release() }

// Admit checks a handshake and greets the client. A refusal is returned after
// it was logged and counted; the caller sends it, which must be behind a
// completed handshake of the transport, as browsers hide its status. A client that
// meets a bug is refused.
func (a *Admission) Admit(h Handshake, conn Conn) (s *Session, refused *protocol.Error) {
	defer a.Bugs.Recover(func() {
		opened := s
		s, refused = nil, internalError
		if opened != nil { // it was counted in
			opened.End(Panic)
		}
	})
	app := h.App.app
	if app == nil {
		h.App.key = a.Apps.WithoutSecret(h.App.key)
	}
	address, e := check(h)
	if e != nil {
		id := ""
		if app != nil {
			id = app.ID
		}
		a.Reject(id, e, slog.String("key", h.App.key), slog.String("origin", h.Origin), slog.String("remote", h.Remote),
			slog.String("client", h.Client), slog.String("version", h.Version))
		return nil, e
	}
	s = newSession(app, h.Transport, conn, a)
	s.address, s.source = address, app.Source(h.Remote)
	s.setPeer(apps.Addr(h.Remote), agent{h.Client, h.Version, h.Origin})
	app.Metrics.Opened(h.Transport)
	if a.Log.Enabled(noContext, slog.LevelDebug) {
		a.Log.Debug("connection opened", "app", app.ID, "socket_id", s.id.String(), "transport", h.Transport.String(), "remote", h.Remote,
			"origin", clipped(h.Origin), "client", clipped(h.Client), "version", clipped(h.Version))
	}
	if s.watched() {
		s.trace(trace.Record{Kind: trace.Connect, Transport: h.Transport.String(), Remote: h.Remote, Client: h.Client, Version: h.Version, Origin: h.Origin})
	}
	s.answer(protocol.ConnectionEstablishedFrame(s.id, int(app.Settings().ActivityTimeout.Seconds())))
	return s, nil
}

// Reject logs and counts a refused connection. app is empty when unknown.
func (a *Admission) Reject(app string, e *protocol.Error, attrs ...slog.Attr) {
	a.Metrics.Rejected(app, e.Code)
	a.Refusals.Add(refusals.Refusal{What: "connection refused", App: app, Code: e.Code, Reason: e.Message}, attrs...)
}

// check is in the order in which a newcomer meets the problems. A connection
// that passes is counted in, also at the address that is returned, if the
// application has limits for one.
func check(h Handshake) (*apps.Address, *protocol.Error) {
	app := h.App.app
	if e := checkVersion(h.Protocol); e != nil {
		return nil, e
	}
	if h.App.err != nil {
		return nil, protocol.Errorf(protocol.CodeOverCapacity, "App key %q %s", clipped(h.App.key), h.App.err)
	}
	if app == nil {
		return nil, protocol.Errorf(protocol.CodeAppNotFound, "App key %q is not that of any app of this server", clipped(h.App.key))
	}
	if e := app.Refusal(); e != nil {
		return nil, e
	}
	if !app.Settings().AllowsOrigin(h.Origin) {
		return nil, protocol.Errorf(protocol.CodeUnauthorized, "Origin not allowed: add its host to allowed_origins of the app")
	}
	return app.Connect(h.Transport, h.Remote)
}

func checkVersion(values []string) *protocol.Error {
	if len(values) == 0 || values[0] == "" {
		return protocol.Errorf(protocol.CodeNoProtocol, "No protocol version given: add protocol=%d to the query", protocol.MaxVersion)
	}
	v, err := strconv.Atoi(values[0])
	if errors.Is(err, strconv.ErrSyntax) {
		return protocol.Errorf(protocol.CodeBadVersion, "Protocol version %q is not an integer", clipped(values[0]))
	}
	if v < protocol.MinVersion || v > protocol.MaxVersion {
		return protocol.Errorf(protocol.CodeUnsupportedProtocol, "Protocol version %s is not supported: use %d to %d", clipped(values[0]), protocol.MinVersion, protocol.MaxVersion)
	}
	return nil
}

// clipped is what is repeated of what a stranger sent.
func clipped(s string) string { return protocol.Clip(s, 60) }
