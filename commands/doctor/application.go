package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"belfry/auth"
	"belfry/commands/client"
	"belfry/protocol"
)

// Bounds of what is read of the application and of webhooks, in bytes.
const (
	maxAuth    = 64 << 10
	maxWebhook = 1 << 20
)

// laravel checks that Laravel publishes to the server: with the wrong connection it
// publishes nothing and reports no error, and without a host it publishes to Pusher.
func (d *Doctor) laravel(context.Context) Result {
	const advice = "set BROADCAST_CONNECTION=pusher or reverb in %s (Laravel 10 and earlier: BROADCAST_DRIVER), then php artisan config:clear, and restart queue workers"
	l := d.Target.Laravel
	name := "BROADCAST_CONNECTION"
	if l.Driver {
		name = "BROADCAST_DRIVER"
	}
	switch {
	case d.Target.EnvFile == "":
		return skip("give --env-file")
	case l.Connection == "":
		return fail("BROADCAST_CONNECTION is not set: Laravel publishes nothing", advice, d.Target.EnvFile)
	case l.Connection == "log":
		return fail(name+" is log: Laravel publishes nothing", advice, d.Target.EnvFile)
	case l.Side != "" && l.PublishURL == "" && d.Target.Own:
		return fail(l.Side+"HOST is not set: Laravel publishes to another server", "set %[1]sHOST, %[1]sPORT and %[1]sSCHEME in %[2]s", l.Side, d.Target.EnvFile)
	case l.Driver:
		return ok("BROADCAST_DRIVER is %s; Laravel 11 and later read BROADCAST_CONNECTION instead", l.Connection)
	}
	return ok("BROADCAST_CONNECTION is %s", l.Connection)
}

// authorize asks the application for a channel, as a page does, and subscribes with what
// it answers.
func (d *Doctor) authorize(ctx context.Context) Result {
	if d.AuthURL == "" {
		return skip("give --auth-url with the address of the application's /broadcasting/auth")
	}
	conn, err := d.connection(ctx, client.Handshake{})
	if err != nil {
		return fail(err.Error(), "look into the server's log")
	}
	defer conn.Close()
	ctx, cancel := d.step(ctx)
	defer cancel()
	form := url.Values{"socket_id": {conn.SocketID}, "channel_name": {d.AuthChannel}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.AuthURL, strings.NewReader(form.Encode()))
	if err != nil {
		return fail("the address cannot be read", "give one such as https://shop.example.com/broadcasting/auth in --auth-url")
	}
	for name, values := range d.AuthHeader {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	web := http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.Roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := web.Do(r)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // the URL may have a password
		}
		return fail(reason(ctx, err), "%s", d.networkAdvice(err, r.URL, "--auth-url"))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAuth))
	if err != nil {
		return fail(err.Error(), "look into the application's log")
	}
	return d.authorized(ctx, conn, resp, body)
}

// authorized looks at the application's answer.
func (d *Doctor) authorized(ctx context.Context, conn *client.Conn, resp *http.Response, body []byte) Result {
	found := fmt.Sprintf("%d %s for %s", resp.StatusCode, http.StatusText(resp.StatusCode), d.AuthChannel)
	if to := resp.Header.Get("Location"); to != "" {
		found += ", which leads to " + to
	}
	if resp.StatusCode != http.StatusOK {
		return fail(found, "%s", authAdvice(resp.StatusCode))
	}
	var answer struct {
		Auth        string `json:"auth"`
		ChannelData string `json:"channel_data"`
	}
	if err := protocol.ReadJSON(body, &answer); err != nil || answer.Auth == "" {
		switch {
		case html(resp.Header):
			return fail(found+", a page instead of JSON", "the address leads to a page, mostly to that for logging in: correct --auth-url, and give the session's cookie by --auth-header")
		case len(body) == 0, strings.TrimSpace(string(body)) == "null", strings.TrimSpace(string(body)) == "[]":
			return fail(found+", without a signature", "the application does not broadcast: set BROADCAST_CONNECTION=pusher or reverb in its .env (Laravel 10 and earlier: BROADCAST_DRIVER), then php artisan config:clear")
		}
		return fail(found+", not JSON with \"auth\"", "let the endpoint answer {\"auth\": \"KEY:SIGNATURE\"}, and nothing before it, such as a warning of PHP")
	}
	if d.signs() {
		err := d.client.Credentials.VerifyChannel(answer.Auth, conn.SocketID, d.AuthChannel, answer.ChannelData)
		if err != nil {
			return fail(found+": "+err.Error(), "the application signs with %s: compare its PUSHER_APP_KEY and PUSHER_APP_SECRET (or REVERB_) with %s and %s, then php artisan config:clear",
				map[bool]string{true: "another key", false: "another secret"}[errors.Is(err, auth.ErrKey)], d.Target.From.Key, d.Target.From.Secret)
		}
	}
	conn.SubscribeWith(d.AuthChannel, answer.Auth, answer.ChannelData)
	if err := subscribed(ctx, conn, d.AuthChannel); err != nil {
		return fail(found+", but the server: "+err.Error(), "the application signs with another key or secret than the server has: compare its .env with the server's configuration, then php artisan config:clear")
	}
	return ok("%s, and the server accepts its signature", found)
}

