package config

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/joho/godotenv"
)

// maxEnvFileBytes bounds an .env file: a Laravel one is a few KiB.
const maxEnvFileBytes = 64 << 10

// Env looks up an environment variable, as [os.LookupEnv] does. A nil Env has
// none.
type Env func(name string) (string, bool)

func (e Env) lookup(name string) (string, bool) {
	if e == nil {
		return "", false
	}
	return e(name)
}

// get returns "" for a variable that is not set.
func (e Env) get(name string) string {
	v, _ := e.lookup(name)
	return v
}

// EnvFile returns the variables of a Laravel .env file under those of over,
// which is usually the process environment and wins, even with an empty value.
// An error never repeats what the file says.
func EnvFile(path string, over Env) (Env, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the environment file: %w", err)
	}
	if info.Size() > maxEnvFileBytes {
		return nil, fmt.Errorf("%s: more than %d bytes: give a .env file such as Laravel's", path, maxEnvFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the environment file: %w", err)
	}
	vars, err := godotenv.UnmarshalBytes(data)
	if err != nil {
		return nil, Errors{{Name: path, Line: envFileLine(data), Text: "not in the form NAME=value: put a value with spaces, # or quotes in double quotes"}}
	}
	return func(name string) (string, bool) {
		if v, ok := over.lookup(name); ok {
			return v, true
		}
		v, ok := vars[name]
		return v, ok
	}, nil
}

// envFileLine is the line after the longest part of data that can be read. It
// is found by trying, as godotenv's errors have no line but quote the file.
func envFileLine(data []byte) int {
	lines := strings.SplitAfter(string(data), "\n")
	for n := len(lines) - 1; n > 0; n-- {
		if _, err := godotenv.Unmarshal(strings.Join(lines[:n], "")); err == nil {
			return n + 1
		}
	}
	return 1
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
