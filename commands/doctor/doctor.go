// Package doctor tests a set-up from outside, as pages and backends see it, and says
// which check fails and what to change. It works with any server that speaks the Pusher
// Channels protocol, behind any proxy.
package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"belfry/commands/client"
	"belfry/commands/target"
)

// State is the outcome of a check.
type State string

// The outcomes of a check.
const (
	OK      State = "ok"
	Failed  State = "fail"
	Skipped State = "skipped"
)

// Result describes the outcome of a check. Each text is one line and holds no secret.
type Result struct {
	Check string `json:"check"`
	State State  `json:"result"`
	// Found says what the check found or, if it was skipped, why.
	Found string `json:"found"`
	// Change says what to change. Only checks that failed have it.
	Change string `json:"change,omitempty"`
}

// Doctor has the settings of a run. A check whose setting is empty is skipped.
type Doctor struct {
	Target *target.Target
	// Origin is the origin of a page, such as https://shop.example.com.
	Origin string
	// Idle is how long a connection has to survive silence.
	Idle time.Duration
	// AuthURL is where the application authorizes channels, AuthChannel the channel to ask
	// for, and AuthHeader a further header of that request.
	AuthURL     string
	AuthChannel string
	AuthHeader  http.Header
	// Webhook is an address of this machine, host:port, at which to receive a webhook.
	Webhook string
	// Skip has the names of checks to leave out; see [Checks].
	Skip []string
	// Within is how long each step may take.
	Within time.Duration
	// Roots are the certificate authorities to trust; nil: the system's.
	Roots *x509.CertPool
	// Report is called with each result, in order.
	Report func(Result)

	client    client.Client // of Target, without verifying once a certificate has failed
	known     map[string]bool
	addresses []string     // of the host
	conn      *client.Conn // greeted, for the checks behind
	dialed    error        // why there is none
	channel   string       // that is subscribed to and published on
	published error        // what came of publishing
	delivered delivery     // of what was published
}

// check is a row of the table.
type check struct {
	name  string
	needs []string // checks that have to be ok
	run   func(*Doctor, context.Context) Result
}

// checks are all, in the order in which they run.
var checks = []check{
	{"name", nil, (*Doctor).resolve},
	{"tcp", []string{"name"}, (*Doctor).connect},
	{"tls", []string{"tcp"}, (*Doctor).secure},
	{"upgrade", []string{"tcp", "tls"}, (*Doctor).upgrade},
	{"path", []string{"tcp", "tls"}, (*Doctor).path},
	{"key", []string{"upgrade"}, (*Doctor).greet},
	{"subscribe", []string{"key"}, (*Doctor).subscribe},
	{"laravel", nil, (*Doctor).laravel},
	{"publish", nil, (*Doctor).publish},
	{"receive", []string{"key", "subscribe", "publish"}, (*Doctor).receive},
	{"clock", nil, (*Doctor).clock},
	{"origin", []string{"key"}, (*Doctor).origin},
	{"fallback", []string{"tcp", "tls"}, (*Doctor).fallback},
	{"auth", []string{"key"}, (*Doctor).authorize},
	{"webhook", []string{"key"}, (*Doctor).webhook},
	{"idle", []string{"key"}, (*Doctor).idle},
}

// Checks returns the names of all checks, in the order in which they run.
func Checks() (names []string) {
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// Run runs the checks and reports whether none has failed. When the context ends, it skips
// the remaining ones.
func (d *Doctor) Run(ctx context.Context) bool {
	d.client, d.known = d.Target.Client, make(map[string]bool)
	if d.client.TLS == nil {
		d.client.TLS = &tls.Config{RootCAs: d.Roots}
	}
	d.channel = "private-belfry-doctor-" + strings.ToLower(rand.Text())[:12]
	defer func() {
		if d.conn != nil {
			d.conn.Close()
		}
	}()
	well := true
	for _, c := range checks {
		r := d.one(ctx, c)
		r.Check, r.Found, r.Change = c.name, d.clean(r.Found), d.clean(r.Change)
		if r.State == OK {
			d.known[c.name] = true
		}
		well = well && r.State != Failed
		d.Report(r)
	}
	return well
}

func (d *Doctor) one(ctx context.Context, c check) Result {
	if slices.Contains(d.Skip, c.name) {
		return skip("left out by --skip")
	}
	if ctx.Err() != nil {
		return skip("interrupted")
	}
	for _, need := range c.needs {
		if !d.known[need] {
			return skip("it needs %s, which is not ok", need)
		}
	}
	return c.run(d, ctx)
}

// clean returns the text as one line, without the secret, which a server may have repeated.
func (d *Doctor) clean(text string) string {
	for _, secret := range append([]string{d.Target.Credentials.Secret}, d.Target.Credentials.OldSecrets...) {
		if len(secret) >= 8 { // a shorter one would be found in words
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return client.Printable(text)
}

func ok(format string, args ...any) Result {
	return Result{State: OK, Found: fmt.Sprintf(format, args...)}
}

func skip(format string, args ...any) Result {
	return Result{State: Skipped, Found: fmt.Sprintf(format, args...)}
}

// fail returns the result of a check that failed: what it found, and what to change.
func fail(found, format string, args ...any) Result {
	return Result{State: Failed, Found: found, Change: fmt.Sprintf(format, args...)}
}

// signs says whether the app's secret is known.
func (d *Doctor) signs() bool { return d.client.Credentials.Secret != "" }

// step bounds a step of a check.
func (d *Doctor) step(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.Within, fmt.Errorf("nothing came within %v", d.Within))
}

// await returns the first message that matches, or why there is none.
func await(ctx context.Context, conn *client.Conn, matches func(client.Message) bool) (client.Message, error) {
	for {
		select {
		case <-ctx.Done():
			return client.Message{}, context.Cause(ctx)
		case m, open := <-conn.Messages():
			if !open {
				return client.Message{}, conn.Err()
			}
			if matches(m) {
				return m, nil
			}
		}
	}
}

// round shortens a duration for people.
func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

func took(since time.Time) time.Duration { return round(time.Since(since)) }

// PrintJSON writes a result as a line of JSON.
func PrintJSON(w io.Writer, r Result) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// Print writes a result as text.
func Print(w io.Writer, r Result) error {
	_, err := fmt.Fprintf(w, "%-7s  %-9s  %s\n", r.State, r.Check, r.Found)
	if err == nil && r.Change != "" {
		_, err = fmt.Fprintf(w, "%20schange: %s\n", "", r.Change)
	}
	return err
}
