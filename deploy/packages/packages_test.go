//go:build dist

// Package packages_test installs the packages in dist/, which make release has made
// before, and runs what they have installed. It needs root.
package packages_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long what must happen may take.
	patience = 30 * time.Second
	// exposure is what systemd-analyze may say at most, times ten. Other servers of this
	// kind have 70 and 92.
	exposure = "20"

	config  = "/etc/belfry/config.yaml"
	calls   = "/tmp/calls" // of the server to the system, as strace prints them
	service = "/usr/lib/systemd/system/belfry.service"
)

// TestMain runs the tests in a mount namespace of their own: what they mount goes with it.
func TestMain(m *testing.M) {
	const inside = "BELFRY_TEST_NAMESPACE"
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("unshare", append([]string{"--mount", "--propagation", "private"}, os.Args...)...)
	if os.Getuid() != 0 {
		cmd = exec.Command("sudo", append([]string{"-n", "--preserve-env=PATH," + inside}, cmd.Args...)...)
	}
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests of packages, which need root, a mount namespace and overlayfs:", err)
		os.Exit(1)
	}
}

// root is a directory that looks like this machine. What is changed in it stays in memory,
// and is gone after the test.
type root struct {
	*testing.T
	dir string
}

func newRoot(t *testing.T) root {
	t.Helper()
	dir := t.TempDir()
	r := root{t, filepath.Join(dir, "root")}
	r.mount("none", dir, "tmpfs", "size=500m")
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.mount("none", r.dir, "overlay", fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%s/work", dir, dir))
	r.mount("none", r.dir+"/proc", "proc", "")
	r.mount("none", r.dir+"/tmp", "tmpfs", "")
	if err := syscall.Mount("/dev", r.dir+"/dev", "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(r.dir+"/dev", syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r root) mount(source, target, kind, data string) {
	r.Helper()
	if err := syscall.Mount(source, target, kind, 0, data); err != nil {
		r.Fatalf("mount %s on %s: %v", kind, target, err)
	}
	r.Cleanup(func() {
		if err := syscall.Unmount(target, syscall.MNT_DETACH); err != nil {
			r.Errorf("unmount %s: %v", target, err)
		}
	})
}

// command is one that runs in the root, with little in its environment.
func (r root) command(args ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{r.dir}, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}
	return cmd
}

// run runs a command in the root, which has to succeed, and returns what it prints.
func (r root) run(args ...string) string {
	r.Helper()
	out, err := r.command(args...).CombinedOutput()
	if err != nil {
		r.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// copyIn copies a file into the root's /tmp, and returns its path there.
func (r root) copyIn(file string) string {
	r.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		r.Fatal(err)
	}
	path := filepath.Join("/tmp", filepath.Base(file))
	if err := os.WriteFile(r.dir+path, content, 0o644); err != nil {
		r.Fatal(err)
	}
	return path
}

// exists says whether the root has a file.
func (r root) exists(path string) bool {
	r.Helper()
	_, err := os.Lstat(r.dir + path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.Fatal(err)
	}
	return err == nil
}

// artefact returns the package in dist/ whose name ends so, for this machine.
func artefact(t *testing.T, suffix string) string {
	t.Helper()
	files, err := filepath.Glob("../../dist/belfry?[0-9]*" + suffix)
	if err != nil || len(files) != 1 {
		t.Fatalf("dist/ has %d packages *%s: %v", len(files), suffix, err)
	}
	return files[0]
}

// machine is what others than Go call this one.
var machine = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]

// checkConfig checks that the installation has written a configuration that nobody else
// reads, with credentials that no other installation has.
func (r root) checkConfig() {
	r.Helper()
	if got := r.run("stat", "-c", "%a %U %G", config); got != "640 root belfry\n" {
		r.Errorf("the configuration is %s", got)
	}
	text := r.run("cat", config)
	if !regexp.MustCompile(`id: "[1-9]\d{5}"\n    key: "[0-9a-f]{20}"\n    secret: "[0-9a-f]{32}"\n`).MatchString(text) {
		r.Errorf("the configuration is\n%s", text)
	}
	if got := r.run("belfry", "check", "--config", config); !strings.HasPrefix(got, config+": ok\nlisten   ws://127.0.0.1:8080\n") {
		r.Errorf("belfry check says %s", got)
	}
}

// A deb installs, serves, is replaced while a client stays connected, and goes.
func TestDeb(t *testing.T) {
	deb := artefact(t, "_"+runtime.GOARCH+".deb")
	if out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning,info", deb).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("lintian: %v: %s", err, out)
	}
	r := newRoot(t)
	file := r.copyIn(deb)
	r.run("dpkg", "--install", file)
	r.checkConfig()
	if !r.exists("/etc/systemd/system/multi-user.target.wants/belfry.service") {
		t.Error("the service is not enabled")
	}
	if out := r.run("systemd-analyze", "verify", service, "/usr/lib/systemd/system/belfry.socket"); out != "" {
		t.Errorf("systemd-analyze verify says %s", out)
	}
	r.run("systemd-analyze", "security", "--offline=true", "--threshold="+exposure, service)
	if out := r.run("man", "--pager=cat", "belfry"); !strings.Contains(out, "belfry serve") {
		t.Errorf("the manual page is %s", out)
	}
	r.run("bash", "-n", "/usr/share/bash-completion/completions/belfry")

	before := r.run("cat", config)
	s := r.start()
	client := s.listen()
	s.trigger("first")
	client.expect("posted first")

	// An upgrade of the package leaves the configuration alone, and puts the new binary in
	// the place of the old one. There is no systemd here to ask, so the handover is by hand.
	r.run("dpkg", "--install", file)
	if after := r.run("cat", config); after != before {
		t.Errorf("an upgrade of the package changes the configuration:\n%s", after)
	}
	s.upgrade()
	s.trigger("second")
	client.expect("posted second")
	s.stop()
	s.checkCalls()

	r.run("dpkg", "--remove", "belfry")
	if !r.exists(config) || r.exists("/usr/bin/belfry") {
		t.Error("a removal takes the configuration, or leaves the binary")
	}
	r.run("dpkg", "--purge", "belfry")
	for _, path := range []string{"/etc/belfry", "/var/lib/belfry", "/etc/systemd/system/multi-user.target.wants/belfry.service", "/etc/systemd/system/belfry.service"} {
		if r.exists(path) {
			t.Errorf("%s is left", path)
		}
	}
}

