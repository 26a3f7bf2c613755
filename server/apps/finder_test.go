package apps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"belfry/channels"
	"belfry/protocol"
	"belfry/server/apps/source"
	"belfry/server/bugs"
	"belfry/server/config"
	"belfry/server/handover"
	"belfry/server/metrics"
	"belfry/server/webhooks"
)

// row is an application as the source has it.
type row struct {
	ID, Key        string
	Disabled, Odd  bool
	MaxConnections int
}

// table is a source in memory.
type table struct {
	mu       sync.Mutex // guards the following
	rows     []row
	away     bool
	failing  string // name whose questions fail
	asked    []string
	answers  time.Duration     // how long an answer takes
	watchers chan func(string) // one that watches
}

var errGone = errors.New("nobody listens")

func (s *table) set(rows ...row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = rows
}

// setFailing has questions about a name fail.
func (s *table) setFailing(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = name
}

// setSlow says how long an answer takes.
func (s *table) setSlow(answers time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = answers
}

func (s *table) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// questions returns what was asked since the last call.
func (s *table) questions() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.asked = nil }()
	return strings.Join(s.asked, " ")
}

func (s *table) Find(ctx context.Context, by source.By, name string) ([]byte, error) {
	s.mu.Lock()
	s.asked = append(s.asked, by.String()+"="+name)
	rows, away, answers := s.rows, s.away || name == s.failing, s.answers
	s.mu.Unlock()
	select {
	case <-time.After(answers):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if away {
		return nil, errGone
	}
	for _, r := range rows {
		if by == source.ByID && r.ID == name || by == source.ByKey && r.Key == name {
			return r.document()
		}
	}
	return nil, source.ErrNone
}

func (s *table) Watch(ctx context.Context, changed func(string)) error {
	select {
	case s.watchers <- changed:
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

func (s *table) Check(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "check")
	if s.away {
		return errGone
	}
	return nil
}

func (s *table) Close() error { return nil }

// document is what a source answers with.
func (r row) document() ([]byte, error) {
	fields := map[string]any{"id": r.ID, "key": r.Key, "secret": "secret-" + r.ID, "enabled": !r.Disabled, "max_connections": r.MaxConnections}
	if r.Odd {
		fields["max_connections"] = "odd"
	}
	return json.Marshal(fields)
}

// finderTest is a registry with a finder whose time is that of a bubble.
type finderTest struct {
	*Registry
	t       *testing.T
	table   *table
	changes handover.Changes
	log     strings.Builder // written to under logging
	logging sync.Mutex
	evicted atomic.Int64
	scrape  func() string
}

func (d *finderTest) Write(p []byte) (int, error) {
	d.logging.Lock()
	defer d.logging.Unlock()
	return d.log.Write(p)
}

// logged returns what was logged since the last call.
func (d *finderTest) logged() string {
	d.logging.Lock()
	defer d.logging.Unlock()
	defer d.log.Reset()
	return d.log.String()
}

const testTTL, testNegativeTTL = time.Minute, 10 * time.Second

// looking runs a test in a bubble of its own.
func looking(t *testing.T, f func(*testing.T, *finderTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &finderTest{t: t, table: &table{watchers: make(chan func(string), 1)}}
		log := slog.New(slog.NewTextHandler(d, &slog.HandlerOptions{Level: slog.LevelDebug}))
		broker := channels.NewBroker(1, nil)
		defer broker.Close()
		m := metrics.New("", "", "")
		hooks, err := webhooks.New(webhooks.Options{Log: log})
		if err != nil {
			t.Fatal(err)
		}
		defer hooks.Close(t.Context())
		d.Registry = NewRegistry(nil, broker, hooks, m)
		d.SetFinder(Finder{
			Source: d.table, Limits: config.Default().Server, TTL: testTTL, NegativeTTL: testNegativeTTL, Log: log,
			Changes: &d.changes, Bugs: bugs.New(log, m.Panics), Evict: func() { d.evicted.Add(1) },
		})
		d.scrape = func() string {
			w := httptest.NewRecorder()
			m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			return w.Body.String()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx) })
		synctest.Wait()
		if got := d.table.questions(); got != "check" {
			t.Errorf("at the start, the source was asked %q", got)
		}
		f(t, d)
		cancel()
		running.Wait()
		d.Close()
	})
}

// find is Find without holding.
func (d *finderTest) find(by source.By, name string) (*App, error) {
	a, err := d.Find(d.t.Context(), by, name, "")
	a.Release()
	return a, err
}

