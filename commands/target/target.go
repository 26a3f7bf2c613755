// Package target finds the server and the app that a command is about: in the server's
// configuration, in Laravel's .env, in the environment, or by an address and credentials.
package target

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"belfry/commands/client"
	"belfry/server/config"
)

// Flags are what the user gives. All of them may be empty.
type Flags struct {
	ConfigFile string // configuration of the server
	EnvFile    string // Laravel's .env
	App        string // id of one of the configuration's apps
	URL        string // where pages connect; also where backends send requests, without APIURL
	APIURL     string
	AppID      string
	Key        string
	Secret     string
}

// Target is a server and, if one is known, an app of it.
type Target struct {
	client.Client

	// Path is the path prefix in the server's configuration, which the URL may lack.
	Path string
	// EnvFile is Laravel's .env, if there is one, and Laravel what it and the environment
	// say.
	EnvFile string
	Laravel config.Laravel
	// Own says that the address is the one at which the configured server listens. Its
	// certificate, which is for the name that pages know, is not verified there.
	Own bool
	// From names the flag, or the key or variable and its file, that each value is from,
	// for advice on what to change.
	From struct{ URL, API, ID, Key, Secret string }
}

// Find finds a server and, if one is known, an app of it. Errors are a *[FlagError] or those
// of reading a file. No error holds a secret.
func Find(f Flags, env config.Env) (*Target, error) {
	if f.EnvFile != "" {
		var err error
		if env, err = config.EnvFile(f.EnvFile, env); err != nil {
			return nil, err
		}
	}
	t := new(Target)
	if f.URL == "" || f.ConfigFile != "" || f.EnvFile != "" || f.AppID == "" || f.Key == "" || f.Secret == "" {
		if err := t.load(f, env); err != nil {
			return nil, err
		}
	}
	for _, given := range []struct {
		flag, value string
		to, from    *string
	}{
		{"--app-id", f.AppID, &t.AppID, &t.From.ID},
		{"--key", f.Key, &t.Credentials.Key, &t.From.Key},
		{"--secret", f.Secret, &t.Credentials.Secret, &t.From.Secret},
	} {
		if given.value != "" {
			*given.to, *given.from = given.value, given.flag
		} else if *given.from == "" {
			*given.from = given.flag
		}
	}
	if f.URL != "" {
		at, err := parse("--url", f.URL)
		if err != nil {
			return nil, err
		}
		t.WebSocket, t.API, t.Own, t.TLS = at, at, false, nil
		t.From.URL, t.From.API = "--url", "--url"
	}
	if f.APIURL != "" {
		at, err := parse("--api-url", f.APIURL)
		if err != nil {
			return nil, err
		}
		t.API, t.From.API = at, "--api-url"
	}
	if t.WebSocket == nil {
		return nil, errPort
	}
	return t, nil
}

// Server finds the server that the files and the environment start, or that of f.URL, for
// which nothing is read.
func Server(f Flags, env config.Env) (*Target, error) {
	t := new(Target)
	if f.URL != "" {
		at, err := parse("--url", f.URL)
		t.WebSocket, t.API = at, at
		return t, err
	}
	if f.EnvFile != "" {
		var err error
		if env, err = config.EnvFile(f.EnvFile, env); err != nil {
			return nil, err
		}
	}
	cfg, err := config.Load(f.ConfigFile, env)
	if err != nil {
		return nil, err
	}
	if t.listening(cfg); t.API == nil {
		return nil, errPort
	}
	return t, nil
}

// FlagError is a mistake in the flags, or something missing that a flag can give.
type FlagError struct{ message string }

func (e *FlagError) Error() string { return e.message }

func flagError(format string, args ...any) error { return &FlagError{fmt.Sprintf(format, args...)} }

var errPort = flagError("server.listen has port 0, so the address is known to the server alone: give --url")

// listening takes the address that the server listens on.
func (t *Target) listening(cfg *config.Config) {
	listen := listenURL(cfg)
	if listen == nil {
		return
	}
	t.WebSocket, t.API, t.Own = listen, listen, true
	t.From.URL, t.From.API = "server.listen", "server.listen"
	if listen.Scheme == "https" {
		t.TLS = &tls.Config{InsecureSkipVerify: true} // see Own
	}
}

