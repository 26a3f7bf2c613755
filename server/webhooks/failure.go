package webhooks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// failure is the kind of an error of the transport: what the log may have of it.
// The error's own text may quote what the endpoint has sent, and an endpoint may
// send back what only it should know: the query of the URL, or a header.
func failure(err error) string {
	var op *net.OpError
	proxy := ""
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		proxy = "by the proxy: "
	}
	var refusal proxyRefusal
	var timeout net.Error
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &refusal):
		return refusal.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return proxy + fmt.Sprintf("no answer within %s", RequestTimeout)
	case errors.As(err, &dns) && dns.IsNotFound:
		return proxy + "no such host"
	case errors.As(err, &dns):
		return proxy + "the host's name cannot be looked up"
	case errors.As(err, &errno):
		return proxy + errno.Error() // of the operating system: connection refused, for example
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return proxy + "connection closed before the end of the answer"
	}
	if kind := tlsFailure(err); kind != "" {
		return proxy + "TLS: " + kind
	}
	return proxy + "malformed answer"
}

// proxyRefusal is the status with which a proxy has answered CONNECT.
type proxyRefusal int

func (r proxyRefusal) Error() string { return fmt.Sprintf("the proxy answers with status %d", int(r)) }

// checkProxy has the status become the error; without it, the text beside the
// status would.
func checkProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return proxyRefusal(resp.StatusCode)
	}
	return nil
}

// tlsFailure is empty if the error is not about TLS.
func tlsFailure(err error) string {
	var (
		alert     *net.OpError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		unproven  *tls.CertificateVerificationError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return "the certificate is signed by an unknown authority"
	case errors.As(err, &host):
		return "the certificate is for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has expired or is not yet valid"
	case errors.As(err, &unproven):
		return "the certificate is not valid"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the endpoint does not speak it"
	case errors.As(err, &alert) && alert.Op == "remote error":
		return "the endpoint refuses the connection"
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "x509: ") {
			return "the handshake failed"
		}
	}
	return ""
}
