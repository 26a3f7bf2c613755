package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"belfry/channels/cluster/redis"
	"belfry/server/certificates"
	"belfry/server/config"
	"belfry/server/directory"
)

// certificate is the one in files, which a reload may replace. Connections keep the
// one that they were made with.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// load reads the certificate with its chain, and its key, and reports whether the
// certificate or a part of the chain is another one than before.
func (c *certificate) load(files config.TLS) (changed bool, err error) {
	chain, err := readPEM(files.CertFile)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	key, err := readPEM(files.KeyFile)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	next, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	before := c.current.Swap(&next)
	return before == nil || !slices.EqualFunc(before.Certificate, next.Certificate, bytes.Equal), nil
}

// maxPEMBytes bounds the file of a certificate with its chain, or of a key.
const maxPEMBytes = 1 << 20

// readPEM reads a regular file. Opening another, such as a pipe that nobody writes
// to, could keep the server waiting for ever.
func readPEM(path string) ([]byte, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: give a PEM file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEMBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPEMBytes {
		return nil, fmt.Errorf("%s has more than %d bytes: give a PEM file", path, maxPEMBytes)
	}
	return text, nil
}

// end is when the certificate ends.
func (c *certificate) end() time.Time { return c.current.Load().Leaf.NotAfter }

// secured says whether the configuration has the server speak TLS.
func (s *Server) secured() bool { return s.config.Server.TLS.Mode() != config.TLSOff }

// tlsConfig serves the certificate that is current when a client connects.
func (s *Server) tlsConfig() *tls.Config {
	c := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.current.Load(), nil },
		// No HTTP/2, which no client of this protocol needs and whose streams
		// would have to be bounded apart.
		NextProtos: []string{"http/1.1"},
	}
	if s.acme != nil {
		c.GetCertificate = s.acme.Certificate
		c.NextProtos = append(c.NextProtos, certificates.ALPN)
	}
	return c
}

// endChallenges closes connections by which an authority has asked for a certificate, which
// is all that it asks for.
var endChallenges = map[string]func(*http.Server, *tls.Conn, http.Handler){
	certificates.ALPN: func(*http.Server, *tls.Conn, http.Handler) {}, // the caller closes it
}

// newStorage returns what keeps the certificates of an authority.
func newStorage(cfg *config.Config, log *slog.Logger) (certificates.Storage, error) {
	at := cfg.Server.TLS.ACME.Storage
	switch at {
	case config.StorageRedis:
		store, err := redis.NewStore(redis.Options{URL: cfg.Cluster.Redis.URL, Prefix: cfg.Cluster.Redis.Prefix, Log: log})
		if err != nil {
			return nil, err // and no interface of a nil pointer
		}
		return store, nil
	case "":
		return nil, errors.New("it is empty: give a directory")
	}
	if err := directory.Check(at); err != nil {
		return nil, err
	}
	return certificates.Directory(at), nil
}

// newACME returns what has certificates from an authority, with those that are stored.
func (s *Server) newACME() *certificates.Manager {
	m := certificates.New(certificates.Options{
		Authority: s.config.Server.TLS.ACME,
		Storage:   s.storage,
		HTTP:      s.redirectListener != nil,
		UserAgent: "Belfry/" + s.version,
		Log:       s.log,
		Bugs:      s.bugs,
		Failures:  s.metrics.CertificateFailures,
	})
	m.Load(context.Background())
	return m
}

// missingCertificates is how many domains have no certificate.
func (s *Server) missingCertificates() int {
	if s.acme == nil {
		return 0
	}
	return s.acme.Missing()
}

// firstEnd is when the first of the certificates in use ends; zero if there is none.
func (s *Server) firstEnd() time.Time {
	switch {
	case s.acme != nil:
		return s.acme.Expires()
	case s.secured():
		return s.certificate.end()
	}
	return time.Time{}
}
