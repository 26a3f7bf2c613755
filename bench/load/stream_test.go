//go:build linux

package load

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

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
				conn := (<-p.subscribed).conn
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
