//go:build linux

package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Process is a server that was started here.
type Process struct {
	cmd  *exec.Cmd
	log  string // a file with what it prints
	done chan struct{}
}

// Start runs a program, with variables set in addition to our own environment.
// What it prints goes to a file in dir.
func Start(dir, name string, variables []string, args ...string) (*Process, error) {
	log := filepath.Join(dir, filepath.Base(name)+".log")
	output, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), variables...)
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C is ours to handle
		Pdeathsig: syscall.SIGKILL, // even if we are killed, nothing stays behind
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Listens waits until the process accepts connections at the address.
func (p *Process) Listens(address string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return p.Explain(fmt.Errorf("%s: %v", p.cmd.Path, p.cmd.ProcessState))
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			return p.Explain(fmt.Errorf("%s does not listen: %w", p.cmd.Path, err))
		}
	}
}

// Explain adds the end of what the process printed to an error.
func (p *Process) Explain(err error) error {
	printed, readErr := os.ReadFile(p.log)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	const most = 2000
	return fmt.Errorf("%w\nit printed:\n%s", err, printed[max(0, len(printed)-most):])
}

// Stop ends the process, and returns when it is gone.
func (p *Process) Stop() {
	const grace = 5 * time.Second
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// FreePort is a port of 127.0.0.1 that nobody listens on, below those that Linux
// gives to outgoing connections: one of these would take it before a server listens.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 10_000 + rand.IntN(22_000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
