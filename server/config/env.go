package config

import (
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