// authAdvice says what to change when the application answers with a status.
func authAdvice(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "nobody is logged in: give the session's cookie or a token by --auth-header, such as \"Authorization: Bearer …\"; for tokens, Laravel needs Broadcast::routes(['middleware' => ['auth:sanctum']])"
	case status == http.StatusForbidden:
		return "the application refuses the channel: name one in --auth-channel that a callback in routes/channels.php allows, and give the session's cookie by --auth-header"
	case status == http.StatusNotFound:
		return "there is no such route: php artisan install:broadcasting (Laravel 9 and 10: uncomment BroadcastServiceProvider in config/app.php), or correct --auth-url"
	case status == http.StatusMethodNotAllowed:
		return "let the route take POST, and correct --auth-url: a redirect or a missing prefix may be in the way"
	case status == 419:
		return "the CSRF token is missing: give the page's by --auth-header \"X-CSRF-TOKEN: …\" with its cookie; Echo needs <meta name=\"csrf-token\"> in the page, or broadcasting/auth in validateCsrfTokens(except: …) of bootstrap/app.php"
	case status == http.StatusTooManyRequests:
		return "a limit of the application refuses: take throttle off the route"
	case status >= 300 && status < 400:
		return "nobody is logged in, or the address is not the last one: give the session's cookie by --auth-header, and correct --auth-url"
	case status >= 500:
		return "the application has failed: look into storage/logs/laravel.log; composer require pusher/pusher-php-server if the class is missing"
	}
	return "look into the application's log"
}

// received says what is wrong with a webhook; empty texts: nothing.
type received struct {
	wrong, change string
}

// webhook subscribes to a channel and waits for the server to tell of it.
func (d *Doctor) webhook(ctx context.Context) Result {
	if d.Webhook == "" {
		return skip("give --webhook with an address of this machine, such as 127.0.0.1:9000, that apps[].webhooks[].url leads to")
	}
	l, err := net.Listen("tcp", d.Webhook)
	if err != nil {
		return fail(err.Error(), "give a free address of this machine in --webhook")
	}
	defer l.Close()
	conn, err := d.connection(ctx, client.Handshake{})
	if err != nil {
		return fail(err.Error(), "look into the server's log")
	}
	defer conn.Close()
	channel := "belfry-doctor-" + strings.Replace(conn.SocketID, ".", "-", 1)
	got := make(chan received, 1)
	s := &http.Server{ReadTimeout: d.Within, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxWebhook))
		if err != nil {
			return
		}
		if told, mine := d.told(r, body, channel); mine {
			select {
			case got <- told:
			default:
			}
		}
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l) // until Close
	}()
	defer func() {
		_ = s.Close()
		<-ended
	}()
	ctx, cancel := d.step(ctx)
	defer cancel()
	start := time.Now()
	if err := conn.Subscribe(channel, ""); err != nil {
		return fail(err.Error(), "look into the server's log")
	}
	if err := subscribed(ctx, conn, channel); err != nil {
		return fail(err.Error(), "look into the server's log")
	}
	select {
	case told := <-got:
		if told.wrong != "" {
			return fail(told.wrong, "%s", told.change)
		}
		return ok("channel_occupied came in %s", took(start))
	case <-ctx.Done():
		return fail(fmt.Sprintf("no channel_occupied of %s came to %s within %v", channel, l.Addr(), d.Within),
			"set apps[].webhooks[].url to an address at which the server reaches %s, with channel_occupied among its events, and look at belfry_webhooks_failed_total and into the server's log", l.Addr())
	}
}

// told checks a webhook. mine reports whether it is about the channel.
func (d *Doctor) told(r *http.Request, body []byte, channel string) (told received, mine bool) {
	var webhook struct {
		Events []struct {
			Name    string `json:"name"`
			Channel string `json:"channel"`
		} `json:"events"`
	}
	if err := protocol.ReadJSON(body, &webhook); err != nil {
		return received{"a request came whose body is no webhook: " + err.Error(), "let nothing else post to the address of --webhook"}, true
	}
	for _, e := range webhook.Events {
		mine = mine || e.Name == "channel_occupied" && e.Channel == channel
	}
	if !mine {
		return told, false
	}
	if !d.signs() {
		return told, true // nothing to verify it with
	}
	if key := r.Header.Get("X-Pusher-Key"); key != d.client.Credentials.Key {
		return received{"the webhook has the key " + key, "compare " + d.Target.From.Key + " with the server's configuration"}, true
	}
	if err := d.client.Credentials.VerifyWebhook(r.Header.Get("X-Pusher-Signature"), body); err != nil {
		return received{err.Error(), "compare " + d.Target.From.Secret + " with the server's configuration, and let no proxy change the body"}, true
	}
	return told, true
}
