package webhooks

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"belfry/server/config"
)

// files are those of a spool but its lock, without their directories.
func files(t *testing.T, spool string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(spool, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() != lockFile {
			names = append(names, entry.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// crashed is a copy of a spool as the end of the process now would leave it.
func crashed(t *testing.T, spool string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(dir, os.DirFS(spool)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// After a crash, what was not taken goes out, in order and before what is new.
func TestSpoolSurvivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := filepath.Join(t.TempDir(), "new", "spool")
		w := newWorld(t, spool)
		h := w.host("backend", nil)
		a := w.application("1", to("http://backend"), to("http://dead"))
		for i := range 150 {
			a.happens(fmt.Sprint("cache_miss:", i))
		}
		pass(time.Second)
		h.answers(status(500))
		for i := range 5 {
			a.happens(fmt.Sprint("cache_miss:x", i))
			pass(time.Second)
		}
		taken := len(h.events(t))
		after := newWorld(t, crashed(t, spool))
		h2, revived := after.host("backend", nil), after.host("dead", nil)
		b := after.application("1", to("http://backend"), to("http://dead"))
		after.CheckSpool()
		b.happens("cache_miss:new")
		pass(time.Second)

		if got, want := h2.events(t), []string{"cache_miss:x0", "cache_miss:x1", "cache_miss:x2", "cache_miss:x3", "cache_miss:x4", "cache_miss:new"}; !slices.Equal(got, want) {
			t.Errorf("after %d events, got %v, want %v", taken, got, want)
		}
		if got := revived.events(t); len(got) != 156 || got[0] != "cache_miss:0" || got[149] != "cache_miss:149" || got[155] != "cache_miss:new" {
			t.Errorf("the other one got %v", got)
		}
		if left := files(t, after.spool.dir); len(left) != 0 {
			t.Errorf("left in the spool: %v", left)
		}
		after.expect(t, `sent_total{app="1"}`, "162", `queue_length{app="1"}`, "0", `spool_errors_total{app="1"}`, "0")
	})
}

// A batch of the spool has a fresh five minutes, and keeps its time.
func TestSpooledBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		a := w.application("1", to("http://backend"))
		a.happens("cache_miss:c")
		pass(batchDelay)
		made := time.Now().UnixMilli()
		w.end()
		w.expect(t, `dropped_total{app="1",reason="shutdown"}`, "0")
		if w.log.lines("stay in the spool for the next start") != 1 {
			t.Errorf("log:\n%s", w.log)
		}
		pass(24 * time.Hour)

		after := newWorld(t, spool)
		after.application("1", to("http://backend"))
		pass(4 * time.Minute)
		h := after.host("backend", nil)
		pass(time.Minute)
		want := fmt.Sprintf(`{"time_ms":%d,"events":[{"name":"cache_miss","channel":"c"}]}`, made)
		if got := h.requests(); len(got) != 1 || got[0].body != want {
			t.Errorf("got %+v", got)
		}
	})
}

// What is given up leaves nothing behind. What an endpoint has not taken when it
// goes stays, and is logged with its directory; it goes out when the endpoint
// comes back.
func TestSpoolOfAnEndpointThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		w.host("refusing", status(404))
		h := w.host("stalled", stall)
		a := w.application("1", to("http://refusing"), to("http://stalled"))
		a.happens("cache_miss:c")
		pass(time.Second)
		a.happens("cache_miss:d") // in no batch yet
		if left := files(t, spool); len(left) != 1 {
			t.Errorf("in the spool: %v", left)
		}
		dir := a.endpoints["http://stalled"].spool.dir
		a.Configure(credentials, []config.Webhook{to("http://refusing")})
		pass(time.Second)
		if left, _ := os.ReadDir(dir); len(left) != 2 || w.log.lines("directory="+dir+" events=2") != 1 {
			t.Errorf("%d files are left; log:\n%s", len(left), w.log)
		}
		w.expect(t, `dropped_total{app="1",reason="removed"}`, "0", `failed_total{app="1",reason="status"}`, "2")
		h.answers(nil)
		tried := len(h.requests())
		a.Configure(credentials, []config.Webhook{to("http://stalled")})
		pass(time.Second)
		if got := h.events(t)[tried:]; !slices.Equal(got, []string{"cache_miss:c", "cache_miss:d"}) || len(files(t, spool)) != 0 {
			t.Errorf("then it got %v; left in the spool: %v", got, files(t, spool))
		}
	})
}

