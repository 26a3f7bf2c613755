package server_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"belfry/server/certificates"
	"belfry/server/config"
	"belfry/server/internal/servertest"
)

// authority has a server get certificates from an authority that cannot be reached.
func authority(c *config.Config, storage string) {
	c.Server.TLS.ACME.Domains = []string{"ws.example.com", "second.example.com"}
	c.Server.TLS.ACME.Directory = "https://127.0.0.1:1/dir"
	c.Server.TLS.ACME.Storage = storage
}

// certified is a server with a certificate for ws.example.com, which was stored.
func certified(t *testing.T, edit ...func(*config.Config)) (s *servertest.Server, storage certificates.Storage) {
	t.Helper()
	dir := t.TempDir()
	storage = certificates.Directory(dir)
	store(t, storage, "ws.example.com.pem", keyPair(t, "ws.example.com"))
	return servertest.Start(t, append(edit, func(c *config.Config) { authority(c, dir) })...), storage
}

// store stores as another node would, with the lock.
func store(t *testing.T, storage certificates.Storage, name, text string) {
	t.Helper()
	servertest.Eventually(t, "the lock is free", func() bool {
		unlock, ok, err := storage.Lock(t.Context(), "127.0.0.1-1-dir/lock", time.Minute)
		if err != nil || !ok {
			return false
		}
		defer unlock()
		if err := storage.Put(t.Context(), "127.0.0.1-1-dir/"+name, []byte(text), 0); err != nil {
			t.Error(err)
		}
		return true
	})
}

// keyPair is a certificate with its key.
func keyPair(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
}

// shake connects as a client of a name does, and returns the names of the certificate that
// the client is shown.
func shake(t *testing.T, s *servertest.Server, name string, protocols ...string) (*tls.Conn, []string, error) {
	t.Helper()
	c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true})
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { c.Close() })
	return c, c.ConnectionState().PeerCertificates[0].DNSNames, nil
}

// The certificate that is stored serves from the first connection on, and an authority that
// asks gets its answer, and nothing else.
func TestStoredCertificate(t *testing.T) {
	s, storage := certified(t)
	for name, want := range map[string]string{"ws.example.com": "ws.example.com", "": "ws.example.com", "stranger.example": "ws.example.com"} {
		if _, names, err := shake(t, s, name); err != nil || strings.Join(names, " ") != want {
			t.Errorf("%q is shown %v, %v", name, names, err)
		}
	}
	if _, names, err := shake(t, s, "second.example.com"); err == nil {
		t.Errorf("it is shown %v", names)
	}
	if _, _, err := shake(t, s, "ws.example.com", certificates.ALPN); err == nil {
		t.Error("an authority is answered that was not asked for")
	}
	answer, err := json.Marshal(map[string]string{"token": "t", "text": "t.x", "certificate": keyPair(t, "answer.example")})
	if err != nil {
		t.Fatal(err)
	}
	store(t, storage, "second.example.com.challenge", string(answer))
	c, names, err := shake(t, s, "second.example.com", certificates.ALPN)
	if err != nil || strings.Join(names, " ") != "answer.example" || c.ConnectionState().NegotiatedProtocol != certificates.ALPN {
		t.Fatalf("the authority is shown %v, %v", names, err)
	}
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		t.Errorf("the connection goes on: %d bytes, %v", n, err)
	}
	if c, _, err := shake(t, s, "ws.example.com", "h2", "http/1.1"); err != nil || c.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("a browser does not speak HTTP/1.1: %v", err)
	}
	servertest.Eventually(t, "the failure is told", func() bool {
		return s.Log.Contains(`level=ERROR msg="no certificate was given" domain=second.example.com`)
	})
}

// Domains change while the server runs; another way to certificates needs a restart.
func TestReloadOfDomains(t *testing.T) {
	s, storage := certified(t)
	store(t, storage, "third.example.com.pem", keyPair(t, "third.example.com"))
	s.Reconfigure(t, func(c *config.Config) { c.Server.TLS.ACME.Domains = []string{"third.example.com", "ws.example.com"} })
	servertest.Eventually(t, "it is shown", func() bool {
		_, names, err := shake(t, s, "third.example.com")
		return err == nil && names[0] == "third.example.com"
	})
	if s.Log.Contains("need a restart") {
		t.Errorf("the log says:\n%s", s.Log)
	}
	s.Reconfigure(t, func(c *config.Config) { c.Server.TLS.ACME.Email = "a@example.com" })
	if !s.Log.Contains(`need a restart" keys=server.tls.acme.email`) {
		t.Errorf("the log says:\n%s", s.Log)
	}
	s.Reconfigure(t, func(c *config.Config) {
		c.Server.TLS.ACME = config.ACME{Directory: config.DefaultDirectory}
		servertest.Secure(t)(c)
	})
	if _, names, err := shake(t, s, "third.example.com"); err != nil || names[0] != "third.example.com" || !s.Log.Contains(`need a restart" keys="server.tls.acme.directory server.tls.acme.storage server.tls"`) {
		t.Errorf("%v, %v, and the log says:\n%s", names, err, s.Log)
	}
}

