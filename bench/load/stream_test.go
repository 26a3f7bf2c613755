//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// pusher is a server of the protocol, as far as the tests need one.
type pusher struct {
	t *testing.T
	*httptest.Server
	connections atomic.Uint64 // TCP ones, ever
	published   atomic.Uint64
	subscribed  chan *websocket.Conn  // after the answer
	ended       chan error            // of a WebSocket
	answer      func(data []byte) any // data of subscription_succeeded; nil: none
}

func newPusher(t *testing.T, config *tls.Config) *pusher {
	p := &pusher{t: t, subscribed: make(chan *websocket.Conn, 1000), ended: make(chan error, 1000)}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			p.connections.Add(1)
		}
	}
	if config == nil {
		p.Start()
	} else {
		p.TLS = config
		p.StartTLS()
	}
	t.Cleanup(p.Close)
	return p
}

func (p *pusher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		_, _ = io.Copy(io.Discard, r.Body)
		p.published.Add(1)
		_, _ = io.WriteString(w, "{}")
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	p.ended <- p.serve(r.Context(), conn)
}

func (p *pusher) serve(ctx context.Context, conn *websocket.Conn) error {
	defer conn.CloseNow()
	err := conn.Write(ctx, websocket.MessageText, []byte(`{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}`))
	for err == nil {
		var message []byte
		if _, message, err = conn.Read(ctx); err != nil {
			return err
		}
		var m struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal(message, &m); err != nil {
			return err
		}
		if m.Event != "pusher:subscribe" {
			continue
		}
		data := "{}"
		if p.answer != nil {
			b, _ := json.Marshal(p.answer(m.Data))
			data = string(b)
		}
		answer, _ := json.Marshal(map[string]string{"event": "pusher_internal:subscription_succeeded", "data": data})
		err = conn.Write(ctx, websocket.MessageText, answer)
		p.subscribed <- conn
	}
	return err
}

// aim is a target and a loop for the server.
func (p *pusher) aim() (*Target, *Loop) {
	p.t.Helper()
	target, err := NewTarget(testApp, p.Listener.Addr().String(), true)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.TLS != nil {
		target.TLS = ClientTLS()
	}
	loop, err := NewLoop(NewClock())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(loop.Close)
	return target, loop
}

func (p *pusher) expect(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// Over TLS, whatever the version, the same comes as over TCP: also what has more
// records than a read takes at once.
func TestSubscribersOverTLS(t *testing.T) {
	const events, size = 1000, 10_000
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newPusher(t, &tls.Config{MaxVersion: version})
			target, loop := p.aim()
			a := &Audience{Channel: testChannel, Tally: NewTally()}
			a.Expect(target, size)
			crowd := &Crowd{Target: target, Loop: loop}
			p.expect(crowd.Open(t.Context(), []*Audience{a, a, a}))
			var sum uint64
			for n := uint64(1); n <= events; n++ {
				sum += n
			}
			for range 3 {
				conn := <-p.subscribed
				go func() {
					for n := uint64(1); n <= events; n++ {
						message, at := delivery(testChannel, size)
						appendStamp(message[:at], n, 0)
						if err := conn.Write(t.Context(), websocket.MessageText, message); err != nil {
							t.Error(err)
						}
					}
				}()
			}
			p.expect(loop.Await(t.Context(), time.Minute, "events", func() bool { return a.Tally.Deliveries == 3*events }))
			p.expect(loop.Do(func() error { return a.Check(events, sum) }))
		})
	}
}

func TestHandshakeFails(t *testing.T) {
	p := newPusher(t, nil)
	target, loop := p.aim()
	target.TLS = ClientTLS()
	a := &Audience{Channel: testChannel}
	if err := (&Crowd{Target: target, Loop: loop}).Open(t.Context(), []*Audience{a}); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("a server without TLS: %v", err)
	}
}

func TestPublishers(t *testing.T) {
	const requests, connections = 50, 4
	tests := []struct {
		name   string
		config *tls.Config
		fresh  bool
		want   uint64 // connections
	}{
		{"kept alive", nil, false, connections},
		{"fresh", nil, true, requests},
		{"kept alive, TLS", &tls.Config{}, false, connections},
		{"fresh, TLS", &tls.Config{}, true, requests},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPusher(t, tt.config)
			target, loop := p.aim()
			request := Trigger(target.App, target.Host, "nobody", 100)
			left := requests
			publishers := &Publishers{Target: target, Loop: loop, Fresh: tt.fresh, Next: func(time.Duration) []byte {
				if left == 0 {
					return nil
				}
				left--
				return request
			}}
			p.expect(loop.Do(func() error { return publishers.Connect(connections) }))
			p.expect(loop.Do(publishers.Pump))
			p.expect(loop.Await(t.Context(), time.Minute, "publishing", func() bool { return left == 0 && publishers.Idle() }))
			if got := p.connections.Load(); got != tt.want || publishers.Answered != requests || p.published.Load() != requests {
				t.Errorf("%d connections, want %d; %d answers to %d requests, want %d",
					got, tt.want, publishers.Answered, p.published.Load(), requests)
			}
			p.expect(loop.Do(func() error { publishers.Close(); return nil }))
		})
	}
}

func TestTargetIsLoopback(t *testing.T) {
	for host, ok := range map[string]bool{"127.0.0.1:80": true, "127.9.9.9:80": true, "localhost:80": true, "192.0.2.1:80": false, "[::1]:80": false, "127.0.0.1": false} {
		if _, err := NewTarget(testApp, host, false); (err == nil) != ok {
			t.Errorf("%s: error %v", host, err)
		}
	}
}
