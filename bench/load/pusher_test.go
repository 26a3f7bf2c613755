//go:build linux

package load

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
)

// pusher is a server of the protocol, as far as the tests need one.
type pusher struct {
	t *testing.T
	*httptest.Server
	connections atomic.Uint64 // TCP ones, ever
	published   atomic.Uint64
	subscribed  chan subscribedConn
	ended       chan error // of a WebSocket
}

// subscribedConn is a connection that has got its answer, to this message.
type subscribedConn struct {
	conn    *websocket.Conn
	message string
}

func newPusher(t *testing.T, config *tls.Config) *pusher {
	p := &pusher{t: t, subscribed: make(chan subscribedConn, 1000), ended: make(chan error, 1000)}
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
		if !strings.Contains(string(message), "pusher:subscribe") {
			continue
		}
		err = conn.Write(ctx, websocket.MessageText, []byte(`{"event":"pusher_internal:subscription_succeeded","data":"{}"}`))
		p.subscribed <- subscribedConn{conn, string(message)}
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
