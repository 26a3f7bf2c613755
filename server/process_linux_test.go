//go:build !blocking

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"belfry/server"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

func TestMain(m *testing.M) {
	if config := os.Getenv(serveVariable); config != "" {
		os.Exit(serve(config)) // as a process of its own
	}
	goleak.VerifyTestMain(m)
}

// serveVariable names the configuration of a process that is a server.
const serveVariable = "BELFRY_TEST_SERVE"

// serve runs a server until SIGTERM, or until another process has taken over.
func serve(path string) (status int) {
	upgrades := make(chan os.Signal, 1)
	signal.Notify(upgrades, syscall.SIGUSR2)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := config.Load(path, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := server.New(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)), server.Build{Version: "test"})
	if err == nil {
		s.HandOverOn(upgrades)
		fmt.Fprintln(os.Stderr, "pid", os.Getpid(), "address", s.Addr())
		err = s.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "pid", os.Getpid(), "ended")
	return 0
}

// program is a server in a process of its own, or several, one of which takes over from
// the other.
type program struct {
	t       testing.TB
	path    string // of the executable, which a test may replace
	config  string // path
	address string
	secure  *tls.Config // of clients; nil without TLS
	pid     int         // of the process that has the clients

	log    servertest.Log
	first  *exec.Cmd
	logged chan struct{} // closed when all processes have ended
}

// start starts a server with these lines of configuration behind those of server, which
// the first ones may continue.
func start(t testing.TB, lines ...string) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{t: t, path: filepath.Join(dir, "server"), config: filepath.Join(dir, "config.yaml"), logged: make(chan struct{})}
	p.configure("127.0.0.1:0", lines...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, p.path); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.first = exec.Command(p.path)
	p.first.Env = append(os.Environ(), serveVariable+"="+p.config)
	p.first.Stderr = w
	if err := p.first.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p.pid = p.first.Process.Pid
	listening := make(chan string, 1)
	go func() {
		defer close(p.logged)
		defer r.Close()
		for lines := bufio.NewScanner(r); lines.Scan(); {
			fmt.Fprintln(&p.log, lines.Text())
			if m := regexp.MustCompile(`^pid \d+ address (\S+)$`).FindStringSubmatch(lines.Text()); m != nil {
				select {
				case listening <- m[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(p.stop)
	select {
	case p.address = <-listening:
	case <-p.logged:
		t.Fatalf("the server has ended\n%s", &p.log)
	case <-time.After(wstest.Patience):
		t.Fatalf("the server does not listen\n%s", &p.log)
	}
	return p
}

func (p *program) configure(listen string, lines ...string) {
	p.t.Helper()
	text := "server:\n  listen: '" + listen + "'\n  shutdown_grace: 5s\n" + strings.Join(lines, "\n") + "\n"
	if !strings.Contains(text, "apps:") {
		text += "apps: [{id: 1, key: key-1, secret: secret-1}]\n"
	}
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// stop has the server drain, and expects all processes to end.
func (p *program) stop() {
	_ = syscall.Kill(p.pid, syscall.SIGTERM) // it may have ended
	select {
	case <-p.logged:
	case <-time.After(wstest.Patience):
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		p.t.Errorf("process %d has not ended\n%s", p.pid, &p.log)
	}
	_ = p.first.Wait() // its end is in the log
	if p.log.Contains("msg=\"panic") || p.log.Contains("DATA RACE") {
		p.t.Errorf("a process had a panic or a race\n%s", &p.log)
	}
	if p.t.Failed() {
		p.t.Logf("%s", &p.log)
	}
}

func (p *program) connect() *servertest.Client {
	p.t.Helper()
	conn := wstest.Dialer{Addr: p.address, TLS: p.secure}.Dial(p.t, servertest.Path("1"))
	c, err := servertest.Greeted("1", conn)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// post sends a signed request by that client.
func (p *program) post(client *http.Client, route string, body []byte) error {
	path := "/apps/1/" + route
	query := servertest.SignedQuery("1", http.MethodPost, path, nil, body, time.Now())
	scheme := "http://"
	if p.secure != nil {
		scheme = "https://"
	}
	a, err := client.Post(scheme+p.address+path+"?"+query.Encode(), "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil && (a.StatusCode != http.StatusOK || string(text) != "{}") {
		err = fmt.Errorf("answered with %s %s", a.Status, text)
	}
	return err
}

func eventBody(name, data string, channels ...string) []byte {
	body, err := json.Marshal(map[string]any{"name": name, "data": data, "channels": channels})
	if err != nil {
		panic(err) // strings always can be
	}
	return body
}

// get returns the answer to a signed request.
func (p *program) get(route string) string {
	p.t.Helper()
	path := "/apps/1/" + route
	a, err := http.Get("http://" + p.address + path + "?" + servertest.SignedQuery("1", http.MethodGet, path, nil, nil, time.Now()).Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		p.t.Fatalf("%s was answered with %d %s, %v", route, a.StatusCode, text, err)
	}
	return string(text)
}

func (p *program) publish(name, data string, channels ...string) {
	p.t.Helper()
	if err := p.post(http.DefaultClient, "events", eventBody(name, data, channels...)); err != nil {
		p.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