// The scripts of an rpm write the same configuration, and its files work.
func TestRPM(t *testing.T) {
	r := newRoot(t)
	file := r.copyIn(artefact(t, "."+machine+".rpm"))
	// Debian's packages are not in rpm's database.
	r.run("rpm", "--install", "--nodeps", file)
	r.checkConfig()
	s := r.start()
	client := s.listen()
	s.trigger("first")
	client.expect("posted first")
	s.stop()
	before := r.run("cat", config)
	r.run("rpm", "--upgrade", "--nodeps", "--replacepkgs", file)
	if after := r.run("cat", config); after != before {
		t.Errorf("an upgrade changes the configuration:\n%s", after)
	}
	r.run("rpm", "--erase", "belfry")
	if !r.exists(config) || r.exists("/usr/bin/belfry") {
		t.Error("a removal takes the configuration, or leaves the binary")
	}
}

// Nothing here can install an apk: its files are unpacked, and its scripts run by the shell
// and the programs that Alpine has. Debian's busybox makes no users.
func TestAPK(t *testing.T) {
	r := newRoot(t)
	file := r.copyIn(artefact(t, "_"+machine+".apk"))
	r.run("tar", "--warning=no-unknown-keyword", "--keep-directory-symlink", "-xzf", file, "-C", "/")
	r.run("systemd-sysusers", r.copyIn("sysusers.conf"))
	for _, script := range []string{"/.post-install", "/.post-upgrade"} {
		r.run("busybox", "sh", script, "1.0.0-r1")
	}
	r.checkConfig()
	for _, script := range []string{"/.pre-install", "/etc/init.d/belfry"} {
		r.run("busybox", "sh", "-n", script)
	}
}

// server is the installed service, started as systemd does, with the socket of
// belfry.socket on a free port.
type server struct {
	root
	pid     int // of the main process; 0 if it has ended
	address string
	log     *output
}

func (r root) start() *server {
	r.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		r.Fatal(err)
	}
	defer socket.Close()
	unit := r.run("cat", service)
	exec := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
	if exec == nil || !strings.Contains(unit, "\nUser=belfry\n") || !strings.Contains(unit, "\nStateDirectory=belfry\n") {
		r.Fatalf("the unit is\n%s", unit)
	}
	r.run("install", "-d", "-o", "belfry", "-g", "belfry", "-m", "750", "/var/lib/belfry")
	cmd := r.command("strace", "-D", "-f", "-qq", "-o", calls,
		"setpriv", "--reuid=belfry", "--regid=belfry", "--clear-groups", "--no-new-privs",
		"sh", "-c", "LISTEN_PID=$$ exec "+exec[1])
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=belfry.socket")
	cmd.ExtraFiles = []*os.File{socket}
	s := &server{root: r, address: l.Addr().String(), log: r.launch(cmd)}
	s.pid = cmd.Process.Pid
	r.Cleanup(s.stop)
	s.log.expect("msg=listening address=" + s.address)
	return s
}