func (d *finderTest) mustFind(by source.By, name string) *App {
	d.t.Helper()
	a, err := d.find(by, name)
	if a == nil || err != nil {
		d.t.Fatalf("%v %s is %v, %v", by, name, a, err)
	}
	return a
}

// pass has time pass in which things happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestLookUp(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"})
		a := d.mustFind(source.ByKey, "one")
		if b := d.mustFind(source.ByID, "1"); b != a || a.ID != "1" || a.Settings().Key != "one" {
			t.Errorf("found %v by key, %v by id", a, b)
		}
		if got := d.table.questions(); got != "key=one" {
			t.Errorf("the source was asked %q", got)
		}

		// Nobody's names are remembered for a while, those that no source can have are not asked for.
		long := strings.Repeat("x", 256)
		for range 3 {
			for _, name := range []string{"nobody", long} {
				if a, err := d.find(source.ByKey, name); a != nil || err != nil {
					t.Errorf("%.10s is %v, %v", name, a, err)
				}
			}
		}
		if got := d.table.questions(); got != "key=nobody" {
			t.Errorf("the source was asked %q", got)
		}
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "nobody"})
		pass(testNegativeTTL)
		d.mustFind(source.ByKey, "nobody")
		for _, want := range []string{
			`belfry_app_lookups_total{result="found"} 2`, `belfry_app_lookups_total{result="none"} 1`, "belfry_apps_looked_up 2", "belfry_apps_from_up 1",
		} {
			if !strings.Contains(d.scrape(), want+"\n") {
				t.Errorf("no %s is exported", want)
			}
		}
	})
}

// Who asks for many names that are nobody's is not heard for a while; others are.
func TestGuessing(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		d.mustFind(source.ByKey, "one")
		d.table.questions()
		find := func(key, from string) error {
			a, err := d.Find(t.Context(), source.ByKey, key, from)
			a.Release()
			return err
		}
		for i := range 2 * maxGuesses {
			err := find(fmt.Sprint("guess-", i), fmt.Sprintf("2001:db8::%x", i))
			if want := i >= maxGuesses; errors.Is(err, ErrGuessing) != want {
				t.Fatalf("guess %d: %v", i, err)
			}
		}
		if n := len(strings.Fields(d.table.questions())); n != maxGuesses {
			t.Errorf("the source was asked %d times", n)
		}
		if err := find("two", "2001:db8::1"); err != ErrGuessing {
			t.Errorf("who has guessed is told %v", err)
		}
		for _, from := range []string{"192.0.2.1", "2001:db8:0:1::1", ""} {
			if err := find("guess", from); err != nil {
				t.Errorf("from %s: %v", from, err)
			}
		}
		if err := find("one", "2001:db8::1"); err != nil {
			t.Errorf("a known application is refused: %v", err)
		}
		pass(guessesFor)
		if err := find("two", "2001:db8::1"); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

// A thousand clients of one application that come at once are one question.
func TestLookUpOnce(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"})
		d.table.setSlow(time.Second)
		var clients sync.WaitGroup
		found := make([]*App, 1000)
		for i := range found {
			clients.Go(func() { found[i], _ = d.Find(t.Context(), source.ByKey, "one", "") })
		}
		clients.Wait()
		if got := d.table.questions(); got != "key=one" {
			t.Errorf("the source was asked %q", got)
		}
		if n := len(slices.Compact(found)); n != 1 || found[0] == nil {
			t.Errorf("found %d applications: %v", n, found[0])
		}
		if n := found[0].holders.Load(); n != 1000 {
			t.Errorf("held %d times", n)
		}
		// One who has looked before the answer came, and asks behind it.
		if answer := <-d.finder.start(question{source.ByKey, "one"}, noNetwork); answer.Val != true || d.table.questions() != "" {
			t.Errorf("answered %v, %v, and the source was asked again", answer.Val, answer.Err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if a, err := d.Find(ctx, source.ByKey, "two", ""); a != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who does not wait finds %v, %v", a, err)
		}
	})
}