// get asks the listener for plain HTTP.
func get(t *testing.T, s *servertest.Server, method, host, target string) (status int, location string) {
	t.Helper()
	c, err := net.Dial("tcp", s.RedirectAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", method, target, host)
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if !answer.Close {
		t.Error("the connection stays open")
	}
	return answer.StatusCode, answer.Header.Get("Location")
}

func redirected(c *config.Config) { c.Server.RedirectHTTP = "127.0.0.1:0" }

// http is sent to https of the same host, if that is the server's, and nowhere else.
func TestRedirect(t *testing.T) {
	files := servertest.Start(t, redirected, servertest.Secure(t), func(c *config.Config) { c.Server.Path = "/ws" })
	acme, storage := certified(t, redirected)
	store(t, storage, "second.example.com.challenge", `{"token": "t0ken", "text": "t0ken.x", "certificate": ""}`)
	port := func(s *servertest.Server) string {
		_, port, _ := net.SplitHostPort(s.Addr().String())
		return port
	}
	for _, tt := range []struct {
		server             *servertest.Server
		method, host, path string
		status             int
		location           string // behind the host and the port
	}{
		{files, "GET", "127.0.0.1", "/", 308, "/"},
		{files, "HEAD", "127.0.0.1:80", "/a%20b?c=d&e=%2F", 308, "/a%20b?c=d&e=%2F"},
		{files, "GET", "127.0.0.1:8080", "//evil.example/", 308, "//evil.example/"},
		{files, "GET", "evil.example", "/", 421, ""},
		{files, "GET", "", "/", 421, ""},
		{files, "GET", "127.0.0.1@evil.example", "/", 400, ""},
		{files, "GET", "127.0.0.1", "http://evil.example/", 421, ""},
		{files, "GET", "127.0.0.1", "x:.evil.example/", 421, ""},
		{files, "POST", "127.0.0.1", "/", 403, ""},
		{files, "GET", "127.0.0.1", "/apps/1/channels", 403, ""},
		{files, "POST", "127.0.0.1", "/ws/apps/1/events", 403, ""},
		{files, "GET", "127.0.0.1", "/ws//apps/1/events", 403, ""},
		{files, "GET", "127.0.0.1", "/ws/app/key", 308, "/ws/app/key"},
		{files, "GET", "127.0.0.1", "/.well-known/acme-challenge/t0ken", 308, "/.well-known/acme-challenge/t0ken"},
		{acme, "GET", "ws.example.com", "/", 308, "/"},
		{acme, "GET", "second.example.com", "/", 308, "/"}, // which has no certificate yet
		{acme, "GET", "127.0.0.1", "/", 421, ""},
		{acme, "GET", "stranger.example", "/", 421, ""},
		{acme, "GET", "second.example.com", "/.well-known/acme-challenge/t0ken", 200, ""},
		{acme, "GET", "second.example.com", "/.well-known/acme-challenge/other", 404, ""},
		{acme, "GET", "ws.example.com", "/.well-known/acme-challenge/t0ken", 404, ""},
	} {
		status, location := get(t, tt.server, tt.method, tt.host, tt.path)
		want := ""
		if tt.location != "" {
			host, _, _ := strings.Cut(tt.host, ":")
			want = "https://" + host + ":" + port(tt.server) + tt.location
		}
		if status != tt.status || location != want {
			t.Errorf("%s %s at %s: %d to %q, want %d to %q", tt.method, tt.path, tt.host, status, location, tt.status, want)
		}
	}
}

// Connections to it are counted like all others.
func TestRedirectIsCounted(t *testing.T) {
	s := servertest.Start(t, redirected, servertest.Secure(t))
	c, err := net.Dial("tcp", s.RedirectAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	servertest.Eventually(t, "it is counted, beside the one that asks", func() bool { return s.Metric(t, `belfry_sockets{kind="http"}`) == 2 })
	end := s.Metric(t, "belfry_certificate_expiry_timestamp_seconds") // an hour from the start
	if left := time.Until(time.Unix(int64(end), 0)); left <= 0 || left > time.Hour {
		t.Errorf("the certificate ends in %v", left)
	}
	s.Stop()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.RedirectAddr().String()); err == nil {
		t.Error("it is still listened to")
	}
}
