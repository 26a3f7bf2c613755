//go:build linux

package redis

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"time"

	"belfry/bench/process"
)

// answerWithin is how long Redis may take to answer.
const answerWithin = 5 * time.Second

// Server is a redis-server that keeps nothing. Its methods must not be called
// concurrently.
type Server struct {
	address string
	child   *process.Process
	conn    net.Conn
	meter   meter
}

// Start runs one on a free port of 127.0.0.1, with its log in dir.
func Start(dir string) (*Server, error) {
	const binary = "redis-server"
	if _, err := exec.LookPath(binary); err != nil {
		return nil, fmt.Errorf("the cluster needs %s (apt-get install redis-server): %w", binary, err)
	}
	port, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	s := &Server{address: "127.0.0.1:" + strconv.Itoa(port)}
	s.child, err = process.Start(dir, binary, nil,
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	if err != nil {
		return nil, err
	}
	if err := s.child.Listens(s.address, 10*time.Second); err != nil {
		s.child.Stop()
		return nil, err
	}
	s.conn, err = net.DialTimeout("tcp", s.address, answerWithin)
	if err != nil {
		s.child.Stop()
		return nil, err
	}
	s.meter.in = bufio.NewReader(s.conn)
	s.meter.out = s.conn
	return s, nil
}

// URL is for the configuration of a node.
func (s *Server) URL() string { return "redis://" + s.address + "/0" }

// PID is the id of the process.
func (s *Server) PID() int { return s.child.PID() }

// Usage is what the server has done so far for others.
func (s *Server) Usage() (Usage, error) {
	if err := s.conn.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return Usage{}, err
	}
	u, err := s.meter.read()
	if err != nil {
		return Usage{}, s.child.Explain(errors.Join(errors.New("INFO of Redis"), err))
	}
	return u, nil
}

// Stop ends the server, and returns when it is gone.
func (s *Server) Stop() {
	s.conn.Close()
	s.child.Stop()
}
