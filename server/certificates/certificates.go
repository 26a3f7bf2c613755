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
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"

	"belfry/server/bugs"
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
	Bugs      *bugs.Log
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
	retrySince time.Time // when the process, or a reload, has asked for certificates: failures before count less

	// Owned by Run. The maps are by domain.
	failures    map[string]failure   // of this node, since it has had no certificate that is new enough
	saved       map[string]time.Time // when the storage was last known to have the certificate in use
	storageDown bool
}

// set is what is served. It is not changed.
type set struct {
	domains      []string
	certificates map[string]*certificate // of domains; those that there are
}

// certificate is one as it is served and as it is stored. It is not changed.
type certificate struct {
	tls.Certificate
	text []byte
}

// How long a node waits before it looks again.
const (
	// lookAgain bounds any wait: the clock may be set, and a machine may have slept. As often,
	// the storage is asked whether it still has what is in use.
	lookAgain = time.Hour
	// whileOrdered is while another node orders a certificate that this one lacks, and
	// whileRenewed while it has an older one.
	whileOrdered = time.Second
	whileRenewed = 10 * time.Second
	// whileStorageDown is while the storage does not answer, or takes nothing.
	whileStorageDown = 10 * time.Second
	// whileFailing is while an order is not to be repeated yet: another node may have done
	// so.
	whileFailing = time.Minute
)

const (
	// lockFor is for how long an order keeps others from ordering if its node has died.
	lockFor = orderTimeout + 30*time.Second
	// loadTimeout bounds how long a start waits for the storage.
	loadTimeout = 2 * time.Second
	// storageTimeout bounds a call of the storage that is not to end with its caller, or that
	// an authority waits for.
	storageTimeout = 5 * time.Second
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
		saved:      make(map[string]time.Time),
		retrySince: time.Now(),
	}
	m.order = m.orderCertificate
	m.current.Store(&set{domains: o.Authority.Domains, certificates: make(map[string]*certificate)})
	return m
}

// Load takes the certificates that are stored, so that they are there before the first
// client. It takes two seconds at most. What goes wrong, Run tells.
func (m *Manager) Load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for _, domain := range m.current.Load().domains {
		if _, err := m.load(ctx, domain); err != nil {
			return
		}
	}
}

