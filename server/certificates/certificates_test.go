package certificates

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/crypto/acme"

	"belfry/server/bugs"
	"belfry/server/config"
)

const (
	domain = "ws.example.com"
	life   = 24 * 24 * time.Hour
)

// authority stands in for the order at a real one: see e2e for that.
type authority struct {
	t    *testing.T
	took time.Duration // that an order takes

	mu     sync.Mutex
	orders []string // domains
	serial int64
	fails  error
	life   time.Duration // of certificates; 0: life
}

func (a *authority) order(ctx context.Context, domain string) ([]byte, error) {
	select {
	case <-time.After(a.took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.orders = append(a.orders, domain)
	if a.fails != nil {
		return nil, a.fails
	}
	return a.issue(domain), nil
}

func (a *authority) issue(domain string) []byte {
	a.serial++
	return issue(a.t, domain, a.serial, time.Now(), cmp.Or(a.life, life))
}

func issue(t *testing.T, domain string, serial int64, from time.Time, life time.Duration) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{domain}, NotBefore: from, NotAfter: from.Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := encode(key, [][]byte{der})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (a *authority) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fails = err
}

// list is of all domains that were ordered.
func (a *authority) list() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.orders, " ")
}

func (a *authority) count() int { return len(strings.Fields(a.list())) }

func (a *authority) expectOrders(want int) {
	a.t.Helper()
	if got := a.count(); got != want {
		a.t.Errorf("%d orders; want %d", got, want)
	}
}

// buffer keeps a log.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// node is a manager with what it says.
type node struct {
	*Manager
	log    buffer
	panics prometheus.Counter
	stop   context.CancelFunc
	done   chan struct{}
}

func (a *authority) node(storage Storage, domains ...string) *node {
	n := &node{done: make(chan struct{}), panics: prometheus.NewCounter(prometheus.CounterOpts{})}
	log := slog.New(slog.NewTextHandler(&n.log, nil))
	n.Manager = New(Options{
		Authority: config.ACME{Domains: domains, Directory: "https://ca.example/dir"},
		Storage:   storage,
		Log:       log,
		Bugs:      bugs.New(log, n.panics),
		Failures:  prometheus.NewCounter(prometheus.CounterOpts{}),
	})
	n.order = a.order
	return n
}

func (n *node) run() *node {
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() {
		defer close(n.done)
		n.Run(ctx)
	}()
	return n
}

func (n *node) end() {
	n.stop()
	<-n.done
}

// serial is that of the certificate for a client, 0 if there is none.
func (n *node) serial(name string) int64 {
	c, err := n.Certificate(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		return 0
	}
	return c.Leaf.SerialNumber.Int64()
}

func (n *node) failed() int { return value(n.Failures) }

func value(c prometheus.Counter) int {
	var m dto.Metric
	_ = c.Write(&m)
	return int(m.Counter.GetValue())
}

func pass(d time.Duration) {
	time.Sleep(d) // by the clock of a bubble
	synctest.Wait()
}

// A certificate is ordered at the start, and another one with a third of its life left.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t, took: 3 * time.Second}
		n := a.node(Directory(t.TempDir()), domain)
		if _, err := n.Certificate(&tls.ClientHelloInfo{ServerName: domain}); !errors.Is(err, errNone) || !n.Expires().IsZero() {
			t.Errorf("%v, until %v", err, n.Expires())
		}
		n.run()
		defer n.end()
		pass(4 * time.Second)
		if got := n.serial(domain); got != 1 || time.Until(n.Expires()) < life-10*time.Second {
			t.Errorf("certificate %d until %v", got, n.Expires())
		}
		pass(life*2/3 - life/30 - 5*time.Second)
		a.expectOrders(1)
		pass(life/30 + 10*time.Second)
		a.expectOrders(2)
		if got := n.serial(domain); got != 2 {
			t.Errorf("certificate %d is served", got)
		}
		for range 10 {
			pass(life * 2 / 3)
		}
		a.expectOrders(12)
	})
}

