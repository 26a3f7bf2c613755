package server_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"belfry/auth"
	"belfry/server/config"
	"belfry/server/internal/servertest"
	"belfry/server/internal/wstest"
)

func twoApps(c *config.Config) { c.Apps = append(c.Apps, servertest.App("2")) }

// without removes the app with this id.
func without(id string) func(*config.Config) {
	return func(c *config.Config) {
		var rest []config.App
		for _, a := range c.Apps {
			if a.ID != id {
				rest = append(rest, a)
			}
		}
		c.Apps = rest
	}
}

func TestReloadAddsAnApp(t *testing.T) {
	s := servertest.Start(t)
	old := s.Connect(t, "1")
	old.Subscribe("a")
	expectRefusal(t, s.Dialer().Dial(t, servertest.Path("2")), 4001)
	s.Reconfigure(t, twoApps)
	added := s.Connect(t, "2")
	added.Subscribe("a")
	s.Publish(t, "2", "e", "x", "a")
	added.Expect(servertest.EventText("e", "a", "x"))
	old.Sync()
	if got := s.Metric(t, `belfry_connections{app="2"}`); got != 1 {
		t.Errorf("belfry_connections is %v", got)
	}
	if !s.Log.Contains("level=INFO msg=\"configuration reloaded\" apps=2 added.count=1 added.ids=2 changed.count=0 changed.ids=\"\" removed.count=0") {
		t.Errorf("logged\n%s", s.Log)
	}
}

func TestReloadRemovesAnApp(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, twoApps)
			stays := s.Connect(t, "1")
			stays.Subscribe("private-cache-a")
			stays.ReadText() // its cache_miss
			idle, subscribed := s.Connect(t, "2"), s.Connect(t, "2")
			subscribed.Subscribe("a")
			s.Publish(t, "2", "e", "x", "a")
			s.Reconfigure(t, without("2"))

			subscribed.Expect(servertest.EventText("e", "a", "x"))
			for _, c := range []*servertest.Client{idle, subscribed} {
				if message := expectRefusal(t, c.Conn, 4009); !strings.Contains(message, "removed") {
					t.Errorf("told %q", message)
				}
				c.Drop()
			}
			expectRefusal(t, s.Dialer().Dial(t, servertest.Path("2")), 4001)
			if a := s.Get(t, "2", "channels"); a.Status != http.StatusNotFound {
				t.Errorf("the API answers with %d %s", a.Status, a.Body)
			}
			s.Publish(t, "1", "e", "y", "private-cache-a")
			stays.Expect(servertest.EventText("e", "private-cache-a", "y"))
			if a := s.HTTP(t, http.MethodGet, "/metrics", nil, nil); strings.Contains(a.Body, `app="2"`) || !strings.Contains(a.Body, `belfry_connections{app="1",transport="websocket"} 1`) {
				t.Errorf("the series are not those of app 1:\n%s", a.Body)
			}

			// Added again, it has nothing of what it was.
			s.Reconfigure(t, twoApps)
			again := s.Connect(t, "2")
			again.Subscribe("a")
			s.Publish(t, "2", "e", "z", "a")
			again.Expect(servertest.EventText("e", "a", "z"))
			if got := s.Metric(t, `belfry_connections_opened_total{app="2"}`); got != 1 {
				t.Errorf("%v connections were opened", got)
			}
			stays.Sync()
		})
	}
}

