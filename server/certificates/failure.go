package certificates

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"belfry/protocol"
)

// failure is how the last orders of a domain have failed, as nodes tell each other.
type failure struct {
	At    time.Time `json:"at"`    // when the last one did
	Count int       `json:"count"` // how many did, one after the other
	// NotBefore is when the authority allows another one; zero: it has not said so.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Recent is how many have failed since Since, which is less than an hour before At.
	Since  time.Time `json:"since,omitzero"`
	Recent int       `json:"recent,omitzero"`
}

// pauses are those behind the first failure, the second, and all others. Let's Encrypt
// allows five challenges of an account and a domain to fail, and one more every twelve
// minutes (https://letsencrypt.org/docs/rate-limits/). An order has two of them.
var pauses = [...]time.Duration{time.Minute, 16 * time.Minute, time.Hour}

const (
	manyRecent    = 4                  // failures within an hour
	maxRetryAfter = 24 * time.Hour     // longer, no authority's word counts
	failureKept   = 7 * 24 * time.Hour // in the storage
	maxError      = 500                // bytes of an error in the log
)

// again is when an order may be repeated: zero if none has failed. Whoever starts the server
// or reloads its configuration may have mended what was wrong, and need not wait longer than
// after a first failure, unless many have failed within the hour: a server that starts again
// and again must not meet the authority's limit.
func (m *Manager) again(f failure) time.Time {
	if f.Count < 1 {
		return time.Time{}
	}
	m.mu.Lock()
	since := m.retrySince
	m.mu.Unlock()
	count := f.Count
	if f.At.Before(since) && f.Recent < manyRecent {
		count = 1
	}
	next := f.At.Add(pauses[min(count, len(pauses))-1])
	if most := f.At.Add(maxRetryAfter); f.NotBefore.After(most) {
		return most
	} else if f.NotBefore.After(next) {
		return f.NotBefore
	}
	return next
}

// lastFailure is the last one of a domain on any node. One of the future is none: the clock
// was wrong.
func (m *Manager) lastFailure(ctx context.Context, domain string) (last failure, err error) {
	now := time.Now()
	if here := m.failures[domain]; !here.At.After(now) {
		last = here
	}
	text, ok, err := m.Storage.Get(ctx, m.names.failure(domain))
	if err != nil {
		return last, storageError{err}
	}
	var there failure
	if ok && json.Unmarshal(text, &there) == nil && there.At.After(last.At) && !there.At.After(now) {
		last = there
	}
	return last, nil
}

// failed notes that an order has, tells so, and returns in which time to look again.
func (m *Manager) failed(ctx context.Context, domain string, because error) time.Duration {
	if ctx.Err() != nil {
		return 0 // the server stops
	}
	m.Failures.Inc()
	last, err := m.lastFailure(ctx, domain)
	if err != nil {
		m.storageFailed(ctx, err)
	}
	now := time.Now()
	next := failure{At: now, Count: last.Count + 1, Since: now, Recent: 1}
	if now.Sub(last.Since) < time.Hour {
		next.Since, next.Recent = last.Since, last.Recent+1
	}
	if wait, ok := retryAfter(because); ok {
		next.NotBefore = next.At.Add(min(wait, maxRetryAfter))
	}
	m.failures[domain] = next
	text, err := json.Marshal(next)
	if err == nil {
		err = m.Storage.Put(ctx, m.names.failure(domain), text, failureKept)
	}
	if err != nil {
		m.storageFailed(ctx, storageError{err})
	}
	again := m.again(next)
	level, until := slog.LevelError, "there is none"
	if c := m.inUse(domain); c != nil {
		until = c.Leaf.NotAfter.Format(time.RFC3339)
		if time.Until(c.Leaf.NotAfter) > lastDays {
			level = slog.LevelWarn
		}
	}
	m.Log.Log(ctx, level, "no certificate was given", "domain", domain, "error", clip(because), "do", m.advice(domain, because),
		"again", again.Format(time.RFC3339), "present_one_until", until)
	wait := max(0, min(time.Until(again), whileFailing))       // the storage may have taken longer
	return wait + time.Duration(rand.Int64N(int64(wait)/10+1)) // nodes that start together do not stay together
}

// storageError is an error of the [Storage].
type storageError struct{ error }

// Unwrap returns the storage's own error.
func (e storageError) Unwrap() error { return e.error }

