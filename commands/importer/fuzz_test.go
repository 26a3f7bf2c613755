package importer

import (
	"strings"
	"testing"

	"belfry/server/config"
)

// FuzzImport: whatever a file says, import ends, what it makes loads, and it tells no
// secret.
func FuzzImport(f *testing.F) {
	for _, a := range archives(f) {
		f.Add(a.Files[0].Name, a.Files[0].Data, "")
	}
	f.Add("-", []byte(`{"appManager.array.apps.0.id": "${X}", "appManager.array.apps.1": [], "port": {}}`), "soketi")
	f.Add("-", []byte("[app_manager.array]\napps = [{id = 1.5, policy = {limits = 3, webhooks = [{}]}}]\nat = 1979-05-27"), "sockudo")
	f.Add("-", []byte(`{"adapter.driver": "redis", "database.redis.sentinels": [{}, "x:y:z", null]}`), "soketi")
	f.Fuzz(func(t *testing.T, name string, data []byte, from string) {
		r, err := Import(name, data, from)
		if err != nil {
			if r != nil {
				t.Error("a result beside the error")
			}
			return
		}
		if r.From == "" || len(r.Notes) > maxNotes+1 {
			t.Errorf("from %q, %d notes", r.From, len(r.Notes))
		}
		env := make(config.Env)
		for _, m := range reference.FindAllStringSubmatch(string(r.YAML), -1) {
			env[m[1]] = "1"
		}
		for _, name := range []string{"BELFRY_APP_ID", "BELFRY_APP_KEY", "BELFRY_APP_SECRET"} {
			env[name] = "1"
		}
		if _, err := config.Parse("", r.YAML, env); err != nil && !strings.Contains(string(r.YAML), "${") {
			t.Errorf("what is made does not load: %v\n%s", err, r.YAML)
		}
	})
}