func TestReloadDisablesAnApp(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, twoApps)
			stays, closed := s.Connect(t, "1"), s.Connect(t, "2")
			closed.Subscribe("a")
			s.Reconfigure(t, func(c *config.Config) { c.Apps[1].Enabled = false })
			expectRefusal(t, closed.Conn, 4003)
			closed.Drop()
			expectRefusal(t, s.Dialer().Dial(t, servertest.Path("2")), 4003)
			if a := s.Get(t, "2", "channels"); a.Status != http.StatusForbidden {
				t.Errorf("the API answers with %d %s", a.Status, a.Body)
			}
			stays.Sync()
			for series, want := range map[string]float64{
				`belfry_connections{app="2"}`:                                  0,
				`belfry_connections_closed_total{app="2",reason="app_closed"}`: 1,
				`belfry_errors_total{app="2",code="4003"}`:                     1,
				`belfry_connections_closed_total{app="1",reason="app_closed"}`: 0,
				`belfry_config_reloads_total{result="applied"}`:                1,
				`belfry_config_reloads_total{result="refused"}`:                0,
				`belfry_config_last_reload_successful`:                         1,
			} {
				if got := s.Metric(t, series); got != want {
					t.Errorf("%s is %v, want %v", series, got, want)
				}
			}
			s.Reconfigure(t, func(c *config.Config) { c.Apps[1].Enabled = true })
			s.Connect(t, "2").Sync()
		})
	}
}

// Limits are in force for those who are connected already.
func TestReloadChangesLimits(t *testing.T) {
	s := servertest.Start(t)
	first, second := s.Connect(t, "1"), s.Connect(t, "1")
	first.Subscribe("private-a")
	second.Subscribe("private-a")
	second.Join("presence-a", "u")
	s.Reconfigure(t, func(c *config.Config) {
		a := &c.Apps[0]
		a.MaxConnections, a.MaxChannelsPerConnection, a.MaxPresenceMembers = 1, 2, 1
		a.ClientEvents, a.MaxEventBytes = config.ClientEventsNone, 10
	})
	// Nobody is sent away for what has become too much.
	second.Sync()
	first.Sync()
	expectRefusal(t, s.Dialer().Dial(t, servertest.Path("1")), 4004)

	expectCode := func(c *servertest.Client, code int) {
		t.Helper()
		if got, message := c.ReadError(); got != code {
			t.Errorf("told %d %s, want %d", got, message, code)
		}
	}
	first.Send(`{"event":"client-x","channel":"private-a","data":"z"}`)
	expectCode(first, 4301)
	first.Join("presence-a", "v") // is refused on the channel, too
	expectCode(first, 4100)
	second.Send(second.SubscribeText("private-b", ""))
	second.ReadEvent()
	expectCode(second, 4100)
	body := `{"name":"e","data":"eleven long","channel":"private-a"}`
	if a := s.Post(t, "1", "events", body); a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large event is answered with %d %s", a.Status, a.Body)
	}
	s.Publish(t, "1", "e", "x", "private-a")
	for _, c := range []*servertest.Client{first, second} {
		c.Expect(servertest.EventText("e", "private-a", "x"))
	}
}

// proof is what a client and a backend show that have one secret.
type proof struct {
	s *servertest.Server
	auth.Credentials
}

// expect subscribes a client that is connected and asks the API.
func (p proof) expect(t *testing.T, c *servertest.Client, channel string, accepted bool) {
	t.Helper()
	c.Send(`{"event":"pusher:subscribe","data":{"channel":"` + channel + `","auth":"` + p.SignChannel(c.SocketID, channel, "") + `"}}`)
	if accepted {
		c.Expect(servertest.Succeeded(channel))
	} else {
		c.ReadEvent() // subscription_error
		if code, _ := c.ReadError(); code != 4009 {
			t.Errorf("%s: told %d", channel, code)
		}
	}
	const path = "/apps/1/channels"
	status := http.StatusOK
	if !accepted {
		status = http.StatusUnauthorized
	}
	query := p.SignRequest(http.MethodGet, path, url.Values{}, nil, time.Now())
	if a := p.s.HTTP(t, http.MethodGet, path, query, nil); a.Status != status {
		t.Errorf("%s: the API answers with %d %s", channel, a.Status, a.Body)
	}
}

func TestSecretRotation(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	before := proof{s, auth.Credentials{Key: "key-1", Secret: "secret-1"}}
	after := proof{s, auth.Credentials{Key: "key-1", Secret: "new-secret"}}
	before.expect(t, c, "private-before", true)
	after.expect(t, c, "private-early", false)

	s.Reconfigure(t, func(c *config.Config) { c.Apps[0].Secret, c.Apps[0].Secrets = "", []string{"new-secret", "secret-1"} })
	before.expect(t, c, "private-still", true)
	after.expect(t, c, "private-already", true)

	s.Reconfigure(t, func(c *config.Config) { c.Apps[0].Secrets = []string{"new-secret"} })
	before.expect(t, c, "private-late", false)
	after.expect(t, c, "private-after", true)
	if s.Log.Contains("new-secret") || s.Log.Contains("secret-1") {
		t.Errorf("a secret was logged\n%s", s.Log)
	}
}

