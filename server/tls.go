package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"belfry/server/config"
)

// certificate is the server's, which a reload may replace. Connections keep the
// one that they were made with.
type certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// load reads the certificate and its key, and reports whether they are others
// than before.
func (c *certificate) load(files config.TLS) (changed bool, err error) {
	next, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return false, fmt.Errorf("server.tls: %w", err)
	}
	before := c.current.Swap(&next)
	return before == nil || !bytes.Equal(before.Certificate[0], next.Certificate[0]), nil
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
