package certificates

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"belfry/channels/cluster/redis"
	"belfry/channels/cluster/redis/redistest"
)

// Both storages do what [Storage] says; each is opened by two nodes.
func TestStorage(t *testing.T) {
	server := redistest.Start(t)
	for name, open := range map[string]func(t *testing.T) func() Storage{
		"directory": func(t *testing.T) func() Storage {
			dir := filepath.Join(t.TempDir(), "acme")
			return func() Storage { return Directory(dir) }
		},
		"redis": func(t *testing.T) func() Storage {
			return func() Storage {
				s, err := redis.NewStore(redis.Options{URL: "redis://" + server.Addr, Prefix: "test"})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		},
	} {
		t.Run(name, func(t *testing.T) { testStorage(t, open(t)) })
	}
	for line := range strings.Lines(server.CLI("keys", "*")) {
		if !strings.HasPrefix(line, "{test}s:") {
			t.Errorf("a key of another name: %s", line)
		}
	}
}

func testStorage(t *testing.T, open func() Storage) {
	one, two := open(), open()
	ctx := t.Context()
	const name = "ca.example-dir/ws.example.com.pem"
	expect := func(want []byte) {
		t.Helper()
		for _, s := range []Storage{one, two} {
			got, ok, err := s.Get(ctx, name)
			if err != nil || ok != (want != nil) || !bytes.Equal(got, want) {
				t.Errorf("%q, %t, %v; want %q", got, ok, err, want)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(nil)
	must(one.Delete(ctx, name))
	for _, value := range []string{"\x00\xff\r\n", strings.Repeat("long", 5000), ""} {
		must(one.Put(ctx, name, []byte(value), time.Hour))
		expect([]byte(value))
	}
	must(two.Delete(ctx, name))
	expect(nil)
	must(one.Put(ctx, name, []byte("stays"), 0))
	expect([]byte("stays"))

	lock := func(s Storage, name string) func() {
		t.Helper()
		unlock, ok, err := s.Lock(ctx, name, time.Hour)
		must(err)
		if !ok {
			return nil
		}
		return unlock
	}
	unlock := lock(one, "ca/lock")
	if unlock == nil {
		t.Fatal("nobody has the lock")
	}
	if lock(one, "ca/lock") != nil || lock(two, "ca/lock") != nil {
		t.Error("it is locked twice")
	}
	other := lock(two, "other/lock")
	if other == nil {
		t.Fatal("another one is locked, too")
	}
	other()
	unlock()
	again := lock(two, "ca/lock")
	if again == nil {
		t.Fatal("it stays locked")
	}
	unlock() // does not take away what is another's by now
	if lock(one, "ca/lock") != nil {
		t.Error("the first holder takes the lock from the second")
	}
	again()
	for _, s := range []Storage{one, two} {
		s.Close()
	}
}

// Run ends amid an order, and leaves no lock that others would have to wait for.
func TestStopOverRedis(t *testing.T) {
	server := redistest.Start(t)
	open := func() Storage {
		s, err := redis.NewStore(redis.Options{URL: "redis://" + server.Addr})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	storage, other := open(), open()
	defer other.Close()
	n := (&authority{t: t}).node(storage, domain)
	ordering := make(chan struct{})
	n.order = func(ctx context.Context, _ string) ([]byte, error) {
		close(ordering)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n.run()
	<-ordering
	if _, ok, err := other.Lock(t.Context(), n.names.lock(), time.Hour); ok || err != nil {
		t.Errorf("nobody has the lock: %v", err)
	}
	n.end()
	storage.Close()
	unlock, ok, err := other.Lock(t.Context(), n.names.lock(), time.Hour)
	if err != nil || !ok {
		t.Fatalf("it stays locked: %v", err)
	}
	unlock()
	if log := n.log.String(); log != "" || n.failed() != 0 {
		t.Errorf("%d failures: %s", n.failed(), log)
	}
}

// A directory is for its owner only, and what is too large or unreadable there is an error.
func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	s := Directory(dir)
	if err := s.Put(t.Context(), "ca/account.key", []byte("secret"), 0); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{"": 0o700, "ca": 0o700, "ca/account.key": 0o600} {
			if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
				t.Errorf("%q: %v, %v; want %v", path, info.Mode(), err, want)
			}
		}
	}
	half := filepath.Join(dir, "ca", "account.key-1.tmp")
	if err := os.WriteFile(half, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	unlock, ok, err := s.Lock(t.Context(), "ca/lock", 0)
	if err != nil || !ok {
		t.Fatalf("%t, %v", ok, err)
	}
	unlock()
	if _, err := os.Stat(half); err == nil {
		t.Error("what a crash has left, stays")
	}
	if err := os.WriteFile(filepath.Join(dir, "large"), make([]byte, maxStored+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"large", "ca"} {
		if _, ok, err := s.Get(t.Context(), name); ok || err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if err := s.Put(t.Context(), "large/file", nil, 0); err == nil {
		t.Error("a file is a directory")
	}
	if _, _, err := s.Lock(t.Context(), "large/file", 0); err == nil {
		t.Error("a file is a directory that has a lock")
	}
}

// What is no file keeps nobody waiting.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "ca", "a.pem"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := Directory(dir).Get(t.Context(), "ca/a.pem"); ok || err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("got %t, %v", ok, err)
	}
}

// Without Redis, each call is an error, which has no password in it.
func TestNoRedis(t *testing.T) {
	s, err := redis.NewStore(redis.Options{URL: "redis://:hunter2@" + redistest.FreeAddr(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		if _, ok, err := s.Get(t.Context(), "a"); ok || err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%t, %v", ok, err)
		}
	}
	if _, ok, err := s.Lock(t.Context(), "a", time.Hour); ok || err == nil {
		t.Errorf("%t, %v", ok, err)
	}
	s.Close()
	if err := s.Put(t.Context(), "a", nil, 0); err == nil {
		t.Error("a closed one stores")
	}
}

// What one authority has issued is not taken for another's, and no name leaves the directory.
func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, directory := range []string{"https://acme-v02.api.letsencrypt.org/directory", "https://acme-staging-v02.api.letsencrypt.org/directory",
		"https://ca.example:9000/acme/a/directory", "https://ca.example:9000/acme/b/directory"} {
		n := namesOf(directory)
		if seen[n.authority] || strings.ContainsAny(n.authority, `/\:`) {
			t.Errorf("%s: %s", directory, n.authority)
		}
		seen[n.authority] = true
	}
	for directory, want := range map[string]string{
		"https://acme-v02.api.letsencrypt.org/directory": "acme-v02.api.letsencrypt.org-directory",
		"https://ca.example/../..":                       "ca.example",
	} {
		if got := namesOf(directory).authority; got != want {
			t.Errorf("%s: %q, want %q", directory, got, want)
		}
	}
}
