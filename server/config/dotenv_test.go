package config

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"
)

// dotenvRow is an .env file and what phpdotenv makes of it; see
// testdata/dotenv.php, which also has the process environment.
type dotenvRow struct {
	File    string
	Bytes   []byte // instead of File where that is not UTF-8
	Values  map[string]string
	Refused bool // phpdotenv throws
	Open    bool // phpdotenv ignores the rest of the file in silence, which is refused here
}

var dotenvProcess = env("VAULT=from the process", "NOTHING=", "LATER=process")

func dotenvRows(t testing.TB) (rows []dotenvRow) {
	t.Helper()
	data, err := os.ReadFile("testdata/dotenv.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		rows[i].File += string(rows[i].Bytes)
	}
	return rows
}

func TestDotenvIsPhpdotenv(t *testing.T) {
	rows := dotenvRows(t)
	if len(rows) < 1100 {
		t.Errorf("%d rows", len(rows))
	}
	for _, row := range rows {
		got, problem := dotenv(row.File, dotenvProcess)
		if problem != nil || row.Refused || row.Open {
			if problem == nil || !row.Refused && !row.Open {
				t.Errorf("%q: %v and %v, want %+v", row.File, got, problem, row)
			}
			continue
		}
		for name := range dotenvProcess {
			if got[name] != dotenvProcess[name] {
				t.Errorf("%q: %s is %q", row.File, name, got[name])
			}
			delete(got, name)
		}
		if !maps.Equal(got, Env(row.Values)) {
			t.Errorf("%q: %q, want %q", row.File, got, row.Values)
		}
	}
}

// FuzzDotenv checks that no .env file makes reading it, or a configuration from
// it, panic, that it cannot grow, and that what is accepted is valid.
func FuzzDotenv(f *testing.F) {
	for i, row := range dotenvRows(f) {
		if i%10 == 0 {
			f.Add(row.File)
		}
	}
	f.Add("REVERB_APP_ID=1\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\nREVERB_APP_MAX_MESSAGE_SIZE=9\nREVERB_SCALING_ENABLED=1\nREDIS_PORT=6379\nREVERB_APP_RATE_LIMITING_ENABLED=1")
	f.Add("SOKETI_DEFAULT_APP_ID=1\nSOKETI_EVENT_MAX_SIZE_IN_KB=1e9\nSOKETI_HOST=[::1\nPORT=x\nSOKETI_DB_REDIS_URL=tls://\nBROADCAST_CONNECTION=pusher\nPUSHER_APP_ID=1")
	f.Fuzz(func(t *testing.T, text string) {
		env, problem := dotenv(text, dotenvProcess)
		if problem != nil {
			if problem.Text == "" || problem.Line < 1 || problem.Line > strings.Count(text, "\n")+strings.Count(text, "\r")+1 {
				t.Fatalf("%q: %+v", text, problem)
			}
			return
		}
		size := 0
		for _, value := range env {
			size += len(value)
		}
		if size > maxEnvBytes+100 {
			t.Fatalf("%d bytes of values", size)
		}
		if c, err := Load("", env); err == nil {
			if err := c.Validate(); err != nil {
				t.Fatalf("accepted, but: %v", err)
			}
		}
	})
}

func TestEnvIsLaravels(t *testing.T) {
	for value, want := range map[string]string{
		"": "", "x": "x", `"kk"`: "kk", "'kk'": "kk", `"kk'`: `"kk'`, `"`: `"`, `""`: "", `"'kk'"`: "'kk'", "\"a\nb\"": "\"a\nb\"",
		"null": "", "(null)": "", "NULL": "", `"null"`: "null", "empty": "", "(Empty)": "", "true": "true", "(true)": "true", "(FALSE)": "false", " null": " null",
	} {
		if got := env("A=" + value).get("A"); got != want {
			t.Errorf("%q is read as %q, want %q", value, got, want)
		}
	}
	if got := Env(nil).get("A"); got != "" {
		t.Errorf("not set: %q", got)
	}
}
