package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAppFromEnv(t *testing.T) {
	tests := []struct {
		name string
		env  Env
		want string // the app's id, "" for none
		errs []string
	}{
		{"no Env", nil, "", nil},
		{"nothing", env("BELFRY_APP_ID=", "PUSHER_APP_KEY="), "", nil},
		{"pusher", env("PUSHER_APP_ID=3", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"), "3", nil},
		{"reverb before pusher", env("REVERB_APP_ID=2", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s", "PUSHER_APP_ID=3"), "2", nil},
		{"belfry before reverb", env("BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s", "REVERB_APP_ID=2"), "1", nil},
		{"empty variables do not count", env("BELFRY_APP_ID=", "REVERB_APP_ID=2", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s"), "2", nil},
		{"BROADCAST_CONNECTION decides", env("BROADCAST_CONNECTION=pusher", "REVERB_APP_ID=2", "PUSHER_APP_ID=3", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"), "3", nil},
		{"BROADCAST_DRIVER decides", env("BROADCAST_DRIVER=pusher", "REVERB_APP_ID=2", "PUSHER_APP_ID=3", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"), "3", nil},
		{"belfry before what decides", env("BROADCAST_CONNECTION=pusher", "BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s", "PUSHER_APP_ID=3"), "1", nil},
		{"a family that is not there decides nothing", env("BROADCAST_CONNECTION=reverb", "PUSHER_APP_ID=3", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"), "3", nil},
		{"another connection decides nothing", env("BROADCAST_CONNECTION=log", "PUSHER_APP_ID=3", "PUSHER_APP_KEY=k", "PUSHER_APP_SECRET=s"), "3", nil},
		{"soketi", env("SOKETI_DEFAULT_APP_ID=4", "SOKETI_DEFAULT_APP_KEY=k", "SOKETI_DEFAULT_APP_SECRET=s"), "4", nil},
		{"quotes and null", env("BELFRY_APP_ID=null", "REVERB_APP_ID='2'", "REVERB_APP_KEY=\"k\"", "REVERB_APP_SECRET=\"s\""), "2", nil},
		{"null is not a secret", env("REVERB_APP_ID=2", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=null"), "", []string{"REVERB_APP_SECRET: not set, but"}},
		{"families are not mixed", env("BELFRY_APP_SECRET=hunter2", "REVERB_APP_ID=2", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s"), "",
			[]string{"BELFRY_APP_ID: not set, but other BELFRY_APP_* variables are", "BELFRY_APP_KEY: not set"}},
		{"impossible values", env("PUSHER_APP_ID=hunter2/3", "PUSHER_APP_KEY=hunter2:", "PUSHER_APP_SECRET=hunter2 "), "",
			[]string{"PUSHER_APP_ID: the value has a character of", "PUSHER_APP_KEY: the value has a character of", "PUSHER_APP_SECRET: the value has a space"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load("", tt.env)
			wantProblems(t, err, tt.errs)
			if err != nil {
				return
			}
			if d := diff([]App{app(tt.want, "k", "s")}, c.Apps); c.Generated != (tt.want == "") || !c.Generated && d != "" {
				t.Errorf("generated %v (-want +got)\n%s", c.Generated, d)
			}
		})
	}
}

func TestServerFromEnv(t *testing.T) {
	tests := []struct {
		name         string
		env          Env
		listen, path string
		errs         []string
	}{
		{"nothing", env("BELFRY_LISTEN=", "REVERB_SERVER_HOST=", "REVERB_SERVER_PATH="), DefaultListen, "", nil},
		{"belfry wins", env("BELFRY_LISTEN=:1", "REVERB_SERVER_HOST=!", "REVERB_SERVER_PORT=!"), ":1", "", nil},
		{"reverb", env("REVERB_SERVER_HOST=::", "REVERB_SERVER_PORT=6001", "REVERB_SERVER_PATH=ws/"), "[::]:6001", "/ws", nil},
		{"IPv6 in brackets", env("REVERB_SERVER_HOST=[::1]"), "[::1]:8080", "", nil},
		{"soketi", env("SOKETI_PORT=6002", "SOKETI_PATH_PREFIX=/ws"), "0.0.0.0:6002", "/ws", nil},
		{"a platform's port", env("PORT=3000"), ":3000", "", nil},
		{"precedence", env("PORT=3000", "SOKETI_HOST=127.0.0.1", "REVERB_SERVER_PORT=6001"), "0.0.0.0:6001", "", nil},
		{"a service of Kubernetes", env("SOKETI_PORT=tcp://10.0.0.1:6001", "SOKETI_PORT_6001_TCP_ADDR=10.0.0.1", "SOKETI_SERVICE_HOST=10.0.0.1"), DefaultListen, "", nil},
		{"bad port", env("PORT=hunter2"), "", "", []string{"PORT: the value has no valid port"}},
		{"taken path", env("REVERB_SERVER_PATH=apps"), "", "", []string{"REVERB_SERVER_PATH: the value is taken by /apps: give another prefix such as /ws"}},
		{"only a host", env("REVERB_SERVER_HOST=localhost"), "localhost:8080", "", nil},
		{"only a port", env("REVERB_SERVER_PORT=6001"), "0.0.0.0:6001", "", nil},
		{"bad address", env("BELFRY_LISTEN=hunter2"), "", "", []string{"BELFRY_LISTEN: the value is not an address to listen on: give host:port"}},
		{"all bad", env("REVERB_SERVER_HOST=hunter2 x", "REVERB_SERVER_PORT=+1", "REVERB_SERVER_PATH=a?b"), "", "",
			[]string{"REVERB_SERVER_HOST: the value has no valid host", "REVERB_SERVER_PATH: the value is not a plain path"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse("config.yaml", []byte(oneApp), tt.env)
			wantProblems(t, err, tt.errs)
			if err == nil && (c.Server.Listen != tt.listen || c.Server.Path != tt.path) {
				t.Errorf("got %s and %q", c.Server.Listen, c.Server.Path)
			}
		})
	}
}

func TestEnvFile(t *testing.T) {
	file := write(t, "APP_NAME=Laravel\nREVERB_APP_ID=123456\nREVERB_APP_KEY=\"${APP_NAME}key\"\nREVERB_APP_SECRET='s' # theirs\nREVERB_HOST=a\nEMPTY=file\n")
	e, err := EnvFile(file, env("REVERB_HOST=b", "EMPTY=", "OTHER=c"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"REVERB_HOST": "b", "EMPTY": "", "OTHER": "c", "APP_NAME": "Laravel"} {
		if got, ok := e[name]; !ok || got != want {
			t.Errorf("%s is %q, %v", name, got, ok)
		}
	}
	if _, ok := e["NOT_SET"]; ok {
		t.Error("NOT_SET is set")
	}
	c, err := Load("", e)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff([]App{app("123456", "Laravelkey", "s")}, c.Apps); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if e, err = EnvFile(file, nil); err != nil {
		t.Fatal(err)
	}
	if got := e["REVERB_HOST"]; got != "a" {
		t.Errorf("REVERB_HOST is %q", got)
	}
}

func TestEnvFileProblems(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"bad name", "A=1\nB=2\nhunter2-x y=hunter2\nC=3\n", ":3: not in the form NAME=value: give a name of letters, digits, _ and ."},
		{"no name", "A=1\n=hunter2", ":2: no name before the equals sign: give NAME=value"},
		{"quote left open", "A=\"x\ny\"\nS=\"hunter2\nB=2\n", ":3: a double quote that begins here is not closed: Laravel would ignore the rest of the file"},
		{"quote left open in a comment", "# S=\"hunter2\nB=2\n", ":1: a double quote that begins here is not closed"},
		{"single quote", "A=1\r\nS='hunter2\r\n", ":2: a quote that is not closed: close it, or put"},
		{"spaces", "# c\n\nA=1\nS=hunter2 hunter2\n", ":4: text after the end of a value: put a value with spaces or quotes in double quotes"},
		{"escape", "S=\"hunter2\\h\"", ":1: a backslash that is no escape: in double quotes give \\\\ \\\" \\$"},
		{"doubling", "A=hunter2\n" + strings.Repeat("A=${A}${A}${A}${A}\n", 20), ":10: a value of more than 1048576 bytes"},
		{"many large values", "A=hunter2\n" + strings.Repeat("A=${A}${A}\n", 14) + strings.Repeat("B=${A}\n", 20), ":23: the values up to here have more than 1048576 bytes"},
		{"too large", strings.Repeat("#", maxEnvFileBytes+1), ": more than 65536 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, tt.file)
			_, err := EnvFile(path, nil)
			wantProblems(t, err, []string{path + tt.want})
		})
	}
	if _, err := EnvFile(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantProblems checks that err has one line for each of want, beginning with
// it, and shows no value.
func wantProblems(t *testing.T, err error, want []string) {
	t.Helper()
	if err == nil {
		if len(want) > 0 {
			t.Errorf("no error, want %q", want)
		}
		return
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %q, want %q", lines, want)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) || strings.Contains(line, "hunter2") {
			t.Errorf("got %q, want %q", line, want[i])
		}
	}
}