// An application in use is asked about ahead of the end of its time to live, and nobody
// waits for that. One that nobody uses is forgotten.
func TestRefresh(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		one, two := d.mustFind(source.ByKey, "one"), d.mustFind(source.ByKey, "two")
		address, refused := one.Connect(protocol.WebSocket, "127.0.0.1")
		if refused != nil {
			t.Fatal(refused)
		}
		d.table.questions()
		for range 5 {
			d.table.set(row{ID: "1", Key: "one", MaxConnections: 7}, row{ID: "2", Key: "two"})
			pass(testTTL)
			if got := d.table.questions(); !strings.Contains(got, "id=1") {
				t.Errorf("the source was asked %q", got)
			}
		}
		if one.Settings().MaxConnections != 7 || d.ByID("1") != one {
			t.Error("a change has not come")
		}
		if d.ByID("2") != nil || d.ByKey("two") != nil || two.Refusal() != nil || !strings.Contains(d.scrape(), "belfry_apps_looked_up 1\n") {
			t.Error("an application that nobody uses was not forgotten")
		}
		if again := d.mustFind(source.ByKey, "two"); again == two {
			t.Error("an application that was forgotten came back")
		}

		// What is kept of its channels keeps it.
		one.Disconnect(protocol.WebSocket, address)
		if err := one.Channels.Publish(channels.Publication{Event: protocol.Event{Name: "e", Channel: "cache-a", Data: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
		pass(3 * testTTL)
		if d.ByID("1") != one {
			t.Error("forgotten, although a channel has its last event")
		}
		one.Channels.Expire(time.Now().Add(24 * time.Hour))
		pass(3 * testTTL)
		if d.ByID("1") != nil {
			t.Error("not forgotten")
		}
	})
}

func TestChangesOfSource(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"}, row{ID: "3", Key: "three"})
		var found []*App
		for _, key := range []string{"one", "two", "three"} {
			a, err := d.Find(t.Context(), source.ByKey, key, "")
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, a)
		}
		one, two, three := found[0], found[1], found[2]
		d.logged()

		// One is disabled, one has another key, one is gone.
		d.table.set(row{ID: "1", Key: "one", Disabled: true}, row{ID: "2", Key: "zwei"})
		pass(testTTL)
		if e := one.Refusal(); e == nil || e.Code != protocol.CodeAppDisabled {
			t.Errorf("one that was disabled: %v", e)
		}
		if d.ByKey("two") != nil || d.ByKey("zwei") != two {
			t.Error("a new key has not come")
		}
		if e := three.Refusal(); e == nil || e.Code != protocol.CodeUnauthorized || d.ByID("3") != nil || d.ByKey("three") != nil {
			t.Errorf("one that was removed: %v", e)
		}
		if n := d.evicted.Load(); n != 2 {
			t.Errorf("connections were closed %d times", n)
		}
		log := d.logged()
		if strings.Contains(log, "secret") || strings.Count(log, "app changed in apps_from") != 2 || strings.Count(log, "app removed from apps_from") != 1 {
			t.Errorf("the log has\n%s", log)
		}

		// One that comes back is a new one.
		d.table.set(row{ID: "3", Key: "three"})
		pass(testNegativeTTL)
		if again := d.mustFind(source.ByID, "3"); again == three || again.Refusal() != nil {
			t.Error("one that was removed is not found as a new one")
		}
	})
}

// While the source is away, those who are known go on, and nobody is told that he does not
// exist. It is asked seldom.
func TestAway(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		one := d.mustFind(source.ByKey, "one")
		d.find(source.ByKey, "nobody")
		d.table.setAway(true)
		d.logged()
		pass(10 * testTTL)
		if a := d.mustFind(source.ByKey, "one"); a != one {
			t.Error("a known application is another one")
		}
		d.table.questions()
		for range 100 {
			for _, key := range []string{"two", "nobody", "else"} {
				if a, err := d.find(source.ByKey, key); a != nil || err != ErrAway {
					t.Errorf("%s is %v, %v", key, a, err)
				}
			}
		}
		if n := len(strings.Fields(d.table.questions())); n > 1 {
			t.Errorf("the source was asked %d times at once", n)
		}
		// Names that no app can have are nobody's without a question.
		if a, err := d.find(source.ByKey, "a:b"); a != nil || err != nil || !d.finder.away() {
			t.Errorf("an impossible name is %v, %v", a, err)
		}
		pass(testTTL)
		if n := len(strings.Fields(d.table.questions())); n > 10 {
			t.Errorf("the source was asked %d times in a minute", n)
		}
		if log := d.logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, errGone.Error()) {
			t.Errorf("the log has\n%s", log)
		}
		if !strings.Contains(d.scrape(), "belfry_apps_from_up 0\n") {
			t.Error("the metrics do not say it")
		}

		d.table.setAway(false)
		pass(lastRetry)
		if log := d.logged(); log != "" && strings.Count(log, "\n") != 1 || !strings.Contains(log, "can be looked up again") {
			t.Errorf("the log has\n%s", log)
		}
		d.mustFind(source.ByKey, "two")
		if a, err := d.find(source.ByKey, "nobody"); a != nil || err != nil {
			t.Errorf("nobody is %v, %v", a, err)
		}
	})
}

