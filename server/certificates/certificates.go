// Package certificates gets certificates from an authority by ACME (RFC 8555) and renews
// them, and answers the authority's challenges: TLS-ALPN-01 (RFC 8737) at the TLS port
// and, if there is a listener for it, HTTP-01 at port 80.
//
// Each domain has a certificate of its own, so that a domain whose record is wrong keeps no
// other from being renewed. [Manager.Run] looks after them, one at a time, in one goroutine.
// A handshake orders nothing: it is given what there is.
//
// # Several nodes
//
// Nodes share a [Storage], and all that they have to agree on is there. A node that needs a
// certificate looks whether another one has stored it. Else it takes the lock, looks again,
// and orders. The answer to a challenge is stored before the authority is told to look for
// it, so that any node can give it. How an order has failed is stored, too, so that all nodes
// together do not try more often than one.
package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"

	"belfry/server/config"
)

// ALPN is the protocol by which an authority asks for the answer to a challenge at the TLS
// port (RFC 8737 section 6.2).
const ALPN = acme.ALPNProto

// Options are what a [Manager] needs.
type Options struct {
	Authority config.ACME
	Storage   Storage // the caller closes it, behind Run
	HTTP      bool    // somebody calls [Manager.Answer] for requests at port 80
	UserAgent string
	Log       *slog.Logger
	Failures  prometheus.Counter // of orders
}

// Manager has the certificates of some domains. Its methods may be called concurrently; Run
// is called once at most.
type Manager struct {
	Options
	names  names
	client *http.Client
	jitter float64 // part of the time for jitter by which this node is earlier than others
	wake   chan struct{}
	order  func(ctx context.Context, domain string) (pem []byte, err error)

	current atomic.Pointer[set]

	mu         sync.Mutex // guards the following, and changes of current
	challenges map[string]challenge
	asked      time.Time // when the process, or a reload, has asked for certificates

	// Owned by Run.
	failures map[string]failure
	broken   bool // the storage
}

// set is what is served. It is not changed.
type set struct {
	domains      []string
	certificates map[string]*tls.Certificate // by domain; those that there are
}

// How long a node waits before it looks again.
const (
	// lookAgain bounds any wait: the clock may be set, and a machine may have slept.
	lookAgain = time.Hour
	// whileOrdered is while another node orders a certificate that this one lacks, and
	// whileRenewed while it has an older one, or the storage is away.
	whileOrdered = time.Second
	whileRenewed = 10 * time.Second
	// whileFailing is while an order is not to be repeated yet: another node may have done
	// so.
	whileFailing = time.Minute
)

const (
	// lockFor is for how long an order keeps others from ordering if its node has died.
	lockFor = orderTimeout + 30*time.Second
	// loadTimeout bounds how long a start waits for the storage.
	loadTimeout = 2 * time.Second
	// keptLonger is how long a certificate is stored after its end.
	keptLonger = 30 * 24 * time.Hour
	// lastDays is when a certificate that could not be renewed is an error.
	lastDays = 7 * 24 * time.Hour
)

// New returns a manager that has no certificate yet.
func New(o Options) *Manager {
	m := &Manager{
		Options:    o,
		names:      namesOf(o.Authority.Directory),
		client:     newClient(),
		jitter:     rand.Float64(),
		wake:       make(chan struct{}, 1),
		challenges: make(map[string]challenge),
		failures:   make(map[string]failure),
		asked:      time.Now(),
	}
	m.order = m.orderCertificate
	m.current.Store(&set{domains: o.Authority.Domains})
	return m
}

// Load takes the certificates that are stored, so that they are there before the first
// client. It takes two seconds at most. What goes wrong, Run tells.
func (m *Manager) Load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for _, domain := range m.current.Load().domains {
		if m.load(ctx, domain) != nil {
			return
		}
	}
}

// Configure says which domains need a certificate from here on. Orders that have failed are
// repeated soon.
func (m *Manager) Configure(domains []string) {
	m.mu.Lock()
	next := &set{domains: domains, certificates: make(map[string]*tls.Certificate)}
	for domain, c := range m.current.Load().certificates {
		if slices.Contains(domains, domain) {
			next.certificates[domain] = c
		}
	}
	m.current.Store(next)
	m.asked = time.Now()
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Certificate is what a [tls.Config] calls for each handshake. Whoever names no domain, as
// programs that connect to an address, or another one, is given that of the first: with
// certificates in files, it is like that, too.
func (m *Manager) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := canonical(hello.ServerName)
	now := m.current.Load()
	if slices.Equal(hello.SupportedProtos, []string{ALPN}) {
		return m.challengeCertificate(hello.Context(), now, name)
	}
	if c := now.certificates[name]; c != nil {
		return c, nil
	}
	if !slices.Contains(now.domains, name) {
		for _, domain := range now.domains {
			if c := now.certificates[domain]; c != nil {
				return c, nil
			}
		}
	}
	return nil, errNone
}

var errNone = errors.New("there is no certificate yet: see the log about server.tls.acme")

// canonical is a name as domains are.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Has says whether a host name is one of the domains.
func (m *Manager) Has(host string) bool {
	return slices.Contains(m.current.Load().domains, canonical(host))
}

// Expires is when the first of the certificates ends; zero if there is none.
func (m *Manager) Expires() (first time.Time) {
	for _, c := range m.current.Load().certificates {
		if end := c.Leaf.NotAfter; first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}

// Run gets and renews certificates until the context ends.
func (m *Manager) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		wait := lookAgain
		for _, domain := range m.current.Load().domains {
			if ctx.Err() != nil {
				return
			}
			wait = min(wait, m.tend(ctx, domain))
		}
		timer.Reset(wait)
	}
}

