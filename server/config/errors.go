package config

import (
	"fmt"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Name string // the file, or the environment variable; empty from [Config.Validate]
	Line int    // 1-based; 0 where there is no file
	Key  string // such as apps[0].activity_timeout; may be empty
	Text string // what was given and what is accepted
}

// Error returns one line, such as
//
//	config.yaml:12: apps[0].activity_timeout: "5" has no unit: give a duration such as 30s or 2m
func (p Problem) Error() string {
	var b strings.Builder
	if p.Name != "" {
		b.WriteString(p.Name)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Errors is every problem found, those of the file in the order of its lines.
type Errors []Problem

// Error returns one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// err keeps an empty list from becoming an error that is not nil.
func (e Errors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
