package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"belfry/server/config"
)

// certificate is the server's, which a reload may replace. Connections keep the
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

// config serves the certificate that is current when a client connects.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		// No HTTP/2, which no client of this protocol needs and whose streams
		// would have to be bounded apart.
		NextProtos: []string{"http/1.1"},
	}
}
