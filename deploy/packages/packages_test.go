//go:build dist

// Package packages_test installs the packages in dist/, which make release has made
// before, and runs what they have installed. It needs root.
package packages_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long what must happen may take.
	patience = 30 * time.Second
	// pause is between two looks at a condition.
	pause = 20 * time.Millisecond
	// exposure is what systemd-analyze may say at most, times ten. Other servers of this
	// kind have 70 and 92.
	exposure = "20"

	config  = "/etc/belfry/config.yaml"
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
	dir  string
	init string // id of its first process, systemd
}

func newRoot(t *testing.T) root {
	t.Helper()
	dir := t.TempDir()
	r := root{T: t, dir: filepath.Join(dir, "root")}
	r.mount("none", dir, "tmpfs", "size=500m")
	for _, name := range []string{"upper", "work", "root", "cgroup"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.mount("none", r.dir, "overlay", fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%s/work", dir, dir))
	// What this machine runs, and what keeps it from that, is not the test's.
	wants, err := filepath.Glob(r.dir + "/etc/systemd/system/*.wants/*")
	if err != nil {
		t.Fatal(err)
	}
	// Nor is the index of manual pages, which takes long to make.
	for _, path := range append(wants, r.dir+"/usr/sbin/policy-rc.d", r.dir+"/var/lib/man-db/auto-update") {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	r.boot()
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := r.command("journalctl", "--no-pager", "--unit=belfry").CombinedOutput()
			t.Logf("the journal: %s", log)
		}
	})
	return r
}

// boot starts systemd in a container, with a network of its own, in which port 8080 is free.
// As the machine's settings and devices are not writable there, systemd leaves them alone.
func (r *root) boot() {
	r.Helper()
	groups := filepath.Join(filepath.Dir(r.dir), "cgroup")
	r.mount("none", groups, "cgroup2", "")
	group, err := os.MkdirTemp(groups, "belfry-test-")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		var all []string
		_ = filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for _, path := range slices.Backward(all) {
			if err := os.Remove(path); err != nil {
				r.Error(err)
			}
		}
	})
	place, err := os.Open(group)
	if err != nil {
		r.Fatal(err)
	}
	defer place.Close()
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--cgroup",
		"sh", "-ec", `
mount -t proc proc "$0/proc"
mount --bind "$0/proc/sys" "$0/proc/sys"
mount -o remount,ro,bind "$0/proc/sys"
mount -t sysfs -o ro sysfs "$0/sys"
mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$0/dev"
mkdir "$0/dev/pts" "$0/dev/shm"
for device in null zero full random urandom tty; do
	: >"$0/dev/$device"
	mount --bind "/dev/$device" "$0/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$0/dev/pts"
ln -s pts/ptmx "$0/dev/ptmx"
ln -s /proc/self/fd "$0/dev/fd"
mount -t tmpfs none "$0/run"
exec env container=test chroot "$0" /lib/systemd/systemd --unit=multi-user.target`, r.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(place.Fd()), Setsid: true}
	log := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	r.Cleanup(func() {
		// All other processes in there end with the first one.
		if pid, err := strconv.Atoi(r.init); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		} else {
			_ = cmd.Process.Kill()
		}
		<-ended
	})
	for deadline := time.After(patience); ; {
		// The only child of unshare is the first process in the root.
		pid := strconv.Itoa(cmd.Process.Pid)
		children, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		if r.init = strings.TrimSpace(string(children)); r.init != "" {
			// Degraded is what cannot be had here, such as the console.
			state, _ := r.command("systemctl", "is-system-running", "--wait").Output()
			if s := string(state); s == "running\n" || s == "degraded\n" {
				return
			}
		}
		select {
		case <-ended:
			r.Fatalf("systemd has ended: %s", log)
		case <-deadline:
			r.Fatal("systemd does not start")
		case <-time.After(pause):
		}
	}
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
	enter := []string{"--target=" + r.init, "--mount", "--pid", "--net", "--cgroup", "--root", "--wd=/"}
	cmd := exec.Command("nsenter", append(enter, args...)...)
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

// copyIn copies a file into the root, and returns its path there.
func (r root) copyIn(file string) string {
	r.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		r.Fatal(err)
	}
	path := filepath.Join("/var/tmp", filepath.Base(file))
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
	client := r.listen()
	r.trigger("first")
	client.expect("posted first")
	r.run("systemctl", "reload", "belfry")

	// An upgrade of the package leaves the configuration alone, and has the running server
	// hand over to the new one.
	r.replaced("dpkg", "--install", file)
	if after := r.run("cat", config); after != before {
		t.Errorf("an upgrade of the package changes the configuration:\n%s", after)
	}
	r.trigger("second")
	client.expect("posted second")

	// With the socket of systemd, who comes while the server starts waits.
	r.run("systemctl", "stop", "belfry")
	r.run("systemctl", "enable", "--now", "belfry.socket")
	client = r.listen()
	r.trigger("third")
	client.expect("posted third")

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
	r.run("systemctl", "start", "belfry")
	client := r.listen()
	r.trigger("first")
	client.expect("posted first")
	before := r.run("cat", config)
	r.replaced("rpm", "--upgrade", "--nodeps", "--replacepkgs", file)
	if after := r.run("cat", config); after != before {
		t.Errorf("an upgrade changes the configuration:\n%s", after)
	}
	r.trigger("second")
	client.expect("posted second")
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

// replaced runs a command that replaces the package of a running server, which then hands
// over to a new process.
func (r root) replaced(args ...string) {
	r.Helper()
	pid := r.run("systemctl", "show", "-p", "MainPID", "--value", "belfry")
	if out := r.run(args...); !strings.Contains(out, "has taken over from process "+pid) {
		r.Errorf("%q says %s", args, out)
	}
	if now := r.run("systemctl", "show", "-p", "MainPID", "--value", "belfry"); now == pid || now == "0\n" {
		r.Errorf("the main process was %s and is %s", pid, now)
	}
}

// listen starts a client of the channel news, at the server that the installed
// configuration is of.
func (r root) listen() *output {
	r.Helper()
	cmd := r.command("belfry", "listen", "--config", config, "news")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	client := r.launch(cmd)
	r.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nsenter and its child
		client.end()
	})
	client.expect("subscribed to news")
	return client
}

func (r root) trigger(data string) {
	r.Helper()
	r.run("belfry", "trigger", "--config", config, "news", "posted", data)
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
