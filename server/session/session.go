// Package session is one client's side of the protocol: what it is allowed,
// what it is subscribed to, and what it is answered. It is the same for every
// transport.
package session

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"golang.org/x/time/rate"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/trace"
)

// Conn is the transport's connection. No method blocks.
type Conn interface {
	// Send queues whole frames.
	Send(frames []byte)
	// Deliver is channels.Subscriber's: frames are lines if the transport's are.
	Deliver(s *channels.Subscription, frames []byte) (kept bool)
	// Hold keeps back what is sent until Release, which sends first ahead of it.
	Hold()
	Release(first []byte)
	// Room reports whether so many bytes may be sent without the client becoming a slow
	// consumer, unless it reads nothing, and without others being cut off.
	Room(bytes int) bool
	// Ping asks the peer for a sign of life, below the protocol.
	Ping()
	// Waiting is how many bytes wait to be sent.
	Waiting() int
	// Seen is when something of any kind last came in; at first, when the connection
	// was opened.
	Seen() keepalive.Time
	// Close tells the client why and ends the connection with that code, once
	// what was sent before has gone out.
	Close(*protocol.Error)
}

// Reason says why a connection ended.
type Reason = metrics.CloseReason

// The reasons.
const (
	ByClient      = metrics.ByClient
	PongTimeout   = metrics.PongTimeout
	SlowConsumer  = metrics.SlowConsumer
	Drain         = metrics.Drain
	NotAuthorized = metrics.NotAuthorized
	Terminated    = metrics.Terminated
	Console       = metrics.Console
	AppClosed     = metrics.AppClosed
	ProtocolError = metrics.ProtocolError
	TooBig        = metrics.TooBig
	Unfinished    = metrics.Unfinished
	Panic         = metrics.Panic
)

// Session is one connection that was admitted. Its methods may be called
// concurrently, except Handle and Due, each of which has one caller.
type Session struct {
	app       *apps.App
	conn      Conn
	admission *Admission
	address   *apps.Address // where it is counted; nil mostly
	id        protocol.SocketID
	source    protocol.Source
	agent     unique.Handle[agent]
	remote    [16]byte // network address, an IPv4 one as in RFC 4291 section 2.5.5.2; zero for none

	transport protocol.Transport

	ended bool // guarded by mu; placed here, as lastRefusal is, so that the struct has no padding

	authorized atomic.Bool // signed in, or subscribed with a signature
	hurried    atomic.Bool // see Hurried

	opened keepalive.Time // constant
	pinged keepalive.Time // when an unanswered probe went out, 0 for none; owned by Due

	lastRefusal uint32 // when it was last told that messages are dropped, in seconds since 1970; guarded by mu

	mu            sync.Mutex // guards the following; held while a message is handled
	messages      allowance
	subscriptions subscriptions
	user          *user     // nil until signed in
	deferred      *deferred // nil while no message waits for the cluster
	seldom        *seldom   // nil while the client has needed nothing of it
}

// agent is what a client says of itself, clipped. Many say the same.
type agent struct{ client, version, origin string }

// seldom is what few clients need.
type seldom struct {
	clientEvents *rate.Limiter     // nil until the first client event
	recoveries   *protocol.Recover // channels that the client wants to recover when it subscribes; nil for none
}

// needs returns s.seldom, made if need be. mu is held.
func (s *Session) needs() *seldom {
	if s.seldom == nil {
		s.seldom = new(seldom)
	}
	return s.seldom
}

func newSession(app *apps.App, transport protocol.Transport, conn Conn, admission *Admission) *Session {
	var random [8]byte
	rand.Read(random[:]) // never fails: crypto/rand
	return &Session{
		app:       app,
		conn:      conn,
		admission: admission,
		id:        protocol.NewSocketID(binary.NativeEndian.Uint64(random[:])),
		transport: transport,
		opened:    conn.Seen(),
	}
}

// ID implements channels.Subscriber.
func (s *Session) ID() protocol.SocketID { return s.id }

// Source implements channels.Subscriber.
func (s *Session) Source() protocol.Source { return s.source }

// Lines implements channels.Subscriber.
func (s *Session) Lines() bool { return s.transport.Lines() }

// Deliver implements channels.Subscriber.
func (s *Session) Deliver(sub *channels.Subscription, frames []byte) (kept bool) {
	return s.conn.Deliver(sub, frames)
}

// Send implements channels.Subscriber.
func (s *Session) Send(f protocol.Frame) { s.answer(f) }

// Hold implements channels.Subscriber.
func (s *Session) Hold() { s.conn.Hold() }

// Terminate implements channels.Subscriber.
func (s *Session) Terminate() {
	s.Close(Terminated, &protocol.Error{Code: s.app.Settings().TerminateCode, Message: "Connection terminated by the application"})
}

// Dropped implements channels.Subscriber.
func (s *Session) Dropped(channel string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.refuseOn(channel, protocol.Errorf(protocol.CodeClientEvent, "Client event dropped: %s", public(err)))
	}
}

// App is the application the client connected to.
func (s *Session) App() *apps.App { return s.app }

// Due looks at what the client has left undone for too long, and returns when
// to look again. seen is when something of any kind last came in.
func (s *Session) Due(now, seen keepalive.Time) (next keepalive.Time) {
	settings := s.app.Settings()
	next = s.silent(settings, now, seen)
	if settings.RequireSignin > 0 && !s.authorized.Load() {
		limit := s.opened + 1 + seconds(settings.RequireSignin) // a second of which may be over
		if now >= limit {
			s.app.Metrics.LimitMet(metrics.RequireSignin)
			s.Close(NotAuthorized, protocol.Errorf(protocol.CodeUnauthorized,
				"Connection not authorized within %s, the time of require_signin: sign in, or subscribe to a private or presence channel", settings.RequireSignin))
			return next
		}
		next = min(next, limit)
	}
	return next
}

