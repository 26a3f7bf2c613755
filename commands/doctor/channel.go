package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"belfry/auth"
	"belfry/commands/client"
	"belfry/protocol"
)

// delivery says how long an event took, or why it has not come.
type delivery struct {
	after time.Duration // since it was sent
	err   error
}

// eventName is the name of the event that doctor publishes.
const eventName = "belfry-doctor"

const noSecret = "no secret is known: set BELFRY_APP_SECRET, or give --config or --env-file"

// refusal is a subscription that the server has refused.
type refusal struct {
	text   string
	status int // as an HTTP status or a code of the protocol; 0: none
}

func (r *refusal) Error() string { return fmt.Sprintf("refused: %s (%d)", r.text, r.status) }

// subscribed waits for the answer to a subscription.
func subscribed(ctx context.Context, conn *client.Conn, channel string) error {
	m, err := await(ctx, conn, func(m client.Message) bool {
		return m.Channel == channel && (m.Event == protocol.EventSubscriptionSucceeded || m.Event == protocol.EventSubscriptionError) ||
			m.Event == protocol.EventError
	})
	if err != nil {
		return err
	}
	switch m.Event {
	case protocol.EventError:
		code, text := client.ParseError(m)
		return &refusal{text, code}
	case protocol.EventSubscriptionError:
		var data struct {
			Error  string `json:"error"`
			Status int    `json:"status"`
		}
		if protocol.ReadJSON([]byte(m.Data), &data) != nil || data.Error == "" {
			data.Error = m.Data
		}
		return &refusal{data.Error, data.Status}
	}
	return nil
}

// subscribe checks a private channel, which it signs itself.
func (d *Doctor) subscribe(ctx context.Context) Result {
	if !d.signs() {
		return skip(noSecret)
	}
	ctx, cancel := d.step(ctx)
	defer cancel()
	if err := d.conn.Subscribe(d.channel, ""); err != nil {
		return fail(err.Error(), "look into the server's log")
	}
	start := time.Now()
	err := subscribed(ctx, d.conn, d.channel)
	var refused *refusal
	switch {
	case err == nil:
		return ok("%s in %s", d.channel, took(start))
	case errors.As(err, &refused) && (refused.status == 401 || refused.status == 0 || refused.status == protocol.CodeUnauthorized):
		return fail(err.Error(), "the secret is not that of the app with this key: compare %s with the server's configuration (Belfry: apps[].secret, Laravel: php artisan config:clear)", d.Target.From.Secret)
	case errors.As(err, &refused):
		return fail(err.Error(), "look at the limits of the app, and into the server's log")
	}
	return fail(err.Error(), "the server does not answer a subscription: look into its log, and at what a proxy does to WebSockets")
}

// publish checks that the server takes an event of the backend.
func (d *Doctor) publish(ctx context.Context) Result {
	switch {
	case !d.signs():
		return skip(noSecret)
	case d.client.AppID == "":
		return skip("no id of the app is known: give --app-id or set BELFRY_APP_ID")
	}
	ctx, cancel := d.step(ctx)
	defer cancel()
	start := time.Now()
	if d.known["subscribe"] {
		waiting, stop := context.WithCancel(ctx)
		got := make(chan delivery, 1)
		go func() {
			_, err := await(waiting, d.conn, func(m client.Message) bool { return m.Event == eventName && m.Channel == d.channel })
			got <- delivery{time.Since(start), err}
		}()
		defer func() { // the answer to the request may come later than the event
			if d.published != nil {
				stop()
			}
			d.delivered = <-got
			stop()
		}()
	}
	_, d.published = d.client.Publish(ctx, client.Event{Name: eventName, Channels: []string{d.channel}, Data: start.Format(time.RFC3339Nano)})
	if d.published == nil {
		return ok("200 OK from %s in %s", d.client.API, took(start))
	}
	var status *client.StatusError
	if !errors.As(d.published, &status) {
		if ctx.Err() != nil {
			return fail("POST "+d.client.API.String()+": "+context.Cause(ctx).Error(), "%s", d.networkAdvice(context.Cause(ctx), d.client.API, d.Target.From.API))
		}
		return fail(d.published.Error(), "%s", d.networkAdvice(d.published, d.client.API, d.Target.From.API))
	}
	return fail(status.Error()+by(status.Header), "%s", d.publishAdvice(status))
}

// html reports whether an answer is a page, which no server of this protocol sends.
func html(h http.Header) bool { return strings.HasPrefix(h.Get("Content-Type"), "text/html") }

// unknownApp matches what Belfry, Reverb, Soketi and Pusher say of an id that no app has.
var unknownApp = regexp.MustCompile(`no app with id|no matching application|the app .* could not be found|unknown app|app not found`)

