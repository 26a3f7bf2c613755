package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Load reads the file at path as [Parse] does. With path "" there is no file:
// everything is at its default but what env sets, and without an app or a source of apps
// in env one is generated, see [Config.Generated], and the console is enabled at a loopback
// address.
func Load(path string, env Env) (*Config, error) {
	if path == "" {
		l := newLoader("", env)
		c := Default()
		l.environment(&c)
		if len(c.Apps) == 0 && c.AppsFrom.URL == "" {
			c.Apps, c.Generated = []App{GeneratedApp()}, true
			c.Console.Enabled = loopback(c.Server.Listen) && !under(c.Server.Path, c.Console.Path)
		}
		return l.finish(&c)
	}
	data, err := readFile(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, data, env)
}

// readFile reads at most one byte more than most.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most+1))
}

// Parse reads the text of a configuration file; name stands for the file in
// problems. The error, if any, is of type [Errors]. Without apps and apps_from in
// the file, env has to define one of them. A nil env is an empty one.
func Parse(name string, data []byte, env Env) (*Config, error) {
	l := newLoader(name, env)
	root, ok := l.document(data)
	if !ok {
		return nil, l.errs
	}
	c := Default()
	l.sources[""] = source{line: 1}
	if root != nil {
		l.sources[""] = source{line: root.Line}
		c.keys().read(l, root, "")
	}
	l.environment(&c)
	if len(c.Apps) == 0 && c.AppsFrom.URL == "" && !l.bad["apps"] && !l.bad["apps_from"] && !l.bad[""] {
		l.add(l.nearest("apps").line, "", "there is no app: add one under apps with id, key and secret, "+
			"or set BELFRY_APP_ID, BELFRY_APP_KEY and BELFRY_APP_SECRET in the environment, or apps_from.url to a database that has them")
	}
	return l.finish(&c)
}

// finish checks the values and sorts the problems.
func (l *loader) finish(c *Config) (*Config, error) {
	c.check(l)
	slices.SortStableFunc(l.errs, func(a, b Problem) int { return a.Line - b.Line })
	if len(l.errs) > maxProblems {
		l.errs = l.errs[:maxProblems]
		l.errs[maxProblems-1].Key, l.errs[maxProblems-1].Text = "", "more problems from here on are not listed"
	}
	if err := l.errs.err(); err != nil {
		return nil, err
	}
	c.Warnings, c.origin = l.warnings, l.origin()
	return c, nil
}

var errNoAppLeft = errors.New("there is no app any more: set BELFRY_APP_ID, BELFRY_APP_KEY and BELFRY_APP_SECRET in the environment file")

// Reload is [Load] for a server that runs with c. It makes up no app: where
// Load would, it keeps the one that was made up for c, or fails.
func (c *Config) Reload(path string, env Env) (*Config, error) {
	next, err := Load(path, env)
	if err != nil || !next.Generated {
		return next, err
	}
	if !c.Generated {
		return nil, errNoAppLeft
	}
	next.Apps = c.Apps
	return next, nil
}
