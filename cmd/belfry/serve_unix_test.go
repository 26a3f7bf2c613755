//go:build unix

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const oneApp = "server: {listen: '127.0.0.1:0'}\napps: [{id: 1, key: k, secret: s}]\n"

// process is belfry serve, with the lines of its log.
type process struct {
	*exec.Cmd

	log   io.ReadCloser
	lines chan string
	ended chan error
}

func serveProcess(t *testing.T, args ...string) *process {
	t.Helper()
	return startProcess(t, exec.Command("belfry", append([]string{"serve"}, args...)...))
}

func startProcess(t *testing.T, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	p := &process{Cmd: cmd, lines: make(chan string), ended: make(chan error, 1)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Env, p.Stderr, p.log = append(env, "PATH="+os.Getenv("PATH")), w, r
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() { p.ended <- p.Wait() }()
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it has ended, if all is well
		r.Close()
		for range p.lines {
		}
	})
	return p
}

// expect reads the log up to a line with this text.
func (p *process) expect(t *testing.T, text string) string {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the log ended before %q", text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("the log does not say %q", text)
		}
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stop expects SIGTERM to end the process with exit code 0, and returns the rest
// of the log.
func (p *process) stop(t *testing.T) (rest string) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	late := time.AfterFunc(patience, func() {
		t.Error("SIGTERM does not end the process")
		_ = p.Process.Kill()
	})
	for line := range p.lines {
		rest += line + "\n"
	}
	if err := <-p.ended; err != nil {
		t.Errorf("belfry serve: %v\n%s", err, rest)
	}
	late.Stop()
	return rest
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// writeCertificate replaces the files of a certificate and its key.
func writeCertificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		_ = os.Remove(path) // it may be a pipe
		writeFile(t, path, string(pem.EncodeToMemory(block)))
	}
	return certFile, keyFile
}

func mkfifo(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A pipe is read at the start, as <(...) of a shell is one. A reload refuses it, as
// nobody may write to it any more, whatever the file is for.
func TestPipesAreReadAtTheStartOnly(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	certFile, keyFile := writeCertificate(t, dir)
	secure := strings.Replace(oneApp, "server: {", "server: {tls: {cert_file: '"+certFile+"', key_file: '"+keyFile+"'}, ", 1)
	for _, tt := range []struct {
		name, config, env string
		pipe              string // made before the reload
	}{
		{"configuration", oneApp, "", path("config")},
		{"environment file", oneApp, "A=1\n", path("env")},
		{"certificate", secure, "", certFile},
		{"key", secure, "", keyFile},
	} {
		t.Run(tt.name, func(t *testing.T) {
			writeCertificate(t, dir)
			mkfifo(t, path("config"))
			mkfifo(t, path("env"))
			p := serveProcess(t, "--config", path("config"), "--env-file", path("env"))
			writeFile(t, path("env"), tt.env)
			writeFile(t, path("config"), tt.config)
			p.expect(t, "msg=listening")
			for name, text := range map[string]string{"config": tt.config, "env": tt.env} {
				if err := os.Remove(path(name)); err != nil {
					t.Fatal(err)
				}
				writeFile(t, path(name), text)
			}
			p.signal(t, syscall.SIGHUP)
			p.expect(t, `msg="configuration reloaded"`)

			mkfifo(t, tt.pipe)
			p.signal(t, syscall.SIGHUP)
			if line := p.expect(t, `msg="configuration not reloaded`); !strings.Contains(line, tt.pipe+" is no regular file") {
				t.Errorf("the log says %s", line)
			}
			p.stop(t)
		})
	}
}

// A reload that is refused because of the certificate leaves the level as it is.
func TestRefusedReloadLeavesTheLevel(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	certFile, keyFile := writeCertificate(t, dir)
	tls := "server: {listen: '127.0.0.1:0', tls: {key_file: '" + keyFile + "', cert_file: '"
	rest := "'}}\napps: [{id: 1, key: k, secret: s}]\nlog: {level: "
	writeFile(t, path, tls+certFile+rest+"info}\n")
	p := serveProcess(t, "--config", path)
	p.expect(t, "msg=listening")
	writeFile(t, path, tls+filepath.Join(dir, "missing.pem")+rest+"error}\n")
	p.signal(t, syscall.SIGHUP)
	p.expect(t, `msg="configuration not reloaded`)
	if rest := p.stop(t); !strings.Contains(rest, "level=INFO msg=stopped") {
		t.Errorf("after the refusal the log says only %q", rest)
	}
}

var (
	listeningAt = regexp.MustCompile(`msg=listening address=(\S+)`)
	linesLost   = regexp.MustCompile(`(?m)^belfry_log_lines_dropped_total [1-9]`)
)

// A reader of the log that goes away costs lines, which are counted.
func TestLogReaderGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	writeFile(t, path, oneApp)
	p := serveProcess(t, "--config", path)
	address := listeningAt.FindStringSubmatch(p.expect(t, "msg=listening"))[1]
	p.log.Close()
	for deadline := time.Now().Add(patience); ; {
		p.signal(t, syscall.SIGHUP) // which is logged
		resp, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if linesLost.Match(metrics) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no line is counted as lost\n%s", metrics)
		}
	}
	p.stop(t)
}
