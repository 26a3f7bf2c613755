//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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
	// start runs the server. With collect, it collects its garbage all the time:
	// what it then occupies is what it needs.
	start(collect bool) (*instance, error)
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
	// command gives the variables and arguments to listen on a port.
	command func(port int) (variables, args []string, err error)
}

// ownApp is the app of the servers that are started here.
var ownApp = load.App{ID: "1", Credentials: auth.Credentials{Key: "bench-key", Secret: "bench-secret"}}

func (p *program) name() string { return p.title }

func (p *program) start(collect bool) (*instance, error) {
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	variables, args, err := p.command(port)
	if err != nil {
		return nil, err
	}
	if collect {
		variables = append(variables, p.collect)
	}
	target, err := load.NewTarget(ownApp, "127.0.0.1:"+strconv.Itoa(port), true)
	if err != nil {
		return nil, err
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
// says. To collect, Go is told to begin when garbage is a tenth of what is in
// use.
func newBelfry(binary, dir, further string) (server, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w: make build makes it", err)
	}
	return &program{belfryName, binary, dir, "GOGC=10", func(port int) (variables, args []string, err error) {
		config := fmt.Sprintf(`server:
  listen: 127.0.0.1:%d
  shutdown_grace: 0s
apps:
  - id: "%s"
    key: %s
    secret: %s
`, port, ownApp.ID, ownApp.Key, ownApp.Secret) + further
		file := filepath.Join(dir, "belfry.yaml")
		return nil, []string{"serve", "--config", file}, os.WriteFile(file, []byte(config), 0o600)
	}}, nil
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
			return &program{bunName, binary, dir, "COLLECT=1", func(port int) (variables, args []string, err error) {
				return []string{"PORT=" + strconv.Itoa(port)}, []string{script}, nil
			}}, nil
		}
	}
	return nil, fmt.Errorf("bun is not installed: run npm ci in %s", reference)
}

// running is a server that somebody else started.
type running struct{ instance }

func newRunning(o *options) (server, error) {
	if o.target == "" {
		return nil, errors.New("-servers target needs -target host:port")
	}
	target, err := load.NewTarget(o.app, o.target, false)
	if err != nil {
		return nil, err
	}
	return &running{instance{target: target, pid: o.pid, stop: func() {}, explain: func(err error) error { return err }}}, nil
}

func (r *running) name() string { return targetName }

func (r *running) start(bool) (*instance, error) { return &r.instance, nil }
