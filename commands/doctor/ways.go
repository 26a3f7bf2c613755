package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"belfry/commands/client"
	"belfry/protocol"
)

// fallback checks the HTTP transport xhr_streaming.
func (d *Doctor) fallback(ctx context.Context) Result {
	const leave = "; if no page uses the fallback, leave the check out by --skip fallback"
	path := d.client.WebSocket.Path + "/pusher/app/"
	ctx, cancel := d.step(ctx)
	defer cancel()
	start := time.Now()
	err := d.client.Stream(ctx)
	var status *client.StatusError
	var closed *client.CloseError
	switch {
	case err == nil:
		return ok("xhr_streaming at %s, greeted in %s", path, took(start))
	case errors.As(err, &closed):
		return fail(err.Error(), "%s", d.codeAdvice(closed.Code)+leave)
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return fail(err.Error()+by(status.Header), "let the proxy send %s to the server: %s. Only Pusher and Belfry have a fallback%s", path, route(status.Header, path), leave)
	case errors.As(err, &status):
		return fail(err.Error()+by(status.Header), "let the proxy send %s to the server as %s/app/: %s%s", path, d.client.WebSocket.Path, route(status.Header, path), leave)
	case ctx.Err() != nil:
		return fail("the stream has brought no greeting within "+d.Within.String(),
			"a proxy holds the response back: turn buffering and compression off for %s (nginx: proxy_buffering off; gzip off; and no proxy_ignore_headers X-Accel-Buffering)%s", path, leave)
	}
	return fail(err.Error(), "let the proxy send %s to the server: %s%s", path, route(nil, path), leave)
}

// idle leaves a connection alone, as a page does on which nothing happens, and then checks
// that it is still there.
func (d *Doctor) idle(ctx context.Context) Result {
	if d.Idle <= 0 {
		return skip("give --idle with a time, such as 2m")
	}
	var pings atomic.Int64
	conn, err := d.connection(ctx, client.Handshake{Pinged: func() { pings.Add(1) }})
	if err != nil {
		return fail(err.Error(), "look into the server's log")
	}
	defer conn.Close()
	start := time.Now()
	waiting, cancel := context.WithTimeoutCause(ctx, d.Idle, errIdle)
	defer cancel()
	if _, err = await(waiting, conn, func(client.Message) bool { return false }); errors.Is(err, errIdle) {
		conn.Ping()
		answering, cancel := d.step(ctx)
		defer cancel()
		if _, err = await(answering, conn, func(m client.Message) bool { return m.Event == protocol.EventPong }); err == nil {
			return ok("alive after %v; pings of the server meanwhile: %d", d.Idle, pings.Load())
		}
	}
	if ctx.Err() != nil {
		return skip("interrupted")
	}
	return fail(fmt.Sprintf("lost after %s: %v; pings of the server until then: %d", took(start), err, pings.Load()),
		"let the proxy keep silent connections longer (nginx: proxy_read_timeout 120s; HAProxy: timeout tunnel 120s; Apache: ProxyTimeout 120; a load balancer: its idle timeout), or lower ping_interval of the app below that time")
}

var errIdle = errors.New("the time of silence is over")
