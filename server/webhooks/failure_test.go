package webhooks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"belfry/server/metrics"
)

// answering accepts connections, over TLS if c is not nil, and lets answer have
// each with the head of its first request.
func answering(t *testing.T, c *tls.Config, answer func(conn net.Conn, head []byte)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	url = "http://" + l.Addr().String()
	if c != nil {
		l = tls.NewListener(l, c)
		url = "https" + strings.TrimPrefix(url, "http")
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				head := make([]byte, 64<<10)
				n, _ := conn.Read(head)
				answer(conn, head[:n])
			}()
		}
	}()
	return url
}

// The log has the kind of a failure, and nothing that the endpoint has sent,
// which may be what it was sent.
func TestFailuresAreLoggedByTheirKind(t *testing.T) {
	// echo answers with a line of the request in its midst.
	echo := func(format string) func(net.Conn, []byte) {
		return func(conn net.Conn, head []byte) {
			line, _, _ := strings.Cut(string(head), "\r\n")
			fmt.Fprintf(conn, format, line)
		}
	}
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	secure.StartTLS()
	defer secure.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())
	gone := answering(t, nil, nil)
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		gone = "http://" + l.Addr().String()
		l.Close()
	}
	tests := []struct {
		name, url string
		tls       *tls.Config
		want      string
	}{
		{"status line", answering(t, nil, echo("%s\r\n\r\n")), nil, "malformed answer"},
		{"status code", answering(t, nil, echo("HTTP/1.1 %s\r\n\r\n")), nil, "malformed answer"},
		{"header", answering(t, nil, echo("HTTP/1.1 200 OK\r\n%s\r\n\r\n")), nil, "malformed answer"},
		{"length", answering(t, nil, echo("HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n")), nil, "malformed answer"},
		{"encoding", answering(t, nil, echo("HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n")), nil, "malformed answer"},
		{"endless header", answering(t, nil, echo("HTTP/1.1 200 OK\r\nX: %s"+strings.Repeat("x", 2*maxAnswerHeader)+"\r\n\r\n")), nil, "malformed answer"},
		{"end", answering(t, nil, func(net.Conn, []byte) {}), nil, "connection closed before the end of the answer"},
		{"reset", answering(t, nil, func(conn net.Conn, _ []byte) { conn.(*net.TCPConn).SetLinger(0) }), nil, "connection reset by peer"},
		{"refused", gone, nil, "connection refused"},
		{"no TLS", strings.Replace(plain.URL, "http", "https", 1), nil, "TLS: the endpoint does not speak it"},
		{"other bytes than TLS", strings.Replace(answering(t, nil, func(conn net.Conn, _ []byte) { io.WriteString(conn, "hunter2") }), "http", "https", 1), nil, "TLS: the endpoint does not speak it"},
		{"unknown authority", secure.URL, nil, "TLS: the certificate is signed by an unknown authority"},
		{"another host", secure.URL, &tls.Config{RootCAs: trusted, ServerName: "elsewhere.invalid"}, "TLS: the certificate is for another host"},
		{"another time", secure.URL, &tls.Config{RootCAs: trusted, Time: func() time.Time { return time.Unix(1<<40, 0) }}, "TLS: the certificate has expired or is not yet valid"},
		{"alert", answering(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none") }},
			func(net.Conn, []byte) {}), nil, "TLS: the endpoint refuses the connection"},
		{"too old", secure.URL, &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS11}, "TLS: the handshake failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logged := new(log)
			transport := newTransport()
			transport.Proxy = nil
			transport.TLSClientConfig = tt.tls
			s, err := newSender(Options{Log: slog.New(slog.NewTextHandler(logged, nil))}, transport)
			if err != nil {
				t.Fatal(err)
			}
			a := s.App("1", metrics.New("", "", "").App("1").Webhooks)
			a.Configure(credentials, nil)
			e := &endpoint{app: a, ctx: context.Background()}
			e.configure(to(tt.url + "/hook?token=hunter2"))
			o := e.post(t.Context(), nil)
			if o.status != 0 || o.String() != tt.want {
				t.Errorf("logged as %q, want %q", o, tt.want)
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			s.Close(ended)
		})
	}
}

// Nor is there what a proxy has said.
func TestRefusalOfAProxy(t *testing.T) {
	proxy := answering(t, nil, func(conn net.Conn, _ []byte) { io.WriteString(conn, "HTTP/1.1 407 hunter2\r\n\r\n") })
	transport := newTransport()
	transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }
	r, err := http.NewRequest("POST", "https://backend.invalid", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transport.RoundTrip(r); err == nil || failure(err) != "the proxy answers with status 407" {
		t.Errorf("%v is logged as %q", err, failure(err))
	}
}

// What no listener of a test brings about.
func TestFailure(t *testing.T) {
	proxy := func(err error) error { return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: err} }
	tests := []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "no answer within 10s"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "no answer within 10s"},
		{&net.DNSError{Err: "hunter2", Name: "hunter2", IsNotFound: true}, "no such host"},
		{&net.DNSError{Err: "hunter2", Name: "hunter2", IsTimeout: true}, "no answer within 10s"},
		{&net.DNSError{Err: "hunter2", Name: "hunter2"}, "the host's name cannot be looked up"},
		{fmt.Errorf("hunter2: %w", io.ErrUnexpectedEOF), "connection closed before the end of the answer"},
		{&tls.CertificateVerificationError{Err: errors.New("x509: hunter2")}, "TLS: the certificate is not valid"},
		{errors.New("tls: failed to parse certificate from server: hunter2"), "TLS: the handshake failed"},
		{proxy(errors.New("tls: hunter2")), "by the proxy: TLS: the handshake failed"},
		{proxy(&net.DNSError{IsNotFound: true}), "by the proxy: no such host"},
		{errors.New("hunter2"), "malformed answer"},
	}
	for _, tt := range tests {
		if got := failure(tt.err); got != tt.want {
			t.Errorf("%v is logged as %q, want %q", tt.err, got, tt.want)
		}
	}
}
