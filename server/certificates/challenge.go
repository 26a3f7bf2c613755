package certificates

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// challenge is what an authority is answered that asks about a domain. Nodes tell each other.
type challenge struct {
	Token       string `json:"token"`       // that the authority has chosen
	Text        string `json:"text"`        // to HTTP-01
	Certificate string `json:"certificate"` // to TLS-ALPN-01: a key and a certificate

	parsed *tls.Certificate // of Certificate; nil if it was read from the storage
}

const (
	// challengeKept is how long an answer stays in the storage at most.
	challengeKept = 10 * time.Minute
	// maxToken is the longest token that is looked up, in bytes. RFC 8555 has no limit, and
	// authorities use 43.
	maxToken = 256
)

var errNoAnswer = errors.New("no authority asks for that domain now")

// present has all nodes answer the authority.
func (m *Manager) present(ctx context.Context, domain string, c challenge) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := m.Storage.Put(ctx, m.names.challenge(domain), text, challengeKept); err != nil {
		return storageError{err}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.challenges[domain] = c
	return nil
}

// withdraw is the end of it, whether the context has ended or not.
func (m *Manager) withdraw(ctx context.Context, domain string) {
	m.mu.Lock()
	delete(m.challenges, domain)
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storageTimeout)
	defer cancel()
	_ = m.Storage.Delete(ctx, m.names.challenge(domain)) // else it is of no use to anybody
}

// asking is what a domain's authority is to be answered. Strangers can ask for the domains
// only, so that each question costs one look into the storage at most, as a handshake with a
// certificate would cost more.
func (m *Manager) asking(ctx context.Context, domains []string, domain string) (c challenge, err error) {
	if !slices.Contains(domains, domain) {
		return c, errNoAnswer
	}
	m.mu.Lock()
	c, ok := m.challenges[domain]
	m.mu.Unlock()
	if ok {
		return c, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	text, ok, err := m.Storage.Get(ctx, m.names.challenge(domain))
	switch {
	case err != nil:
		return c, err
	case !ok:
		return c, errNoAnswer
	}
	return c, json.Unmarshal(text, &c)
}

// challengeCertificate is for a handshake of an authority.
func (m *Manager) challengeCertificate(ctx context.Context, served *set, domain string) (*tls.Certificate, error) {
	c, err := m.asking(ctx, served.domains, domain)
	if err != nil {
		return nil, err
	}
	if c.parsed != nil {
		return c.parsed, nil
	}
	parsed, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Certificate))
	return &parsed, err
}

// ChallengePath begins the paths at which an authority asks at port 80 (RFC 8555 section
// 8.3); the token follows.
const ChallengePath = "/.well-known/acme-challenge/"

// Answer is for a request at [ChallengePath] with a token. ok is false if no authority asks
// so now.
func (m *Manager) Answer(ctx context.Context, host, token string) (text string, ok bool) {
	if token == "" || len(token) > maxToken || strings.Contains(token, "/") {
		return "", false
	}
	c, err := m.asking(ctx, m.current.Load().domains, canonical(host))
	return c.Text, err == nil && c.Token == token
}
