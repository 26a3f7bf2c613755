package session_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"belfry/channels"
	"belfry/channels/cluster"
	"belfry/channels/cluster/local"
	"belfry/server/apps"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
	"belfry/server/metrics"
	"belfry/server/refusals"
	"belfry/server/session"
	"belfry/server/webhooks"
)

// slow is a cluster that takes its time to listen to a channel.
type slow struct {
	cluster.Driver
	gate chan struct{} // closed: it may

	waiting atomic.Int32 // channels
}

func (d *slow) Listen(ctx context.Context, t cluster.Topic) error {
	if t.Channel != "" {
		d.waiting.Add(1)
		select {
		case <-d.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return d.Driver.Listen(ctx, t)
}

// open lets all be listened to, and waits for what comes of it.
func (d *slow) open() {
	close(d.gate)
	synctest.Wait()
}

// inCluster runs a test with a session on a node of a cluster.
func inCluster(t *testing.T, test func(t *testing.T, hub *local.Hub, d *slow, app *apps.App, s *session.Session, w *wire)) {
	synctest.Test(t, func(t *testing.T) {
		hub := local.NewHub()
		d := &slow{Driver: hub.Node(), gate: make(chan struct{})}
		broker := channels.NewBroker(1, d)
		hooks, err := webhooks.New(webhooks.Options{Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		m := metrics.New("", "", "")
		settings := servertest.App("1")
		settings.MessageRate = 0
		registry := apps.NewRegistry([]config.App{settings}, broker, hooks, m)
		admission := &session.Admission{Apps: registry, Metrics: m, Log: discard, Refusals: refusals.New(discard)}
		w := new(wire)
		s, e := admission.Admit(session.Handshake{App: admission.Find(t.Context(), "key-1", ""), Protocol: []string{"7"}}, w)
		if e != nil {
			t.Fatal(e)
		}
		w.sent.Reset()
		test(t, hub, d, registry.ByID("1"), s, w)
		s.End(session.ByClient)
		synctest.Wait()
		registry.Update(nil)
		broker.Close()
		hooks.Close(context.Background())
	})
}

// events are those that were sent, by name.
func (w *wire) events(t *testing.T) (names []string) {
	t.Helper()
	frames, err := wstest.SplitFrames(w.sent.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		e, err := wstest.ParseEvent(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(strings.TrimPrefix(e.Event, "pusher_internal:"), "pusher:"))
	}
	w.sent.Reset()
	return names
}

const (
	subscribeA = `{"event":"pusher:subscribe","data":{"channel":"a"}}`
	ping       = `{"event":"pusher:ping"}`
)

// A subscription that waits keeps nobody but its own client waiting, whose
// messages keep their order.
func TestMessagesBehindOneThatWaits(t *testing.T) {
	inCluster(t, func(t *testing.T, _ *local.Hub, d *slow, _ *apps.App, s *session.Session, w *wire) {
		s.Handle([]byte(subscribeA))
		s.Handle([]byte(ping))
		s.Handle([]byte(`{"event":"pusher:subscribe","data":{"channel":"b"}}`))
		s.Handle([]byte(ping))
		synctest.Wait()
		if got := w.events(t); len(got) != 0 {
			t.Errorf("answered with %v before it could be", got)
		}
		close(d.gate)
		synctest.Wait()
		if got, want := w.events(t), []string{"subscription_succeeded", "pong", "subscription_succeeded", "pong"}; !slices.Equal(got, want) {
			t.Errorf("answered with %v, want %v", got, want)
		}
		s.Handle([]byte(ping))
		if got := w.events(t); !slices.Equal(got, []string{"pong"}) {
			t.Errorf("afterwards, a ping is answered with %v", got)
		}
	})
}

// Who sends much while it waits is not read from for a while. What comes all the same is
// refused in the end.
func TestTooManyMessagesBehind(t *testing.T) {
	inCluster(t, func(t *testing.T, _ *local.Hub, d *slow, _ *apps.App, s *session.Session, w *wire) {
		s.Handle([]byte(subscribeA))
		for range session.EnoughDeferred - 1 {
			s.Handle([]byte(ping))
		}
		if s.Hurried() {
			t.Error("it is to be read from no more, too early")
		}
		const more = 10
		for range session.MaxDeferred - session.EnoughDeferred + 1 + more {
			s.Handle([]byte(ping))
		}
		if !s.Hurried() {
			t.Error("it is to be read from")
		}
		if got := w.events(t); len(got) != more || got[0] != "error" {
			t.Errorf("%d are refused: %v", len(got), got)
		}
		close(d.gate)
		synctest.Wait()
		if got := w.events(t); len(got) != session.MaxDeferred+1 {
			t.Errorf("%d are answered", len(got))
		}
		s.Handle([]byte(ping))
		if s.Hurried() {
			t.Error("it is to be read from no more, after all was handled")
		}
	})
}

func TestTooManyBytesBehind(t *testing.T) {
	inCluster(t, func(t *testing.T, _ *local.Hub, d *slow, _ *apps.App, s *session.Session, w *wire) {
		large := fmt.Appendf(nil, `{"event":"pusher:ping","data":%q}`, strings.Repeat("x", session.MaxDeferredBytes))
		s.Handle(large)
		if got := w.events(t); !slices.Equal(got, []string{"pong"}) {
			t.Errorf("a large one is answered with %v", got)
		}
		for range 3 { // what was handled does not count any more
			s.Handle([]byte(subscribeA))
			if s.Hurried() {
				t.Error("it is to be read from no more, too early")
			}
			s.Handle(large)
			s.Handle([]byte(ping))
			if !s.Hurried() {
				t.Error("it is to be read from")
			}
			if got := w.events(t); !slices.Equal(got, []string{"error"}) {
				t.Errorf("refused: %v", got)
			}
			d.open()
			if got, want := w.events(t), []string{"subscription_succeeded", "pong"}; !slices.Equal(got, want) {
				t.Errorf("answered with %v, want %v", got, want)
			}
			s.Handle([]byte(`{"event":"pusher:unsubscribe","data":{"channel":"a"}}`))
			synctest.Wait()
			d.gate = make(chan struct{})
		}
		d.open()
	})
}

// Subscriptions of one connection are prepared together, answered in their order, and
// leave nothing behind.
func TestManySubscriptionsAtOnce(t *testing.T) {
	inCluster(t, func(t *testing.T, _ *local.Hub, d *slow, app *apps.App, s *session.Session, w *wire) {
		const many = 200
		for i := range many {
			s.Handle(fmt.Appendf(nil, `{"event":"pusher:subscribe","data":{"channel":"c%d"}}`, i))
		}
		s.Handle([]byte(`{"event":"pusher:subscribe","data":{"channel":"private-c","auth":"wrong"}}`))
		synctest.Wait()
		if n := d.waiting.Load(); n != many {
			t.Errorf("%d channels are prepared", n)
		}
		close(d.gate)
		synctest.Wait()
		if got := w.events(t); len(got) != many+2 || got[many-1] != "subscription_succeeded" || got[many] != "subscription_error" {
			t.Errorf("%d answers", len(got))
		}
		for i := range many {
			s.Handle(fmt.Appendf(nil, `{"event":"pusher:unsubscribe","data":{"channel":"c%d"}}`, i))
		}
		synctest.Wait()
		if states, err := app.Channels.States(""); len(states) != 0 || err != nil {
			t.Errorf("%d channels are left, %v", len(states), err)
		}
	})
}

// A subscription that is not taken is refused on its channel.
func TestTooManySubscriptionsBehind(t *testing.T) {
	inCluster(t, func(t *testing.T, _ *local.Hub, d *slow, _ *apps.App, s *session.Session, w *wire) {
		s.Handle([]byte(subscribeA))
		for range session.MaxDeferred {
			s.Handle([]byte(ping))
		}
		s.Handle([]byte(`{"event":"pusher:subscribe","data":{"channel":"b"}}`))
		if got := w.events(t); !slices.Equal(got, []string{"subscription_error", "error"}) {
			t.Errorf("it is answered with %v", got)
		}
		close(d.gate)
		synctest.Wait()
	})
}

// Who goes while it waits is not subscribed afterwards.
func TestEndWhileWaiting(t *testing.T) {
	for name, message := range map[string]string{
		"subscribe": subscribeA,
		"sign-in":   `{"event":"pusher:signin","data":{"auth":"$","user_data":"{\"id\":\"1\",\"watchlist\":[\"2\"]}"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, func(t *testing.T, _ *local.Hub, d *slow, app *apps.App, s *session.Session, w *wire) {
				auth := servertest.Sign("1", s.ID().String()+`::user::{"id":"1","watchlist":["2"]}`)
				s.Handle([]byte(strings.Replace(message, "$", auth, 1)))
				s.Handle([]byte(ping))
				synctest.Wait()
				s.End(session.ByClient)
				close(d.gate)
				synctest.Wait()
				states, err := app.Channels.States("")
				if n := app.Channels.Subscriptions(); n != 0 || len(states) != 0 || err != nil {
					t.Errorf("%d subscriptions are left, and %v, %v", n, states, err)
				}
				if got := w.events(t); len(got) != 0 {
					t.Errorf("who has gone is answered with %v", got)
				}
			})
		})
	}
}

func TestClusterAway(t *testing.T) {
	inCluster(t, func(t *testing.T, hub *local.Hub, d *slow, _ *apps.App, s *session.Session, w *wire) {
		close(d.gate)
		private := `{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"` + servertest.Sign("1", s.ID().String()+":private-a") + `"}}`
		s.Handle([]byte(private))
		synctest.Wait()
		w.events(t)
		hub.SetDown(true)
		for _, message := range []string{
			subscribeA,
			`{"event":"client-x","channel":"private-a","data":"d"}`,
			`{"event":"pusher:signin","data":{"auth":"` + servertest.Sign("1", s.ID().String()+`::user::{"id":"1"}`) + `","user_data":"{\"id\":\"1\"}"}}`,
			ping,
		} {
			s.Handle([]byte(message))
			synctest.Wait()
		}
		if got, want := w.events(t), []string{"subscription_error", "error", "error", "error", "pong"}; !slices.Equal(got, want) {
			t.Errorf("answered with %v, want %v", got, want)
		}
		hub.SetDown(false)
		synctest.Wait()
		if got := w.events(t); !slices.Equal(got, []string{"subscription_succeeded"}) {
			t.Errorf("who is subscribed and may have missed events is told %v", got)
		}
		s.Handle([]byte(subscribeA))
		synctest.Wait()
		if got := w.events(t); !slices.Equal(got, []string{"subscription_succeeded"}) {
			t.Errorf("afterwards, answered with %v", got)
		}
	})
}