// What is stored needs no order, and is there before Run.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t}, Directory(t.TempDir())
		n := a.node(storage, domain, "second.example.com").run()
		pass(time.Second)
		n.end()
		a.expectOrders(2)
		again := a.node(storage, domain, "second.example.com")
		again.Load(t.Context())
		if again.serial(domain) != 1 || again.serial("second.example.com") != 2 {
			t.Error("it is not loaded")
		}
		again.run()
		pass(life / 2)
		again.end()
		a.expectOrders(2)

		// What is broken, over, or for another name is ordered anew.
		for _, text := range []string{"", "-----BEGIN", string(issue(t, "other.example.com", 9, time.Now(), life))} {
			if err := storage.Put(t.Context(), again.names.certificate(domain), []byte(text), 0); err != nil {
				t.Fatal(err)
			}
			before := a.count()
			n := a.node(storage, domain).run()
			pass(time.Second)
			n.end()
			a.expectOrders(before + 1)
		}
		before := a.count()
		pass(2 * life)
		late := a.node(storage, domain).run()
		pass(time.Second)
		late.end()
		a.expectOrders(before + 1)
	})
}

// Nodes that start together, and live on together, order like one.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t, took: 10 * time.Second}, Directory(t.TempDir())
		var nodes []*node
		for range 5 {
			n := a.node(storage, domain, "second.example.com").run()
			defer n.end()
			nodes = append(nodes, n)
		}
		pass(time.Minute)
		a.expectOrders(2)
		for range 5 {
			for _, n := range nodes {
				if n.serial(domain) == 0 || n.serial(domain) != nodes[0].serial(domain) || n.serial("second.example.com") != nodes[0].serial("second.example.com") {
					t.Errorf("certificates %d and %d", n.serial(domain), n.serial("second.example.com"))
				}
			}
			before := a.count()
			pass(life*2/3 + time.Hour)
			a.expectOrders(before + 2)
		}
	})
}

// A server that starts or reloads again and again orders no more often than the authority
// allows.
func TestManyStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t, fails: errors.New("no")}, Directory(t.TempDir())
		n := a.node(storage, domain).run()
		for i := range 300 {
			pass(10 * time.Second)
			if i%2 == 0 {
				n.end()
				n = a.node(storage, domain).run()
			} else {
				n.Configure([]string{domain})
			}
		}
		n.end()
		a.expectOrders(manyRecent)
	})
}

// Orders that fail are repeated more and more seldom, by all nodes together as by one; the
// certificate that there is goes on, and a start or a reload tries again soon.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := &acme.AuthorizationError{Errors: []error{&acme.Error{ProblemType: "urn:ietf:params:acme:error:connection", Detail: "Connection refused"}}}
		a, storage := &authority{t: t, fails: refused}, Directory(t.TempDir())
		one, two := a.node(storage, domain).run(), a.node(storage, domain).run()
		pass(time.Second)
		a.expectOrders(1)
		pass(2 * time.Minute)
		a.expectOrders(2)
		pass(14 * time.Minute)
		a.expectOrders(2)
		pass(6 * time.Minute)
		a.expectOrders(3)
		pass(70 * time.Minute)
		a.expectOrders(4)
		before := a.count()
		pass(24 * time.Hour)
		if n := a.count() - before; n < 20 || n > 25 {
			t.Errorf("%d orders a day", n)
		}
		if one.failed()+two.failed() != a.count() {
			t.Errorf("%d and %d failures of %d", one.failed(), two.failed(), a.count())
		}
		if one.failed() == 0 {
			one, two = two, one
		}
		if log := one.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "let the authority reach this server at port 443 of ws.example.com") {
			t.Error(log)
		}
		one.end()
		two.end()

		before = a.count()
		again := a.node(storage, domain).run()
		pass(2 * time.Minute)
		a.expectOrders(before + 1)
		pass(4 * time.Minute)
		again.Configure([]string{domain})
		pass(2 * time.Minute)
		a.expectOrders(before + 2)

		a.fail(nil)
		again.Configure([]string{domain})
		pass(3 * time.Minute)
		a.expectOrders(before + 3)
		two = a.node(storage, domain).run()
		pass(time.Second)
		a.expectOrders(before + 3)
		if again.serial(domain) == 0 || two.serial(domain) != again.serial(domain) {
			t.Error("not all have it")
		}
		two.end()

		// What there is, is served to its end and beyond, and a failure of its renewal begins anew.
		a.fail(errors.New("away"))
		serial := again.serial(domain)
		before = a.count()
		pass(life*2/3 + 3*time.Minute)
		if n := a.count() - before; n < 2 {
			t.Errorf("%d orders", n)
		}
		if log := again.log.String(); !strings.Contains(log, "level=WARN msg=\"no certificate was given\"") {
			t.Error(log)
		}
		pass(life/3 + time.Hour)
		if got := again.serial(domain); got != serial {
			t.Errorf("%d is served in place of %d", got, serial)
		}
		a.fail(nil)
		pass(2 * time.Hour)
		if got := again.serial(domain); got != serial+1 {
			t.Errorf("%d is served", got)
		}
		again.end()
	})
}

