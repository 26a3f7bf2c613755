//go:build !blocking

package server_test

import (
	"context"
	"testing"

	"belfry/server/handover"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

// upgrade has another process take over.
func (p *program) upgrade() error {
	ctx, cancel := context.WithTimeout(context.Background(), wstest.Patience)
	defer cancel()
	pid, err := handover.Upgrade(ctx, p.pid)
	if err == nil {
		p.pid = pid
	}
	return err
}

func (p *program) mustUpgrade() {
	p.t.Helper()
	if err := p.upgrade(); err != nil {
		p.t.Fatalf("%v\n%s", err, &p.log)
	}
}

// A client does not notice that its server is replaced.
func TestHandover(t *testing.T) {
	p := start(t)
	a, b := p.connect(), p.connect()
	a.Subscribe("private-a")
	a.Join("presence-a", "1")
	b.Join("presence-a", "2")
	a.Expect(`{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"2\"}"}`)
	p.publish("e", "before", "private-a")
	a.Expect(servertest.EventText("e", "private-a", "before"))
	before := p.pid
	p.mustUpgrade()
	if p.pid == before {
		t.Fatal("the process is the same")
	}
	p.publish("e", "after", "private-a")
	a.Expect(servertest.EventText("e", "private-a", "after"))
	a.Send(`{"event":"client-x","channel":"private-a","data":"1"}`)
	a.Sync()
	b.Drop()
	a.Expect(`{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"2\"}"}`)
}
