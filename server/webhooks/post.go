package webhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"belfry/server/metrics"
)

// Bounds of one request.
const (
	RequestTimeout   = 10 * time.Second // to the end of the answer
	maxRedirects     = 3
	maxAnswerHeader  = 64 << 10
	maxAnswer        = 64 << 10 // read and thrown away, so that the connection can be kept
	maxIdleEndpoints = 8        // connections kept to one host
	idleTimeout      = 90 * time.Second
)

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		DialContext:            (&net.Dialer{Timeout: RequestTimeout}).DialContext,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    maxIdleEndpoints,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableCompression:     true,
	}
}

// outcome is what came of one request.
type outcome struct {
	status     int           // of the answer; 0: none came
	failure    string        // why none came
	retryAfter time.Duration // what the answer asks for; 0: nothing
}

// delivered: any 2xx.
func (o outcome) delivered() bool { return o.status/100 == 2 }

// mayPass says whether another attempt may do better.
func (o outcome) mayPass() bool {
	return o.status == 0 || o.status == http.StatusRequestTimeout || o.status == http.StatusTooManyRequests || o.status/100 == 5
}

func (o outcome) reason() string {
	if o.status/100 == 3 {
		return metrics.FailedRedirect
	}
	return metrics.FailedStatus
}

// String explains a failure.
func (o outcome) String() string {
	switch {
	case o.failure != "":
		return o.failure
	case o.status/100 == 3:
		return fmt.Sprintf("status %d: only 307 and 308 to the same host are followed, %d times", o.status, maxRedirects)
	}
	return fmt.Sprintf("status %d", o.status)
}

// LogValue is String.
func (o outcome) LogValue() slog.Value { return slog.StringValue(o.String()) }

// post makes one attempt.
func (e *endpoint) post(ctx context.Context, body []byte) outcome {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	target, err := url.Parse(*e.url.Load())
	if err != nil {
		return outcome{failure: "the endpoint has no valid URL"}
	}
	user := target.User
	var status int
	for range maxRedirects + 1 {
		resp, err := e.app.sender.transport.RoundTrip(e.request(ctx, target, user, body))
		if err != nil {
			return outcome{failure: failure(err)}
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // the status has said it all
		resp.Body.Close()
		next := redirect(target, resp)
		if next == nil {
			return outcome{status: resp.StatusCode, retryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
		}
		target, status = next, resp.StatusCode
	}
	return outcome{status: status}
}

// request is signed with the credentials that the application has now.
func (e *endpoint) request(ctx context.Context, target *url.URL, user *url.Userinfo, body []byte) *http.Request {
	r := (&http.Request{
		Method:        http.MethodPost,
		URL:           target,
		Host:          target.Host,
		Header:        http.Header{"User-Agent": {e.app.sender.userAgent}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		GetBody:       func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
		ContentLength: int64(len(body)),
	}).WithContext(ctx)
	if user != nil {
		password, _ := user.Password()
		r.SetBasicAuth(user.Username(), password)
	}
	for name, value := range *e.headers.Load() {
		r.Header.Set(name, value)
	}
	credentials := e.app.credentials.Load()
	r.Header.Set("Content-Type", "application/json") // exactly: Pusher's Node library compares
	r.Header.Set("X-Pusher-Key", credentials.Key)
	r.Header.Set("X-Pusher-Signature", credentials.SignWebhook(body))
	return r
}

// redirect is where an answer wants the same request sent, if that is the same
// host: whoever answers must not turn the server on others. Nil: nowhere.
func redirect(from *url.URL, resp *http.Response) *url.URL {
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect || location == "" {
		return nil
	}
	to, err := from.Parse(location)
	if err != nil || !strings.EqualFold(to.Hostname(), from.Hostname()) {
		return nil
	}
	same := to.Scheme == from.Scheme && port(to) == port(from)
	secured := from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
	if !same && !secured {
		return nil
	}
	return to
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds or a date. It
// is at most giveUp, and 0 when there is nothing to wait for.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(giveUp/time.Second))) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return giveUp
	}
	if date, err := http.ParseTime(header); err == nil {
		return min(max(date.Sub(now), 0), giveUp)
	}
	return 0
}