// An authority whose limit is met is left alone for as long as it says, within a day.
func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := func(after string) error {
			return fmt.Errorf("the order: %w", &acme.Error{StatusCode: http.StatusTooManyRequests, ProblemType: "urn:ietf:params:acme:error:rateLimited", Header: http.Header{"Retry-After": {after}}})
		}
		a, storage := &authority{t: t, fails: limit("20000")}, Directory(t.TempDir())
		n := a.node(storage, domain).run()
		pass(5 * time.Hour)
		a.expectOrders(1)
		n.end()
		n = a.node(storage, domain).run() // it is not asked again
		defer n.end()
		a.fail(limit("999999999"))
		pass(time.Hour)
		a.expectOrders(2)
		pass(23 * time.Hour)
		a.expectOrders(2)
		pass(2 * time.Hour)
		a.expectOrders(3)
		if !strings.Contains(n.log.String(), "do=\"wait: the authority's limit is met") {
			t.Error(n.log.String())
		}
	})
}

// A list of other domains takes effect: what is new is ordered, what is gone is forgotten.
func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t}
		n := a.node(Directory(t.TempDir()), domain, "old.example.com").run()
		defer n.end()
		pass(time.Second)
		n.Configure([]string{domain, "new.example.com"})
		pass(time.Second)
		if got := a.list(); got != domain+" old.example.com new.example.com" {
			t.Error(got)
		}
		for name, want := range map[string]int64{domain: 1, "new.example.com": 3, "NEW.example.com.": 3, "old.example.com": 1, "": 1, "stranger.example": 1} {
			if got := n.serial(name); got != want {
				t.Errorf("%q is shown %d, not %d", name, got, want)
			}
		}
		if n.Has("old.example.com") || !n.Has("New.Example.Com") || n.Has("") {
			t.Error("Has")
		}
	})
}

// broken is a storage that fails while that is said.
type broken struct {
	Storage
	fails atomic.Bool // all of it
	full  atomic.Bool // it can be read
	gets  atomic.Int32
}

var errBroken = errors.New("no space left")

func (b *broken) Get(ctx context.Context, name string) ([]byte, bool, error) {
	b.gets.Add(1)
	if b.fails.Load() {
		return nil, false, errBroken
	}
	return b.Storage.Get(ctx, name)
}

func (b *broken) Put(ctx context.Context, name string, value []byte, keep time.Duration) error {
	if b.fails.Load() || b.full.Load() {
		return errBroken
	}
	return b.Storage.Put(ctx, name, value, keep)
}

// A storage that is away is told of once, costs no order, and what there is goes on.
func TestStorageAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t}, &broken{Storage: Directory(t.TempDir())}
		storage.fails.Store(true)
		n := a.node(storage, domain)
		n.Load(t.Context())
		n.run()
		defer n.end()
		pass(time.Hour)
		a.expectOrders(0)
		if log := n.log.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "no space left") || !strings.Contains(log, "server.tls.acme.storage") {
			t.Error(log)
		}
		storage.fails.Store(false)
		pass(time.Minute)
		a.expectOrders(1)
		storage.fails.Store(true)
		pass(life - time.Hour)
		a.expectOrders(1)
		if n.serial(domain) != 1 {
			t.Error("what there is, is not served")
		}
	})
}

// What is ordered serves, even if it cannot be stored, and is stored as soon as that can be.
func TestStorageFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t}, &broken{Storage: Directory(t.TempDir())}
		n := a.node(storage, domain)
		order := n.order
		n.order = func(ctx context.Context, domain string) ([]byte, error) {
			storage.full.Store(true)
			return order(ctx, domain)
		}
		n.run()
		defer n.end()
		pass(time.Hour)
		a.expectOrders(1)
		if n.serial(domain) != 1 {
			t.Error("it is not served")
		}
		if log := n.log.String(); strings.Count(log, "no space left") != 1 {
			t.Error(log)
		}
		storage.full.Store(false)
		pass(time.Minute)
		n.expectStored(t, domain)
	})
}

// expectStored wants a certificate to be in the storage.
func (n *node) expectStored(t *testing.T, domain string) {
	t.Helper()
	if _, ok, err := n.Storage.Get(t.Context(), n.names.certificate(domain)); err != nil || !ok {
		t.Errorf("it is not stored: %v", err)
	}
}

