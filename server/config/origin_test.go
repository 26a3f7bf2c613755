package config

import "testing"

func TestWhere(t *testing.T) {
	file := "\nserver: {listen: '127.0.0.1:1'}\nmetrics:\n  token: hunter2\napps:\n- id: 1\n  key: k\n  secret: s\n  max_connections: 5\n"
	c, err := Parse("belfry.yaml", []byte(file), env("SOKETI_METRICS_ENABLED=0"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, want string
		known      bool
	}{
		{"server.listen", "belfry.yaml:2", true},
		{"server", "belfry.yaml:2", true},
		{"server.tls", "", true},
		{"server.tls.cert_file", "", true},
		{"metrics.token", "belfry.yaml:4", true},
		{"metrics.enabled", "SOKETI_METRICS_ENABLED", true},
		{"apps[0].max_connections", "belfry.yaml:9", true},
		{"apps[0].max_event_bytes", "", true},
		{"apps[0].listen", "", false},
		{"apps[1].max_connections", "", false},
		{"apps[-1].max_connections", "", false},
		{"apps[x", "", false},
		{"server.listen.x", "", false},
		{"elephants", "", false},
		{"", "", false},
	} {
		if got, known := c.Where(tt.path); got != tt.want || known != tt.known {
			t.Errorf("%s was set by %q, known %v", tt.path, got, known)
		}
	}
	if c.File() != "belfry.yaml" {
		t.Errorf("read from %q", c.File())
	}
	initial := Default()
	if where, known := initial.Where("server.listen"); where != "" || !known || initial.File() != "" {
		t.Errorf("a default was set by %q, known %v", where, known)
	}
	c, err = Load("", env("REVERB_APP_ID=1", "REVERB_APP_KEY=k", "REVERB_APP_SECRET=s", "REVERB_APP_MAX_CONNECTIONS=5"))
	if err != nil {
		t.Fatal(err)
	}
	if where, _ := c.Where("apps[0].max_connections"); where != "REVERB_APP_MAX_CONNECTIONS" || c.File() != "" {
		t.Errorf("set by %q", where)
	}
}

// A server that is started with nothing has the console, where nobody else reaches it.
func TestGeneratedConsole(t *testing.T) {
	for _, tt := range []struct {
		variables []string
		want      bool
	}{
		{nil, true},
		{[]string{"BELFRY_LISTEN=localhost:0"}, true},
		{[]string{"BELFRY_LISTEN=[::1]:0"}, true},
		{[]string{"BELFRY_LISTEN=:0"}, false},
		{[]string{"BELFRY_LISTEN=10.0.0.1:0"}, false},
		{[]string{"REVERB_SERVER_PATH=/console/x"}, false},
		{[]string{"BELFRY_APP_ID=1", "BELFRY_APP_KEY=k", "BELFRY_APP_SECRET=s"}, false},
	} {
		c, err := Load("", env(tt.variables...))
		if err != nil || c.Console.Enabled != tt.want {
			t.Errorf("%v: error %v, enabled %v", tt.variables, err, c != nil && c.Console.Enabled)
		}
	}
}
