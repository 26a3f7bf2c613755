package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"belfry/commands/client"
	"belfry/protocol"
)

// upgrade checks that a WebSocket opens.
func (d *Doctor) upgrade(ctx context.Context) Result {
	d.conn, d.dialed = d.connection(ctx, client.Handshake{})
	if opened(d.dialed) {
		return ok("101 Switching Protocols at %s/app/%s", d.client.WebSocket, d.client.Credentials.Key)
	}
	var answered *client.HandshakeError
	if errors.As(d.dialed, &answered) {
		found := d.dialed.Error() + by(answered.Header)
		if to := answered.Header.Get("Location"); to != "" {
			found += "; it leads to " + to
		}
		return fail(found, "%s", d.upgradeAdvice(answered))
	}
	if strings.Contains(d.dialed.Error(), "protocol violation") {
		return fail(d.dialed.Error(), "the proxy changes the answer to the handshake: let it pass on Upgrade, Connection and Sec-WebSocket-Accept as they come, and cache nothing below /app/")
	}
	return fail(d.dialed.Error(), "%s", d.networkAdvice(d.dialed, d.client.WebSocket, d.Target.From.URL))
}

func (d *Doctor) connection(ctx context.Context, h client.Handshake) (*client.Conn, error) {
	ctx, cancel := d.step(ctx)
	defer cancel()
	return d.client.Dial(ctx, h)
}

// opened reports whether the WebSocket had opened before err.
func opened(err error) bool {
	var closed *client.CloseError
	var greeting *client.GreetingError
	return err == nil || errors.As(err, &closed) || errors.As(err, &greeting)
}

// by names the program that answered, if its header does.
func by(h http.Header) string {
	var who []string
	for _, name := range []string{"Server", "Via", "X-Powered-By"} {
		if value := h.Get(name); value != "" {
			who = append(who, value)
		}
	}
	if len(who) == 0 {
		return ""
	}
	return "; answered by " + strings.Join(who, ", ")
}

// proxy returns the kind of proxy that answered, or "" if its header does not say.
func proxy(h http.Header) string {
	server := strings.ToLower(h.Get("Server"))
	for _, name := range []string{"nginx", "openresty", "apache", "caddy", "cloudflare", "haproxy", "awselb"} {
		if strings.HasPrefix(server, name) {
			return strings.Replace(name, "openresty", "nginx", 1)
		}
	}
	return ""
}