// SIGHUP, and a source that tells of changes, have it asked at once.
func TestTold(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		changed := <-d.table.watchers
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		one, two := d.mustFind(source.ByKey, "one"), d.mustFind(source.ByKey, "two")
		d.find(source.ByKey, "three")
		d.table.questions()

		d.table.set(row{ID: "1", Key: "one", MaxConnections: 5}, row{ID: "2", Key: "two", MaxConnections: 5}, row{ID: "3", Key: "three"})
		changed("1")
		synctest.Wait()
		if got := d.table.questions(); got != "id=1" || one.Settings().MaxConnections != 5 || two.Settings().MaxConnections != 0 {
			t.Errorf("the source was asked %q, and the limits are %d and %d", got, one.Settings().MaxConnections, two.Settings().MaxConnections)
		}
		d.mustFind(source.ByKey, "three") // who was nobody a moment ago

		d.mustFind(source.ByKey, "one")
		d.mustFind(source.ByKey, "two")
		d.Refresh()
		synctest.Wait()
		if two.Settings().MaxConnections != 5 {
			t.Error("not refreshed")
		}

		// A change that is told of while the source is being asked is not lost.
		d.table.setSlow(5 * time.Second)
		if _, err := d.Find(t.Context(), source.ByKey, "one", ""); err != nil { // held
			t.Fatal(err)
		}
		changed("1")
		pass(time.Second)
		d.table.set(row{ID: "1", Key: "one", MaxConnections: 6})
		changed("1")
		pass(testTTL / 5)
		if one.Settings().MaxConnections != 6 {
			t.Errorf("the limit is %d", one.Settings().MaxConnections)
		}
	})
}

// Settings with mistakes are told of once, and who is known goes on with those before.
func TestMistakes(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one", MaxConnections: 5}, row{ID: "2", Key: "two", Odd: true})
		one, err := d.Find(t.Context(), source.ByKey, "one", "")
		if err != nil {
			t.Fatal(err)
		}
		d.logged()
		for range 10 {
			if a, err := d.find(source.ByKey, "two"); a != nil || err != ErrUnusable {
				t.Errorf("an application with mistakes is %v, %v", a, err)
			}
		}
		if log := d.logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "max_connections") {
			t.Errorf("the log has\n%s", log)
		}
		d.table.set(row{ID: "1", Key: "one", Odd: true})
		pass(10 * testTTL)
		if one.Settings().MaxConnections != 5 || one.Refusal() != nil || d.ByID("1") != one {
			t.Error("an application with mistakes does not go on as it was")
		}
		if log := d.logged(); strings.Count(log, "\n") != 1 {
			t.Errorf("the log has\n%s", log)
		}
		d.table.set(row{ID: "1", Key: "one", MaxConnections: 6})
		pass(testTTL)
		if one.Settings().MaxConnections != 6 {
			t.Error("mended settings have not come")
		}
	})
}

// Those of the configuration come first. One that is taken out of it is looked up.
func TestConfiguredFirst(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.Update([]config.App{configured("1")})
		one := d.mustFind(source.ByID, "1")
		d.table.set(row{ID: "1", Key: "other"}, row{ID: "2", Key: "key-1"}, row{ID: "3", Key: "three"})
		for by, name := range map[source.By]string{source.ByKey: "other", source.ByID: "2"} {
			if a, err := d.find(by, name); a != nil || err != nil {
				t.Errorf("%s is %v, %v", name, a, err)
			}
		}
		if d.mustFind(source.ByKey, "key-1") != one {
			t.Error("the configured application is another one")
		}
		d.mustFind(source.ByKey, "three")
		expectChanges(t, d.Update([]config.App{configured("1"), configured("3")}), nil, []string{"3"}, nil)
		d.table.set(row{ID: "1", Key: "other"})
		expectChanges(t, d.Update(nil), nil, nil, nil)
		d.Refresh()
		d.mustFind(source.ByID, "1")
		pass(time.Second)
		if d.ByKey("other") != one || one.Refusal() != nil {
			t.Error("an application that the source has was removed")
		}
		if d.ByID("3") != nil || d.ByKey("key-3") != nil || d.ByKey("three") != nil {
			t.Error("an application that nobody has is still there")
		}
	})
}

