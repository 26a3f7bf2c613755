package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// variable names the descriptor that a new process inherits.
const variable = "BELFRY_HANDOVER"

// Program is what a handover starts: the file that the running process was started
// from, as it is then, with the same arguments.
type Program struct {
	Path string
	Args []string // the name it was called by first
}

// Self returns the program that is running. Call it at the start: later, the working
// directory or PATH may be others.
func Self() (Program, error) {
	// Not /proc/self/exe, which names the file that a link led to.
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, err = os.Executable()
	}
	return Program{path, os.Args}, err
}

// Inherited returns the link to the process that has started this one to hand over to
// it, nil if none has. It works once.
func Inherited() (*Link, error) {
	value, ok := os.LookupEnv(variable)
	if !ok {
		return nil, nil
	}
	os.Unsetenv(variable) // not for those whom this process starts
	fd, err := strconv.Atoi(value)
	if err != nil {
		return nil, fmt.Errorf("%s is %q, and is to be a descriptor", variable, value)
	}
	unix.CloseOnExec(fd)
	l, err := connect(fd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	return l, nil
}

// Successor is the new process, as the old one sees it.
type Successor struct {
	*Link
	process *os.Process
	ended   chan struct{}    // closed when it has
	state   *os.ProcessState // how; to be read then
}

// inheritedFD is that of the first of exec.Cmd.ExtraFiles.
const inheritedFD = 3

// Start starts the program. What it prints goes where this process's output goes.
func (p Program) Start() (*Successor, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "handover")
	defer theirs.Close()
	link, err := connect(pair[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.Path, p.Args[1:]...)
	cmd.Args[0] = p.Args[0]
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(inheritedFD))
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		link.Close()
		return nil, err
	}
	s := &Successor{Link: link, process: cmd.Process, ended: make(chan struct{})}
	go func() { // until the process ends, or this one
		defer close(s.ended)
		_ = cmd.Wait() // the state says more
		s.state = cmd.ProcessState
	}()
	return s, nil
}

// Pid is the new process's.
func (s *Successor) Pid() int { return s.process.Pid }

// Wait returns when the new process has ended. The error says how if not well.
func (s *Successor) Wait() error {
	<-s.ended
	if !s.state.Success() {
		return fmt.Errorf("the new process has ended: %s", s.state)
	}
	return nil
}

// End ends the new process, which uses nothing that it has inherited any more. cause is
// why; the result says how the process has ended if it had by itself.
func (s *Successor) End(cause error) error {
	if errors.Is(cause, io.EOF) || errors.Is(cause, unix.ECONNRESET) || errors.Is(cause, unix.EPIPE) {
		select { // it has ended, or is about to
		case <-s.ended:
			cause = fmt.Errorf("the new process has ended before it took over (%s): the log has its last words", s.state)
		case <-time.After(endTimeout):
		}
	}
	_ = s.process.Kill() // an error: it has ended
	<-s.ended
	s.Close()
	return cause
}

// endTimeout is how long a process that has closed its side may take to end.
const endTimeout = time.Second

func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "handover")
	defer f.Close()
	return net.FileConn(f)
}
