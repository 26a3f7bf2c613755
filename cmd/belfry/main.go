// Command belfry is a server that speaks the Pusher Channels protocol.
//
//	belfry serve [--config FILE] [--env-file FILE]
//	belfry check [--config FILE] [--env-file FILE]
//	belfry upgrade --pid N
//	belfry version
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// Exit codes: a mistake in the call is told apart from one in the
// configuration or at run time.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `belfry speaks the Pusher Channels protocol to Laravel Echo and pusher-js.

usage:
  belfry serve [--config FILE] [--env-file FILE]   run the server
  belfry check [--config FILE] [--env-file FILE]   validate the configuration and print a summary
  belfry upgrade --pid N                           replace a running server; its clients stay connected
  belfry version                                   print the version

Without a configuration and without app variables in the environment, serve
makes one app with random credentials and prints what to paste into Laravel.
`

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	var err error
	switch args[0] {
	case "serve":
		err = serve(args[1:], stdout, stderr)
	case "check":
		err = check(args[1:], stdout, stderr)
	case "upgrade":
		err = upgrade(args[1:], stdout, stderr)
	case "version", "--version", "-version":
		b := build()
		fmt.Fprintf(stdout, "belfry %s (%s, %s/%s)\n", b.Version, b.GoVersion, runtime.GOOS, runtime.GOARCH)
	case "help", "--help", "-help", "-h":
		fmt.Fprint(stdout, usage)
	default:
		err = &usageError{fmt.Sprintf("unknown command %q", args[0])}
	}
	var wrong *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "belfry: %v; see belfry help\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "belfry: %v\n", err)
		return exitFailed
	}
}

// usageError is a mistake in the call.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// files are what both commands read.
type files struct{ config, env string }

func parseFlags(command string, args []string, stderr io.Writer) (f files, err error) {
	flags := flag.NewFlagSet("belfry "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&f.config, "config", "", "YAML configuration `file`")
	flags.StringVar(&f.env, "env-file", "", "Laravel .env `file` to read variables from; the environment wins")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return f, err
		}
		return f, &usageError{err.Error()}
	}
	var empty []string
	flags.Visit(func(f *flag.Flag) {
		if f.Value.String() == "" {
			empty = append(empty, "--"+f.Name)
		}
	})
	if len(empty) > 0 {
		return f, &usageError{fmt.Sprintf("%s is empty: give a file, or leave it out", empty[0])}
	}
	if flags.NArg() > 0 {
		return f, &usageError{fmt.Sprintf("unexpected argument %q", flags.Arg(0))}
	}
	return f, nil
}

// untilSignal returns a context that the first SIGINT or SIGTERM ends; the
// second ends the process.
func untilSignal() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on, signals have their default effect
	return ctx, stop
}
