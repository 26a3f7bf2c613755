package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// network is the way of one node to Redis, which tests can break.
type network struct {
	mu    sync.Mutex    // guards the following
	cut   bool          // connections end, and none can be made
	deaf  bool          // nothing comes any more, but connections stay
	mute  bool          // nothing gets there any more either
	delay time.Duration // of all that comes
	conns map[*conn]struct{}
	dials int
}

func (n *network) dial(ctx context.Context, addr string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	broken := n.cut || n.deaf
	n.mu.Unlock()
	if broken {
		return nil, errors.New("the network is cut")
	}
	var raw net.Conn
	var err error
	if config != nil {
		raw, err = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", addr)
	} else {
		raw, err = dialer.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, network: n}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		n.conns = make(map[*conn]struct{})
	}
	n.conns[c] = struct{}{}
	return c, nil
}

// Cut ends all connections.
func (n *network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for c := range n.conns {
		c.closed.Store(true)
		c.Conn.Close()
	}
}

// Silence lets nothing through any more in either direction.
func (n *network) Silence() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf, n.mute = true, true
}

// Deafen lets nothing come any more; what is sent gets there.
func (n *network) Deafen() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf = true
}

// Mend lets connections be made again. Those that were silenced have ended.
func (n *network) Mend() {
	n.Cut()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut, n.deaf, n.mute = false, false, false
}

// SetDelay has all that comes take longer.
func (n *network) SetDelay(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = d
}

func (n *network) delayed() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.delay
}

func (n *network) lost() (in, out bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deaf, n.mute
}

// Dials is how often a connection was tried.
func (n *network) Dials() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

type conn struct {
	net.Conn
	network *network
	closed  atomic.Bool
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if d := c.network.delayed(); d > 0 && err == nil {
			<-time.After(d)
		}
		if in, _ := c.network.lost(); err != nil || !in {
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	if _, out := c.network.lost(); out && !c.closed.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.closed.Store(true)
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	return c.Conn.Close()
}