// What the storage has lost, or holds in an older form, is stored again by whoever has it.
func TestStorageLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t}, Directory(t.TempDir())
		n := a.node(storage, domain).run()
		defer n.end()
		pass(time.Second)
		for _, lose := range []func() error{
			func() error { return storage.Delete(t.Context(), n.names.certificate(domain)) },
			func() error {
				return storage.Put(t.Context(), n.names.certificate(domain), issue(t, domain, 9, time.Now().Add(-life/2), life), 0)
			},
		} {
			if err := lose(); err != nil {
				t.Fatal(err)
			}
			pass(lookAgain)
			late := a.node(storage, domain)
			late.Load(t.Context())
			if got := late.serial(domain); got != 1 {
				t.Errorf("certificate %d is stored", got)
			}
		}
		a.expectOrders(1)
	})
}

// A certificate that was ordered is stored even if the server stops meanwhile.
func TestStopBehindOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t}
		n := a.node(attentive{Directory(t.TempDir())}, domain)
		order := n.order
		n.order = func(ctx context.Context, domain string) ([]byte, error) {
			text, err := order(ctx, domain)
			n.stop()
			return text, err
		}
		n.run()
		<-n.done
		n.expectStored(t, domain)
	})
}

// attentive is a storage whose calls end with their contexts, as Redis.
type attentive struct{ Storage }

func (s attentive) Put(ctx context.Context, name string, value []byte, keep time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.Storage.Put(ctx, name, value, keep)
}

// What has failed here before another node succeeded counts no more, and nor does what has
// failed for a domain that was taken away.
func TestOldFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t, fails: errors.New("away")}, Directory(t.TempDir())
		n := a.node(storage, domain, "old.example.com").run()
		pass(time.Minute / 2)
		text := issue(t, domain, 5, time.Now(), life)
		if err := storage.Put(t.Context(), n.names.certificate(domain), text, 0); err != nil {
			t.Fatal(err)
		}
		n.Configure([]string{domain})
		pass(time.Minute)
		n.end()
		if n.serial(domain) != 5 || len(n.failures) != 0 {
			t.Errorf("certificate %d, failures %v", n.serial(domain), n.failures)
		}
	})
}

// A bug counts as a failure, and ends neither the process nor what is done for other domains.
func TestBug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t}
		n := a.node(Directory(t.TempDir()), "other.example.com", domain)
		order := n.order
		n.order = func(ctx context.Context, name string) ([]byte, error) {
			if name != domain {
				panic("a bug")
			}
			return order(ctx, name)
		}
		if n.Missing() != 2 {
			t.Errorf("%d are missing", n.Missing())
		}
		n.run()
		defer n.end()
		pass(30 * time.Second)
		if n.Missing() != 1 {
			t.Errorf("%d are missing", n.Missing())
		}
		if n.serial(domain) != 1 || value(n.panics) != 1 || n.failed() != 1 {
			t.Errorf("certificate %d, %d panics, %d failures", n.serial(domain), value(n.panics), n.failed())
		}
		pass(time.Hour)
		if got := value(n.panics); got > 5 {
			t.Errorf("%d panics in an hour", got)
		}
	})
}

// Run ends amid an order, and leaves no lock: see also TestStopOverRedis.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t, took: time.Hour}, Directory(t.TempDir())
		n := a.node(storage, domain, "second.example.com").run()
		pass(time.Second)
		n.end()
		if log := n.log.String(); log != "" || n.failed() != 0 {
			t.Errorf("%d failures: %s", n.failed(), log)
		}
		unlock, ok, err := storage.Lock(t.Context(), n.names.lock(), time.Hour)
		if err != nil || !ok {
			t.Fatalf("%t, %v", ok, err)
		}
		unlock()
	})
}

// What failed while a clock was ahead keeps nobody from ordering.
func TestFailureOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, storage := &authority{t: t}, Directory(t.TempDir())
		n := a.node(storage, domain)
		year := 365 * 24 * time.Hour
		for i, text := range []string{
			fmt.Sprintf(`{"at": %q, "count": 3}`, time.Now().Add(year).Format(time.RFC3339)),
			fmt.Sprintf(`{"at": %q, "count": 1, "not_before": %q}`, time.Now().Add(-maxRetryAfter).Format(time.RFC3339), time.Now().Add(year).Format(time.RFC3339)),
			fmt.Sprintf(`{"at": %q, "count": -1}`, time.Now().Format(time.RFC3339)),
		} {
			if err := storage.Put(t.Context(), n.names.failure(domain), []byte(text), 0); err != nil {
				t.Fatal(err)
			}
			if err := storage.Delete(t.Context(), n.names.certificate(domain)); err != nil {
				t.Fatal(err)
			}
			n := a.node(storage, domain).run()
			pass(time.Second)
			n.end()
			a.expectOrders(i + 1)
		}
	})
}