// An application that goes leaves what it has in the spool, too.
func TestSpoolOfAnApplicationThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		w.application("1", to("http://backend")).happens("cache_miss:c")
		pass(time.Second)
		w.apps["1"].Close()
		if left := files(t, spool); len(left) != 1 || w.log.lines("directory=") != 1 {
			t.Errorf("left in the spool: %v; log:\n%s", left, w.log)
		}
		h := w.host("backend", nil)
		w.application("1", to("http://backend"))
		pass(time.Second)
		if got := h.events(t); !slices.Equal(got, []string{"cache_miss:c"}) {
			t.Errorf("got %v", got)
		}
	})
}

// A file that is too large is not read.
func TestSpoolReadsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), batchName(1))
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)); err != nil {
		t.Skip("no sparse files here:", err)
	}
	if _, err := readBatch(path); err == nil || !strings.Contains(err.Error(), "has more than") {
		t.Errorf("error %v", err)
	}
}

// What a crash or somebody else has left there does no harm.
func TestSpoolWithOtherFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		a := w.application("1", to("http://backend"))
		a.happens("cache_miss:c")
		pass(time.Second)
		w.end()
		dir := a.endpoints["http://backend"].spool.dir
		for name, text := range map[string]string{
			"00000000000000000007.json": `{"time_ms":1,"events":[{"name":"cache_miss","channel":"later"}]}`,
			"00000000000000000003.json": ``,
			"00000000000000000004.json": `{"time_ms":1,"events":[`,
			"00000000000000000009.tmp":  `{"time_ms":1,"ev`,
			"8.json":                    `{"time_ms":1,"events":[{"name":"cache_miss","channel":"not ours"}]}`,
			"notes.txt":                 `x`,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		orphan := filepath.Join(spool, "2-"+strings.Repeat("0", 32))
		for _, dir := range []string{orphan, filepath.Join(spool, "lost+found"), filepath.Join(spool, "3-"+strings.Repeat("0", 32))} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(orphan, batchName(1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}

		after := newWorld(t, spool)
		h := after.host("backend", nil)
		b := after.application("1", to("http://backend"))
		after.CheckSpool()
		pass(time.Second)
		if got := h.events(t); !slices.Equal(got, []string{"cache_miss:c", "cache_miss:later"}) {
			t.Errorf("got %v", got)
		}
		h.answers(status(500))
		b.happens("cache_miss:new")
		pass(batchDelay)
		left := files(t, spool)
		slices.Sort(left)
		if !slices.Equal(left, []string{"00000000000000000001.json", "00000000000000000003.json.bad", "00000000000000000004.json.bad", "00000000000000000008.json", "8.json", "notes.txt"}) {
			t.Errorf("left in the spool: %v", left)
		}
		dirs, _ := filepath.Glob(filepath.Join(spool, "*"))
		if len(dirs) != 4 { // the lock, ours, the orphan and what is none
			t.Errorf("directories %v", dirs)
		}
		if after.log.lines("cannot all be read") != 1 || after.log.lines(orphan) != 1 || after.log.lines("is not configured") != 1 {
			t.Errorf("log:\n%s", after.log)
		}
	})
}