// stop ends the server, and waits for that.
func (s *server) stop() {
	s.Helper()
	if s.pid == 0 {
		return
	}
	if err := syscall.Kill(s.pid, syscall.SIGTERM); err != nil {
		s.Errorf("the server has ended: %v", err)
	}
	s.pid = 0
	s.log.end()
}

// upgrade has the server hand over to a new process.
func (s *server) upgrade() {
	s.Helper()
	out := s.run("belfry", "upgrade", "--pid", strconv.Itoa(s.pid))
	if _, err := fmt.Sscanf(out, "process %d has taken over", &s.pid); err != nil {
		s.Fatalf("belfry upgrade says %s", out)
	}
}

// listen starts a client of the channel news.
func (s *server) listen() *output {
	s.Helper()
	cmd := s.command("belfry", "listen", "--config", config, "--url", "http://"+s.address, "news")
	client := s.launch(cmd)
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		client.end()
	})
	client.expect("subscribed to news")
	return client
}

func (s *server) trigger(data string) {
	s.Helper()
	s.run("belfry", "trigger", "--config", config, "--url", "http://"+s.address, "news", "posted", data)
}

// checkCalls checks that the unit allows every system call that the server has made since
// its program began.
func (s *server) checkCalls() {
	s.Helper()
	allowed := make(map[string]bool)
	unit := s.run("cat", service)
	for _, filter := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(.*)$`).FindAllStringSubmatch(unit, -1) {
		for _, set := range strings.Fields(filter[2]) {
			for _, name := range s.callsOf(set) {
				allowed[name] = filter[1] == ""
			}
		}
	}
	trace := s.run("cat", calls)
	begin := strings.Index(trace, `execve("/usr/bin/belfry"`)
	if begin < 0 {
		s.Fatalf("the server was not traced: %.1000s", trace)
	}
	made := make(map[string]bool)
	for _, call := range regexp.MustCompile(`(?m)^\d+ +([a-z_0-9]+)\(`).FindAllStringSubmatch(trace[begin:], -1) {
		made[call[1]] = true
	}
	if !made["sendmsg"] || !made["accept4"] {
		s.Errorf("the trace is not of a server: %v", made)
	}
	for name := range made {
		if !allowed[name] {
			s.Errorf("SystemCallFilter= of the unit refuses %s, which the server uses", name)
		}
	}
}

// callsOf returns the system calls in a set of systemd's, such as @system-service.
func (r root) callsOf(set string) (names []string) {
	r.Helper()
	if !strings.HasPrefix(set, "@") {
		return []string{set}
	}
	for line := range strings.Lines(r.run("systemd-analyze", "syscall-filter", set)) {
		name := strings.TrimSpace(line)
		if name != set && name != "" && strings.HasPrefix(line, " ") && !strings.HasPrefix(name, "#") {
			names = append(names, r.callsOf(name)...)
		}
	}
	return names
}

// output is what a process and its children print.
type output struct {
	*testing.T
	lines chan string // closed when all of them have ended
	seen  []string    // taken from lines
}

// launch starts a command whose output is looked at.
func (r root) launch(cmd *exec.Cmd) *output {
	r.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		r.Fatal(err)
	}
	defer writer.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	o := &output{T: r.T, lines: make(chan string, 1000)}
	go func() {
		defer close(o.lines)
		defer reader.Close()
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			o.lines <- lines.Text()
		}
		_ = cmd.Wait() // how it ended does not matter here
	}()
	return o
}

// expect waits for a line with this text.
func (o *output) expect(text string) {
	o.Helper()
	for timeout := time.After(patience); ; {
		select {
		case line, ok := <-o.lines:
			if !ok {
				o.Fatalf("it ended without %q:\n%s", text, strings.Join(o.seen, "\n"))
			}
			o.seen = append(o.seen, line)
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			o.Fatalf("no %q in:\n%s", text, strings.Join(o.seen, "\n"))
		}
	}
}

// end waits until there is no more output.
func (o *output) end() {
	o.Helper()
	for timeout := time.After(patience); ; {
		select {
		case line, ok := <-o.lines:
			if !ok {
				return
			}
			o.seen = append(o.seen, line)
		case <-timeout:
			o.Errorf("it does not end:\n%s", strings.Join(o.seen, "\n"))
			return
		}
	}
}
