package session_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
	"belfry/server/keepalive"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
)

// wire is a transport that keeps what is sent.
type wire struct {
	sent, held bytes.Buffer
	holding    bool
	closed     *protocol.Error
	seen       keepalive.Time
}

func (w *wire) Send(frames []byte) {
	if w.holding {
		w.held.Write(frames)
		return
	}
	w.sent.Write(frames)
}

func (w *wire) Deliver(s *channels.Subscription, frames []byte) (kept bool) {
	if !s.Left() {
		w.Send(frames)
	}
	return false
}

func (w *wire) Hold() { w.holding = true }

func (w *wire) Release(first []byte) {
	w.holding = false
	w.sent.Write(first)
	w.sent.Write(w.held.Bytes())
	w.held.Reset()
}

func (w *wire) Room(int) bool           { return true }
func (w *wire) Ping()                   { w.Send(protocol.PingFrame) }
func (w *wire) Waiting() int            { return 0 }
func (w *wire) Seen() keepalive.Time    { return w.seen }
func (w *wire) Close(e *protocol.Error) { w.closed = e }

var discard = slog.New(slog.DiscardHandler)

// FuzzMessage gives a session arbitrary messages, one a line. In them,
// $private and $presence are auth tokens that hold for private-fuzz, and for
// presence-fuzz with the channel_data {"user_id":1}; $user is one for the
// user_data {"id":"1","watchlist":["2"]}.
func FuzzMessage(f *testing.F) {
	broker := channels.NewBroker(1, nil)
	f.Cleanup(broker.Close)
	broker.LimitHistories(1 << 20)
	counts := metrics.New("", "", "")
	limits := servertest.App("1")
	limits.ClientEventRate = 0
	limits.MaxPresenceMembers = 2
	limits.MaxChannelsPerConnection = 20
	limits.History = []config.History{{Channels: "private-*", Events: 5, Age: time.Hour, Rewind: time.Hour}}
	registry := apps.NewRegistry([]config.App{limits}, broker, servertest.Webhooks(f), counts)
	app := registry.ByID("1")
	admission := &session.Admission{Apps: registry, Metrics: counts, Log: discard, Refusals: refusals.New(discard)}

	f.Fuzz(func(t *testing.T, messages []byte) {
		if !utf8.Valid(messages) {
			return // the transport's business
		}
		client, other := new(wire), new(wire)
		admit := func(w *wire) (*session.Session, string) {
			s, e := admission.Admit(session.Handshake{App: admission.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}}, w)
			if e != nil {
				t.Fatal(e)
			}
			return s, s.ID().String()
		}
		s, id := admit(client)
		o, otherID := admit(other)
		tokens := func(text, id string) []byte {
			text = strings.ReplaceAll(text, "$user", servertest.Sign("1", id+`::user::{"id":"1","watchlist":["2"]}`))
			text = strings.ReplaceAll(text, "$private", servertest.Sign("1", id+":private-fuzz"))
			return []byte(strings.ReplaceAll(text, "$presence", servertest.Sign("1", id+`:presence-fuzz:{"user_id":1}`)))
		}
		for _, m := range []string{
			`{"event":"pusher:subscribe","data":{"channel":"private-fuzz","auth":"$private"}}`,
			`{"event":"pusher:subscribe","data":{"channel":"presence-fuzz","auth":"$presence","channel_data":"{\"user_id\":1}"}}`,
			`{"event":"pusher:subscribe","data":{"channel":"fuzz"}}`,
		} {
			o.Handle(tokens(m, otherID))
		}
		for line := range bytes.Lines(messages) {
			message := tokens(string(bytes.TrimSuffix(line, []byte("\n"))), id)
			before := bytes.Clone(message)
			s.Handle(message)
			if !bytes.Equal(message, before) {
				t.Errorf("the message was changed to %q", message)
			}
		}
		s.HandleBinary(3)
		for w, s := range map[*wire]*session.Session{client: s, other: o} {
			s.Handle([]byte(`{"event":"pusher:ping"}`))
			if w.closed != nil {
				t.Errorf("closed with %v", w.closed)
			}
			frames, err := wstest.SplitFrames(w.sent.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range frames {
				if _, err := wstest.ParseEvent(f.Payload); err != nil || f.Opcode != wstest.Text {
					t.Errorf("%v: %v", f, err)
				}
			}
			if last := frames[len(frames)-1]; string(last.Payload) != wstest.PongText {
				t.Errorf("a ping is answered with %v", last)
			}
		}
		s.End(session.ByClient)
		o.End(session.ByClient)
		if n, m, c := app.Channels.Subscriptions(), app.Channels.OccupiedChannels(protocol.Presence), app.Connections(); n != 0 || m != 0 || c != 0 {
			t.Errorf("%d subscriptions, %d channels and %d connections are left", n, m, c)
		}
		client.sent.Reset()
		s.Handle([]byte(`{"event":"pusher:subscribe","data":{"channel":"fuzz"}}`))
		if client.sent.Len() > 0 || app.Channels.Subscriptions() != 0 {
			t.Error("a session that has ended still answers")
		}
	})
}