// Configure says which domains need a certificate from here on. Orders that have failed are
// repeated soon.
func (m *Manager) Configure(domains []string) {
	m.mu.Lock()
	next := &set{domains: domains, certificates: make(map[string]*certificate)}
	for domain, c := range m.current.Load().certificates {
		if slices.Contains(domains, domain) {
			next.certificates[domain] = c
		}
	}
	m.current.Store(next)
	m.retrySince = time.Now()
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Certificate returns what a handshake is to show: it is a [tls.Config]'s GetCertificate. A
// client that names one of the domains gets the certificate of that one. Whoever names none,
// as programs that connect to an address, or another one, gets that of the first domain that
// has one. An authority, which speaks [ALPN] only, gets the answer to its challenge. The error
// says that there is no such certificate, or why the storage could not be asked.
func (m *Manager) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := canonical(hello.ServerName)
	served := m.current.Load()
	if slices.Equal(hello.SupportedProtos, []string{ALPN}) {
		return m.challengeCertificate(hello.Context(), served, name)
	}
	if c := served.certificates[name]; c != nil {
		return &c.Certificate, nil
	}
	if !slices.Contains(served.domains, name) {
		for _, domain := range served.domains {
			if c := served.certificates[domain]; c != nil {
				return &c.Certificate, nil
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

// Missing is how many domains have no certificate.
func (m *Manager) Missing() int {
	served := m.current.Load()
	return len(served.domains) - len(served.certificates)
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
		domains := m.current.Load().domains
		maps.DeleteFunc(m.failures, func(domain string, _ failure) bool { return !slices.Contains(domains, domain) })
		maps.DeleteFunc(m.saved, func(domain string, _ time.Time) bool { return !slices.Contains(domains, domain) })
		wait := lookAgain
		for _, domain := range domains {
			if ctx.Err() != nil {
				return
			}
			wait = min(wait, m.tend(ctx, domain))
		}
		timer.Reset(wait)
	}
}

// tend sees to the certificate of a domain, and returns in which time to look again.
func (m *Manager) tend(ctx context.Context, domain string) (wait time.Duration) {
	defer m.Bugs.Recover(func() {
		wait = whileFailing // if the next line meets a bug, too
		wait = m.failed(ctx, domain, errBug)
	})
	if wait := min(m.untilRenewal(domain), lookAgain-time.Since(m.saved[domain])); wait > 0 {
		return wait
	}
	if wait, err := m.untilDue(ctx, domain); err != nil {
		return m.storageFailed(ctx, err)
	} else if wait > 0 {
		m.storageDown = false
		return wait
	}
	unlock, ok, err := m.Storage.Lock(ctx, m.names.lock(), lockFor)
	switch {
	case err != nil:
		return m.storageFailed(ctx, err)
	case !ok && m.inUse(domain) == nil:
		return whileOrdered
	case !ok:
		return whileRenewed
	}
	defer unlock()
	if wait, err := m.untilDue(ctx, domain); err != nil { // others may have ordered meanwhile
		return m.storageFailed(ctx, err)
	} else if wait > 0 {
		m.storageDown = false
		return wait
	}
	if m.untilRenewal(domain) <= 0 {
		return m.renew(ctx, domain)
	}
	return m.save(ctx, domain, m.inUse(domain))
}

// untilDue takes the domain's certificate from the storage, and returns for how long nothing
// is to be ordered or stored: as there is a certificate that is new enough, or as the last
// order has failed.
func (m *Manager) untilDue(ctx context.Context, domain string) (wait time.Duration, err error) {
	saved, err := m.load(ctx, domain)
	if err != nil {
		return 0, err
	}
	if wait := m.untilRenewal(domain); wait > 0 {
		delete(m.failures, domain) // whoever has ordered the certificate
		if !saved {
			return 0, nil
		}
		m.saved[domain] = time.Now()
		return wait, nil
	}
	last, err := m.lastFailure(ctx, domain)
	if err != nil {
		return 0, err
	}
	return min(time.Until(m.again(last)), whileFailing), nil
}

// storageFailed returns when to look again after the storage has failed. It logs when that
// begins.
func (m *Manager) storageFailed(ctx context.Context, err error) time.Duration {
	if !m.storageDown && ctx.Err() == nil {
		m.Log.Error("certificates cannot be read from their storage, or written to it", "error", clip(err), "do", storageAdvice)
	}
	m.storageDown = true
	return whileStorageDown
}

// inUse is the certificate that a domain's clients are shown, or nil.
func (m *Manager) inUse(domain string) *certificate { return m.current.Load().certificates[domain] }

// untilRenewal is how long a domain's certificate is still new enough; 0 or less: it is not,
// or there is none.
func (m *Manager) untilRenewal(domain string) time.Duration {
	c := m.inUse(domain)
	if c == nil {
		return 0
	}
	// With a third of its life left, or up to a thirtieth of it earlier, so that not all nodes
	// and servers come at once.
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	return time.Until(c.Leaf.NotAfter.Add(-life/3 - time.Duration(m.jitter*float64(life/30))))
}

// load takes a domain's certificate from the storage if it is newer than what is in use. It
// reports whether the storage has one that is as new as that.
func (m *Manager) load(ctx context.Context, domain string) (saved bool, err error) {
	text, ok, err := m.Storage.Get(ctx, m.names.certificate(domain))
	if err != nil {
		return false, storageError{err}
	}
	if !ok {
		return false, nil
	}
	c, err := parse(text, domain)
	if err != nil {
		m.Log.Debug("the stored certificate is of no use", "domain", domain, "error", clip(err))
		return false, nil
	}
	m.install(domain, c, "it was stored")
	current := m.inUse(domain)
	return current == nil || !current.newerThan(c), nil
}

// newerThan says whether a certificate was issued later than another one. Which one ends
// later says nothing: an authority may shorten the life of its certificates.
func (c *certificate) newerThan(other *certificate) bool {
	return c.Leaf.NotBefore.After(other.Leaf.NotBefore)
}

// install serves a certificate from here on, unless the one in use is as new.
func (m *Manager) install(domain string, c *certificate, because string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	served := m.current.Load()
	if before := served.certificates[domain]; before != nil && !c.newerThan(before) || !slices.Contains(served.domains, domain) {
		return
	}
	next := &set{domains: served.domains, certificates: maps.Clone(served.certificates)}
	next.certificates[domain] = c
	m.current.Store(next)
	m.Log.Info("certificate", "domain", domain, "until", c.Leaf.NotAfter, "issuer", clip(errors.New(c.Leaf.Issuer.String())), "because", because)
}

var (
	// errDue keeps orders apart that would follow each other without end.
	errDue = errors.New("the authority's certificate is to be renewed at once: it is no newer than the one before, or nearly over")
	errBug = errors.New("a bug: the log has a line about it with the word panic")
)

// renew orders a certificate, serves it and stores it, and returns in which time to look
// again. The lock is held.
func (m *Manager) renew(ctx context.Context, domain string) time.Duration {
	text, err := m.order(ctx, domain)
	if err != nil {
		return m.failed(ctx, domain, err)
	}
	c, err := parse(text, domain)
	if err != nil {
		return m.failed(ctx, domain, fmt.Errorf("the authority's certificate is of no use: %w", err))
	}
	// Served even if it cannot be stored: it counts among those that one may order.
	m.install(domain, c, "it was ordered")
	wait := m.save(ctx, domain, c)
	if m.inUse(domain) != nil && m.untilRenewal(domain) <= 0 {
		return m.failed(ctx, domain, errDue)
	}
	delete(m.failures, domain)
	_ = m.Storage.Delete(ctx, m.names.failure(domain)) // else it waits for the next failure, and counts as one before
	return wait
}

// save stores a certificate, even if the server stops meanwhile, and returns in which time to
// look again. The lock is held.
func (m *Manager) save(ctx context.Context, domain string, c *certificate) time.Duration {
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTimeout)
	defer cancel()
	if err := m.Storage.Put(saving, m.names.certificate(domain), c.text, time.Until(c.Leaf.NotAfter)+keptLonger); err != nil {
		return m.storageFailed(ctx, storageError{err})
	}
	m.storageDown = false
	m.saved[domain] = time.Now()
	return max(m.untilRenewal(domain), whileOrdered)
}

// parse reads a certificate with its key and its chain, and looks whether it is for a domain
// and not over.
func parse(text []byte, domain string) (*certificate, error) {
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
	return &certificate{c, text}, nil
}
