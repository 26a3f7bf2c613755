package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(Config{}, "Warnings", "origin"))
}

// env makes an Env of NAME=value strings.
func env(vars ...string) Env {
	e := make(Env)
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		e[name] = value
	}
	return e
}

func app(id, key, secret string) App {
	a := DefaultApp()
	a.ID, a.Key, a.Secret = id, key, secret
	return a
}

func TestDefaultsAreValid(t *testing.T) {
	c := Default()
	c.Apps = []App{app("1", "k", "s")}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if err := (&Config{Apps: []App{{}}}).Validate(); err == nil {
		t.Error("the zero value is valid")
	}
}

func TestExampleHasTheDefaults(t *testing.T) {
	got, err := Load(examplePath, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Apps = []App{app("100001", "app-key", "app-secret")}
	if d := diff(&want, got); d != "" {
		t.Errorf("(-default +example)\n%s", d)
	}
}

func TestNothingPrintsSecrets(t *testing.T) {
	const secret, token, password = "hunter2-secret", "hunter2-token", "hunter2-password"
	c := Default()
	c.Apps = []App{app("7", "public", secret), app("8", "public", "")}
	c.Apps[0].Webhooks = []Webhook{{
		URL: "https://user:" + password + "@app.example/hook?token=" + password, Events: []string{"cache_miss"},
		Headers: map[string]string{"Authorization": password},
	}}
	c.Apps[1].Secrets = []string{secret, secret + "-old"}
	c.Metrics.Token = token
	c.Console.Password, c.Console.ViewerPassword = password, password+"-viewer"
	c.AppsFrom.URL, c.AppsFrom.Token = "postgres://user:"+password+"@db.example/shop", token
	c.Cluster.Redis.URL = "redis://user:" + password + "@redis.example"
	var out bytes.Buffer
	for _, v := range []any{c, &c, c.Apps, c.Apps[0], &c.Apps[0], c.Apps[1], &c.Apps[1], c.Apps[0].Webhooks[0], c.AppsFrom, &c.AppsFrom, c.Cluster, c.Cluster.Redis, c.Metrics, &c.Metrics, c.Console, &c.Console} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("loaded", "value", v)
		}
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{secret, token, password} {
		if i := strings.Index(out.String(), s); i >= 0 {
			t.Errorf("%s is printed: %s", s, out.String()[max(0, i-200):i])
		}
	}
	for _, s := range []string{"public", "https://app.example/hook "} {
		if !strings.Contains(out.String(), s) {
			t.Errorf("%s is not printed either", s)
		}
	}
	if c.Apps[1].Secrets[1] != secret+"-old" {
		t.Error("printing changed the secrets")
	}
}

func TestGeneratedApp(t *testing.T) {
	a, b := GeneratedApp(), GeneratedApp()
	for _, m := range []struct{ name, form, value string }{
		{"id", `^[1-9][0-9]{5}$`, a.ID},
		{"key", `^[a-z0-9]{20}$`, a.Key},
		{"secret", `^[a-z0-9]{20}$`, a.Secret},
	} {
		if !regexp.MustCompile(m.form).MatchString(m.value) {
			t.Errorf("%s %q is not %s", m.name, m.value, m.form)
		}
	}
	if a.Key == b.Key || a.Secret == b.Secret || a.Key == a.Secret {
		t.Error("credentials repeat")
	}
	if d := diff(app(a.ID, a.Key, a.Secret), a); d != "" {
		t.Errorf("limits are not the defaults: %s", d)
	}
}
