package certificates

import (
	"errors"
	"net/http"
	"time"
)

const (
	// requestTimeout is how long one request to an authority may take.
	requestTimeout = 30 * time.Second
	// maxAnswer bounds the body of an answer, in bytes: a chain of certificates has some 10
	// kB, and the ACME library reads all of a body into memory.
	maxAnswer = 1 << 20
)

// newClient returns what reaches authorities: directly or by the proxy of the environment,
// and verified by the system's roots or those in SSL_CERT_FILE.
func newClient() *http.Client {
	return &http.Client{Transport: bounded{http.DefaultTransport.(*http.Transport).Clone()}, Timeout: requestTimeout}
}

// bounded is a transport for https alone, wherever an authority's answers or redirects lead,
// with bodies of at most maxAnswer bytes.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("the authority leads to an address that is not https://")
	}
	answer, err := b.Transport.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxAnswer)
	}
	return answer, err
}