// publishAdvice says what to change when a request of the backend is refused.
func (d *Doctor) publishAdvice(e *client.StatusError) string {
	text := strings.ToLower(e.Text)
	prefix, from := d.client.API.Path, d.Target.From
	other := "let the backend use an address that is not public, in " + from.API + " or --api-url, such as http://127.0.0.1:8080"
	switch s := e.Status; {
	case s == http.StatusUnauthorized && strings.Contains(text, "timestamp expired"):
		return "the clocks are more than ten minutes apart: see the check of the clock"
	case s == http.StatusUnauthorized && (strings.Contains(text, "not signed") || strings.Contains(text, "auth_key is missing")):
		return "a proxy drops the query string: pass it on (nginx with variables: proxy_pass http://$backend$uri$is_args$args)"
	case s == http.StatusUnauthorized && (strings.Contains(text, "not this application's key") || strings.Contains(text, "invalid key")):
		return "the app with this id has another key: compare " + from.ID + " and " + from.Key + " with the server's configuration"
	case s == http.StatusUnauthorized:
		return "compare " + from.Secret + " with the server's configuration, and let no proxy change the path or the query string"
	case s == http.StatusForbidden && strings.Contains(text, "disabled"):
		return "set enabled: true for the app in the server's configuration"
	case s == http.StatusForbidden:
		return "a rule of the proxy keeps " + prefix + "/apps/ from this machine: let the backend's address in (nginx: allow), or " + other
	case s == http.StatusNotFound && unknownApp.MatchString(text):
		return "the server has no app with this id: compare " + from.ID + " with its configuration (Belfry: apps[].id)"
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusOK, s >= 300 && s < 400:
		return fmt.Sprintf("the path %s/apps/ does not lead to the server: correct %s, let the proxy send it there for the backend (%s), or %s", prefix, from.API, route(e.Header, prefix+"/apps/"), other)
	case s == http.StatusRequestEntityTooLarge:
		return "raise the largest body: nginx client_max_body_size, Belfry server.max_request_bytes"
	case s == http.StatusTooManyRequests:
		return "a limit refuses: api_request_rate of the app, or one of the proxy"
	case s == http.StatusBadRequest && strings.Contains(text, "https"):
		return "the port speaks TLS: write https:// in " + from.API
	case s == http.StatusBadGateway, s == http.StatusServiceUnavailable, s == http.StatusGatewayTimeout:
		return "the proxy does not reach the server, or the server its cluster: start it, and compare the proxy's address of it with server.listen"
	}
	return "look into the server's log"
}

// receive checks that the event has come, and says how long it took.
func (d *Doctor) receive(context.Context) Result {
	if got := d.delivered; got.err != nil {
		return fail("the server took the event, and then: "+got.err.Error(),
			"requests go to another server than WebSockets, or to another app: compare %s with %s, and let several servers act as one (Belfry: cluster.driver: redis)", d.Target.From.API, d.Target.From.URL)
	}
	return ok("the event came %s after it was sent", round(d.delivered.after))
}

// serverTime matches the server's time in Pusher's text for a request whose timestamp is
// refused.
var serverTime = regexp.MustCompile(`server time \(([^)]+)\)`)

// clock compares this machine's clock, by which requests are signed, with the server's.
func (d *Doctor) clock(ctx context.Context) Result {
	const advice = "set the clocks by NTP (timedatectl set-ntp true) on this machine and on the server: requests may be %v apart"
	var status *client.StatusError
	if errors.As(d.published, &status) {
		if m := serverTime.FindStringSubmatch(status.Text); m != nil {
			if at, err := time.Parse(time.RFC3339, m[1]); err == nil {
				return fail("the server's clock is "+apart(time.Until(at)), advice, auth.TimestampGrace)
			}
		}
	}
	ctx, cancel := d.step(ctx)
	defer cancel()
	header := d.date(ctx)
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		if d.known["publish"] {
			return ok("the server has accepted auth_timestamp")
		}
		return skip("the server does not tell its time")
	}
	difference := time.Until(at).Round(time.Second)
	switch {
	case difference.Abs() > auth.TimestampGrace:
		return fail("the server's clock is "+apart(difference), advice, auth.TimestampGrace)
	case difference.Abs() > 2*time.Second:
		return ok("the server's clock is %s; requests may be %v apart", apart(difference), auth.TimestampGrace)
	}
	return ok("the clocks agree")
}

// date returns the header of an answer, whatever its status.
func (d *Doctor) date(ctx context.Context) http.Header {
	_, header, _ := d.client.GetPlain(ctx, "/apps/"+url.PathEscape(d.client.AppID)+"/channels") // refused, but with a header
	return header
}

func apart(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("%v behind", -d.Round(time.Second))
	}
	return fmt.Sprintf("%v ahead", d.Round(time.Second))
}

// origin checks that a page may connect.
func (d *Doctor) origin(ctx context.Context) Result {
	if d.Origin == "" {
		return skip("give --origin with the address of a page, such as https://shop.example.com")
	}
	conn, err := d.connection(ctx, client.Handshake{Origin: d.Origin})
	if err == nil {
		conn.Close()
		return ok("%s may connect", d.Origin)
	}
	host := d.Origin
	if u, err := url.Parse(d.Origin); err == nil && u.Hostname() != "" {
		host = u.Hostname()
	}
	var answered *client.HandshakeError
	switch {
	case isCode(err, protocol.CodeUnauthorized), errors.As(err, &answered) && answered.Status == http.StatusForbidden:
		return fail(err.Error(), "add %s to allowed_origins of the app (Reverb: allowed_origins in config/reverb.php)", host)
	}
	return fail(err.Error(), "it connects without an origin: look into the logs of server and proxy")
}
