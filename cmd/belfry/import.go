package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"belfry/commands/importer"
	"belfry/commands/manual"
)

func importCommand(s streams) *manual.Command {
	servers := strings.Join(importer.Servers(), " or ")
	c := command("import", "FILE [--from "+strings.Join(importer.Servers(), "|")+"]", "turn the configuration of Soketi or Sockudo into Belfry's", `
It reads JSON, TOML or an environment file, - for standard input, and prints the
configuration. On standard error it names each setting that has no equal, and why. The
output has the secrets of the apps: let nobody else read it.

  (umask 077; belfry import soketi.json > belfry.yaml)
  belfry check --config belfry.yaml
`)
	from := c.Flags.String("from", "", "`server` that the file is of, "+servers+", if it could be of either")
	c.Run = func(args []string) error {
		if len(args) != 1 {
			return &usageError{"import needs one FILE"}
		}
		return importFile(args[0], *from, s)
	}
	return c
}

// importFile prints the configuration that a file of another server amounts to.
func importFile(name, from string, s streams) error {
	if from != "" && !slices.Contains(importer.Servers(), from) {
		return &usageError{fmt.Sprintf("--from: no server is called %q: there are %s", from, strings.Join(importer.Servers(), " and "))}
	}
	in := s.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, importer.MaxBytes+1))
	if err != nil {
		return err
	}
	r, err := importer.Import(name, data, from)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(s.err, "belfry: %s: %s\n", name, n)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(s.err, "belfry: warning: %s\n", warning)
	}
	if len(r.Needs) > 0 {
		fmt.Fprintf(s.err, "belfry: the output needs these variables in the environment: %s\n", strings.Join(r.Needs, ", "))
	}
	fmt.Fprintln(s.err, "belfry: the output has secrets: keep it readable by the server alone (chmod 600)")
	_, err = s.out.Write(r.YAML)
	return err
}