// silent is about silence: a probe after activity_timeout or, as proxies cut
// idle connections earlier than that, after ping_interval; and 4201 when
// pong_timeout brings no sign of life.
func (s *Session) silent(settings *apps.Settings, now, seen keepalive.Time) (next keepalive.Time) {
	activity := seconds(min(settings.ActivityTimeout, settings.PingInterval))
	pong := seconds(settings.PongTimeout)
	switch {
	case now-seen < activity:
		s.pinged = 0
		return seen + activity
	case s.pinged == 0 || seen >= s.pinged:
		s.pinged = now
		s.conn.Ping()
		return now + min(pong, activity)
	case now-s.pinged < pong:
		return s.pinged + pong
	default:
		s.Close(PongTimeout, &protocol.Error{Code: protocol.CodePongTimeout, Message: "Pong reply not received in time"})
		return now + pong
	}
}

func seconds(d time.Duration) keepalive.Time { return keepalive.Time(d / time.Second) }

// Close ends the session and tells the client why.
func (s *Session) Close(reason Reason, e *protocol.Error) {
	if s.End(reason) {
		s.app.Metrics.Error(e.Code)
		if reason == NotAuthorized || reason == Unfinished { // an operator wants to know
			s.logRefusal("connection closed by the server", e)
		}
		s.conn.Close(e)
	}
}

// Breach ends the session of a client that broke the rules of its transport,
// which tells it why.
func (s *Session) Breach(reason Reason, e *protocol.Error) {
	if s.End(reason) {
		if reason == TooBig {
			s.app.Metrics.LimitMet(metrics.MaxMessageBytes)
		}
		s.logRefusal("connection closed by the server", e)
	}
}

// Evict closes the session if its application is to have no connections any
// more. A transport calls it for all of its connections when an application was
// disabled or removed, and for each new one once that is among them: whoever
// was admitted just before is found by one of the two.
//
// It also counts the connection at its address if the application has limits for
// one since.
func (s *Session) Evict() {
	if e := s.app.Refusal(); e != nil {
		s.Close(AppClosed, e)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended && s.address == nil {
		s.address = s.app.CountAt(s.source)
	}
}

// End leaves all channels. The transport calls it when the connection is gone
// or must not be answered; it reports whether this was the first call.
func (s *Session) End(reason Reason) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.ended = true
	// Deferred, so that a bug in what leaves keeps no place.
	defer s.app.Metrics.Closed(s.transport, reason)
	defer s.app.Disconnect(s.transport, s.address)
	for sub := range s.subscriptions.all() {
		s.app.Channels.Unsubscribe(sub)
	}
	s.subscriptions = subscriptions{}
	s.seldom = nil
	if s.user != nil {
		s.app.Channels.SignOut(s.user.Identity)
	}
	if reason == SlowConsumer {
		s.app.Metrics.SlowConsumer()
		s.logRefusal("slow consumer dropped", TooSlow)
	}
	if log := s.admission.Log; log.Enabled(noContext, slog.LevelDebug) {
		log.Debug("connection closed", "app", s.app.ID, "socket_id", s.id.String(), "reason", string(reason))
	}
	if s.watched() {
		kind := trace.Disconnect
		if reason == SlowConsumer {
			kind = trace.SlowConsumer
		}
		s.trace(trace.Record{Kind: kind, Reason: string(reason)})
	}
	return true
}

// signedIn is the user who has signed in, empty for nobody. mu is held.
func (s *Session) signedIn() string {
	if s.user == nil {
		return ""
	}
	return s.user.UserID()
}

// watched reports whether what happens is to be traced.
func (s *Session) watched() bool { return s.admission.Trace.Watched() }

// trace tells those who watch of something that this client has done. mu is held, or the
// session is not known to others yet.
func (s *Session) trace(r trace.Record) {
	r.App, r.Socket = s.app.ID, s.id
	if r.UserID == "" {
		r.UserID = s.signedIn()
	}
	s.admission.Trace.Add(r)
}

// answer sends a frame to this client alone.
func (s *Session) answer(f protocol.Frame) {
	s.app.Metrics.Delivered(1, len(f))
	s.conn.Send(f)
}

// refuse answers a message with an error event; the connection stays.
func (s *Session) refuse(e *protocol.Error, attrs ...slog.Attr) {
	s.reject(e, protocol.ErrorFrame(e), attrs...)
}

// refuseOn is refuse for a message about a channel, whose handlers on the client
// are told as well.
func (s *Session) refuseOn(channel string, e *protocol.Error) {
	frame := protocol.ErrorFrame(e)
	if protocol.CheckChannel(channel, s.app.Settings().MaxChannelName) == nil {
		frame = protocol.ChannelErrorFrame(channel, e)
	}
	s.reject(e, frame, slog.String("channel", channel))
}

func (s *Session) reject(e *protocol.Error, frame protocol.Frame, attrs ...slog.Attr) {
	s.logRefusal("refused", e, attrs...)
	s.app.Metrics.Error(e.Code)
	s.answer(frame)
}

func (s *Session) logRefusal(what string, e *protocol.Error, attrs ...slog.Attr) {
	all := append([]slog.Attr{slog.String("socket_id", s.id.String())}, attrs...)
	if remote := s.Remote(); remote.IsValid() {
		all = append(all, slog.String("remote", remote.String()))
	}
	agent := s.agent.Value()
	for _, a := range []slog.Attr{slog.String("user", s.signedIn()), slog.String("origin", agent.origin), slog.String("client", agent.client), slog.String("version", agent.version)} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	s.admission.Refusals.Add(refusals.Refusal{What: what, App: s.app.ID, Code: e.Code, Reason: e.Message}, all...)
}
