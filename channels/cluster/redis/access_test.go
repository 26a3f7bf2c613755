package redis

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"belfry/channels/cluster"
	"belfry/channels/cluster/redis/redistest"
)

// TestUser: an ACL user with a password and just the rights that are documented.
func TestUser(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.CLI("acl", "setuser", "belfry", "on", ">"+secret, "~{belfry*", "&{belfry*", "+@all", "-@admin", "-@dangerous")
	server.CLI("acl", "setuser", "default", "off")
	n := startNode(t, Options{URL: "redis://belfry:" + secret + "@" + server.Addr})
	n.must(n.Listen(context.Background(), presence))
	n.share("a")
	working(t, n)

	wrong := startNode(t, Options{URL: "redis://belfry:wrong-" + secret + "@" + server.Addr})
	until(t, "a refusal", func() bool {
		err := wrong.Ready()
		return err != nil && strings.Contains(err.Error(), "WRONGPASS")
	})
	if strings.Contains(wrong.logged()+wrong.Ready().Error(), secret) {
		t.Error("the password is told")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key, authorities := certify(t)
	addr := redistest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	n := startNode(t, Options{URL: "rediss://" + addr, TLS: &tls.Config{RootCAs: authorities}})
	n.must(n.Listen(context.Background(), presence))
	working(t, n)
	stranger := startNode(t, Options{URL: "rediss://" + addr})
	until(t, "a refusal", func() bool {
		err := stranger.Ready()
		return err != nil && strings.Contains(err.Error(), "certificate")
	})
}

func certify(t *testing.T) (certificate, key string, authorities *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	authorities = x509.NewCertPool()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		authorities.AppendCertsFromPEM(text)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs), authorities
}

// TestDatabases: Pub/Sub knows no databases, and clusters in two of them are kept
// apart all the same, as those of two prefixes are.
func TestDatabases(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	base := "redis://" + server.Addr
	nodes := []*testNode{startNode(t, Options{URL: base}), startNode(t, Options{URL: base + "/1"}), startNode(t, Options{URL: base, Prefix: "other"})}
	for _, n := range nodes {
		n.must(n.Listen(context.Background(), presence))
	}
	for i, n := range nodes {
		if o := n.share("a"); o.Count != 1 {
			t.Errorf("node %d: %+v", i, o)
		}
		working(t, n)
	}
	for i, n := range nodes {
		if got := n.heard(); len(got) != 1 {
			t.Errorf("node %d received %q", i, got)
		}
	}
}

// TestStartedBeforeRedis: the first connection takes as long as it takes.
func TestStartedBeforeRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	n := startNode(t, Options{URL: "redis://" + server.Addr})
	until(t, "a failed attempt", func() bool { return strings.Contains(n.logged(), "the cluster is not reachable") })
	if err := n.Listen(context.Background(), presence); err == nil {
		t.Error("listening without Redis")
	}
	server.Restart()
	until(t, "the call of Restored", func() bool { return n.timesRestored() == 1 })
	n.must(n.Listen(context.Background(), presence))
	working(t, n)
}

// TestInterestOnly: what one node listens to does not reach another.
func TestInterestOnly(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	a, b := pair(t, Options{URL: "redis://" + server.Addr})
	if got := server.CLI("pubsub", "numsub", a.keys.name(presence)); !strings.HasSuffix(got, "\n2") {
		t.Errorf("subscribers: %s", got)
	}
	own := cluster.Topic{App: "1", Channel: "own"}
	a.must(a.Listen(context.Background(), own))
	if got := server.CLI("pubsub", "numsub", a.keys.name(own)); !strings.HasSuffix(got, "\n1") {
		t.Errorf("subscribers of what one node listens to: %s", got)
	}
	a.Ignore(own)
	until(t, "the end of the subscription", func() bool { return strings.HasSuffix(server.CLI("pubsub", "numsub", a.keys.name(own)), "\n0") })
	if got := server.CLI("pubsub", "numpat"); got != "0" {
		t.Errorf("%s patterns", got)
	}
	b.must(b.say("end"))
}
