// Command belfry is a server that speaks the Pusher Channels protocol, and what one
// needs beside it on the command line: see belfry help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"belfry/commands/manual"
	"belfry/commands/target"
)

func main() {
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// Exit codes: a mistake in the call is told apart from one in the
// configuration or at run time.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// streams are the program's input and outputs.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func run(args []string, s streams) int {
	p := program(s)
	if len(args) == 0 {
		_ = p.Help(s.err)
		return exitUsage
	}
	name, hint := args[0], ""
	switch name {
	case "--version", "-version":
		name = "version"
	case "--help", "-help", "-h":
		name = "help"
	}
	var err error
	if c := p.Find(name); c == nil {
		err = &usageError{fmt.Sprintf("unknown command %q", name)}
	} else {
		hint = " " + name
		err = call(p, c, args[1:], s.out)
	}
	var wrong *usageError
	var flags *target.FlagError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errTold):
		return exitFailed
	case errors.As(err, &wrong), errors.As(err, &flags):
		fmt.Fprintf(s.err, "belfry: %v; see belfry help%s\n", err, hint)
		return exitUsage
	default:
		fmt.Fprintf(s.err, "belfry: %v\n", err)
		return exitFailed
	}
}

// call runs a command, or writes its help if that is asked for.
func call(p *manual.Program, c *manual.Command, args []string, out io.Writer) error {
	args, err := parse(c.Flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return p.CommandHelp(out, c)
	}
	if err != nil {
		return err
	}
	return c.Run(args)
}

// usageError is a mistake in the call.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// errTold is a failure of which the command has told everything.
var errTold = errors.New("failed")

// parse sets the flags, which may stand before, between and behind the other arguments,
// and returns those. Behind "--", there are no flags.
func parse(flags *flag.FlagSet, args []string) (others []string, err error) {
	flags.SetOutput(io.Discard)
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, &usageError{err.Error()}
		}
		rest := flags.Args()
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			others = append(others, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		others, args = append(others, rest[0]), rest[1:]
	}
	var empty []*flag.Flag
	flags.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			empty = append(empty, f)
		}
	})
	if len(empty) > 0 {
		what, _ := flag.UnquoteUsage(empty[0])
		if what != "file" {
			what = "value"
		}
		return nil, &usageError{fmt.Sprintf("--%s is empty: give a %s, or leave it out", empty[0].Name, what)}
	}
	return others, nil
}

// none refuses arguments of a command that has none.
func none(args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Sprintf("unexpected argument %q", args[0])}
	}
	return nil
}

// untilSignal returns a context that the first SIGINT or SIGTERM ends; the
// second ends the process.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on, signals have their default effect
	return ctx, stop
}