// A storage may take its time over a failure.
func TestSlowStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t, fails: errors.New("away")}
		n := a.node(slow{Directory(t.TempDir())}, domain).run()
		defer n.end()
		pass(2 * time.Minute)
		a.fail(nil)
		pass(time.Hour)
		if n.serial(domain) != 1 {
			t.Errorf("certificate %d", n.serial(domain))
		}
	})
}

// slow is a storage that takes longer than an order has to wait.
type slow struct{ Storage }

func (s slow) Put(ctx context.Context, name string, value []byte, keep time.Duration) error {
	time.Sleep(2 * time.Minute) // by the clock of a bubble
	return s.Storage.Put(ctx, name, value, keep)
}

// An authority may shorten the life of its certificates: the new one serves.
func TestShorterLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t}
		n := a.node(Directory(t.TempDir()), domain).run()
		defer n.end()
		pass(time.Second)
		a.mu.Lock()
		a.life = life / 6
		a.mu.Unlock()
		pass(life*2/3 + time.Hour)
		a.expectOrders(2)
		if got := n.serial(domain); got != 2 || n.failed() != 0 {
			t.Errorf("certificate %d is served, %d failures", got, n.failed())
		}
	})
}

// A certificate that is due for renewal as soon as it is given is a failure, so that orders
// have their pauses.
func TestDueAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t}
		n := a.node(Directory(t.TempDir()), domain)
		n.order = func(ctx context.Context, domain string) ([]byte, error) {
			if _, err := a.order(ctx, domain); err != nil {
				return nil, err
			}
			return issue(t, domain, 7, time.Now().Add(-life*9/10), life), nil
		}
		n.run()
		defer n.end()
		pass(30 * time.Second)
		a.expectOrders(1)
		pass(time.Hour)
		if n := a.count(); n > 5 {
			t.Errorf("%d orders in an hour", n)
		}
		if n.serial(domain) != 7 || !strings.Contains(n.log.String(), "see that the clock of this server is right") {
			t.Errorf("certificate %d; %s", n.serial(domain), n.log.String())
		}
	})
}

// An authority's answer that is of no use is a failure.
func TestUselessCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{t: t}
		n := a.node(Directory(t.TempDir()), domain)
		n.order = func(context.Context, string) ([]byte, error) {
			return issue(t, "other.example.com", 1, time.Now(), life), nil
		}
		n.run()
		defer n.end()
		pass(time.Second)
		if n.serial(domain) != 0 || n.failed() != 1 {
			t.Errorf("certificate %d, %d failures", n.serial(domain), n.failed())
		}
	})
}

// Handshakes and requests of strangers look into the storage only for what an authority asks
// there, and for configured domains.
func TestStrangers(t *testing.T) {
	storage := &broken{Storage: Directory(filepath.Join(t.TempDir(), "acme"))}
	n := (&authority{t: t}).node(storage, domain)
	c, err := parse(issue(t, domain, 1, time.Now(), life), domain)
	if err != nil {
		t.Fatal(err)
	}
	n.install(domain, c, "a test")
	for _, name := range []string{"", domain, "stranger.example", "../../x", strings.Repeat("a.", 300)} {
		for _, protocols := range [][]string{nil, {ALPN, "http/1.1"}} {
			got, err := n.Certificate(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: protocols})
			if err != nil || got != &c.Certificate {
				t.Errorf("%q with %v is not shown the first domain's: %v", name, protocols, err)
			}
		}
		if name != domain {
			if _, err := n.Certificate(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: []string{ALPN}}); !errors.Is(err, errNoAnswer) {
				t.Errorf("an authority that asks for %q: %v", name, err)
			}
		}
		for _, token := range []string{"", "a/b", strings.Repeat("a", maxToken+1)} {
			if text, ok := n.Answer(t.Context(), name, token); ok {
				t.Errorf("%q is answered %q", name, text)
			}
		}
		if _, ok := n.Answer(t.Context(), "x"+name, "token"); ok {
			t.Errorf("%q is answered", name)
		}
	}
	if n := storage.gets.Load(); n != 0 {
		t.Errorf("%d looks into the storage", n)
	}
}

