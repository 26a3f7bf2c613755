//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// activated starts belfry serve as systemd would, with sockets of these names.
func activated(t *testing.T, config string, env []string, names []string, sockets ...*os.File) *process {
	t.Helper()
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec belfry serve --config "$0"`, config)
	cmd.ExtraFiles = sockets
	env = append(env, fmt.Sprint("LISTEN_FDS=", len(sockets)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	return startProcess(t, cmd, env...)
}

// hold listens as systemd does for a .socket unit.
func hold(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, l.Addr().String()
}

// The sockets outlive the process: who comes while there is none is served by the
// next.
func TestSocketActivation(t *testing.T) {
	config := filepath.Join(t.TempDir(), "belfry.yaml")
	writeFile(t, config, oneApp+"console: {enabled: true}\n")
	main, address := hold(t)
	metrics, metricsAddress := hold(t)
	console, consoleAddress := hold(t)
	get := func(nc net.Conn, path string) string {
		t.Helper()
		if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
		a, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.Status + " " + string(body)
	}
	dial := func(address string) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	waiting := dial(address)
	for range 2 {
		p := activated(t, config, nil, []string{"belfry.socket", "metrics", "console"}, main, metrics, console)
		p.expect(t, address)
		if a := get(waiting, "/up"); !strings.HasPrefix(a, "200 OK") {
			t.Errorf("answered with %s", a)
		}
		if a := get(dial(metricsAddress), "/metrics"); !strings.Contains(a, "belfry_build_info") {
			t.Errorf("answered with %.200s", a)
		}
		if a := get(dial(consoleAddress), "/console/"); !strings.HasPrefix(a, "200 OK") || !strings.Contains(a, "<title>") {
			t.Errorf("answered with %.200s", a)
		}
		p.stop(t)
		waiting = dial(address)
	}
}

// The socket for http that is sent to https is one of a name, too.
func TestActivatedRedirect(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "belfry.yaml")
	writeFile(t, config, `
server:
  redirect_http: 127.0.0.1:1
  tls: {acme: {domains: [ws.example.com], directory: "https://127.0.0.1:1/dir", storage: "`+dir+`"}}
apps: [{id: 1, key: k, secret: s}]
`)
	main, address := hold(t)
	redirect, redirectAddress := hold(t)
	p := activated(t, config, nil, []string{"belfry.socket", "redirect"}, main, redirect)
	p.expect(t, address)
	nc, err := net.Dial("tcp", redirectAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "GET /a HTTP/1.1\r\nHost: ws.example.com\r\n\r\n")
	a, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	_, port, _ := net.SplitHostPort(address)
	if got := a.Header.Get("Location"); got != "https://ws.example.com:"+port+"/a" {
		t.Errorf("%s, sent to %q", a.Status, got)
	}
	p.stop(t)
}

// A console without a password is not served at a socket that others can reach, whatever
// is configured.
func TestExposedConsole(t *testing.T) {
	config := filepath.Join(t.TempDir(), "belfry.yaml")
	writeFile(t, config, oneApp+"console: {enabled: true}\n")
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := activated(t, config, nil, nil, file)
	p.expect(t, "console.password: it is missing or empty, and the console's socket has ")
	if err := <-p.ended; err == nil {
		t.Error("the process ended well")
	}
}

// A socket that is of no use is told of, and the process ends.
func TestUselessSockets(t *testing.T) {
	config := filepath.Join(t.TempDir(), "belfry.yaml")
	writeFile(t, config, oneApp)
	first, _ := hold(t)
	second, _ := hold(t)
	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	local, err := unix.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	plain, err := os.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for want, sockets := range map[string][]*os.File{
		"one too many":     {first, second},
		"no TCP listener":  {local},
		"inherited socket": {plain},
	} {
		p := activated(t, config, nil, nil, sockets...)
		p.expect(t, want)
		if err := <-p.ended; err == nil {
			t.Errorf("%s: the process ended well", want)
		}
	}
}

// The service manager is told what the process is about.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "belfry.yaml")
	writeFile(t, config, oneApp)
	path := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	expect := func(want ...string) {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for message := make([]byte, 1000); ; {
			n, err := manager.Read(message)
			if err != nil {
				t.Fatalf("%q is not told: %v", want, err)
			}
			all := true
			for _, state := range want {
				all = all && strings.Contains(string(message[:n]), state)
			}
			if all {
				return
			}
		}
	}
	main, address := hold(t)
	p := activated(t, config, []string{"NOTIFY_SOCKET=" + path}, nil, main)
	go func() {
		for range p.lines {
		}
	}()
	expect("READY=1")
	if _, err := http.Get("http://" + address + "/up"); err != nil {
		t.Error(err)
	}
	expect("STATUS=0 connections")
	p.signal(t, syscall.SIGHUP)
	expect("RELOADING=1", "MONOTONIC_USEC=")
	expect("READY=1")
	p.signal(t, syscall.SIGTERM)
	expect("STOPPING=1")
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}
