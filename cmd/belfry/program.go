package main

import (
	"flag"
	"fmt"
	"runtime"
	"strings"

	"belfry/commands/manual"
)

// program is the table of all commands, from which their help, the completion of shells
// and the manual page are made.
func program(s streams) *manual.Program {
	p := &manual.Program{
		Name:    "belfry",
		Summary: "speaks the Pusher Channels protocol to Laravel Echo and pusher-js",
		Text: `belfry help COMMAND says more about a command and lists its flags. Flags may stand
before and behind other arguments. The exit code is 0 if all went well, 1 if something
failed, and 2 for a mistake in the call.`,
		Environment: [][2]string{
			{"BELFRY_APP_ID, BELFRY_APP_KEY, BELFRY_APP_SECRET", "The app, for all commands. docs/configuration.md lists further variables"},
			{"BELFRY_CONFIG", "The configuration file where --config is not given"},
			{"BELFRY_LISTEN", "The address that serve listens on and the other commands connect to"},
		},
	}
	p.Commands = []*manual.Command{
		serveCommand(s), checkCommand(s), schemaCommand(s), importCommand(s), upgradeCommand(s),
		listenCommand(s), triggerCommand(s), channelsCommand(s), connectionsCommand(s), healthCommand(s), doctorCommand(s),
		helpCommand(p, s), completionCommand(p, s), manCommand(p, s), versionCommand(s),
	}
	for _, c := range p.Commands {
		help := p.Find("help")
		help.Words = append(help.Words, c.Name)
	}
	return p
}

// command is a row of the table without what it does.
func command(name, arguments, summary, text string) *manual.Command {
	return &manual.Command{
		Name: name, Arguments: arguments, Summary: summary, Text: strings.TrimSpace(text),
		Flags: flag.NewFlagSet("belfry "+name, flag.ContinueOnError),
	}
}

func helpCommand(p *manual.Program, s streams) *manual.Command {
	c := command("help", "[COMMAND]", "list the commands, or say all about one", "")
	c.Run = func(args []string) error {
		switch {
		case len(args) == 0:
			return p.Help(s.out)
		case len(args) > 1:
			return none(args[1:])
		}
		about := p.Find(args[0])
		if about == nil {
			return &usageError{fmt.Sprintf("unknown command %q", args[0])}
		}
		return p.CommandHelp(s.out, about)
	}
	return c
}

func completionCommand(p *manual.Program, s streams) *manual.Command {
	c := command("completion", strings.Join(manual.Shells(), "|"), "print the completion for a shell", `
For bash, in ~/.bashrc, and for zsh, in ~/.zshrc behind compinit:

  source <(belfry completion bash)
  source <(belfry completion zsh)

For fish:

  belfry completion fish > ~/.config/fish/completions/belfry.fish
`)
	c.Words = manual.Shells()
	c.Run = func(args []string) error {
		if len(args) != 1 {
			return &usageError{"completion needs the name of a shell: " + strings.Join(manual.Shells(), ", ")}
		}
		if err := p.Completion(s.out, args[0]); err != nil {
			return &usageError{err.Error()}
		}
		return nil
	}
	return c
}

func manCommand(p *manual.Program, s streams) *manual.Command {
	c := command("man", "", "print the manual page", `
To read it, and to install it:

  belfry man | man -l -
  belfry man > /usr/local/share/man/man1/belfry.1
`)
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		return p.Page(s.out)
	}
	return c
}

func versionCommand(s streams) *manual.Command {
	c := command("version", "", "print the version, and the revision it was built from", "")
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		b := build()
		from := ""
		if b.Revision != "" {
			from = b.Revision + ", "
		}
		_, err := fmt.Fprintf(s.out, "belfry %s (%s%s, %s/%s)\n", b.Version, from, b.GoVersion, runtime.GOOS, runtime.GOARCH)
		return err
	}
	return c
}
