package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// upgraded runs belfry upgrade, and returns what it prints, and the new process.
func (p *process) upgraded(t *testing.T) (successor int, output string, err error) {
	t.Helper()
	cmd := exec.Command("belfry", "upgrade", "--pid", strconv.Itoa(p.Process.Pid))
	text, err := cmd.CombinedOutput()
	if m := regexp.MustCompile(`process (\d+) has taken over from process`).FindSubmatch(text); m != nil {
		successor, _ = strconv.Atoi(string(m[1])) // digits
		t.Cleanup(func() { _ = syscall.Kill(successor, syscall.SIGKILL) })
	}
	return successor, string(text), err
}

// The program is replaced by what is on disk, its client stays, and the service manager
// hears which process is the main one.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "belfry.yaml")
	writeFile(t, config, oneApp+"metrics: {listen: '127.0.0.1:0'}\nconsole: {enabled: true, listen: '127.0.0.1:0'}\n")
	path := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	p := startProcess(t, exec.Command("belfry", "serve", "--config", config), "NOTIFY_SOCKET="+path)
	address := listeningAt.FindStringSubmatch(p.expect(t, "msg=listening"))[1]
	metrics := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(p.expect(t, "msg=metrics"))[1]
	console := regexp.MustCompile(`url="?(http://[^#"]+/)#`).FindStringSubmatch(p.expect(t, "msg=console"))[1]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, _, err := websocket.Dial(ctx, "ws://"+address+"/app/k?protocol=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseNow()
	if _, _, err := client.Read(ctx); err != nil { // the greeting
		t.Fatal(err)
	}
	states := make(chan string, 100)
	go func() {
		defer close(states)
		for message := make([]byte, 1000); ; {
			n, err := manager.Read(message)
			if err != nil {
				return
			}
			states <- string(message[:n])
		}
	}()

	successor, output, err := p.upgraded(t)
	if err != nil || successor == 0 || successor == p.Process.Pid {
		t.Fatalf("belfry upgrade: %v\n%s", err, output)
	}
	go func() {
		for range p.lines {
		}
	}()
	select {
	case err := <-p.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the old process has not ended")
	}
	for want := range strings.SplitSeq(fmt.Sprintf("READY=1 MAINPID=%d READY=1", successor), " ") {
		for state := ""; !strings.Contains(state, want); {
			select {
			case state = <-states:
			case <-ctx.Done():
				t.Fatalf("the service manager is not told %s", want)
			}
		}
	}
	if err := client.Write(ctx, websocket.MessageText, []byte(`{"event":"pusher:ping","data":{}}`)); err != nil {
		t.Error(err)
	}
	if _, text, err := client.Read(ctx); err != nil || !bytes.Contains(text, []byte("pusher:pong")) {
		t.Errorf("the client has got %s, error %v", text, err)
	}
	if a, err := http.Get(console); err != nil {
		t.Error(err)
	} else {
		a.Body.Close()
		if a.StatusCode != http.StatusOK {
			t.Errorf("the console is answered with %s", a.Status)
		}
	}
	if a, err := http.Get("http://" + metrics + "/metrics"); err != nil {
		t.Error(err)
	} else {
		a.Body.Close()
	}
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", successor))
	if err != nil || !bytes.Contains(arguments, []byte("serve\x00--config\x00"+config)) {
		t.Errorf("the new process has the arguments %q, error %v", arguments, err)
	}
	if err := syscall.Kill(successor, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Read(ctx); err != nil { // the error event
		t.Error(err)
	}
	if _, _, err := client.Read(ctx); websocket.CloseStatus(err) != 4200 {
		t.Errorf("the client ends with %v", err)
	}
}

// What keeps a process from it is the answer, and the process goes on.
func TestUpgradeRefused(t *testing.T) {
	config := filepath.Join(t.TempDir(), "belfry.yaml")
	writeFile(t, config, oneApp)
	p := serveProcess(t, "--config", config)
	p.expect(t, "msg=listening")
	writeFile(t, config, "nonsense: 1\n")
	_, output, err := p.upgraded(t)
	if err == nil || err.Error() != "exit status 1" {
		t.Errorf("belfry upgrade: %v", err)
	}
	if !strings.Contains(output, "the new process has ended before it took over (exit status 1)") {
		t.Errorf("belfry upgrade says %s", output)
	}
	p.expect(t, `unknown key "nonsense"`)
	p.expect(t, "no handover: this process goes on")
	p.signal(t, syscall.SIGUSR2)
	p.expect(t, "no handover: this process goes on")
	p.stop(t)
}

// An app that was made up for a run would be another one in the next.
func TestUpgradeOfAnAppMadeUp(t *testing.T) {
	p := startProcess(t, exec.Command("belfry", "serve"), "BELFRY_LISTEN=127.0.0.1:0")
	p.expect(t, "msg=listening")
	if _, output, err := p.upgraded(t); err == nil || !strings.Contains(output, "made up for this run") {
		t.Errorf("belfry upgrade: %v\n%s", err, output)
	}
	p.stop(t)
}