// Any node answers the challenges of either kind, for as long as the order lasts.
func TestChallenges(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client := &acme.Client{Key: key}
	answer, err := newChallenge(client, "the-token", domain)
	if err != nil {
		t.Fatal(err)
	}
	a, storage := &authority{t: t}, Directory(t.TempDir())
	nodes := []*node{a.node(storage, domain), a.node(storage, domain)}
	expect := func(want bool) {
		t.Helper()
		for i, n := range nodes {
			text, ok := n.Answer(t.Context(), "WS.example.com", "the-token")
			if ok != want || want && text != answer.Text {
				t.Errorf("node %d: %q, %t", i, text, ok)
			}
			if _, ok := n.Answer(t.Context(), domain, "another"); ok {
				t.Errorf("node %d: another token is answered", i)
			}
			shown, protocol, err := shake(t, n, domain, ALPN)
			if (err == nil) != want || want && (!bytes.Equal(shown, answer.parsed.Certificate[0]) || protocol != ALPN) {
				t.Errorf("node %d: %q, %v", i, protocol, err)
			}
			if shown, _, err := shake(t, n, domain, ALPN, "http/1.1"); err == nil && bytes.Equal(shown, answer.parsed.Certificate[0]) {
				t.Errorf("node %d: a client is shown the answer", i)
			}
		}
	}
	expect(false)
	if err := nodes[0].present(t.Context(), domain, answer); err != nil {
		t.Fatal(err)
	}
	expect(true)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	nodes[0].withdraw(ended, domain)
	expect(false)
}

// shake is a handshake of a client that speaks these protocols: the certificate that it is
// shown, and the protocol.
func shake(t *testing.T, n *node, name string, protocols ...string) (shown []byte, protocol string, err error) {
	t.Helper()
	here, there := net.Pipe()
	server := tls.Server(here, &tls.Config{GetCertificate: n.Certificate, NextProtos: []string{"http/1.1", ALPN}})
	client := tls.Client(there, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true})
	served := make(chan error)
	go func() {
		err := server.Handshake()
		here.Close()
		served <- err
	}()
	err = client.Handshake()
	there.Close()
	if state := client.ConnectionState(); err == nil {
		shown, protocol = state.PeerCertificates[0].Raw, state.NegotiatedProtocol
	}
	if failed := <-served; err == nil && protocol == "" {
		err = failed
	}
	return shown, protocol, err
}

// The log says of each failure what to do, and shows little of what an authority says.
func TestAdvice(t *testing.T) {
	problem := func(kind string) error { return &acme.Error{ProblemType: "urn:ietf:params:acme:error:" + kind} }
	n := (&authority{t: t}).node(Directory(t.TempDir()), domain)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{problem("rateLimited"), "wait: the authority's limit is met"},
		{fmt.Errorf("tls-alpn-01: %w", &acme.AuthorizationError{Errors: []error{problem("dns")}}), "have the DNS records of ws.example.com"},
		{errors.Join(fmt.Errorf("http-01: %w", problem("connection")), fmt.Errorf("tls-alpn-01: %w", problem("unauthorized"))), "let the authority reach this server at port 443 of"},
		{&acme.OrderError{Problem: problem("caa").(*acme.Error)}, "allow the authority in the CAA record of"},
		{&acme.OrderError{}, "see that server.tls.acme.directory is an ACME directory"},
		{problem("rejectedIdentifier"), "take it out of server.tls.acme.domains"},
		{problem("invalidContact"), "give another server.tls.acme.email"},
		{problem("externalAccountRequired"), "choose another authority"},
		{accountError{problem("unauthorized")}, "delete ca.example-dir/account.key in server.tls.acme.storage"},
		{errAccountKey, "delete ca.example-dir/account.key in server.tls.acme.storage"},
		{errBug, "report"},
		{problem("serverInternal"), "nothing if it passes"},
		{errNoChallenge, "set server.redirect_http to :80"},
		{storageError{errBroken}, "see that server.tls.acme.storage can be written to"},
		{fmt.Errorf("the account: %w", x509.UnknownAuthorityError{}), "give its root in SSL_CERT_FILE"},
		{context.DeadlineExceeded, "see that this server reaches https://ca.example/dir"},
		{errors.New("unexpected"), "see that server.tls.acme.directory is an ACME directory"},
	} {
		if got := n.advice(domain, tt.err); !strings.Contains(got, tt.want) {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
	if got := clip(errors.New("two\nlines " + strings.Repeat("x", 1000))); len(got) > maxError+3 || strings.Contains(got, "\n") {
		t.Errorf("%q", got)
	}
}
