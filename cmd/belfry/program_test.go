package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"belfry/commands/doctor"
)

// Help, completion, manual page and docs/commands.md know each command and each flag.
func TestProgramIsDocumented(t *testing.T) {
	p := program(streams{})
	page := new(bytes.Buffer)
	if err := p.Page(page); err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"docs/commands.md": string(docs), "the manual page": strings.ReplaceAll(page.String(), `\-`, "-")}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := new(bytes.Buffer)
		if err := p.Completion(script, shell); err != nil {
			t.Fatal(err)
		}
		texts["the completion of "+shell] = strings.ReplaceAll(script.String(), " -l ", " --")
	}
	all := new(bytes.Buffer)
	if err := p.Help(all); err != nil {
		t.Fatal(err)
	}
	for _, name := range doctor.Checks() {
		if !strings.Contains(string(docs), "| `"+name+"` |") {
			t.Errorf("the check %s is not in docs/commands.md", name)
		}
	}
	for _, c := range p.Commands {
		if !strings.Contains(all.String(), "belfry "+c.Name) || !strings.Contains(string(docs), "belfry "+c.Name) {
			t.Errorf("%s is not listed", c.Name)
		}
		help := new(bytes.Buffer)
		if err := p.CommandHelp(help, c); err != nil {
			t.Fatal(err)
		}
		texts["help"] = help.String()
		c.Flags.VisitAll(func(f *flag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s is said to be %q", c.Name, f.Name, f.Usage)
			}
			for where, text := range texts {
				if !strings.Contains(text, "--"+f.Name) {
					t.Errorf("%s --%s is not in %s", c.Name, f.Name, where)
				}
			}
		})
		for line := range strings.SplitSeq(help.String(), "\n") {
			if n := len([]rune(line)); n > 120 {
				t.Errorf("%s: a line of %d characters: %s", c.Name, n, line)
			}
		}
	}
}

// Flags stand anywhere but behind "--".
func TestParse(t *testing.T) {
	for _, tt := range []struct{ args, others, name string }{
		{"a --name x b", "a b", "x"},
		{"a b --name=x", "a b", "x"},
		{"--name x -- a --name y", "a --name y", "x"},
		{"a -- --name", "a --name", ""},
		{"a - b", "a - b", ""},
		{"", "", ""},
	} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		name := flags.String("name", "", "")
		others, err := parse(flags, strings.Fields(tt.args))
		if err != nil || strings.Join(others, " ") != tt.others || *name != tt.name {
			t.Errorf("%q: arguments %q, name %q, error %v", tt.args, others, *name, err)
		}
	}
}
