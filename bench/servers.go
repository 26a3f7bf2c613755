//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"belfry/auth"
	"belfry/bench/load"
	"belfry/bench/process"
	"belfry/bench/redis"
)

// The columns of the table.
const (
	belfryName = "belfry"
	bunName    = "bun"
	targetName = "target"
)

// server is something to measure.
type server interface {
	name() string
	// can reports whether the server has what the workload measures.
	can(w workload) bool
	// start runs the server as the workload needs it.
	start(w workload) (*instance, error)
}

// instance is a server that runs.
type instance struct {
	target  *load.Target
	pid     int // 0: unknown
	stop    func()
	explain func(error) error // adds what the server printed

	peers []*instance   // the other nodes of its cluster
	redis *redis.Server // of its cluster; nil: it is none
}

// cpu is the time that the server and its peers have used, 0 if that is unknown.
func (i *instance) cpu() (time.Duration, error) {
	if i.pid == 0 {
		return 0, nil
	}
	sum, err := process.CPU(i.pid)
	for _, p := range i.peers {
		used, e := p.cpu()
		sum, err = sum+used, errors.Join(err, e)
	}
	return sum, err
}

// servers are those that the columns name.
func (o *options) servers(dir string) ([]server, error) {
	var all []server
	for _, name := range o.columns {
		var s server
		var err error
		switch name {
		case belfryName:
			s, err = newBelfry(o.belfry, dir, "")
		case bunName:
			s, err = newBun(o.reference, dir)
		case targetName:
			s, err = newRunning(o)
		default:
			err = fmt.Errorf("no server %q: there are %s, %s and %s", name, belfryName, bunName, targetName)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// program is a server that is started for each measurement.
type program struct {
	title  string
	binary string
	dir    string
	// collect is the variable that makes it collect its garbage.
	collect string
	// command gives the variables and arguments to listen on a port, over TLS
	// unless the certificate is the zero one.
	command func(w workload, port int, c certificate) (variables, args []string, err error)
	// noPresence: it has no presence channels.
	noPresence bool
}

// ownApp is the app of the servers that are started here.
var ownApp = load.App{ID: "1", Credentials: auth.Credentials{Key: "bench-key", Secret: "bench-secret"}}

func (p *program) name() string { return p.title }

func (p *program) can(w workload) bool { return !w.presence || !p.noPresence }

func (p *program) start(w workload) (*instance, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	target, err := load.NewTarget(ownApp, "127.0.0.1:"+strconv.Itoa(port), true)
	if err != nil {
		return nil, err
	}
	var c certificate
	if w.tls {
		if c, err = newCertificate(p.dir); err != nil {
			return nil, err
		}
		target.TLS = load.ClientTLS()
	}
	variables, args, err := p.command(w, port, c)
	if err != nil {
		return nil, err
	}
	if w.collect {
		variables = append(variables, p.collect)
	}
	child, err := process.Start(p.dir, p.binary, variables, args...)
	if err != nil {
		return nil, err
	}
	if err := child.Listens(target.Host, 10*time.Second); err != nil {
		child.Stop()
		return nil, err
	}
	return &instance{target: target, pid: child.PID(), stop: child.Stop, explain: child.Explain}, nil
}

// newBelfry runs the binary with its defaults, and what further configuration
// says; where presence channels are measured, no limit is in the way. To collect, Go
// is told to begin when garbage is a tenth of what is in use.
func newBelfry(binary, dir, further string) (server, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: make build makes it", err)
	}
	command := func(w workload, port int, c certificate) (variables, args []string, err error) {
		grace := "0s"
		if w.restart {
			grace = "5s"
		}
		config := fmt.Sprintf(`server:
  listen: 127.0.0.1:%d
  shutdown_grace: %s
  tls:
    cert_file: %q
    key_file: %q
apps:
  - id: "%s"
    key: %s
    secret: %s
`, port, grace, c.certFile, c.keyFile, ownApp.ID, ownApp.Key, ownApp.Secret)
		if w.presence {
			config += fmt.Sprintf("    max_presence_members: %d\n    max_presence_user_bytes: %d\n    message_rate: 0\n", presenceMembers, presenceUserBytes)
		}
		config += further
		file := filepath.Join(dir, "belfry.yaml")
		return nil, []string{"serve", "--config", file}, os.WriteFile(file, []byte(config), 0o600)
	}
	return &program{title: belfryName, binary: binary, dir: dir, collect: "GOGC=10", command: command}, nil
}

// newBun runs the reference with the binary out of the package for this
// platform: the command of the package named bun only exists after an install
// script has run.
func newBun(reference, dir string) (server, error) {
	script, err := filepath.Abs(filepath.Join(reference, "reference", "bun.js"))
	if err != nil {
		return nil, err
	}
	arch := map[string]string{"amd64": "x64", "arm64": "aarch64"}[runtime.GOARCH]
	for _, libc := range []string{"", "-musl"} {
		binary, err := filepath.Abs(filepath.Join(reference, "node_modules", "@oven", "bun-linux-"+arch+libc, "bin", "bun"))
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(binary); err == nil {
			command := func(_ workload, port int, c certificate) (variables, args []string, err error) {
				return []string{"PORT=" + strconv.Itoa(port), "CERT_FILE=" + c.certFile, "KEY_FILE=" + c.keyFile}, []string{script}, nil
			}
			return &program{title: bunName, binary: binary, dir: dir, collect: "COLLECT=1", command: command, noPresence: true}, nil
		}
	}
	return nil, fmt.Errorf("bun is not installed: run npm ci in %s", reference)
}

// running is a server that somebody else started.
type running struct {
	plain, overTLS *load.Target // nil: none
	pid            int
}

func newRunning(o *options) (server, error) {
	if o.target == "" && o.targetTLS == "" {
		return nil, errors.New("-servers target needs -target host:port or -target-tls host:port")
	}
	r := &running{pid: o.pid}
	var err error
	if o.target != "" {
		if r.plain, err = load.NewTarget(o.app, o.target, false); err != nil {
			return nil, fmt.Errorf("-target: %w", err)
		}
	}
	if o.targetTLS != "" {
		if r.overTLS, err = load.NewTarget(o.app, o.targetTLS, false); err != nil {
			return nil, fmt.Errorf("-target-tls: %w", err)
		}
		r.overTLS.TLS = load.ClientTLS()
	}
	return r, nil
}

func (r *running) name() string { return targetName }

func (r *running) can(w workload) bool { return r.at(w) != nil }

// at is the address for the workload.
func (r *running) at(w workload) *load.Target {
	if w.tls {
		return r.overTLS
	}
	return r.plain
}

// note says what was measured as the target, and how much of it.
func (r *running) note() string {
	var addresses []string
	if r.plain != nil {
		addresses = append(addresses, r.plain.Host)
	}
	if r.overTLS != nil {
		addresses = append(addresses, r.overTLS.Host+" over TLS")
	}
	text := targetName + ": a server that ran already, at " + strings.Join(addresses, " and ")
	if r.pid == 0 {
		return text + "; without -pid, its CPU and memory are not known."
	}
	return text + fmt.Sprintf(", process %d. It was not started anew for each round, and collects its garbage as it likes.", r.pid)
}

func (r *running) start(w workload) (*instance, error) {
	return &instance{target: r.at(w), pid: r.pid, stop: func() {}, explain: func(err error) error { return err }}, nil
}