// tend sees to the certificate of a domain, and returns in which time to look again.
func (m *Manager) tend(ctx context.Context, domain string) time.Duration {
	if wait := m.untilRenewal(domain); wait > 0 {
		return wait
	}
	if wait, err := m.look(ctx, domain); err != nil || wait > 0 {
		return m.stored(ctx, err, wait)
	}
	unlock, ok, err := m.Storage.Lock(ctx, m.names.lock(), lockFor)
	switch {
	case err != nil:
		return m.stored(ctx, err, 0)
	case !ok && m.held(domain) == nil:
		return whileOrdered
	case !ok:
		return whileRenewed
	}
	defer unlock()
	if wait, err := m.look(ctx, domain); err != nil || wait > 0 { // what others have done meanwhile
		return m.stored(ctx, err, wait)
	}
	if err := m.renew(ctx, domain); err != nil {
		return m.failed(ctx, domain, err)
	}
	return max(m.untilRenewal(domain), whileOrdered)
}

// look takes the domain's certificate from the storage, and returns for how long nothing is
// to be ordered: as it is new enough, or as the last order has failed.
func (m *Manager) look(ctx context.Context, domain string) (wait time.Duration, err error) {
	if err := m.load(ctx, domain); err != nil {
		return 0, err
	}
	if wait := m.untilRenewal(domain); wait > 0 {
		return wait, nil
	}
	last, err := m.lastFailure(ctx, domain)
	if err != nil {
		return 0, err
	}
	return min(time.Until(m.again(last)), whileFailing), nil
}

// stored returns when to look again after the storage was asked. It logs when that has
// begun to fail.
func (m *Manager) stored(ctx context.Context, err error, wait time.Duration) time.Duration {
	if err == nil {
		m.broken = false
		return wait
	}
	if !m.broken && ctx.Err() == nil {
		m.Log.Error("certificates cannot be read from their storage, or written to it", "error", clip(err), "do", storageAdvice)
	}
	m.broken = true
	return whileRenewed
}

// held is the certificate that is served to a domain's clients, or nil.
func (m *Manager) held(domain string) *tls.Certificate { return m.current.Load().certificates[domain] }

// untilRenewal is how long a domain's certificate is still new enough; 0 or less: it is not,
// or there is none.
func (m *Manager) untilRenewal(domain string) time.Duration {
	c := m.held(domain)
	if c == nil {
		return 0
	}
	// With a third of its life left, or up to a thirtieth of it earlier, so that not all nodes
	// and servers come at once.
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	return time.Until(c.Leaf.NotAfter.Add(-life/3 - time.Duration(m.jitter*float64(life/30))))
}

// load takes a domain's certificate from the storage if it is newer than what there is.
func (m *Manager) load(ctx context.Context, domain string) error {
	text, ok, err := m.Storage.Get(ctx, m.names.certificate(domain))
	if err != nil {
		return storageError{err}
	}
	if !ok {
		return nil
	}
	c, err := parse(text, domain)
	if err != nil {
		m.Log.Debug("the stored certificate is of no use: another one is ordered", "domain", domain, "error", clip(err))
		return nil
	}
	m.install(domain, c, "it was stored")
	return nil
}

// install serves a certificate from here on, unless the one that there is was issued later:
// which one ends later says nothing, as an authority may shorten the life of certificates.
func (m *Manager) install(domain string, c *tls.Certificate, because string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.current.Load()
	if before := now.certificates[domain]; before != nil && !c.Leaf.NotBefore.After(before.Leaf.NotBefore) || !slices.Contains(now.domains, domain) {
		return
	}
	next := &set{domains: now.domains, certificates: map[string]*tls.Certificate{domain: c}}
	for other, c := range now.certificates {
		if other != domain {
			next.certificates[other] = c
		}
	}
	m.current.Store(next)
	m.Log.Info("certificate", "domain", domain, "until", c.Leaf.NotAfter, "issuer", clip(errors.New(c.Leaf.Issuer.String())), "because", because)
}

// renew orders a certificate, stores it and serves it. The lock is held.
func (m *Manager) renew(ctx context.Context, domain string) error {
	text, err := m.order(ctx, domain)
	if err != nil {
		return err
	}
	c, err := parse(text, domain)
	if err != nil {
		return fmt.Errorf("the authority's certificate is of no use: %w", err)
	}
	// Served even if it cannot be stored: it counts among those that one may order.
	m.install(domain, c, "it was ordered")
	if m.untilRenewal(domain) <= 0 {
		return errDue
	}
	delete(m.failures, domain)
	if err := m.Storage.Put(ctx, m.names.certificate(domain), text, time.Until(c.Leaf.NotAfter)+keptLonger); err != nil {
		m.stored(ctx, storageError{err}, 0)
		return nil
	}
	_ = m.Storage.Delete(ctx, m.names.failure(domain)) // else it waits for the next failure, and counts as one before
	return nil
}

// errDue keeps orders apart that would follow each other without end.
var errDue = errors.New("the authority's certificate is to be renewed at once: it is no newer than the one before, or nearly over")

// parse reads a certificate with its key and its chain, and looks whether it is for a domain
// and not over.
func parse(text []byte, domain string) (*tls.Certificate, error) {
	c, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	if err := c.Leaf.VerifyHostname(domain); err != nil {
		return nil, err
	}
	if time.Now().After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("it has ended on %s", c.Leaf.NotAfter.Format(time.DateTime))
	}
	return &c, nil
}