// A name that was nobody's a moment ago does not end an application that is found since by
// its other name.
func TestFoundAfterNone(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		if a, err := d.find(source.ByID, "1"); a != nil || err != nil {
			t.Fatalf("found %v, %v", a, err)
		}
		d.table.set(row{ID: "1", Key: "one"})
		one, err := d.Find(t.Context(), source.ByKey, "one", "")
		if err != nil {
			t.Fatal(err)
		}
		d.Refresh()
		pass(time.Second)
		if one.Refusal() != nil || d.ByID("1") != one {
			t.Error("the application was removed")
		}
	})
}

// Two applications of the source that have the same key: whoever the source has by that key
// keeps it. Two may exchange theirs.
func TestSameKey(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "one"})
		one := d.mustFind(source.ByKey, "one")
		if a, err := d.find(source.ByID, "2"); a != nil || err != ErrUnusable {
			t.Errorf("the other application of a key is %v, %v", a, err)
		}
		if d.mustFind(source.ByKey, "one") != one || one.ID != "1" {
			t.Error("a key has gone to another application")
		}
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		pass(testNegativeTTL)
		d.mustFind(source.ByKey, "one")
		two := d.mustFind(source.ByID, "2")
		d.table.set(row{ID: "1", Key: "two"}, row{ID: "2", Key: "one"})
		for range 3 {
			d.mustFind(source.ByID, "1")
			d.mustFind(source.ByID, "2")
			d.Refresh()
			pass(time.Second)
		}
		if d.mustFind(source.ByKey, "two") != one || d.mustFind(source.ByKey, "one") != two {
			t.Error("the keys were not exchanged")
		}
	})
}

// Two rows exchange their keys and change them back while the source was asked about one of
// them only: each key finds its app in the end.
func TestKeysExchangedAndBack(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		one, err := d.Find(t.Context(), source.ByKey, "one", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Find(t.Context(), source.ByKey, "two", ""); err != nil {
			t.Fatal(err)
		}
		d.table.set(row{ID: "1", Key: "two"}, row{ID: "2", Key: "one"})
		d.finder.changed("2")
		pass(time.Second)
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		d.finder.changed("2")
		pass(time.Second)
		d.table.questions()
		if a := d.mustFind(source.ByKey, "one"); a != one {
			t.Errorf("the key is that of %v", a)
		}
		if n := len(strings.Fields(d.table.questions())); n > 1 {
			t.Errorf("the source was asked %d times", n)
		}
	})
}

// When too many names are being looked up, others are told to come back, not that there is
// no such app; and who is known stays.
func TestTooManyLookups(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		one, err := d.Find(t.Context(), source.ByKey, "one", "")
		if err != nil {
			t.Fatal(err)
		}
		d.table.setSlow(4900 * time.Millisecond)
		var strangers sync.WaitGroup
		ask := func(i int, from string) {
			strangers.Go(func() { d.Find(t.Context(), source.ByKey, fmt.Sprint("nobody-", i), from) })
		}
		for i := range 2 * maxWaiting {
			ask(i, "192.0.2.1")
		}
		synctest.Wait()
		if n := len(d.finder.lookups); n != maxWaiting {
			t.Errorf("%d names are looked up for one network", n)
		}
		for i := range maxLookups {
			ask(i+2*maxWaiting, "")
		}
		synctest.Wait()
		if a, err := d.find(source.ByKey, "two"); a != nil || err != ErrAway {
			t.Errorf("found %v, %v", a, err)
		}
		d.Refresh()
		pass(time.Second)
		if one.Refusal() != nil {
			t.Error("an app was removed that the source has")
		}
		strangers.Wait()
	})
}

// A name whose questions fail is in nobody's way but its own.
func TestOneNameFails(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"}, row{ID: "2", Key: "two"})
		one, err := d.Find(t.Context(), source.ByKey, "one", "")
		if err != nil {
			t.Fatal(err)
		}
		d.logged()
		d.table.setFailing("odd")
		if a, err := d.find(source.ByKey, "odd"); a != nil || err != ErrUnusable {
			t.Errorf("found %v, %v", a, err)
		}
		if d.finder.away() || d.mustFind(source.ByKey, "two") == nil {
			t.Error("the source is away for others")
		}
		d.table.setFailing("1")
		pass(3 * testTTL)
		if one.Refusal() != nil || d.finder.away() {
			t.Error("an app whose questions fail does not go on")
		}
		if log := d.logged(); strings.Count(log, "level=ERROR") != 2 || strings.Contains(log, "cannot be looked up") {
			t.Errorf("the log has\n%s", log)
		}
	})
}

