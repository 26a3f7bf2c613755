//go:build linux

package load

import (
	"fmt"
	"testing"

	"github.com/coder/websocket"
)

// Those that were cut off are gone without a close frame, and all are back.
func TestCrowdIsCutOffAndBack(t *testing.T) {
	const clients = 200
	for _, atOnce := range []int{1, 50, clients, 2 * clients} {
		t.Run(fmt.Sprintf("%d at once", atOnce), func(t *testing.T) {
			p := newPusher(t, nil)
			target, loop := p.aim()
			crowd := &Crowd{Target: target, Loop: loop}
			audiences := make([]*Audience, clients)
			for i := range audiences {
				audiences[i] = &Audience{Channel: fmt.Sprintf("private-%d", i)}
			}
			p.expect(crowd.Open(t.Context(), audiences))
			p.expect(crowd.Cut(audiences))
			p.expect(crowd.OpenMany(t.Context(), atOnce, audiences))
			for range clients {
				if err := <-p.ended; err == nil || websocket.CloseStatus(err) != -1 {
					t.Fatalf("a connection that was cut off ended with %v", err)
				}
			}
			p.expect(loop.Do(func() error {
				for _, a := range audiences {
					if len(a.Members) != 1 {
						return fmt.Errorf("%s has %d members", a.Channel, len(a.Members))
					}
				}
				return nil
			}))
			if got := p.connections.Load(); got != 2*clients {
				t.Errorf("there were %d connections, want %d", got, 2*clients)
			}
		})
	}
}