const storageAdvice = "see that server.tls.acme.storage can be written to: the directory, or the cluster's Redis"

// clip is an error for the log: an authority may say anything.
func clip(err error) string {
	return protocol.Clip(strings.Join(strings.Fields(err.Error()), " "), maxError)
}

// problems are what an authority has to say about an order.
func problems(err error) (all []*acme.Error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range several.Unwrap() {
			all = append(all, problems(one)...)
		}
		return all
	}
	switch e := err.(type) {
	case nil:
		return nil
	case *acme.Error:
		return append(all, e)
	case *acme.AuthorizationError:
		return problems(errors.Join(e.Errors...))
	case *acme.OrderError:
		if e.Problem != nil {
			return append(all, e.Problem)
		}
		return nil
	}
	return problems(errors.Unwrap(err))
}

// kind is the last part of a problem's type (RFC 8555 section 6.7), in lower case.
func kind(p *acme.Error) string {
	return strings.ToLower(p.ProblemType[strings.LastIndex(p.ProblemType, ":")+1:])
}

// retryAfter is in which time an authority allows another order, if its limit is met.
func retryAfter(err error) (wait time.Duration, ok bool) {
	for _, p := range problems(err) {
		if wait, ok := acme.RateLimit(p); ok {
			return max(wait, pauses[len(pauses)-1]), true
		}
	}
	return 0, false
}

const (
	reachAdvice    = "let the authority reach this server at PORTS of DOMAIN: look at the records A and AAAA, at firewalls, security groups and forwarded ports, and at a proxy or CDN that answers in its place"
	refusedAdvice  = "the authority does not give certificates for DOMAIN: take it out of server.tls.acme.domains, or choose another authority"
	addressAdvice  = "give another server.tls.acme.email, or none"
	accountAdvice  = "delete ACCOUNT in server.tls.acme.storage: then another account is made"
	internalAdvice = "nothing if it passes: the authority has a problem of its own"
)

// problemAdvice says what to do about an authority's problem, by its [kind]. DOMAIN, PORTS
// and ACCOUNT stand for what they are.
var problemAdvice = map[string]string{
	"ratelimited":             "wait: the authority's limit is met. For experiments, set server.tls.acme.directory to its staging environment",
	"dns":                     "have the DNS records of DOMAIN (A, and AAAA if it has one) lead to this server",
	"connection":              reachAdvice,
	"tls":                     reachAdvice,
	"unauthorized":            reachAdvice,
	"incorrectresponse":       reachAdvice,
	"caa":                     "allow the authority in the CAA record of DOMAIN, or remove that",
	"rejectedidentifier":      refusedAdvice,
	"unsupportedidentifier":   refusedAdvice,
	"invalidcontact":          addressAdvice,
	"unsupportedcontact":      addressAdvice,
	"externalaccountrequired": "choose another authority: this one wants an account that was made by hand",
}

// advice says what to do about an order that has failed.
func (m *Manager) advice(domain string, err error) string {
	ports := "port 443"
	if m.HTTP {
		ports = "port 80, or 443,"
	}
	meaning := strings.NewReplacer("DOMAIN", domain, "PORTS", ports, "ACCOUNT", m.names.account())
	account := errors.As(err, new(accountError))
	var all []string
	for _, p := range problems(err) {
		text := problemAdvice[kind(p)]
		if account && kind(p) == "unauthorized" { // somebody has deactivated it
			text = accountAdvice
		}
		if text = meaning.Replace(text); text != "" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if len(all) > 0 {
		return strings.Join(all, "; ")
	}
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.Is(err, errAccountKey):
		return meaning.Replace(accountAdvice)
	case errors.As(err, new(storageError)):
		return storageAdvice
	case errors.Is(err, errBug):
		return "please report the lines of the log with the word panic"
	case errors.Is(err, errDue):
		return "see that the clock of this server is right, and that the authority gives certificates that last for days"
	case errors.Is(err, errNoChallenge):
		return "set server.redirect_http to :80: the authority offers no challenge at port 443"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "see that server.tls.acme.directory is right; if it is an authority of your own, give its root in SSL_CERT_FILE"
	case errors.As(err, &dns), errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return "see that this server reaches " + m.Authority.Directory + ", and that this is right"
	case len(problems(err)) > 0:
		return internalAdvice
	}
	return "see that server.tls.acme.directory is an ACME directory"
}
