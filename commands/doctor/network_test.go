package doctor

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

func TestNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := &url.URL{Scheme: "http", Host: l.Addr().String()}
	l.Close()
	newDoctor(closed).expect(t, map[string]string{"name": "ok 127.0.0.1", "tcp": "fail refused & start the server & VITE_PUSHER_HOST & BELFRY_LISTEN",
		"tls": "skipped it needs tcp", "upgrade": "skipped", "path": "skipped", "key": "skipped", "publish": "fail refused & PUSHER_HOST", "receive": "skipped", "clock": "skipped", "fallback": "skipped"})
	newDoctor(&url.URL{Scheme: "http", Host: "no..name"}).only("tcp").expect(t, map[string]string{"name": "fail no such host & correct the host in VITE_PUSHER_HOST", "tcp": "skipped"})
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the system takes connections for it
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	d := newDoctor(&url.URL{Scheme: "http", Host: mute.Addr().String()}).only("upgrade")
	d.Within = soon
	d.expect(t, map[string]string{"tcp": "ok", "upgrade": "fail nothing came & does not answer"})
	belfry := startBelfry(t)
	secure := *belfry
	secure.Scheme = "https"
	newDoctor(&secure).only("tls", "publish").expect(t, map[string]string{"tls": "fail TLS handshake & HTTP without TLS & http:// in VITE_PUSHER_HOST", "publish": "fail http:// in PUSHER_HOST"})
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	belfry := startBelfry(t)
	root := newAuthority(t)
	host := func() *x509.Certificate { return &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}} }
	old := host()
	old.NotBefore, old.NotAfter = time.Now().Add(-60*day), time.Now().Add(-30*day)
	early := host()
	early.NotBefore, early.NotAfter = time.Now().Add(30*day), time.Now().Add(60*day)
	inner := root.sign(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	between := &authority{t: t, certificate: inner.Leaf, key: inner.PrivateKey.(*ecdsa.PrivateKey)}
	short := between.sign(host())
	whole := short
	whole.Certificate = append([][]byte{}, short.Certificate[0], inner.Certificate[0])
	for name, tt := range map[string]struct {
		certificate tls.Certificate
		want        string
	}{
		"well":     {root.sign(host()), "ok certificate for 127.0.0.1 & 29 days & chain of 1"},
		"name":     {root.sign(&x509.Certificate{DNSNames: []string{"ws.example.com"}}), "fail for ws.example.com, not for 127.0.0.1 & get a certificate for 127.0.0.1 & VITE_PUSHER_HOST"},
		"nameless": {root.sign(&x509.Certificate{}), "fail for no name"},
		"expired":  {root.sign(old), "fail expired on " + old.NotAfter.Format(time.DateOnly) + " & renew"},
		"early":    {root.sign(early), "fail valid from & clock"},
		"self":     {(&authority{t: t}).sign(host()), "fail signed by itself & Let's Encrypt"},
		"alien":    {newAuthority(t).sign(host()), "fail without its chain & fullchain.pem"},
		"no chain": {short, "fail without its chain & ssl_certificate & server.tls.cert_file"},
		"chain":    {whole, "ok chain of 2"},
	} {
		d := newDoctor(serveTLS(t, belfry, tt.certificate))
		d.Roots = x509.NewCertPool()
		d.Roots.AddCert(root.certificate)
		// The others go on, and say what else there is.
		t.Run(name, func(t *testing.T) {
			d.expect(t, map[string]string{"tls": tt.want, "upgrade": "ok", "receive": "ok", "fallback": "ok"})
		})
	}
	d := newDoctor(serveTLS(t, belfry, root.sign(&x509.Certificate{DNSNames: []string{"ws.example.com"}})))
	d.Roots = x509.NewCertPool()
	d.Roots.AddCert(root.certificate)
	d.Target.Own, d.Target.TLS = true, &tls.Config{InsecureSkipVerify: true}
	d.expect(t, map[string]string{"tls": "ok certificate for ws.example.com, not compared", "receive": "ok"})
	picky := httptest.NewUnstartedServer(http.NotFoundHandler())
	picky.Config.ErrorLog = log.New(io.Discard, "", 0)
	picky.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no such host") }}
	picky.StartTLS()
	defer picky.Close()
	at, err := url.Parse(picky.URL)
	if err != nil {
		t.Fatal(err)
	}
	newDoctor(at).only("tls").expect(t, map[string]string{"tls": "fail remote error: tls & no certificate for 127.0.0.1 & VITE_PUSHER_HOST"})
	plain := serveTLS(t, belfry, root.sign(host()))
	plain.Scheme = "http"
	newDoctor(plain).only("upgrade", "publish").expect(t, map[string]string{"upgrade": "fail 400 & https:// in VITE_PUSHER_HOST", "publish": "fail 400 & https:// in PUSHER_HOST"})
}