// load takes what the configuration and the environment say.
func (t *Target) load(f Flags, env config.Env) error {
	cfg, err := config.Load(f.ConfigFile, env)
	if err != nil {
		return err
	}
	t.Path = cfg.Server.Path
	laravel := env.Laravel()
	t.EnvFile, t.Laravel = f.EnvFile, laravel
	if err := t.choose(cfg, f, laravel); err != nil {
		return err
	}
	t.listening(cfg)
	if f.ConfigFile != "" || laravel.PublishURL == "" {
		return nil
	}
	if t.API, err = parse(laravel.Side+"HOST", laravel.PublishURL); err != nil {
		return err
	}
	if t.WebSocket, err = parse("VITE_"+laravel.Side+"HOST", laravel.PageURL); err != nil {
		return err
	}
	t.API.Path += cfg.Server.Path
	t.WebSocket.Path += cfg.Server.Path
	t.Own, t.TLS = false, nil
	t.From.API = laravel.Side + "HOST" + in(f.EnvFile)
	t.From.URL = "VITE_" + laravel.Side + "HOST" + in(f.EnvFile)
	if laravel.PageURL == laravel.PublishURL {
		t.From.URL = t.From.API
	}
	return nil
}

// choose takes the app that is meant.
func (t *Target) choose(cfg *config.Config, f Flags, laravel config.Laravel) error {
	if cfg.Generated {
		return nil
	}
	id := cmp.Or(f.App, f.AppID)
	var app *config.App
	for i := range cfg.Apps {
		if f.App == "" && len(cfg.Apps) == 1 || cfg.Apps[i].ID == id {
			app = &cfg.Apps[i]
		}
	}
	switch {
	case app == nil && f.App != "":
		return flagError("--app: there is no app with id %q", f.App)
	case app == nil && f.AppID+f.Key+f.Secret == "" && cfg.AppsFrom.URL != "":
		return flagError("%s has apps_from, which only the server asks: give --app-id, --key and BELFRY_APP_SECRET", f.ConfigFile)
	case app == nil && f.AppID+f.Key+f.Secret == "":
		return flagError("%s has %d apps: choose one by --app ID", f.ConfigFile, len(cfg.Apps))
	case app == nil:
		return nil
	}
	t.AppID, t.Credentials = app.ID, app.Credentials()
	t.From.ID, t.From.Key, t.From.Secret = "apps[].id"+in(f.ConfigFile), "apps[].key"+in(f.ConfigFile), "apps[].secret"+in(f.ConfigFile)
	if laravel.Variables != "" && laravel.Key == app.Key {
		file := f.EnvFile
		if laravel.Variables == "BELFRY_APP_" {
			file = ""
		}
		t.From.ID, t.From.Key, t.From.Secret = laravel.Variables+"ID"+in(file), laravel.Variables+"KEY"+in(file), laravel.Variables+"SECRET"+in(file)
	}
	return nil
}

func in(file string) string {
	if file == "" {
		return ""
	}
	return " in " + file
}

// listenURL returns where the server of a configuration can be reached on its own machine,
// or nil if the configuration leaves the port to the system.
func listenURL(cfg *config.Config) *url.URL {
	host, port, err := net.SplitHostPort(cfg.Server.Listen)
	if err != nil || port == "0" {
		return nil
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if cfg.Server.TLS.Mode() != config.TLSOff {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port), Path: cfg.Server.Path}
}

// parse reads an address; name is what gave it.
func parse(name, text string) (*url.URL, error) {
	const example = ": give one such as https://ws.example.com or http://127.0.0.1:8080"
	u, err := url.Parse(text)
	if err != nil {
		return nil, flagError("%s is no URL%s", name, example) // the error would repeat it
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, flagError("%s has no scheme http or https%s", name, example)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	switch {
	case u.Hostname() == "":
		return nil, flagError("%s has no host%s", name, example)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, flagError("%s has more than scheme, host, port and path prefix%s", name, example)
	case strings.Contains(u.Path+"/", "/app/") || strings.Contains(u.Path+"/", "/apps/"):
		return nil, flagError("%s goes too far: leave out what begins with /app or /apps", name)
	}
	return u, nil
}

// Need returns a *[FlagError] that says what is missing to sign as the app, or to connect
// to it if signing is false.
func (t *Target) Need(signing bool) error {
	var missing []string
	if t.Credentials.Key == "" {
		missing = append(missing, "--key")
	}
	if signing {
		if t.AppID == "" {
			missing = append(missing, "--app-id")
		}
		if t.Credentials.Secret == "" {
			missing = append(missing, "--secret")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return flagError("no app is known: give --config, --env-file or %s, or set BELFRY_APP_ID, BELFRY_APP_KEY and BELFRY_APP_SECRET",
		strings.Join(missing, ", "))
}