// passOn says how the proxy that answered is made to pass on WebSockets.
func passOn(h http.Header, prefix string) string {
	switch proxy(h) {
	case "nginx":
		return fmt.Sprintf("in nginx's block location %s/app/, write: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";", prefix)
	case "apache":
		return fmt.Sprintf("in Apache 2.4.47 or later, write: ProxyPass %[1]s/app/ http://127.0.0.1:8080%[1]s/app/ upgrade=websocket", prefix)
	case "caddy":
		return "in the Caddyfile, take away header_up lines for Connection and Upgrade: reverse_proxy passes WebSockets on by itself"
	case "cloudflare":
		return "in Cloudflare's dashboard, turn on Network, WebSockets"
	}
	return "let every proxy on the way pass on the headers Upgrade and Connection with HTTP/1.1: docs/proxies.md has nginx, Caddy, HAProxy and Apache"
}

// route says how the proxy that answered is made to send a path to the server.
func route(h http.Header, path string) string {
	switch proxy(h) {
	case "nginx":
		return fmt.Sprintf("nginx: location %s { proxy_pass http://127.0.0.1:8080; }", path)
	case "apache":
		return fmt.Sprintf("Apache: ProxyPass %[1]s http://127.0.0.1:8080%[1]s, with upgrade=websocket for /app/", path)
	case "caddy":
		return fmt.Sprintf("Caddy: handle %s* { reverse_proxy 127.0.0.1:8080 }", path)
	case "haproxy":
		return fmt.Sprintf("HAProxy: use_backend belfry if { path_beg %s }", path)
	}
	return "docs/proxies.md has nginx, Caddy, HAProxy and Apache"
}

// upgradeAdvice says what to change when the handshake is answered with a status.
func (d *Doctor) upgradeAdvice(e *client.HandshakeError) string {
	prefix, from := d.client.WebSocket.Path, d.Target.From.URL
	switch s := e.Status; {
	case s == http.StatusBadRequest && strings.Contains(strings.ToLower(e.Text), "https"):
		return "the port speaks TLS: write https:// in " + from
	case s == http.StatusBadRequest, s == http.StatusUpgradeRequired, s == http.StatusNotImplemented:
		return "the Upgrade header does not reach the server: " + passOn(e.Header, prefix)
	case s == http.StatusUnauthorized:
		return "a proxy asks for a password, which pages cannot send: turn it off for " + prefix + "/app/ (nginx: auth_basic off)"
	case s == http.StatusForbidden:
		return "a rule of the proxy or of a firewall refuses: let everybody reach " + prefix + "/app/ (nginx: allow and deny; Apache: Require; Cloudflare: Security, Events)"
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusOK:
		return fmt.Sprintf("the path %s/app/ does not lead to the server but to something else: correct host, port and path prefix in %s (see the check of the path), or let the proxy send it there: %s",
			prefix, from, route(e.Header, prefix+"/app/"))
	case s >= 300 && s < 400:
		if to := e.Header.Get("Location"); d.client.WebSocket.Scheme == "http" && strings.HasPrefix(to, "https://") {
			return "no WebSocket follows a redirect: connect with TLS, with https:// in " + from + " and forceTLS: true in Echo"
		}
		return "no WebSocket follows a redirect: write its end in " + from + ", or let the proxy send " + prefix + "/app/ to the server ahead of the redirect: " + route(e.Header, prefix+"/app/")
	case s == http.StatusTooManyRequests:
		return "a limit of the proxy refuses: take it off for " + prefix + "/app/ (nginx: limit_req, limit_conn)"
	case s == http.StatusBadGateway, s == http.StatusServiceUnavailable, s == http.StatusGatewayTimeout:
		return "the proxy does not reach the server: start it, and let the proxy's address of it (nginx: proxy_pass; Apache: ProxyPass; Caddy: reverse_proxy) be that of server.listen; in a container, 127.0.0.1 is the container itself"
	case s == http.StatusInternalServerError:
		return "look into the log of the server; Reverb fails so if the Upgrade header does not reach it: " + passOn(e.Header, prefix)
	case s >= 520 && s < 530:
		return "Cloudflare does not reach the machine behind it, or its TLS: look at the record's address and at SSL/TLS, Overview"
	}
	return "look into the log of what answered"
}

// path checks that the server is where the address says, and looks for it elsewhere if it
// is not.
func (d *Doctor) path(ctx context.Context) Result {
	here := d.client.WebSocket.Path
	elsewhere := isCode(d.dialed, protocol.CodePathNotFound)
	if answered := (*client.HandshakeError)(nil); errors.As(d.dialed, &answered) {
		elsewhere = slices.Contains([]int{http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed}, answered.Status)
	}
	if !elsewhere {
		if !opened(d.dialed) {
			return skip("it needs upgrade, which is not ok")
		}
		return ok("%s", prefixText(here))
	}
	for _, prefix := range []string{"", d.Target.Path, "/ws", "/app", "/reverb", "/pusher", "/socket"} {
		if prefix == here {
			continue
		}
		other := d.client
		at := *d.client.WebSocket
		at.Path = prefix
		other.WebSocket = &at
		attempt, cancel := d.step(ctx)
		conn, err := other.Dial(attempt, client.Handshake{})
		cancel()
		if err == nil {
			conn.Close()
		}
		if opened(err) && !isCode(err, protocol.CodePathNotFound) {
			return fail(fmt.Sprintf("the server is not below %q but below %q", here+"/", prefix+"/"),
				"write %s in %s, and wsPath: '%s' in Echo", at.String(), d.Target.From.URL, prefix)
		}
	}
	return fail("no server is below "+here+"/, nor below other usual prefixes",
		"correct host, port and path prefix in %s; Belfry's own prefix is server.path, Reverb's REVERB_SERVER_PATH", d.Target.From.URL)
}

func prefixText(prefix string) string {
	if prefix == "" {
		return "no prefix"
	}
	return "the prefix is " + prefix
}

func isCode(err error, code int) bool {
	var closed *client.CloseError
	return errors.As(err, &closed) && closed.Code == code
}

// greet checks that the server speaks the protocol and knows the key.
func (d *Doctor) greet(context.Context) Result {
	if d.dialed == nil {
		return ok("connected as %s; pings after %v of silence", d.conn.SocketID, d.conn.ActivityTimeout)
	}
	var closed *client.CloseError
	if !errors.As(d.dialed, &closed) {
		return fail(d.dialed.Error(), "what accepts WebSockets here does not speak the Pusher protocol, or a proxy holds its messages back: correct host and port in %s, or turn buffering off in the proxy", d.Target.From.URL)
	}
	return fail(d.dialed.Error(), "%s", d.codeAdvice(closed.Code))
}

// codeAdvice says what to change when a client is refused with a code.
func (d *Doctor) codeAdvice(code int) string {
	switch code {
	case 4000:
		return "write https:// in " + d.Target.From.URL
	case protocol.CodeAppNotFound:
		return "the server has no app with this key: compare " + d.Target.From.Key + " with the server's configuration (Belfry: apps[].key), and run npm run build if the key of the pages was changed"
	case protocol.CodeAppDisabled:
		return "set enabled: true for the app in the server's configuration"
	case protocol.CodeOverQuota:
		return "raise max_connections of the app (Reverb: REVERB_APP_MAX_CONNECTIONS)"
	case protocol.CodePathNotFound:
		return "see the check of the path"
	case protocol.CodeBadVersion, protocol.CodeUnsupportedProtocol, protocol.CodeNoProtocol:
		return "a proxy drops the query string: pass it on (nginx with variables: proxy_pass http://$backend$uri$is_args$args)"
	case protocol.CodeUnauthorized:
		return "the server refuses this client: look at allowed_origins and at the server's log"
	case protocol.CodeOverCapacity:
		return "the server is full, or the address has too many connections: look at max_connections, at max_connections_per_address, and, behind a proxy, at trusted_proxies"
	case protocol.CodeReconnect:
		return "the server is being restarted: try again"
	}
	return "look into the server's log"
}
