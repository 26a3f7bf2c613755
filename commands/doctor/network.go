package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// resolve checks that the name of the host has an address.
func (d *Doctor) resolve(ctx context.Context) Result {
	host := d.client.WebSocket.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		d.addresses = []string{host}
		return ok("%s is an address", host)
	}
	ctx, cancel := d.step(ctx)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return fail(reason(ctx, err), "correct the host in %s, or add a record A or AAAA for %s to its zone", d.Target.From.URL, host)
	}
	d.addresses = found
	return ok("%s is %s", host, strings.Join(found, ", "))
}

// reason returns the text of an error, or why the context has ended.
func reason(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return context.Cause(ctx).Error()
	}
	return err.Error()
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// connect checks that at least one of the addresses takes connections. It names those that
// do not, as clients with IPv6 try that first.
func (d *Doctor) connect(ctx context.Context) Result {
	_, port, _ := net.SplitHostPort(hostPort(d.client.WebSocket))
	var told []string
	var last error
	well := false
	for _, address := range d.addresses {
		at := net.JoinHostPort(address, port)
		start := time.Now()
		if last = d.dial(ctx, at); last != nil {
			told = append(told, last.Error())
			continue
		}
		well = true
		told = append(told, fmt.Sprintf("connected to %s in %s", at, took(start)))
	}
	found := strings.Join(told, "; ")
	if !well {
		return fail(found, "%s", d.networkAdvice(last, d.client.WebSocket, d.Target.From.URL))
	}
	return ok("%s", found)
}

func (d *Doctor) dial(ctx context.Context, at string) error {
	ctx, cancel := d.step(ctx)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("dial tcp %s: %w", at, context.Cause(ctx))
		}
		return err
	}
	return conn.Close()
}

// networkAdvice says what to change when a request to u did not get through. from names the
// setting that the address is from.
func (d *Doctor) networkAdvice(err error, u *url.URL, from string) string {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &dns):
		return "correct the host in " + from + ", or add its record to the zone"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start the server or the proxy there, or correct host and port in " + from +
			"; a server in a container has to listen on all addresses (BELFRY_LISTEN=0.0.0.0:8080 or server.listen) and publish its port"
	case errors.As(err, &certificate):
		return "correct the certificate of the host in " + from + ": its names, its time and its chain"
	case strings.Contains(err.Error(), "remote error: tls:"):
		return "the other side refuses the TLS handshake, mostly as it has no certificate for " + u.Hostname() + ": give it one (nginx: server_name and ssl_certificate; Caddy: the site's address; Belfry: server.tls, and its log if acme is in there), or correct the host in " + from
	case errors.As(err, &record), errors.Is(err, io.EOF), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "the port seems to speak HTTP without TLS: write http:// in " + from + ", or have the proxy speak TLS there (nginx: listen 443 ssl)"
	}
	if d.known["tcp"] && u.Host == d.client.WebSocket.Host {
		return "something takes connections there and does not answer: look at the server and at the proxy, or correct host and port in " + from
	}
	return "let firewalls and security groups on the way pass the port, or correct host and port in " + from
}

// secure checks the certificate: names, times and chain. After a failure of these, the
// other checks do without verification.
func (d *Doctor) secure(ctx context.Context) Result {
	if d.client.WebSocket.Scheme != "https" {
		d.known["tls"] = true // it is in nobody's way
		return skip("the URL is http: pages on https cannot use it")
	}
	ctx, cancel := d.step(ctx)
	defer cancel()
	host := d.client.WebSocket.Hostname()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}} // verified below, each thing apart
	conn, err := dialer.DialContext(ctx, "tcp", hostPort(d.client.WebSocket))
	if err != nil {
		return fail("the TLS handshake failed: "+reason(ctx, err), "%s", d.networkAdvice(err, d.client.WebSocket, d.Target.From.URL))
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	d.known["tls"] = true
	found, change := d.verify(chain, host)
	if len(change) == 0 {
		return ok("%s", strings.Join(found, "; "))
	}
	d.client.TLS = &tls.Config{InsecureSkipVerify: true}
	return fail(strings.Join(found, "; "), "%s", strings.Join(change, "; "))
}

const day = 24 * time.Hour

// verify looks at a chain, the server's own certificate first.
func (d *Doctor) verify(chain []*x509.Certificate, host string) (found, change []string) {
	wrong := func(what, advice string) { found, change = append(found, what), append(change, advice) }
	leaf, now := chain[0], time.Now()
	switch err := leaf.VerifyHostname(host); {
	case d.Target.Own:
		found = append(found, "certificate for "+names(leaf)+", not compared: give --url with the host that pages connect to")
	case err != nil:
		wrong("the certificate is for "+names(leaf)+", not for "+host,
			"get a certificate for "+host+", or connect to a host that it is for: "+d.Target.From.URL)
	default:
		found = append(found, "certificate for "+host)
	}
	switch left := leaf.NotAfter.Sub(now); {
	case left < 0:
		wrong("expired on "+leaf.NotAfter.Format(time.DateOnly), "renew the certificate and have the server read it: Belfry does so by itself, nginx by nginx -s reload")
	case now.Before(leaf.NotBefore):
		wrong("valid from "+leaf.NotBefore.Format(time.DateTime), "set the clock of this machine, or wait")
	default:
		found = append(found, fmt.Sprintf("valid until %s, %d days", leaf.NotAfter.Format(time.DateOnly), left/day))
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	// The chain is judged at a time when the certificate was valid: its own times are told
	// above.
	_, err := leaf.Verify(x509.VerifyOptions{Roots: d.Roots, Intermediates: intermediates, CurrentTime: leaf.NotAfter.Add(-time.Second)})
	switch {
	case err == nil:
		found = append(found, fmt.Sprintf("chain of %d", len(chain)))
	case len(chain) == 1 && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil:
		wrong("signed by itself", "get a certificate of an authority that browsers know, such as Let's Encrypt")
	case len(chain) == 1:
		wrong("the certificate comes without its chain: "+err.Error(),
			"give the file with the chain, such as fullchain.pem: nginx ssl_certificate, Apache SSLCertificateFile, Belfry server.tls.cert_file")
	default:
		wrong(err.Error(), "get a certificate of an authority that browsers know, or add your own to this machine and to those of the users")
	}
	return found, change
}

func names(c *x509.Certificate) string {
	names := c.DNSNames
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name"
	}
	return strings.Join(names, ", ")
}
