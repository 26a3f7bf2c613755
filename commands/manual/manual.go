// Package manual makes the help, the completion of shells and the manual page of a
// program from one table of its commands.
package manual

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// Program is a program with commands.
type Program struct {
	Name    string
	Summary string // what it does, without the name: "speaks …"
	Text    string // paragraphs, after the list of commands
	// Environment are variables that all commands read, each with what it is.
	Environment [][2]string
	Commands    []*Command
}

// Command is a command. Its flags are those of Flags, with their texts and the names of
// their values in backquotes, as package flag has them.
type Command struct {
	Name string
	// Arguments follow the name in a synopsis: "[FLAG…] CHANNEL…".
	Arguments string
	Summary   string // a line without a full stop
	// Text says more, as paragraphs. A line that begins with two spaces is an example.
	Text  string
	Flags *flag.FlagSet
	// Words are the values that shells offer for the first argument; nil: none.
	Words []string
	// Run runs the command with the arguments that are no flags.
	Run func(args []string) error
}

// Find returns a command, or nil.
func (p *Program) Find(name string) *Command {
	for _, c := range p.Commands {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// option is a flag as the user sees it.
type option struct {
	name  string
	value string // name of its value, in capitals; empty: it takes none
	text  string
	init  string // default worth telling, or empty
}

func (c *Command) options() (options []option) {
	c.Flags.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		o := option{name: f.Name, value: strings.ToUpper(value), text: text}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
			o.init = f.DefValue
		}
		options = append(options, o)
	})
	return options
}

func (o option) synopsis() string {
	if o.value == "" {
		return "--" + o.name
	}
	return "--" + o.name + " " + o.value
}

func (o option) description() string {
	if o.init == "" {
		return o.text
	}
	return o.text + " (default " + o.init + ")"
}

// synopsis is a call of c.
func (p *Program) synopsis(c *Command) string {
	return strings.TrimRight(p.Name+" "+c.Name+" "+c.Arguments, " ")
}

// Help writes what the program can do.
func (p *Program) Help(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s.\n\nusage:\n", p.Name, p.Summary)
	width := 0
	for _, c := range p.Commands {
		width = max(width, len([]rune(p.synopsis(c))))
	}
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "  %-*s   %s\n", width, p.synopsis(c), c.Summary)
	}
	fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(p.Text))
	_, err := io.WriteString(w, b.String())
	return err
}

// CommandHelp writes all there is to know about a command.
func (p *Program) CommandHelp(w io.Writer, c *Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nusage:\n  %s\n", p.Name+" "+c.Name, c.Summary, p.synopsis(c))
	if text := strings.TrimSpace(c.Text); text != "" {
		fmt.Fprintf(&b, "\n%s\n", text)
	}
	if options := c.options(); len(options) > 0 {
		b.WriteString("\nflags:\n")
		width := 0
		for _, o := range options {
			width = max(width, len(o.synopsis()))
		}
		for _, o := range options {
			fmt.Fprintf(&b, "  %-*s   %s\n", width, o.synopsis(), o.description())
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
