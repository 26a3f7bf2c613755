package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"belfry/commands/manual"
	"belfry/server"
	"belfry/server/apps/source"
	"belfry/server/config"
)

func checkCommand(s streams) *manual.Command {
	c := command("check", "[--config FILE] [--env-file FILE]", "validate the configuration and print a summary", `
It does all that serve does but listen, and names each mistake with its file and line.
With apps_from, it also asks the database or the HTTP API whether apps can be looked up.
`)
	f := fileFlags(c.Flags)
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		return check(*f, s.out, s.err)
	}
	return c
}

func schemaCommand(s streams) *manual.Command {
	c := command("schema", "", "print the JSON schema of the configuration", `
Editors complete and explain keys with it, and mark mistakes. Put it beside the
configuration, and name it in the first line of that:

  belfry schema > config.schema.json
  # yaml-language-server: $schema=config.schema.json

A few mistakes are found by check alone, such as values that do not go together.
`)
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		_, err := s.out.Write(config.Schema())
		return err
	}
	return c
}

// check validates a configuration and prints what it amounts to. What serve
// would warn of goes to stderr.
func check(f files, stdout, stderr io.Writer) error {
	cfg, err := load(f)
	if err != nil {
		return err
	}
	if err := server.Check(cfg); err != nil {
		return err
	}
	for _, warning := range cfg.Warnings {
		fmt.Fprintf(stderr, "belfry: warning: %s\n", warning)
	}
	name := f.config
	if name == "" {
		name = "environment"
	}
	scheme := "ws"
	if cfg.Server.TLS.Mode() != config.TLSOff {
		scheme = "wss"
	}
	fmt.Fprintf(stdout, "%s: ok\n", name)
	fmt.Fprintf(stdout, "listen   %s://%s%s\n", scheme, cfg.Server.Listen, cfg.Server.Path)
	if a := cfg.Server.TLS.ACME; len(a.Domains) > 0 {
		fmt.Fprintf(stdout, "acme     %s  by %s  kept in %s\n", strings.Join(a.Domains, " "), a.Directory, a.Storage)
	}
	if at := cfg.Server.RedirectHTTP; at != "" {
		fmt.Fprintf(stdout, "redirect http://%s\n", at)
	}
	switch m := cfg.Metrics; {
	case !m.Enabled:
		fmt.Fprintf(stdout, "metrics  off\n")
	case m.Listen != "":
		fmt.Fprintf(stdout, "metrics  http://%s%s\n", m.Listen, m.Path)
	default:
		fmt.Fprintf(stdout, "metrics  %s\n", m.Path)
	}
	switch k := cfg.Console; {
	case !k.Enabled:
	case k.Listen != "":
		fmt.Fprintf(stdout, "console  %s://%s%s/\n", strings.Replace(scheme, "ws", "http", 1), k.Listen, k.Path)
	default:
		fmt.Fprintf(stdout, "console  %s/\n", k.Path)
	}
	if cfg.Cluster.Driver != config.ClusterLocal {
		fmt.Fprintf(stdout, "cluster  %s  prefix %s\n", cfg.Cluster.Driver, cfg.Cluster.Redis.Prefix)
	}
	if from := cfg.AppsFrom; from.URL != "" {
		fmt.Fprintf(stdout, "apps     from %s  for %s\n", fromWhere(from), from.TTL)
	}
	for _, a := range cfg.Apps {
		state := "enabled"
		if !a.Enabled {
			state = "disabled"
		}
		secrets := ""
		if n := len(a.Secrets); n > 1 {
			secrets = fmt.Sprintf("  secrets %d", n)
		}
		fmt.Fprintf(stdout, "app      %s  key %s  %s  origins %s  client events %s%s\n",
			a.ID, a.Key, state, strings.Join(a.AllowedOrigins, " "), a.ClientEvents, secrets)
		for _, w := range a.Webhooks {
			fmt.Fprintf(stdout, "webhook  %s  of app %s  events %s\n", w.Endpoint(), a.ID, strings.Join(w.Events, " "))
		}
	}
	return checkSource(cfg.AppsFrom)
}

// fromWhere is the kind of a source, and what it reads.
func fromWhere(c config.AppsFrom) string {
	switch scheme := c.Scheme(); {
	case scheme == config.SchemeHTTPS || scheme == config.SchemeHTTP:
		return scheme
	case c.Query != "":
		return scheme + " by query"
	default:
		return scheme + "  table " + c.Table
	}
}

// checkSource asks a source whether apps can be looked up in it.
func checkSource(c config.AppsFrom) error {
	if c.URL == "" {
		return nil
	}
	s, err := source.Open(c)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Check(context.Background())
}
