//go:build unix

// Package dbtest runs PostgreSQL, MariaDB and PgBouncer for tests: on free ports of the
// loopback interface, with their data in a temporary directory. Both databases speak TLS
// with a certificate made up for 127.0.0.1.
package dbtest

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// patience is how long a server may take to begin or to end.
	patience = time.Minute
	// pause is between two looks at a condition.
	pause = 10 * time.Millisecond
	// attempts are how often a free port is looked for: another process may take it before
	// the server does.
	attempts = 5
)

// Administrator may do everything in both databases, without a password.
const (
	PostgresAdministrator = "postgres"
	MariaDBAdministrator  = "root"
)

// Server is a running server. Its methods must not be called concurrently.
type Server struct {
	// Addr is host:port.
	Addr string
	// CA is a PEM file of who signed the certificate.
	CA string

	scheme string
	dir    string
	as     *syscall.Credential // nil: whoever runs the test
	name   string              // of the user that the server runs as
	stop   os.Signal           // ends the server, and the sessions of its clients
	arg    func(s *Server) []string

	process *exec.Cmd // nil: stopped
	ended   chan struct{}
	log     *bytes.Buffer // complete when ended is closed
}

// URL is that of a database, as apps_from has it, without parameters.
func (s *Server) URL(user, password, database string) string {
	u := url.URL{Scheme: s.scheme, User: url.User(user), Host: s.Addr, Path: "/" + database}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// StartPostgres runs a PostgreSQL of its own.
func StartPostgres() (*Server, error) {
	initdb, err := find("initdb", "postgresql")
	if err != nil {
		return nil, err
	}
	s, err := newServer("postgres", "postgres", syscall.SIGINT)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	s.arg = func(s *Server) []string {
		host, port, _ := net.SplitHostPort(s.Addr)
		return []string{filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-h", host, "-p", port, "-k", "",
			"-c", "fsync=off", "-c", "ssl=on", "-c", "ssl_cert_file=" + s.CA, "-c", "ssl_key_file=" + s.key()}
	}
	hba := "host all " + PostgresAdministrator + " 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	err = s.run(initdb, "-D", data, "-U", PostgresAdministrator, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
	return s.begun(cmp.Or(err, s.write("data/pg_hba.conf", hba)))
}

// StartMariaDB runs a MariaDB of its own.
func StartMariaDB() (*Server, error) {
	install, err := find("mariadb-install-db", "mariadb-server")
	if err != nil {
		return nil, err
	}
	s, err := newServer("mysql", "mysql", syscall.SIGTERM)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.dir, "data")
	s.arg = func(s *Server) []string {
		host, port, _ := net.SplitHostPort(s.Addr)
		return []string{"mariadbd", "--no-defaults", "--datadir=" + data, "--bind-address=" + host, "--port=" + port,
			"--socket=" + filepath.Join(s.dir, "socket"), "--pid-file=" + filepath.Join(s.dir, "pid"), "--user=" + s.name,
			"--innodb-flush-log-at-trx-commit=0", "--ssl-cert=" + s.CA, "--ssl-key=" + s.key()}
	}
	return s.begun(s.run(install, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db"))
}

// StartPgBouncer runs a PgBouncer in front of a PostgreSQL, with a pool of one connection
// that it lends for one transaction at a time. The user and the password are for both.
func StartPgBouncer(postgres *Server, user, password, database string) (*Server, error) {
	program, err := find("pgbouncer", "pgbouncer")
	if err != nil {
		return nil, err
	}
	s, err := newServer("postgres", "postgres", syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	users := fmt.Sprintf("%q %q\n", user, password)
	s.arg = func(s *Server) []string {
		host, port, _ := net.SplitHostPort(s.Addr)
		behind, behindPort, _ := net.SplitHostPort(postgres.Addr)
		file := fmt.Sprintf("[databases]\n%s = host=%s port=%s\n[pgbouncer]\nlisten_addr=%s\nlisten_port=%s\nunix_socket_dir=\nauth_type=plain\nauth_file=%s\npool_mode=transaction\ndefault_pool_size=1\n",
			database, behind, behindPort, host, port, filepath.Join(s.dir, "users"))
		_ = s.write("pgbouncer.ini", file)
		return []string{program, filepath.Join(s.dir, "pgbouncer.ini")}
	}
	return s.begun(s.write("users", users))
}

// find is where a program is; Debian has those of PostgreSQL apart, by version.
func find(program, debian string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/"} {
		if found, _ := filepath.Glob(pattern + program); len(found) > 0 {
			return slices.Max(found), nil
		}
	}
	return "", fmt.Errorf("these tests need %s: apt-get install %s", program, debian)
}

// newServer makes the directory of a server, which no server of a database runs as root
// in: then it is that user's, or nobody's.
func newServer(scheme, name string, stop os.Signal) (*Server, error) {
	s := &Server{scheme: scheme, name: name, stop: stop}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	if me.Uid != "0" {
		s.name = me.Username
	} else if err := s.runAs(name); err != nil {
		if s.name = "nobody"; s.runAs(s.name) != nil {
			return nil, err
		}
	}
	if s.dir, err = os.MkdirTemp("", "belfry-"+scheme+"-"); err != nil {
		return nil, err
	}
	s.CA = filepath.Join(s.dir, "cert.pem")
	if err = s.own(s.dir); err == nil {
		err = s.certify()
	}
	if err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

func (s *Server) runAs(name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

func (s *Server) own(path string) error {
	if s.as == nil {
		return nil
	}
	return os.Chown(path, int(s.as.Uid), int(s.as.Gid))
}

// write makes a file in the directory that only the server may read.
func (s *Server) write(name, text string) error {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return s.own(path)
}

func (s *Server) key() string { return filepath.Join(s.dir, "key.pem") }

// certify makes up a certificate that signs itself.
func (s *Server) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return cmp.Or(s.write("cert.pem", encode("CERTIFICATE", certificate)), s.write("key.pem", encode("PRIVATE KEY", private)))
}

// command is one in the directory and with the rights of the server.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = s.dir
	c.Env = append(os.Environ(), "LC_ALL=C", "HOME="+s.dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return c
}

func (s *Server) run(name string, args ...string) error {
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// begun starts the server on a port that is free, unless there was an error before.
func (s *Server) begun(err error) (*Server, error) {
	for range attempts {
		if err != nil {
			break
		}
		s.Addr = freeAddr()
		if err = s.Start(); err == nil {
			return s, nil
		}
		if !strings.Contains(s.log.String(), "in use") {
			break
		}
		err = nil
	}
	os.RemoveAll(s.dir)
	return nil, cmp.Or(err, fmt.Errorf("%s finds no free port", s.scheme))
}

// freeAddr is one on which nobody listens now, below the ports of outgoing connections.
func freeAddr() string {
	for {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+mathrand.IntN(12000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
}

// Start begins a server that was stopped again, at the same address, and returns when it
// accepts connections.
func (s *Server) Start() error {
	args := s.arg(s)
	s.log = new(bytes.Buffer)
	process := s.command(args[0], args[1:]...)
	process.Stdout, process.Stderr = s.log, s.log
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	s.process, s.ended = process, ended
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if s.answers() {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ended:
			return fmt.Errorf("%s on %s has ended:\n%s", args[0], s.Addr, s.log)
		}
	}
	_ = s.Stop()
	return fmt.Errorf("%s on %s does not answer:\n%s", args[0], s.Addr, s.log)
}

// answers says whether the server is ready: MariaDB greets, PostgreSQL answers a question
// for TLS once it accepts connections, and says why not while it starts.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if s.scheme == "postgres" {
		startup := "\x00\x00\x00\x00\x00\x03\x00\x00user\x00" + PostgresAdministrator + "\x00\x00"
		startup = string([]byte{0, 0, 0, byte(len(startup))}) + startup[4:]
		if _, err := c.Write([]byte(startup)); err != nil {
			return false
		}
		answer := make([]byte, 4096)
		n, err := c.Read(answer)
		return err == nil && !bytes.Contains(answer[:n], []byte("57P03")) // cannot_connect_now
	}
	n, err := c.Read(make([]byte, 1))
	return err == nil && n == 1
}

// Stop ends the server, and with it the connections of its clients.
func (s *Server) Stop() error {
	if s.process == nil {
		return nil
	}
	_ = s.process.Process.Signal(s.stop)
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.process.Process.Kill()
		<-s.ended
	}
	s.process = nil
	return nil
}

// Close ends the server and removes what it has.
func (s *Server) Close() {
	_ = s.Stop()
	os.RemoveAll(s.dir)
}

// Proxy passes connections on to a server until it is told to stall: then it accepts them
// and passes nothing. All methods may be called concurrently.
type Proxy struct {
	Addr string

	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // guards the following
	stalled bool
	closed  bool
	conns   []net.Conn
}

// StartProxy passes on to an address.
func StartProxy(to string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Addr: l.Addr().String(), to: to, listener: l}
	p.running.Go(p.accept)
	return p, nil
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.keep(c)
		p.running.Go(func() {
			behind, err := net.Dial("tcp", p.to)
			if err != nil {
				c.Close()
				return
			}
			p.keep(behind)
			p.running.Go(func() { p.pass(c, behind) })
			p.pass(behind, c)
		})
	}
}

func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	if p.closed {
		c.Close()
	}
}

func (p *Proxy) pass(from, to net.Conn) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if p.isStalled() {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) isStalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stalled
}

// Stall has nothing passed from here on, or everything that comes later.
func (p *Proxy) Stall(stalled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = stalled
}

// Close ends all connections.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}