func TestReloadChangesTheKey(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	c.Subscribe("a")
	s.Reconfigure(t, func(c *config.Config) { c.Apps[0].Key = "key-9" })
	expectRefusal(t, s.Dialer().Dial(t, servertest.Path("1")), 4001)
	conn, err := servertest.Greeted("9", s.Dialer().Dial(t, servertest.Path("9")))
	if err != nil {
		t.Fatal(err)
	}
	conn.Send(conn.SubscribeText("a", ""))
	conn.Expect(servertest.Succeeded("a"))
	body := []byte(`{"name":"e","data":"x","channel":"a"}`)
	query := auth.Credentials{Key: "key-9", Secret: "secret-1"}.SignRequest(http.MethodPost, "/apps/1/events", nil, body, time.Now())
	if a := s.HTTP(t, http.MethodPost, "/apps/1/events", query, body); a.Status != http.StatusOK {
		t.Fatalf("published with the new key: %d %s", a.Status, a.Body)
	}
	c.Expect(servertest.EventText("e", "a", "x"))
	conn.Expect(servertest.EventText("e", "a", "x"))
}

func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	s := servertest.Start(t, func(c *config.Config) { c.Metrics.Token = "hunter2-old" })
	s.Reconfigure(t, func(c *config.Config) {
		c.Server.MaxConnections, c.Metrics.Token, c.Log.Level = 7, "hunter2-new", 8
	})
	const want = `level=WARN msg="configuration has changes that need a restart" keys="server.max_connections metrics.token"`
	if !s.Log.Contains(want) || s.Log.Contains("hunter2") {
		t.Errorf("want %s, logged\n%s", want, s.Log)
	}
}

func TestReloadFailed(t *testing.T) {
	s := servertest.Start(t)
	c := s.Connect(t, "1")
	s.ReloadFailed(errors.New("one\ntwo"))
	c.Sync()
	if !s.Log.Contains(`level=ERROR msg="configuration not reloaded, the one before stays in force" problems="one; two"`) {
		t.Errorf("logged\n%s", s.Log)
	}
	expectSuccess := func(want float64) {
		t.Helper()
		if got := s.Metric(t, "belfry_config_last_reload_successful"); got != want {
			t.Errorf("the last reload's success is %v", got)
		}
	}
	expectSuccess(0)
	if got := s.Metric(t, `belfry_config_reloads_total{result="refused"}`); got != 1 {
		t.Errorf("%v were refused", got)
	}
	s.Reconfigure(t, func(*config.Config) {})
	expectSuccess(1)
}

