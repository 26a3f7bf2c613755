package handover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long what must happen may take.
const patience = 30 * time.Second

// pair returns both sides of a connection.
func pair(t *testing.T) (a, b *Link) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range []**Link{&a, &b} {
		if *l, err = connect(fds[i]); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*l).Close)
		(*l).SetDeadline(time.Now().Add(patience))
	}
	return a, b
}

func TestLink(t *testing.T) {
	a, b := pair(t)
	sent := make(chan error, 1)
	long := strings.Repeat("x", 1<<20) // more than the socket takes at once
	go func() {
		err := errors.Join(a.Send(Hello, map[string]int{"version": 1}), a.Send('a', long), a.Send(Adopted, nil),
			a.Send(Failed, "no room"), a.Flush())
		a.Close()
		sent <- err
	}()
	var hello struct {
		Version int `json:"version"`
	}
	if err := b.Expect(Hello, &hello); err != nil || hello.Version != 1 {
		t.Errorf("Hello is %v, error %v", hello, err)
	}
	if k, text, err := b.Receive(); k != 'a' || string(text) != `"`+long+`"` || err != nil {
		t.Errorf("the second record is %q with %d bytes, error %v", k, len(text), err)
	}
	if err := b.Expect(Go, nil); !errors.Is(err, ErrRecord) {
		t.Errorf("another record than is due: %v", err)
	}
	if err := b.Expect(Ready, nil); !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), "no room") {
		t.Errorf("a refusal: %v", err)
	}
	if _, _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A peer that ends with something unread resets the connection.
func TestReset(t *testing.T) {
	a, b := pair(t)
	if err := errors.Join(a.Send('a', 1), a.Flush()); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if _, _, err := a.Receive(); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("error %v", err)
	}
}

// Descriptors arrive in their order, also when there are more than one message takes.
func TestFiles(t *testing.T) {
	const n = 2*maxFiles + 1
	a, b := pair(t)
	sent := make(chan error, 1)
	go func() {
		var fds []int
		var err error
		for i := range n {
			fd, made := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
			_, wrote := unix.Write(fd, fmt.Append(nil, i))
			fds, err = append(fds, fd), errors.Join(err, made, wrote)
		}
		err = errors.Join(err, a.SendFiles(fds...), a.Send('a', n), a.Flush())
		for _, fd := range fds {
			unix.Close(fd)
		}
		sent <- err
	}()
	if err := b.Expect('a', nil); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		fd, err := b.NextFile()
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 10)
		read, err := unix.Pread(fd, text, 0)
		unix.Close(fd)
		if want := fmt.Sprint(i); err != nil || string(text[:read]) != want {
			t.Fatalf("descriptor %s is that of %q, error %v", want, text[:read], err)
		}
	}
	if _, err := b.NextFile(); !errors.Is(err, ErrDescriptors) {
		t.Errorf("one more: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// A process that may not have as many descriptors does not take over half of them.
func TestTooManyFiles(t *testing.T) {
	var limit, low unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	a, b := pair(t)
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(a.SendFiles(fd, fd, fd, fd, fd), a.Send('a', 1), a.Flush()) }()
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	low = limit
	low.Cur = uint64(fd) + 3 // descriptors are the lowest that are free
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	_, _, err = b.Receive()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, ErrDescriptors) {
		t.Errorf("error %v", err)
	}
}

func TestVersions(t *testing.T) {
	for version := oldestVersion; version <= Version; version++ {
		if err := CheckVersion(version); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
	}
	for _, version := range []int{-1, oldestVersion - 1, Version + 1} {
		if err := CheckVersion(version); !errors.Is(err, ErrVersion) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// What no record is, is an error, and takes no more memory than has come.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("H\x00\x00\x00\x0d{\"version\":1}"))
	f.Add([]byte("F\x00\x00\x00\x00a\x00\x00\x00\x02\"\"X\x00\x00\x00\x03\"n\""))
	f.Add([]byte("F\x00\x00\x00\x01a"))
	f.Add([]byte("a\xff\xff\xff\xff"))
	f.Add([]byte("a\x0f\xff\xff\xff{"))
	f.Fuzz(func(t *testing.T, input []byte) {
		l := &Link{in: &records{r: bytes.NewReader(input), files: &incoming{}}}
		for {
			k, text, err := l.Receive()
			if err != nil {
				return
			}
			if k == Failed || k == descriptors || len(text) > len(input) {
				t.Fatalf("record %q of %d bytes", k, len(text))
			}
			var read map[string]any
			_ = Read(text, &read) // an error is as good
		}
	})
}

// An operator hears what came of a request.
func TestUpgrade(t *testing.T) {
	requests, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	defer requests.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := Listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the name can be had twice: %v", err)
	}
	for _, tt := range []struct {
		pid  int
		err  error
		want string
	}{
		{42, nil, ""},
		{0, errors.New("not now\nnor later"), "not now; nor later"},
	} {
		answered := make(chan struct{})
		go func() {
			(<-requests.C).Answer(tt.pid, tt.err)
			close(answered)
		}()
		pid, err := Upgrade(ctx, os.Getpid())
		<-answered
		if pid != tt.pid || (err == nil) != (tt.err == nil) || err != nil && err.Error() != tt.want {
			t.Errorf("the answer is %d, %v", pid, err)
		}
	}
	if _, err := Upgrade(ctx, 1<<30); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("a process that there is not: %v", err)
	}
}

// Who waits when the process ends is told so.
func TestUpgradeEnds(t *testing.T) {
	requests, err := Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := Upgrade(ctx, os.Getpid())
		failed <- err
	}()
	first := <-requests.C
	go func() {
		_, err := Upgrade(ctx, os.Getpid())
		failed <- err
	}()
	first.Answer(0, errors.New("no"))
	<-failed
	requests.Close()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}

func TestInherited(t *testing.T) {
	if l, err := Inherited(); l != nil || err != nil {
		t.Errorf("without a process before: %v, %v", l, err)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", "x", fmt.Sprint(fd)} {
		t.Setenv(variable, value)
		if l, err := Inherited(); l != nil || err == nil {
			t.Errorf("%s=%q: %v, %v", variable, value, l, err)
		}
		if _, ok := os.LookupEnv(variable); ok {
			t.Errorf("%s is still there", variable)
		}
	}
}
