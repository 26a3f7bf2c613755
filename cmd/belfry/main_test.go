package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"belfry": main})
}

// TestScripts runs the program as a user would: see testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"serve": serveUntil, "start": start},
	})
}

// patience is how long what must happen may take.
const patience = 30 * time.Second

// serveUntil is the script command
//
//	serve PATTERN FLAG...
//
// It runs belfry serve with the flags until its output matches PATTERN, ends it
// with SIGTERM, and expects exit code 0. The output is in the files out and err.
func serveUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: serve PATTERN FLAG...")
	}
	cmd := exec.Command("belfry", append([]string{"serve"}, args[1:]...)...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "TMPDIR", "BELFRY_LISTEN", "REVERB_FOO"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	seen := newPattern(args[0])
	out, err := &output{seen: seen}, &output{seen: seen}
	cmd.Stdout, cmd.Stderr = out, err
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-seen.found:
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
		if err := <-ended; err != nil {
			ts.Fatalf("belfry serve: %v\n%s", err, out.buffer.String())
		}
	case failed := <-ended:
		ts.Fatalf("belfry serve ended before it said %q: %v\n%s%s", args[0], failed, out.buffer.String(), err.buffer.String())
	case <-time.After(patience):
		_ = cmd.Process.Kill() // the test fails in any case
		<-ended
		ts.Fatalf("belfry serve did not say %q\n%s%s", args[0], out.buffer.String(), err.buffer.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.buffer.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), err.buffer.Bytes(), 0o600))
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// start is the script command
//
//	start FLAG...
//
// It runs belfry serve with the flags until the script ends. $ADDRESS is where it
// listens.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: start FLAG...")
	}
	cmd := exec.Command("belfry", append([]string{"serve"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	log := &output{seen: newPattern(listening.String())}
	cmd.Stderr = log
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ts.Defer(func() {
		_ = cmd.Process.Kill() // it has ended, if something is wrong
		<-ended
	})
	select {
	case <-log.seen.found:
	case err := <-ended:
		ended <- err
		ts.Fatalf("belfry serve ended: %v\n%s", err, log.buffer.String())
	case <-time.After(patience):
		ts.Fatalf("belfry serve does not listen")
	}
	ts.Setenv("ADDRESS", log.address)
}

// pattern closes found when an output matches it.
type pattern struct {
	*regexp.Regexp
	once  sync.Once
	found chan struct{}
}

func newPattern(text string) *pattern {
	return &pattern{Regexp: regexp.MustCompile(text), found: make(chan struct{})}
}

// output is written by one goroutine, and read when the program has ended.
type output struct {
	buffer  bytes.Buffer
	seen    *pattern
	address string // that it listens on; read when seen is found
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.buffer.Write(p)
	if m := listening.FindSubmatch(o.buffer.Bytes()); m != nil && o.address == "" {
		o.address = string(m[1])
	}
	if o.seen.Match(o.buffer.Bytes()) {
		o.seen.once.Do(func() { close(o.seen.found) })
	}
	return n, err
}