// Clients come while their app is removed, disabled and added again: none of
// them is connected to an app that is not served, and nothing is left of it.
func TestReloadAmidConnects(t *testing.T) {
	for _, tt := range forms(t) {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.Start(t, tt.edit, twoApps)
			stays := s.Connect(t, "1")
			stays.Subscribe("a")
			const workers, rounds = 8, 60
			// With room for one: a greeting that nobody waits for yet counts.
			var greeted, stopping = make(chan struct{}, 1), atomic.Bool{}
			var clients sync.WaitGroup
			errs := make(chan error, workers)
			for range workers {
				clients.Go(func() {
					for !stopping.Load() {
						if err := visitUntilClosed(t, s, greeted); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			for i := 0; i < rounds && !t.Failed(); i++ {
				select {
				case <-greeted: // some are connected, others are about to be
				case err := <-errs:
					t.Error(err)
				}
				switch i % 2 {
				case 0:
					s.Reconfigure(t, without("2"))
					s.Reconfigure(t, twoApps)
				default:
					s.Reconfigure(t, func(c *config.Config) { c.Apps[1].Enabled = false })
					s.Reconfigure(t, func(c *config.Config) { c.Apps[1].Enabled = true })
				}
			}
			stopping.Store(true)
			s.Reconfigure(t, without("2"))
			clients.Wait() // nobody stays
			close(errs)
			for err := range errs {
				t.Error(err)
			}
			if a := s.HTTP(t, http.MethodGet, "/metrics", nil, nil); strings.Contains(a.Body, `app="2"`) {
				t.Errorf("the series are not those of app 1:\n%s", a.Body)
			}
			s.Publish(t, "1", "e", "x", "a")
			stays.Expect(servertest.EventText("e", "a", "x"))
		})
	}
}

// visitUntilClosed connects, subscribes and stays for as long as it may.
func visitUntilClosed(t *testing.T, s *servertest.Server, greeted chan<- struct{}) error {
	c, err := s.Dialer().Open(t, servertest.Path("2"))
	if err != nil {
		return err
	}
	defer c.Drop()
	if err := c.TryWrite(wstest.TextFrame(`{"event":"pusher:subscribe","data":{"channel":"a"}}`)); err != nil {
		return err
	}
	for {
		f, err := c.TryReadFrame()
		switch {
		case err != nil:
			return fmt.Errorf("a client saw the end without a reason: %w", err)
		case f.Opcode != wstest.Close:
			select {
			case greeted <- struct{}{}:
			default:
			}
		default:
			for _, code := range []int{4001, 4003, 4009} {
				if strings.HasPrefix(string(f.Payload), string(wstest.ClosePayload(code, ""))) {
					return nil
				}
			}
			return fmt.Errorf("a client was closed with %q", f.Payload)
		}
	}
}

// A certificate that was renewed under the same names is served after a reload,
// to new connections, and one that cannot be read leaves everything as it was.
func TestReloadOfTheCertificate(t *testing.T) {
	s := servertest.Start(t, servertest.Secure(t))
	files := s.Config.Server.TLS
	served := func() []byte {
		c, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	before := served()
	open := s.Connect(t, "1")

	renewed := config.Default()
	servertest.Secure(t)(&renewed)
	for from, to := range map[string]string{renewed.Server.TLS.CertFile: files.CertFile, renewed.Server.TLS.KeyFile: files.KeyFile} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Reconfigure(t, func(*config.Config) {})
	after := served()
	if bytes.Equal(before, after) {
		t.Error("the old certificate is served")
	}
	if !s.Log.Contains("certificate_changed=true") || s.Log.Contains("need a restart") {
		t.Errorf("the log says:\n%s", s.Log)
	}

	if err := os.WriteFile(files.CertFile, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	s.LogLevel(level)
	s.Reconfigure(t, func(c *config.Config) {
		twoApps(c)
		c.Log.Level = slog.LevelError
	})
	anyCertificate := wstest.Dialer{Addr: s.Addr().String(), TLS: &tls.Config{InsecureSkipVerify: true}}
	expectRefusal(t, anyCertificate.Dial(t, servertest.Path("2")), 4001)
	if level.Level() != slog.LevelInfo {
		t.Errorf("the log's level has changed to %v", level)
	}
	if !bytes.Equal(served(), after) {
		t.Error("the certificate has changed")
	}
	if !s.Log.Contains("configuration not reloaded") {
		t.Error("that the reload has failed is not told")
	}
	open.Sync()
}

// Another chain behind the same certificate is a change as well.
func TestReloadOfTheChain(t *testing.T) {
	s := servertest.Start(t, servertest.Secure(t))
	file := s.Config.Server.TLS.CertFile
	certificate, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.Reconfigure(t, func(*config.Config) {})
	if s.Log.Contains("certificate_changed=true") {
		t.Errorf("nothing has changed, and the log says:\n%s", s.Log)
	}
	if err := os.WriteFile(file, slices.Concat(certificate, certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Reconfigure(t, func(*config.Config) {})
	if !s.Log.Contains("certificate_changed=true") {
		t.Errorf("the log says:\n%s", s.Log)
	}
}
