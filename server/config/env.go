package config

import (
	"cmp"
	"net"
	"os"
	"regexp"
	"strings"
)

// Env is the environment: values by the name of the variable. A nil Env has
// none.
type Env map[string]string

// ProcessEnv returns the environment of the process.
func ProcessEnv() Env {
	env := make(Env)
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	return env
}

var outerQuotes = regexp.MustCompile(`\A(?:"(.*)"|'(.*)')\z`)

// get returns a variable as Laravel's env() does: without quotes around it,
// which docker --env-file leaves, and "" for null. A variable that is not set is
// "" too.
func (e Env) get(name string) string {
	value := e[name]
	switch strings.ToLower(value) {
	case "null", "(null)", "empty", "(empty)":
		return ""
	case "(true)":
		return "true"
	case "(false)":
		return "false"
	}
	if m := outerQuotes.FindStringSubmatch(value); m != nil {
		return m[1] + m[2]
	}
	return value
}

// appPrefixes are the families of app variables, the first one used wins.
var appPrefixes = []string{"BELFRY_APP_", "REVERB_APP_", "PUSHER_APP_"}

// AppFromEnv returns the app that BELFRY_APP_ID, _KEY and _SECRET define, else
// REVERB_APP_*, else PUSHER_APP_*: the first family with a variable that is
// not empty. It returns false if there is none, and [Errors] that name the
// variables if that family is incomplete or has an impossible value.
func AppFromEnv(env Env) (App, bool, error) {
	app, ok, errs := appFromEnv(env)
	return app, ok, errs.err()
}

func appFromEnv(env Env) (App, bool, Errors) {
	for _, prefix := range appPrefixes {
		a := DefaultApp()
		a.ID, a.Key, a.Secret = env.get(prefix+"ID"), env.get(prefix+"KEY"), env.get(prefix+"SECRET")
		if a.ID == "" && a.Key == "" && a.Secret == "" {
			continue
		}
		var errs Errors
		for _, c := range a.credentials() {
			name := prefix + strings.ToUpper(c.name)
			switch {
			case c.value == "":
				errs = append(errs, Problem{Name: name, Text: "not set, but other " + prefix + "* variables are: set all of ID, KEY and SECRET"})
			case c.problem() != "":
				errs = append(errs, Problem{Name: name, Text: "the value " + c.problem()})
			}
		}
		if len(errs) > 0 {
			return App{}, false, errs
		}
		return a, true, nil
	}
	return App{}, false, nil
}

// listenFromEnv returns the address to listen on, or "" if the environment
// says nothing of it.
func listenFromEnv(env Env) (string, Errors) {
	if v := env.get("BELFRY_LISTEN"); v != "" {
		return v, envProblem("BELFRY_LISTEN", listenProblem(v))
	}
	host, port := env.get("REVERB_SERVER_HOST"), env.get("REVERB_SERVER_PORT")
	if host == "" && port == "" {
		return "", nil
	}
	// What is not set is as it was with Reverb: 0.0.0.0 and 8080.
	host, port = cmp.Or(host, "0.0.0.0"), cmp.Or(port, "8080")
	errs := append(envProblem("REVERB_SERVER_HOST", hostProblem(host)), envProblem("REVERB_SERVER_PORT", portProblem(port))...)
	return net.JoinHostPort(host, port), errs
}

func pathFromEnv(env Env) (string, Errors) {
	path := normalPath(env.get("REVERB_SERVER_PATH"))
	return path, envProblem("REVERB_SERVER_PATH", pathProblem(path))
}

func envProblem(name, problem string) Errors {
	if problem == "" {
		return nil
	}
	return Errors{{Name: name, Text: "the value " + problem}}
}
