// Package redistest runs Redis servers for tests: on free ports of the loopback
// interface, with their data in the test's directory, until the test ends.
package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// patience is how long anything that must happen may take.
	patience = 30 * time.Second
	// pause is between two looks at a condition.
	pause = 10 * time.Millisecond
	// attempts are how often a free port is looked for: another process may take
	// it before the server does.
	attempts = 5
)

// program is a Redis server, and with --sentinel a Redis Sentinel.
const program = "redis-server"

// Server is a running Redis server or Sentinel.
type Server struct {
	Addr string

	t        testing.TB
	dir      string
	args     []string
	sentinel string        // lines of its configuration; empty for a Redis server
	log      *bytes.Buffer // read when the process has ended

	mu      sync.Mutex // guards the following
	process *exec.Cmd
}

// Start runs a server with further arguments, as the command line has them.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, args, "")
}

func start(t testing.TB, args []string, sentinel string) *Server {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("these tests need %s: apt-get install redis-server redis-tools", program)
	}
	for range attempts {
		s := &Server{t: t, dir: t.TempDir(), args: args, sentinel: sentinel, Addr: FreeAddr(t)}
		if s.run() {
			t.Cleanup(s.Kill)
			return s
		}
	}
	t.Fatalf("%s does not start", program)
	return nil
}

// FreeAddr is one on which nobody listens now.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run starts the process; false: it has ended at once.
func (s *Server) run() bool {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	config := "bind " + host + "\nport " + port + "\ndir " + s.dir + "\nprotected-mode no\n"
	file := filepath.Join(s.dir, "server.conf")
	args := append([]string{file}, s.args...)
	if s.sentinel == "" {
		config += "save \"\"\nenable-debug-command yes\n"
	} else {
		// Debian packages redis-sentinel apart; it is this program.
		config += s.sentinel
		args = append(args, "--sentinel")
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.log = new(bytes.Buffer)
	process := exec.Command(program, args...)
	process.Stdout, process.Stderr = s.log, s.log
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.process = process
	s.mu.Unlock()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(pause) {
		if answers(s.Addr) {
			return true
		}
		if exited(process.Process.Pid) {
			break
		}
	}
	s.Kill()
	s.t.Logf("%s on %s has ended:\n%s", program, s.Addr, s.log)
	return false
}

// exited says whether a child has ended, or waits to be waited for.
func exited(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// answers says whether a server answers, if only that it wants a password.
func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, 5)
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	n, err := c.Read(answer)
	return err == nil && (string(answer[:n]) == "+PONG" || string(answer[:n]) == "-NOAU")
}

// Kill ends the process at once, if it runs.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		s.process = nil
	}
}

// Restart runs it again where it was, after Kill. What it knew is lost, but for
// what its arguments have it save.
func (s *Server) Restart() {
	s.t.Helper()
	for range attempts {
		if s.run() {
			return
		}
	}
	s.t.Fatalf("%s does not start again on %s", program, s.Addr)
}

// CLI runs redis-cli against it, and returns what that prints.
func (s *Server) CLI(args ...string) string {
	s.t.Helper()
	out, err := s.ask(args)
	if err != nil {
		s.t.Fatalf("redis-cli %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Ask is CLI for a server that may be amid a change, in which it closes
// connections: empty then.
func (s *Server) Ask(args ...string) string {
	out, err := s.ask(args)
	if err != nil {
		return ""
	}
	return out
}

func (s *Server) ask(args []string) (string, error) {
	host, port, _ := net.SplitHostPort(s.Addr)
	out, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Cluster runs a Redis Cluster of three masters.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	const size = 3
	servers := make([]*Server, size)
	for i := range servers {
		_, bus, _ := net.SplitHostPort(FreeAddr(t))
		servers[i] = Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "10000", "--cluster-require-full-coverage", "no", "--cluster-port", bus)
	}
	// Not by redis-cli --cluster create, which waits a second at a time.
	for i, s := range servers {
		s.CLI("cluster", "addslotsrange", fmt.Sprint(i*16384/size), fmt.Sprint((i+1)*16384/size-1))
		host, port, _ := net.SplitHostPort(servers[0].Addr)
		bus := servers[0].args[len(servers[0].args)-1]
		if i > 0 {
			s.CLI("cluster", "meet", host, port, bus)
		}
	}
	for _, s := range servers {
		until(t, "a cluster", func() bool {
			info := s.CLI("cluster", "info")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") && strings.Contains(info, fmt.Sprint("cluster_known_nodes:", size))
		})
	}
	return servers
}

// MasterSet is what Sentinel calls the servers of [Sentinel].
const MasterSet = "belfry"

// Sentinel runs a master, a replica, and a Sentinel that watches them.
func Sentinel(t testing.TB) (sentinel, master, replica *Server) {
	t.Helper()
	master = Start(t)
	host, port, _ := net.SplitHostPort(master.Addr)
	replica = Start(t, "--replicaof", host, port)
	until(t, "replication", func() bool { return strings.Contains(replica.CLI("info", "replication"), "master_link_status:up") })
	sentinel = start(t, nil, fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 1\n"+
		"sentinel down-after-milliseconds %[1]s 500\n"+
		"sentinel failover-timeout %[1]s 3000\n", MasterSet, host, port))
	until(t, "a replica that Sentinel knows", func() bool {
		return strings.Contains(sentinel.CLI("sentinel", "replicas", MasterSet), replica.Addr)
	})
	return sentinel, master, replica
}

func until(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); <-time.After(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
