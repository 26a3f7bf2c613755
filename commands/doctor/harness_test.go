package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"belfry/auth"
	"belfry/commands/client"
	"belfry/commands/target"
	"belfry/server"
	"belfry/server/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is for steps that come out, soon for those that are to run out of time.
	patience = 30 * time.Second
	soon     = time.Second
)

var credentials = auth.Credentials{Key: "app-key", Secret: "app-secret"}

// startBelfry runs a server with one app until the test ends.
func startBelfry(t *testing.T, edit ...func(*config.Config)) *url.URL {
	t.Helper()
	c := config.Default()
	c.Server.Listen, c.Server.ShutdownGrace = "127.0.0.1:0", 0
	app := config.DefaultApp()
	app.ID, app.Key, app.Secret = "1", credentials.Key, credentials.Secret
	c.Apps = []config.App{app}
	for _, f := range edit {
		f(&c)
	}
	s, err := server.New(&c, slog.New(slog.DiscardHandler), server.Build{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &url.URL{Scheme: "http", Host: s.Addr().String()}
}

// behind is a proxy that passes on what the handler leaves alone: that returns whether
// it has answered.
func behind(t *testing.T, belfry *url.URL, handler func(w http.ResponseWriter, r *http.Request) bool) *url.URL {
	t.Helper()
	pass := httputil.NewSingleHostReverseProxy(belfry)
	pass.ErrorLog, pass.FlushInterval = log.New(io.Discard, "", 0), -1
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if !handler(w, r) {
			pass.ServeHTTP(w, r)
		}
	})
}

func serveHTTP(t *testing.T, handler http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// newDoctor tests a server with the credentials of [startBelfry].
func newDoctor(at *url.URL) *Doctor {
	t := &target.Target{Client: client.Client{WebSocket: at, API: at, AppID: "1", Credentials: credentials}}
	t.From.URL, t.From.API, t.From.ID, t.From.Key, t.From.Secret = "VITE_PUSHER_HOST", "PUSHER_HOST", "PUSHER_APP_ID", "PUSHER_APP_KEY", "PUSHER_APP_SECRET"
	return &Doctor{Target: t, Within: patience, AuthChannel: "private-orders"}
}

// only leaves out all checks but these and what they need.
func (d *Doctor) only(names ...string) *Doctor {
	needed := slices.Clone(names)
	for _, c := range slices.Backward(checks) {
		if slices.Contains(needed, c.name) {
			needed = append(needed, c.needs...)
		}
	}
	for _, c := range checks {
		if !slices.Contains(needed, c.name) {
			d.Skip = append(d.Skip, c.name)
		}
	}
	return d
}

// expect runs the checks. want has, by name, the state and parts of what is told, of those
// that matter; all others must not fail.
func (d *Doctor) expect(t *testing.T, want map[string]string) {
	t.Helper()
	got := make(map[string]Result)
	var order []string
	d.Report = func(r Result) {
		got[r.Check] = r
		order = append(order, r.Check)
	}
	well := d.Run(t.Context())
	if !slices.Equal(order, Checks()) {
		t.Errorf("ran %q", order)
	}
	for name, r := range got {
		state, parts := OK, ""
		expected, found := want[name]
		if found {
			text, rest, _ := strings.Cut(expected, " ")
			state, parts = State(text), rest
		}
		if r.State != state && (found || r.State == Failed) {
			t.Errorf("%s: %s, not %s: %s; %s", name, r.State, state, r.Found, r.Change)
		}
		for part := range strings.SplitSeq(parts, " & ") {
			if !strings.Contains(r.Found+" | "+r.Change, part) {
				t.Errorf("%s does not tell %q: %s | %s", name, part, r.Found, r.Change)
			}
		}
		if (r.Change != "") != (r.State == Failed) || r.Found == "" {
			t.Errorf("%s: %+v", name, r)
		}
		if strings.Contains(r.Found+r.Change, credentials.Secret) {
			t.Errorf("%s tells the secret: %+v", name, r)
		}
		if failed := r.State == Failed; failed && well {
			t.Errorf("%s failed, and all is said to be well", name)
		}
	}
	if !well && !slices.ContainsFunc(order, func(name string) bool { return got[name].State == Failed }) {
		t.Error("nothing failed, and not all is said to be well")
	}
}

// authority signs certificates.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	made := a.sign(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	a.certificate, a.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// sign makes a certificate of a template; without an authority's own, it signs itself.
func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.Subject, template.BasicConstraintsValid = serial, pkix.Name{CommonName: serial.String()}, true
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-30*day), time.Now().Add(30*day)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// serveTLS puts a certificate in front of a server.
func serveTLS(t *testing.T, belfry *url.URL, certificate tls.Certificate) *url.URL {
	t.Helper()
	pass := httputil.NewSingleHostReverseProxy(belfry)
	s := httptest.NewUnstartedServer(pass)
	s.Config.ErrorLog, pass.ErrorLog, pass.FlushInterval = log.New(io.Discard, "", 0), log.New(io.Discard, "", 0), -1
	s.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	s.StartTLS()
	t.Cleanup(s.Close)
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