// More than the queue takes is not loaded.
func TestSpoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		a := w.application("1", to("http://backend"))
		w.end()
		dir := a.endpoints["http://backend"].spool
		for i := range 28 {
			b := &batch{number: uint64(i + 1)}
			b.events = []*event{{json: []byte(`{"data":"` + strings.Repeat("x", 1<<20) + `"}`), batch: b}}
			if err := dir.write(b, b.events); err != nil {
				t.Fatal(err)
			}
		}
		after := newWorld(t, spool)
		after.application("1", to("http://backend"))
		pass(0)
		after.expect(t, `queue_length{app="1"}`, "23", `dropped_total{app="1",reason="queue_full"}`, "5")
		if left := files(t, spool); len(left) != 23 || after.log.lines("there is more in the spool than the queue takes") != 1 {
			t.Errorf("%d files are left; log:\n%s", len(left), after.log)
		}
	})
}

// A directory that cannot be written stops no delivery, and is logged once.
func TestSpoolThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		h := w.host("backend", nil)
		a := w.application("1", to("http://backend"))
		dir := a.endpoints["http://backend"].spool.dir
		if err := os.WriteFile(dir, nil, 0o600); err != nil { // where there was to be a directory
			t.Fatal(err)
		}
		for range 3 {
			a.happens("cache_miss:c")
			pass(time.Second)
		}
		w.expect(t, `sent_total{app="1"}`, "3", `spool_errors_total{app="1"}`, "3")
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		a.happens("cache_miss:d")
		pass(time.Second)
		if w.log.lines("cannot be written to the spool") != 1 || w.log.lines("works again") != 1 {
			t.Errorf("log:\n%s", w.log)
		}

		// What is not in the spool at the end is dropped.
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		h.answers(stall)
		a.happens("cache_miss:e")
		pass(time.Second)
		w.end()
		w.expect(t, `dropped_total{app="1",reason="shutdown"}`, "1")
	})
}

// What was delivered but cannot be removed is logged, and goes out again.
func TestSpoolThatKeepsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spool := t.TempDir()
		w := newWorld(t, spool)
		h := w.host("backend", status(500))
		a := w.application("1", to("http://backend"))
		a.happens("cache_miss:c")
		pass(batchDelay)
		file := filepath.Join(a.endpoints["http://backend"].spool.dir, batchName(1))
		if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "x"), 0o700)); err != nil {
			t.Fatal(err)
		}
		h.answers(nil)
		pass(time.Minute)
		w.expect(t, `sent_total{app="1"}`, "1", `spool_errors_total{app="1"}`, "1")
		if w.log.lines("cannot be removed from the spool") != 1 {
			t.Errorf("log:\n%s", w.log)
		}
	})
}

func TestSpoolInUse(t *testing.T) {
	spool := t.TempDir()
	o := Options{Spool: spool, Log: slog.New(slog.DiscardHandler)}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(o); !errors.Is(err, ErrSpoolInUse) || !strings.Contains(err.Error(), spool) {
		t.Errorf("a second one: %v", err)
	}
	s.Close(t.Context())
	if s, err = New(o); err != nil {
		t.Fatalf("after the end of the first one: %v", err)
	}
	s.Close(t.Context())

	file := filepath.Join(spool, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := New(Options{Spool: dir, Log: slog.New(slog.DiscardHandler)}); err == nil || errors.Is(err, ErrSpoolInUse) {
			t.Errorf("%s: error %v", dir, err)
		}
	}
}

// Names on disk are safe, and show the application, but not the URL.
func TestSpoolNames(t *testing.T) {
	s, err := openSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	seen := make(map[string]bool)
	for _, app := range []string{"1", "..", ".", "a:b", "é", "A", "a", strings.Repeat("x", 1000)} {
		for _, url := range []string{"http://a", "http://a/?hunter2", "http://a"} { // one is in use
			name := s.use(app, url).name
			if !dirName.MatchString(name) || len(name) > 80 || seen[strings.ToLower(name)] {
				t.Errorf("%s of %s has the name %s", url, app, name)
			}
			seen[strings.ToLower(name)] = true
		}
	}
}
