package certificates

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/crypto/acme"
)

const (
	// orderTimeout is how long an order may take, with both challenges.
	orderTimeout = 3 * time.Minute
	// maxRepeats is how often a request is repeated that the authority could not answer, and
	// maxRepeat the longest pause before.
	maxRepeats = 5
	maxRepeat  = 10 * time.Second
)

// repeat is how long to wait before a request is sent again; 0: it is not. Whose limit is
// met must not ask again.
func repeat(n int, _ *http.Request, a *http.Response) time.Duration {
	if n > maxRepeats || a.StatusCode == http.StatusTooManyRequests {
		return 0
	}
	if a.StatusCode == http.StatusBadRequest { // a nonce that was used up: the next one is at hand
		return time.Millisecond
	}
	if s, err := strconv.Atoi(a.Header.Get("Retry-After")); err == nil && s > 0 {
		return min(time.Duration(s)*time.Second, maxRepeat)
	}
	return min(time.Second<<n, maxRepeat)
}

// orderCertificate orders a certificate for a domain, and returns it as [parse] reads it.
// The lock is held.
func (m *Manager) orderCertificate(ctx context.Context, domain string) (text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	defer m.client.CloseIdleConnections()
	c, err := m.account(ctx)
	if err != nil {
		return nil, err
	}
	order, err := m.authorized(ctx, c, domain)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{domain}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := c.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("the order: %w", err)
	}
	return encode(key, chain)
}

// account returns a client of the authority with the account that all nodes share, which it
// makes if there is none.
func (m *Manager) account(ctx context.Context) (*acme.Client, error) {
	key, err := m.accountKey(ctx)
	if err != nil {
		return nil, err
	}
	c := &acme.Client{Key: key, HTTPClient: m.client, DirectoryURL: m.Authority.Directory, UserAgent: m.UserAgent, RetryBackoff: repeat}
	account := new(acme.Account)
	if m.Authority.Email != "" {
		account.Contact = []string{"mailto:" + m.Authority.Email}
	}
	if _, err := c.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("the account: %w", err)
	}
	return c, nil
}

func (m *Manager) accountKey(ctx context.Context) (crypto.Signer, error) {
	text, ok, err := m.Storage.Get(ctx, m.names.account())
	if err != nil {
		return nil, storageError{err}
	}
	if !ok {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		if text, err = encode(key, nil); err != nil {
			return nil, err
		}
		if err := m.Storage.Put(ctx, m.names.account(), text, 0); err != nil {
			return nil, storageError{err}
		}
		return key, nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, storageError{fmt.Errorf("%s is no private key: delete it, and another account is made", m.names.account())}
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if signer, ok := key.(crypto.Signer); err == nil && ok {
		return signer, nil
	}
	return nil, storageError{fmt.Errorf("%s is no private key: delete it, and another account is made", m.names.account())}
}

// encode writes a key and a chain.
func encode(key crypto.PrivateKey, chain [][]byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text, nil
}

// The challenges that can be answered.
const (
	challengeHTTP = "http-01"
	challengeTLS  = "tls-alpn-01"
)

var errNoChallenge = errors.New("the authority offers no challenge that this server can answer")

// authorized returns an order for a domain that the authority has seen to be this server's.
// A challenge that has failed is the end of an order: then there is another one, with the
// other challenge.
func (m *Manager) authorized(ctx context.Context, c *acme.Client, domain string) (*acme.Order, error) {
	kinds := []string{challengeTLS}
	if m.HTTP {
		kinds = []string{challengeHTTP, challengeTLS} // a CDN passes the first on
	}
	var failed error
	for _, kind := range kinds {
		order, err := c.AuthorizeOrder(ctx, acme.DomainIDs(domain))
		if err != nil {
			return nil, errors.Join(failed, fmt.Errorf("the order: %w", err))
		}
		err = m.authorize(ctx, c, order, domain, kind)
		if err == nil {
			order, err = c.WaitOrder(ctx, order.URI)
		}
		if err == nil {
			return order, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", kind, err))
		if refused := (*acme.AuthorizationError)(nil); !errors.As(err, &refused) && !errors.Is(err, errNoChallenge) {
			break // the other one would not fare better
		}
	}
	return nil, failed
}

// authorize answers a challenge of each authorization that is missing.
func (m *Manager) authorize(ctx context.Context, c *acme.Client, order *acme.Order, domain, kind string) error {
	for _, at := range order.AuthzURLs {
		authorization, err := c.GetAuthorization(ctx, at)
		if err != nil {
			return err
		}
		if authorization.Status != acme.StatusPending {
			continue
		}
		i := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == kind })
		if i < 0 {
			return errNoChallenge
		}
		asked := authorization.Challenges[i]
		answer, err := newChallenge(c, asked.Token, domain)
		if err != nil {
			return err
		}
		if err := m.present(ctx, domain, answer); err != nil {
			return err
		}
		if _, err = c.Accept(ctx, asked); err == nil {
			_, err = c.WaitAuthorization(ctx, at)
		}
		m.withdraw(ctx, domain)
		if err != nil {
			return err
		}
	}
	return nil
}

// newChallenge makes the answer to a challenge of either kind.
func newChallenge(c *acme.Client, token, domain string) (answer challenge, err error) {
	answer.Token = token
	if answer.Text, err = c.HTTP01ChallengeResponse(token); err != nil {
		return answer, err
	}
	made, err := c.TLSALPN01ChallengeCert(token, domain)
	if err != nil {
		return answer, err
	}
	text, err := encode(made.PrivateKey, made.Certificate)
	answer.Certificate, answer.made = string(text), &made
	return answer, err
}