// A change that is told of while a name is being asked about is not answered with what was
// before.
func TestToldWhileAsking(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.setSlow(time.Second)
		var asking sync.WaitGroup
		asking.Go(func() {
			if a, err := d.find(source.ByID, "1"); a == nil || err != nil {
				t.Errorf("found %v, %v", a, err)
			}
		})
		synctest.Wait()
		d.table.set(row{ID: "1", Key: "one"})
		d.finder.changed("1")
		asking.Wait()
	})
}

// Scrapes go on while apps come and go.
func TestScrapeAmidLookups(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		var rows []row
		for i := range 500 {
			rows = append(rows, row{ID: fmt.Sprint(i), Key: fmt.Sprint("key-", i)})
		}
		d.table.set(rows...)
		var scraping sync.WaitGroup
		stop := make(chan struct{})
		scraping.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					d.scrape()
				}
			}
		})
		for _, r := range rows {
			a := d.mustFind(source.ByKey, r.Key)
			a.Metrics.Opened(protocol.WebSocket)
			a.used.Store(false)
			d.finder.forget(a)
		}
		close(stop)
		scraping.Wait()
	})
}

// A key that a configured app has for a while goes back to the app of the source that it was of,
// whether the source answers or not.
func TestKeyGoesBack(t *testing.T) {
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"})
		one, err := d.Find(t.Context(), source.ByKey, "one", "")
		if err != nil {
			t.Fatal(err)
		}
		d.table.setAway(true)
		nine := configured("9")
		nine.Key = "one"
		d.Update([]config.App{nine})
		if a := d.mustFind(source.ByKey, "one"); a.ID != "9" {
			t.Errorf("the key is that of %s", a.ID)
		}
		d.Update([]config.App{configured("9")})
		if a := d.mustFind(source.ByKey, "one"); a != one {
			t.Errorf("the key is that of %v", a)
		}
	})
}

// What another process has looked up is known at once.
func TestExportLookedUp(t *testing.T) {
	var e Exported
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.set(row{ID: "1", Key: "one"})
		e = d.Export(d.mustFind(source.ByKey, "one"))
	})
	looking(t, func(t *testing.T, d *finderTest) {
		d.table.setAway(true)
		a := d.Restored(e)
		if a == nil || a.Restore(e) != nil || d.mustFind(source.ByKey, "one") != a {
			t.Fatalf("restored %v", a)
		}
		d.table.setAway(false)
		pass(lastRetry)
		if a.Refusal() == nil {
			t.Error("not asked about: the source does not have it")
		}
	})
}

// Clients come and go while applications are forgotten: nobody is served by one that was.
func TestForgetAmidClients(t *testing.T) {
	r, _ := newRegistry(t)
	log := slog.New(slog.DiscardHandler)
	s := &table{watchers: make(chan func(string))}
	for i := range 4 {
		s.rows = append(s.rows, row{ID: fmt.Sprint(i), Key: fmt.Sprint("key-", i)})
	}
	r.SetFinder(Finder{
		Source: s, Limits: config.Default().Server, TTL: time.Hour, NegativeTTL: time.Hour, Log: log,
		Changes: new(handover.Changes), Bugs: bugs.New(log, r.metrics.Panics), Evict: func() {},
	})
	t.Cleanup(r.Close)
	stop := make(chan struct{})
	var forgetting, clients sync.WaitGroup
	forgetting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r.All(func(a *App) {
				a.used.Store(false)
				r.finder.forget(a)
			})
		}
	})
	for i := range 8 {
		clients.Go(func() {
			for range 500 {
				a, err := r.Find(t.Context(), source.ByKey, fmt.Sprint("key-", i%4), "")
				if err == ErrAway { // forgotten as often as it was found
					continue
				}
				if err != nil || a == nil {
					t.Errorf("found %v, %v", a, err)
					return
				}
				address, refused := a.Connect(protocol.WebSocket, "127.0.0.1")
				a.Release()
				if refused != nil {
					t.Error(refused)
					return
				}
				if a.forgotten.Load() && r.ByID(a.ID) != a {
					t.Error("a client is served by an application that was forgotten")
				}
				a.Disconnect(protocol.WebSocket, address)
			}
		})
	}
	clients.Wait()
	close(stop)
	forgetting.Wait()
}
